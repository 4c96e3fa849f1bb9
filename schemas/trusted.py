"""Records that our own deciders construct, made without validating them once more.

What a decider puts together from checked scalars and its own `text(...)` is valid by construction;
tests prove it by decoding the bytes of every such record again. Only for classes that are made
thousands of times a second in a replay: everything that comes from outside is validated.
"""

from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel

from schemas.envelope import Model

M = TypeVar("M", bound=Model)
_new = object.__new__
_of_model = BaseModel.__dict__
_set_values, _set_names, _set_extra, _set_private = (
    _of_model[name].__set__
    for name in (
        "__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__",
    )
)  # fmt: skip
"""A frozen model's own places, without asking its class whether they may be set."""


def trusted(kind: type[M], /, **values: Any) -> M:
    """An instance with these fields and the defaults of the others, in the order of the class
    (that of its canonical bytes). The caller answers for names and values."""
    defaults, names = _form(kind)
    return _made(kind, defaults | values, names)


def shaped(kind: type[M], values: dict[str, Any], /) -> M:
    """The same from all fields, in the order of the class: for the few records that are made by the
    thousand in one loop. The dict becomes the record's own."""
    return _made(kind, values, _form(kind)[1])


def _made(kind: type[M], values: dict[str, Any], names: set[str]) -> M:
    made = _new(kind)
    _set_values(made, values)
    _set_names(made, names)
    _set_extra(made, None)
    _set_private(made, None)
    return made


@cache
def _form(kind: type[Model]) -> tuple[dict[str, Any], set[str]]:
    """Every field of a class in order, required ones as None until they are given; and their
    names (one set for all: nobody changes a frozen record)."""
    fields = kind.model_fields
    defaults = {
        name: None if field.is_required() else field.get_default(call_default_factory=False)
        for name, field in fields.items()
    }
    return defaults, set(fields)


def renamed(item: M, identity: str) -> M:
    """The same item with another id."""
    return trusted(type(item), **{**item.__dict__, "id": identity})
