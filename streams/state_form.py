"""States of deciders as JSON values and back: the form is derived from the types, not the values.

What is read back becomes what the annotations say and nothing else: no class is named in the data,
so whoever can write to the topic can choose figures but no code. Dicts keep their order. A field
with `compare=False` is a cache: it is left out and begins empty.
"""

import hashlib
import math
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import orjson
from pydantic import BaseModel

MODELS_KEPT = 8_192
WHOLE_MAX = 2**53
"""Larger whole numbers travel as text: orjson takes 64 bits, other readers less."""


class FormError(ValueError):
    """A value does not have the form its type asks for."""


class Form(NamedTuple):
    """How one type is written and read; `text` describes it down to its last field."""

    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]
    text: str


@cache
def form_of(kind: Any) -> Form:
    """The form of a type. TypeError for one that has none."""
    return _Forms().of(kind)


def shape(*kinds: Any) -> str:
    """Digest of the structure of types: another field, name or type gives another one."""
    text = "\n".join(form_of(kind).text for kind in kinds)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Forms:
    """Makes forms. A class within itself is described by its name the second time."""

    def __init__(self) -> None:
        self.open: list[Any] = []

    def of(self, kind: Any) -> Form:
        origin, of = get_origin(kind), get_args(kind)
        if kind is Any:
            return _memories()
        if kind in _PLAIN:
            return _PLAIN[kind]
        if origin is Literal:
            return _literal(of)
        if origin in (Union, types.UnionType):
            return self._optional(kind, of)
        if origin is dict:
            return _mapping(self.of(of[0]), self.of(of[1]))
        if origin in (list, set, tuple):
            if origin is tuple and not (len(of) == 2 and of[1] is Ellipsis):
                return _row([self.of(each) for each in of])
            return _several(origin, self.of(of[0]))
        if isinstance(kind, type):
            if issubclass(kind, Enum):
                return Form(lambda v: v.name, kind.__getitem__, f"enum {sorted(kind.__members__)}")
            if issubclass(kind, BaseModel):
                return _model(kind)
            if is_dataclass(kind) or issubclass(kind, tuple):
                return self._fields(kind)
        raise TypeError(f"{kind!r} has no form: states hold plain values and dataclasses")

    def _optional(self, kind: Any, of: tuple[Any, ...]) -> Form:
        others = [each for each in of if each is not type(None)]
        if len(others) != 1:
            raise TypeError(f"{kind!r} has no form: only one type or None")
        pack, unpack, text = self.of(others[0])
        return Form(
            lambda v: None if v is None else pack(v),
            lambda v: None if v is None else unpack(v),
            f"{text}?",
        )

    def _fields(self, kind: Any) -> Form:
        if kind in self.open:
            raise TypeError(f"{kind!r} holds itself: a state has a depth that is known")
        self.open.append(kind)
        hints = get_type_hints(kind)
        if is_dataclass(kind):
            names = [f.name for f in fields(kind) if f.compare]
        else:
            names = list(kind._fields)
        parts = [self.of(hints[name]) for name in names]
        self.open.pop()
        row = _row(parts)
        packs = tuple(zip(names, (part.pack for part in parts), strict=True))

        def pack(value: Any) -> list[Any]:
            if type(value) is not kind:
                raise FormError(f"{type(value).__name__} where {kind.__name__} is expected")
            return [pack_one(getattr(value, name)) for name, pack_one in packs]

        def unpack(value: Any) -> Any:
            return kind(**dict(zip(names, row.unpack(value), strict=True)))

        about = " ".join(f"{n}:{p.text}" for n, p in zip(names, parts, strict=True))
        return Form(pack, unpack, f"{kind.__name__}({about})")


def _checked(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise FormError(f"{value!r:.60} where {kind.__name__} is expected")
    return value


def _pack_whole(value: Any) -> Any:
    _checked(int, value)
    return value if -WHOLE_MAX < value < WHOLE_MAX else str(value)


def _unpack_whole(value: Any) -> int:
    return int(value) if type(value) is str else int(_checked(int, value))


def _pack_float(value: Any) -> Any:
    if type(value) not in (int, float):
        raise FormError(f"{value!r:.60} where float is expected")
    return value if math.isfinite(value) else repr(value)


def _unpack_float(value: Any) -> Any:
    return float(value) if type(value) is str else _pack_float(value)


def _decimal(value: Any) -> Decimal:
    return Decimal(_checked(str, value))


def _pack_decimal(value: Any) -> str:
    return str(_checked(Decimal, value))


_PLAIN: dict[Any, Form] = {
    str: Form(lambda v: _checked(str, v), lambda v: _checked(str, v), "str"),
    bool: Form(lambda v: _checked(bool, v), lambda v: _checked(bool, v), "bool"),
    int: Form(_pack_whole, _unpack_whole, "int"),
    float: Form(_pack_float, _unpack_float, "float"),
    Decimal: Form(_pack_decimal, _decimal, "decimal"),
    type(None): Form(lambda v: None, lambda v: None, "none"),
    None: Form(lambda v: None, lambda v: None, "none"),
}
_BY_NAME: dict[str, Any] = {"str": str, "bool": bool, "int": int, "float": float,
                            "Decimal": Decimal, "NoneType": None}  # fmt: skip


def _literal(of: tuple[Any, ...]) -> Form:
    def check(value: Any) -> Any:
        if value not in of:
            raise FormError(f"{value!r:.60} is none of {of}")
        return value

    return Form(check, check, f"literal {of!r}")


def _mapping(keys: Form, values: Form) -> Form:
    """As [key, value, key, value, ...]: keys may be numbers or pairs, and the order is kept."""

    def pack(value: Any) -> list[Any]:
        out: list[Any] = []
        for key, each in _checked(dict, value).items():
            out.append(keys.pack(key))
            out.append(values.pack(each))
        return out

    def unpack(value: Any) -> dict[Any, Any]:
        flat = iter(_checked(list, value))
        return {keys.unpack(key): values.unpack(each) for key, each in zip(flat, flat, strict=True)}

    return Form(pack, unpack, f"{{{keys.text}:{values.text}}}")


def _several(kind: Any, of: Form) -> Form:
    def pack(value: Any) -> list[Any]:
        packed = [of.pack(each) for each in _checked(kind, value)]
        return sorted(packed) if kind is set else packed

    def unpack(value: Any) -> Any:
        return kind([of.unpack(each) for each in _checked(list, value)])

    return Form(pack, unpack, f"{kind.__name__}[{of.text}]")


def _row(of: list[Form]) -> Form:
    def pack(value: Any) -> list[Any]:
        return [each.pack(v) for each, v in zip(of, _checked(tuple, value), strict=True)]

    def unpack(value: Any) -> tuple[Any, ...]:
        if len(_checked(list, value)) != len(of):
            raise FormError(f"{len(value)} values where {len(of)} are expected")
        return tuple([each.unpack(v) for each, v in zip(of, value, strict=True)])

    return Form(pack, unpack, f"({' '.join(each.text for each in of)})")


def _memories() -> Form:
    """What a strategy remembers of a symbol, the one place where a state says `Any`: a plain value,
    one of the classes that the known strategies begin with, or a list of such."""
    from domain.strategies import STRATEGIES  # only where there are strategies are they loaded

    made = {type(strategy.begin()) for strategy in STRATEGIES.values()}
    known = _BY_NAME | {kind.__name__: kind for kind in made if is_dataclass(kind)}
    forms = {name: form_of(kind) for name, kind in known.items()}

    def pack(value: Any) -> list[Any]:
        name = type(value).__name__
        if name == "list":
            return [name, [pack(each) for each in value]]
        if name not in forms:
            raise FormError(f"a strategy remembers a {name}; only {sorted(forms)} can be kept")
        return [name, forms[name].pack(value)]

    def unpack(value: Any) -> Any:
        name, held = _checked(list, value)
        if name == "list":
            return [unpack(each) for each in _checked(list, held)]
        if name not in forms:
            raise FormError(f"{name!r:.60} is nothing a strategy remembers")
        return forms[name].unpack(held)

    return Form(pack, unpack, " | ".join(f"{n} {f.text}" for n, f in sorted(forms.items())))


def _model(kind: type[BaseModel]) -> Form:
    """A part of a record: by its own schema, validated when it is read."""

    def pack(value: Any) -> Any:
        if type(value) is not kind:
            raise FormError(f"{type(value).__name__} where {kind.__name__} is expected")
        return value.model_dump(mode="json")

    def unpack(value: Any) -> Any:
        return read_model(kind, orjson.dumps(value))

    schema = orjson.dumps(kind.model_json_schema(), option=orjson.OPT_SORT_KEYS)
    return Form(pack, unpack, f"{kind.__name__} {hashlib.sha256(schema).hexdigest()[:16]}")


@lru_cache(maxsize=MODELS_KEPT)
def read_model(kind: type[BaseModel], raw: bytes) -> BaseModel:
    """A part of a record from its JSON. They are never changed, so equal ones are one: the policies
    of thousands of accounts stand in the snapshot of each source."""
    return kind.model_validate_json(raw)
