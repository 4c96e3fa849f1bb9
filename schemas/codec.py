"""The one encoder and the one decoder of records.

``decode(encode(event)) == event`` and ``encode(decode(raw)) == raw``: whatever does not come back
as the same bytes is refused, so key order, number forms, times and white space are checked at once.
Bytes of an older version are held against that version and then lifted (:mod:`schemas.upcasters`):
what :func:`decode` returns is always of the newest version.
Hand-made messages (commands and requests pasted into a Kafka UI) go through :func:`decode_request`,
which fills in what may be left out and is strict about everything else.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from pydantic import ValidationError

from schemas.envelope import Envelope
from schemas.events import ADAPTER, TYPES
from schemas.ids import natural_id, part_id
from schemas.rereading import structure
from schemas.scalars import EPOCH_TEXT
from schemas.trade import Limit, SignalJudged
from schemas.upcasters import UPCASTERS, upcast


class RecordError(ValueError):
    """Bytes that are no valid record. `code` is one of NOT_JSON, NOT_AN_EVENT, UNKNOWN_TYPE,
    FUTURE_VERSION, INVALID_FIELD, NOT_CANONICAL, WRONG_KEY, TOO_LARGE."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def reason(self) -> str:
        return f"{self.code}: {self}"[:500]


BYTES_MAX = 1_000_000
_VALIDATE = ADAPTER.validator.validate_json


def encode(event: Envelope) -> bytes:
    """Canonical bytes of an event."""
    # what model_dump_json does, without the detour from bytes to text and back
    return event.__pydantic_serializer__.to_json(event, exclude_none=True)


SHARED_MAX = 20_000
_SHARED: list[dict[bytes, Envelope]] = []


@contextmanager
def shared_decoding() -> Iterator[None]:
    """As long as it lasts, equal bytes are decoded once, and all who read them are given one event,
    which is frozen: for simulations, whose processes read the same records in one interpreter."""
    _SHARED.append({})
    try:
        yield
    finally:
        _SHARED.pop()


def decode(raw: bytes | None) -> Envelope:
    """The event of canonical bytes; raises :class:`RecordError` for anything else."""
    if not _SHARED or raw is None:
        return _decode(raw)
    known = _SHARED[-1]
    event = known.get(raw)
    if event is None:
        if len(known) >= SHARED_MAX:
            known.clear()
        event = known[raw] = _decode(raw)
    return event


def _decode(raw: bytes | None) -> Envelope:
    if raw is None:
        raise RecordError("NOT_JSON", "the message has no value; records are never null")
    if len(raw) > BYTES_MAX:
        raise RecordError("TOO_LARGE", f"{len(raw)} bytes, at most {BYTES_MAX} are allowed")
    sections = limits_sections(raw)
    if sections and all(raw[at:end] in _KNOWN_LIMITS for at, end in sections):
        known = _with_known_limits(raw, sections)
        if known is not None:
            return known
    try:
        event = _VALIDATE(raw)
    except ValidationError as error:
        raise explain(raw, error) from None
    canonical = encode(event)
    if canonical != raw:
        raise RecordError("NOT_CANONICAL", _difference(raw, canonical))
    if sections:
        _remember_limits(raw, sections, event)
    return event if event.type not in UPCASTERS else _lifted(event)


def reread(raw: bytes | None) -> Envelope:
    """The event of bytes that :func:`decode` or :func:`decode_request` took before: their structure
    is looked at again, single characters and the canonical form are not. Raises
    :class:`RecordError`."""
    if raw is None:
        raise RecordError("NOT_JSON", "the message has no value; records are never null")
    try:
        event = structure(raw)
    except ValidationError as error:
        raise explain(raw, error) from None
    return event if event.type not in UPCASTERS else _lifted(event)


# ---------------------------------------------------------------------- limits of verdicts

_JUDGED = b'"type":"trade.signal.judged.v1"'
_LIMITS, _FIGURES = b'],"limits":[', b'],"figures":{'
_LIMITS_KEPT = 512
_KNOWN_LIMITS: dict[bytes, tuple[Limit, ...]] = {}
"""Bytes of lists of limits that were decoded in full as part of a record, and what they say. Half
of a verdict's bytes are its limits, and they are the same until a policy changes."""


def limits_sections(raw: bytes) -> list[tuple[int, int]]:
    """Begin and end of each list of limits in a record of verdicts; none in other records.

    Without a backslash a quotation mark always delimits a string, so what is looked for can only be
    structure, and a canonical verdict has it in one place.
    """
    if raw.find(_JUDGED, 0, 160) < 0 or b"\\" in raw:
        return []
    found: list[tuple[int, int]] = []
    at = raw.find(_LIMITS)
    while at >= 0:
        begin = at + len(_LIMITS)
        end = raw.find(_FIGURES, begin)
        if end < 0:
            return []
        found.append((begin, end))
        at = raw.find(_LIMITS, end)
    return found


def _with_known_limits(raw: bytes, sections: list[tuple[int, int]]) -> Envelope | None:
    """The record decoded without its limits, which are put back as they were decoded before; None
    where it is to be looked at as a whole."""
    pieces, last = [], 0
    for begin, end in sections:
        pieces.append(raw[last:begin])
        last = end
    rest = b"".join((*pieces, raw[last:]))
    try:
        event = _VALIDATE(rest)
    except ValidationError:
        return None
    if not isinstance(event, SignalJudged) or len(event.data.items) != len(sections):
        return None
    if encode(event) != rest:
        return None
    for item, (begin, end) in zip(event.data.items, sections, strict=True):
        item.__dict__["limits"] = _KNOWN_LIMITS[raw[begin:end]]
    return event


def _remember_limits(raw: bytes, sections: list[tuple[int, int]], event: Envelope) -> None:
    if isinstance(event, SignalJudged) and len(event.data.items) == len(sections):
        if len(_KNOWN_LIMITS) + len(sections) > _LIMITS_KEPT:
            _KNOWN_LIMITS.clear()
        for item, (begin, end) in zip(event.data.items, sections, strict=True):
            _KNOWN_LIMITS[raw[begin:end]] = item.limits


def renewed(raw: bytes) -> bytes:
    """A record's canonical bytes in the newest version of its type: what a replay compares with, as
    it decides in the newest only. Raises :class:`RecordError`."""
    return encode(decode(raw))


def _lifted(event: Envelope) -> Envelope:
    """A record of an old version, valid as such, as one of the newest version of its type."""
    body = upcast(event.model_dump(mode="json", exclude_none=True))
    return ADAPTER.validate_json(json.dumps(body))  # not orjson: integers of any size


def decode_request(raw: bytes | None, *, topic: str, partition: int, offset: int) -> Envelope:
    """A record of a topic people publish to: canonical bytes, or hand-made JSON of known shape.

    May be left out: specversion, id (made from topic, partition, offset), source (`/hand`), time,
    partitionkey (the account of `subject`), ids of parts, key order. The type and the data may not.
    """
    try:
        return decode(raw)
    except RecordError as error:
        if error.code in ("UNKNOWN_TYPE", "FUTURE_VERSION", "TOO_LARGE") or raw is None:
            raise
    body = _object(raw)
    body.setdefault("specversion", "1.0")
    body.setdefault("id", natural_id("hand", topic, str(partition), str(offset)))
    body.setdefault("source", "/hand")
    body.setdefault("time", EPOCH_TEXT)
    for key in ("sequence", "epoch", "basis", "after"):
        if key in body:
            raise RecordError(
                "INVALID_FIELD", f"{key} is not for a hand-made message: leave it out"
            )
    if isinstance(body.get("subject"), str):
        body.setdefault("partitionkey", body["subject"].split("/")[0])
    data = body.get("data")
    if isinstance(data, dict) and isinstance(data.get("items"), list):
        for ordinal, item in enumerate(data["items"]):
            if isinstance(item, dict):
                item.setdefault("id", part_id(str(body["id"]), ordinal))
    try:
        event = ADAPTER.validate_json(orjson.dumps(body))
    except ValidationError as error:
        raise explain(raw, error) from None
    return event if event.type not in UPCASTERS else _lifted(event)


def _object(raw: bytes) -> dict[str, Any]:
    if len(raw) > BYTES_MAX:
        raise RecordError("TOO_LARGE", f"{len(raw)} bytes, at most {BYTES_MAX} are allowed")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RecordError("NOT_JSON", f"not JSON: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise RecordError("NOT_AN_EVENT", "JSON, but no event: an object with a `type` is required")
    return body


def explain(raw: bytes, error: ValidationError) -> RecordError:
    """One line for what pydantic found: the field, the value and what is expected there."""
    try:
        body = _object(raw)
    except RecordError as other:
        return other
    name = body["type"]
    if name not in TYPES:
        stem, _, version = name.rpartition(".v")
        known = [t for t in TYPES if t.rpartition(".v")[0] == stem]
        if known and version.isdigit():
            return RecordError(
                "FUTURE_VERSION", f"{name}: this build knows {', '.join(known)}; update it"
            )
        return RecordError("UNKNOWN_TYPE", f"{name[:80]!r} is no type this build knows")
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "record"
    value = "" if isinstance(first["input"], dict | list) else f" (got {first['input']!r:.60})"
    return RecordError("INVALID_FIELD", f"{where}: {first['msg']}{value}")


def _difference(raw: bytes, canonical: bytes) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(raw, canonical, strict=False)) if a != b),
        min(len(raw), len(canonical)),
    )
    return (
        f"byte {at} is not canonical: {raw[at : at + 24]!r}, expected {canonical[at : at + 24]!r}"
    )
