"""Records as a worker takes them: as they come, and once more at a restart.

What a source took in an earlier process lies below the basis of its last own record. What it
refused there stands in its own records as skipped. So what is read again is known to have been
valid, with its key and its canonical form, and most of that is not looked at a second time.
"""

from dataclasses import dataclass, field
from functools import cache

from domain.source import Source
from schemas.codec import RecordError, decode, decode_request, reread
from schemas.envelope import Envelope
from schemas.heads import HEAD
from schemas.sources import SourceSkipped
from schemas.topics import CLOCK, TOPICS, VENUE_REQUEST, Topic, partition_of
from streams.log import Incoming


def take(record: Incoming, partitions: int, *, again: bool = False) -> Envelope:
    """The event of a record; RecordError when it is none, or lies under a wrong key.

    again: the record was taken before, by this source in an earlier process: what was refused then
    stands in its own records as skipped, so the bytes need not be held against their canonical form
    once more.
    """
    known, number = _topic_of(record.key)
    event = None
    if again:
        try:
            event = reread(record.raw)
        except RecordError:
            event = None  # a form that only people use, or no event at all
    if event is None:
        event = _decode(record, known, number)
    floored = known is VENUE_REQUEST or (known is CLOCK and event.source == "/feed")
    if event.epoch is None and (event.basis or (event.after and not floored)):
        # a reader would wait for the offsets it names, which may never be
        raise RecordError("INVALID_FIELD", "basis and after are for records of a source: leave out")
    if event.type.startswith("source."):
        return event
    account = event.partitionkey
    if record.message_key != account.encode():
        raise RecordError("WRONG_KEY", f"message key {record.message_key!r}, expected {account!r}")
    if known.keyed and partition_of(account, partitions) != number:
        right = partition_of(account, partitions)
        raise RecordError("WRONG_KEY", f"{account} belongs on partition {right}, not {number}")
    return event


@cache
def _topic_of(key: str) -> tuple[Topic, int]:
    topic, _, number = key.rpartition("/")
    return TOPICS[topic], int(number)


def _decode(record: Incoming, known: Topic, number: int) -> Envelope:
    if known.people:
        return decode_request(record.raw, topic=known.name, partition=number, offset=record.offset)
    return decode(record.raw)


@dataclass(slots=True)
class Recovered:
    """A source at the basis of its last own record. `redo`: the last cause, and the accounts it was
    answered for, where a crash may have cut off the answers for other accounts of the partition.

    Own records are appended to it as they are read, so that a long log is never held in memory.
    """

    source: Source
    skips: set[tuple[str, int]] = field(default_factory=set)
    basis: dict[str, int] = field(default_factory=dict)
    cause: str | None = None
    answered: set[str] = field(default_factory=set)
    redo: tuple[str, Envelope] | None = None

    def append(self, record: Envelope) -> None:
        """Note the next own record, and fold it: a state is a function of its positions, in
        whatever order topics were folded."""
        self.note(record)
        self.source.fold_own(record)

    def note(self, record: Envelope) -> None:
        """What the next own record says about inputs."""
        if isinstance(record, SourceSkipped):
            self.skips.add((f"{record.data.topic}/{record.data.partition}", record.data.offset))
        if record.causationid != self.cause:
            self.answered.clear()
        self.basis, self.cause = record.basis or {}, record.causationid
        self.answered.add(record.partitionkey)


class Again:
    """One input partition and the fresh sources that read it, each up to a basis of its own.

    Of records that change no slice (:meth:`domain.source.Source.changes`) only the envelope is
    read, by pattern: that many are signals, which are answered and not kept.
    """

    def __init__(self, readers: list[Recovered], key: str) -> None:
        self.readers = readers
        self.key = key
        starts = [r.source.positions[key] for r in readers]
        self.bases = [
            max(r.basis.get(key, 0), start) for r, start in zip(readers, starts, strict=True)
        ]
        self.span = min(starts), max(self.bases)
        self.level = max(starts)
        """From here on all readers stand at the same place, up to `shared`."""
        self.shared = 0 if any(r.skips for r in readers) else min(self.bases)
        self._alone = readers[0].source if len(readers) == 1 else None
        """The one that reads it, as every input with accounts' partitions."""
        refused = any(place == key for r in readers for place, _ in r.skips)
        nothing = self.span[0] >= self.span[1]
        kinds = None if refused or nothing else readers[0].source.changes(key)
        self._kinds = None if kinds is None else frozenset(name.encode() for name in kinds)

    def fold(self, record: Incoming, partitions: int) -> None:
        """Fold a record into those whose basis is behind it."""
        offset = record.offset
        head = self._passing(record)
        event = None if head else _event(record, partitions)
        if self._alone is not None and offset + 1 < self.shared:
            if head:
                self._alone.pass_over(self.key, offset, *head)
            else:
                self._alone.fold(self.key, offset, event)
            return
        together = self.level <= offset < self.shared
        leader = self.readers[0].source
        if together:
            if head:
                leader.pass_over(self.key, offset, *head)
            else:
                leader.fold(self.key, offset, event)
            if offset == self.shared - 1:
                for other in self.readers[1:]:
                    other.source.copy_input(self.key, leader)
        for reader, basis in zip(self.readers, self.bases, strict=True):
            if not together and reader.source.positions[self.key] <= offset < basis:
                if head:
                    reader.source.pass_over(self.key, offset, *head)
                    continue
                skip = (self.key, offset) in reader.skips
                reader.source.fold(self.key, offset, None if skip else event)
            last = offset == basis - 1 and not reader.source.requests[self.key]
            if last and event and event.id == reader.cause:
                reader.redo = (self.key, event)

    def _passing(self, record: Incoming) -> tuple[str, int, int] | None:
        """Source, epoch and sequence of a decided record that changes no slice; None: decode it.

        None as well for one that may be a last cause, and where a reader refused a record of this
        input: among those that nobody refused, none lies under a wrong key or is no event."""
        raw, kinds = record.raw, self._kinds
        if kinds is None or raw is None or record.offset + 1 in self.bases:
            return None
        kind = raw[TYPE_AT : raw.find(b'"', TYPE_AT)]
        if kind in kinds or kind.startswith(b"source."):
            return None
        found = HEAD.match(raw)
        if found is None or found[7] is None or found[8] is None:
            return None
        return found[3].decode(), int(found[8]), int(found[7])


TYPE_AT = len('{"specversion":"1.0","id":"","type":"') + 36
"""Where the name of the type begins in canonical bytes."""


def _event(record: Incoming, partitions: int) -> Envelope | None:
    try:
        return take(record, partitions, again=True)
    except RecordError:
        return None
