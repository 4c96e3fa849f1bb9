"""What a source wrote: its valid records in order, and where its output partition is broken."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from replay.sources import RawRecord
from replay.spool import Cursor
from schemas.validity import FENCE, SequenceGap, Validity

_DATA, _OWN_KIND = b',"data":{', b'"type":"source.'
"""Inside a string the quotation marks would be escaped: found in the bytes, it is structure."""
CHECKPOINT, SKIPPED = "source.checkpointed.v1", "source.skipped.v1"


class Suspect(NamedTuple):
    """A record of an output partition that is not what a source writes there."""

    offset: int
    raw: bytes | None
    problem: str


@dataclass(slots=True)
class Head:
    """A valid own record, read by its envelope only. `key`: that of its message; `lost`: how many
    own records are missing before it; `suspects`: what stands in their place. `skipped`: input and
    offset that a `source.skipped` record names."""

    offset: int
    raw: bytes
    body: dict[str, Any]
    key: bytes | None = None
    lost: int = 0
    suspects: list[Suspect] = field(default_factory=list)
    type: str = ""
    account: str = ""
    cause: str | None = None
    basis: dict[str, int] = field(default_factory=dict)
    skipped: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        body = self.body
        self.type, self.account = body["type"], body["partitionkey"]
        self.cause, self.basis = body.get("causationid"), body.get("basis") or {}
        if self.type == SKIPPED:
            data = body["data"]
            self.skipped = f"{data.get('topic')}/{data.get('partition')}", data.get("offset", -1)


class OwnRecords:
    """Goes through an output partition for one source. `builds`: build of each epoch's fence;
    `suspects`: what stood in the partition since the last valid record and should not."""

    def __init__(self, name: str, cursor: Cursor) -> None:
        self.name = name
        self.builds: dict[int, str] = {}
        self.suspects: list[Suspect] = []
        self._cursor = cursor
        self._validity = Validity()
        self._heads = self._walk()

    def next(self) -> Head | None:
        """The next valid own record; None behind the last."""
        return next(self._heads, None)

    def _walk(self) -> Iterator[Head]:
        while (record := self._cursor.head) is not None:
            self._cursor.step()
            head = self._head(record)
            if head is not None:
                yield head

    def _head(self, record: RawRecord) -> Head | None:
        body = _head_of(record.value) or envelope(record.value)
        if body is None or record.value is None:
            self.suspects.append(Suspect(record.offset, record.value, "it is no record"))
            return None
        source, epoch, sequence = body["source"], body.get("epoch"), body.get("sequence")
        fence = body["type"] == FENCE
        last = self._validity.sequence(source)
        try:
            valid = self._validity.admit_head(source, epoch, sequence, fence)
        except SequenceGap as gap:
            if source != self.name or epoch != self._validity.epoch(source) or sequence is None:
                self.suspects.append(Suspect(record.offset, record.value, str(gap)))
                return None
            self._validity.sources[source] = (epoch, sequence)
            lost = sequence - last - 1
            head = Head(record.offset, record.value, body, record.key, lost, self.suspects)
            self.suspects = []
            return head
        if fence and source == self.name and epoch is not None:
            self.builds.setdefault(epoch, str(body["data"].get("build", "")))
        if not valid or source != self.name:
            if source == self.name and not fence and epoch == self._validity.epoch(source):
                self.suspects.append(
                    Suspect(record.offset, record.value, f"it repeats sequence {sequence}")
                )
            return None
        self.suspects = []
        return Head(record.offset, record.value, body, record.key)


def _head_of(raw: bytes | None) -> dict[str, Any] | None:
    """The envelope without the data, which comes last; None where the data is needed as well, or
    the bytes do not have that form. The data is compared as bytes, so nobody parses it here."""
    at = raw.find(_DATA) if raw else -1
    if raw is None or at < 0 or not raw.endswith(b"}}") or _OWN_KIND in raw[:at]:
        return None
    return envelope(raw[:at] + b',"data":{}}')


def envelope(raw: bytes | None) -> dict[str, Any] | None:
    """The record as plain JSON if its envelope has the shape of one; judges no value."""
    try:
        body = orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        return None
    texts = all(isinstance(body.get(k), str) for k in ("id", "type", "source", "partitionkey"))
    numbers = all(n is None or isinstance(n, int) for n in map(body.get, ("epoch", "sequence")))
    vectors = all(_is_vector(body.get(k)) for k in ("basis", "after"))
    return body if texts and numbers and vectors else None


def _is_vector(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(n, int) for n in value.values())
    )
