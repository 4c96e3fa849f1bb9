"""Records that our own deciders construct, made without validating them once more.

What a decider puts together from checked scalars and its own `text(...)` is valid by construction;
tests prove it by decoding the bytes of every such record again. Only for classes that are made
thousands of times a second in a replay: everything that comes from outside is validated.
"""

from functools import cache
from typing import Any, TypeVar

from schemas.envelope import Model

M = TypeVar("M", bound=Model)
_set = object.__setattr__


def trusted(kind: type[M], /, **values: Any) -> M:
    """An instance with these fields and the defaults of the others, in the order of the class
    (that of its canonical bytes). The caller answers for names and values."""
    made = kind.__new__(kind)
    defaults, names = _form(kind)
    _set(made, "__dict__", {**defaults, **values})
    _set(made, "__pydantic_fields_set__", names)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made


def shaped(kind: type[M], values: dict[str, Any], /) -> M:
    """The same from all fields, in the order of the class: for the few records that are made by the
    thousand in one loop. The dict becomes the record's own."""
    made = kind.__new__(kind)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", _form(kind)[1])
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
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
