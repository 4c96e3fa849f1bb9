"""States in a canonical form: equal states are equal tuples, and so have equal digests."""

from collections import deque
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from schemas.envelope import Model

_TEXTS: dict[int, tuple[Model, str]] = {}
_TEXTS_KEPT = 8_192
_AS_IS = frozenset({str, int, float, bool})


def plain(value: Any) -> Any:
    """A state as nested tuples of plain values in a fixed order, however dicts were filled."""
    kind: Any = type(value)
    if value is None or kind in _AS_IS:
        return value
    if kind is Decimal:
        return str(value)
    if isinstance(value, dict):
        return tuple(sorted([(str(k), plain(v)) for k, v in value.items()]))
    if isinstance(value, set | frozenset):
        return tuple(sorted([str(v) for v in value]))
    if isinstance(value, list | tuple | deque):
        return tuple([plain(v) for v in value])
    if isinstance(value, Model):
        return _text_of(value)
    names = _shown(kind)
    if names is not None:
        return tuple([(name, plain(getattr(value, name))) for name in names])
    return value if isinstance(value, int | float) else str(value)


def _text_of(value: Model) -> str:
    """The text of a part of a record, which nobody changes: a policy has sixty fields, and each
    checkpoint of each source tells thousands of them."""
    known = _TEXTS.get(id(value))
    if known is None:  # what is kept here keeps its id
        if len(_TEXTS) >= _TEXTS_KEPT:
            _TEXTS.clear()
        known = _TEXTS[id(value)] = (value, str(value))
    return known[1]


@cache
def _shown(kind: type) -> tuple[str, ...] | None:
    """Names of the fields of a dataclass that are part of its state; None for another class."""
    return tuple(f.name for f in fields(kind) if f.repr) if is_dataclass(kind) else None
