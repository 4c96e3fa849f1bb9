"""Reading once more what was taken before: the structure of a record, not its characters.

Patterns of texts and days of the calendar were looked at when the record came; they choose nothing
and change no value, so what is read is the same event. Everything else is looked at again: types of
values, names, what may not be left out, ranges of numbers.
"""

from functools import cache
from typing import Any

from pydantic_core import SchemaValidator

from schemas.envelope import Envelope
from schemas.events import ADAPTER
from schemas.scalars import CHARACTER_CHECKS


@cache
def validator() -> SchemaValidator:
    """The union of all events without what looks at single characters; raises ValidationError."""
    # not the validators that the classes were built with: those look at characters
    return SchemaValidator(_plain(ADAPTER.core_schema), _use_prebuilt=False)


def _plain(schema: Any) -> Any:
    """The same without patterns, and without the checks of the scalars."""
    if isinstance(schema, list | tuple):
        return type(schema)(_plain(each) for each in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind == "function-after" and schema["function"]["function"] in CHARACTER_CHECKS:
        return _plain(schema["schema"])
    return {
        name: value if name in ("cls", "metadata", "serialization") else _plain(value)
        for name, value in schema.items()
        if kind != "str" or name != "pattern"
    }


def structure(raw: bytes) -> Envelope:
    """The event of bytes that were valid; raises pydantic's ValidationError."""
    event: Envelope = validator().validate_json(raw)
    return event
