"""Fence and restart of one source: who writes now, and from which state (DESIGN, protocol).

1 fence, 2 own records up to the fence are final, 3 inputs folded up to the basis of the last own
record, topic by topic, deciding nothing. The caller then feeds inputs from there in append order.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from domain.source import Source
from schemas.codec import RecordError, decode, decode_request, encode, reread
from schemas.envelope import Envelope
from schemas.sources import FencedData, SourceFenced, SourceSkipped
from schemas.topics import CLOCK, TOPICS, VENUE_REQUEST, Topic, partition_of
from schemas.validity import Validity
from streams.log import Incoming, Log
from streams.snapshots import Stand


@dataclass(frozen=True, slots=True)
class Identity:
    """What a fence names: build, configuration hash, ids of the topics."""

    build: str
    configuration: str
    topic_ids: dict[str, str] = field(default_factory=dict)

    def data(self) -> FencedData:
        return FencedData(
            build=self.build, configuration=self.configuration, topic_ids=self.topic_ids
        )


def take(record: Incoming, partitions: int, *, again: bool = False) -> Envelope:
    """The event of a record; RecordError when it is none, or lies under a wrong key.

    again: the record was taken before, by this source in an earlier process: what was refused then
    stands in its own records as skipped, so the bytes need not be held against their canonical form
    once more.
    """
    known, number = _topic_of(record.key)
    event = _reread(record) if again else None
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


class OtherTopicError(RuntimeError):
    """A topic was deleted and made anew; offsets of the one before mean nothing in it."""


@cache
def _topic_of(key: str) -> tuple[Topic, int]:
    topic, _, number = key.rpartition("/")
    return TOPICS[topic], int(number)


def _reread(record: Incoming) -> Envelope | None:
    """None for a form that only people use, or no event at all."""
    try:
        return reread(record.raw)
    except RecordError:
        return None


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


Finals = list[Envelope] | Recovered
"""Own records that are final: in a list, or folded already."""


@dataclass(slots=True)
class _Own:
    """What a source's output partition says: its filter, its valid records, how far it was read."""

    validity: Validity = field(default_factory=Validity)
    records: Finals = field(default_factory=list)
    position: int = 0
    topic_ids: dict[str, str] = field(default_factory=dict)
    """Of the latest fence: offsets in every basis so far are those of these topics."""

    @classmethod
    def after(cls, name: str, stand: Stand | None, records: Finals) -> "_Own":
        """From where a snapshot stands; its record is valid, so the filter there is known."""
        if stand is None:
            return cls(records=records)
        validity = Validity({name: (stand.epoch, stand.sequence)})
        return cls(validity, records, stand.position)


def fence(
    log: Log,
    sources: dict[str, str],
    identity: Identity,
    stands: Mapping[str, Stand] = MappingProxyType({}),
    reads: Collection[str] = (),
    into: Mapping[str, Recovered] = MappingProxyType({}),
) -> dict[str, tuple[int, Finals]]:
    """Open an epoch of each source (name to output partition) in its output partition.

    Raises OtherTopicError if a topic among the input partitions `reads` is another one than at the
    last fence.

    Returns for each its epoch and its valid records before the fence, in order; those are final.
    Of a source restored from a snapshot (`stands`) only what came after it. Where `into` names a
    source, its records are appended there one by one instead of being kept.
    """
    state = {name: _Own.after(name, stands.get(name), into.get(name, [])) for name in sources}
    done: dict[str, tuple[int, Finals]] = {}
    while len(done) < len(sources):
        missing = {name: output for name, output in sources.items() if name not in done}
        _follow(log, missing, state, _ends(log, missing))
        _same_topics({name: state[name] for name in missing}, identity, reads)
        landed: dict[str, list[int]] = {name: [] for name in missing}
        epochs = {name: state[name].validity.epoch(name) + 1 for name in missing}
        for name, output in missing.items():
            record = SourceFenced.opening(name, epochs[name], identity.data())
            log.append(output, encode(record), record.partitionkey, landed[name].append)
        log.flush()
        _follow(log, missing, state, {name: landed[name][0] for name in missing})
        for name in missing:
            if state[name].validity.epoch(name) < epochs[name]:
                done[name] = (epochs[name], state[name].records)
    return done


def _same_topics(state: Mapping[str, _Own], identity: Identity, reads: Collection[str]) -> None:
    for name, own in state.items():
        for topic in sorted({key.rpartition("/")[0] for key in reads}):
            before, now = own.topic_ids.get(topic), identity.topic_ids.get(topic)
            if before is not None and now is not None and before != now:
                raise OtherTopicError(
                    f"topic {topic} was made anew (id {now}, before {before}): {name} has decided "
                    "on offsets of the other one, which say nothing here. Bring that topic back "
                    "(archive, replica), or start a run with topics of its own."
                )


def _ends(log: Log, outputs: dict[str, str]) -> dict[str, int]:
    ends = log.ends(set(outputs.values()))
    return {name: ends[output] for name, output in outputs.items()}


def _follow(
    log: Log, outputs: dict[str, str], state: dict[str, _Own], ends: dict[str, int]
) -> None:
    names: dict[str, list[str]] = {}
    ranges: dict[str, tuple[int, int]] = {}
    for name, output in outputs.items():
        names.setdefault(output, []).append(name)
        position, end = state[name].position, ends[name]
        if end > position:  # several sources of a worker may write to one partition
            first, last = ranges.get(output, (position, end))
            ranges[output] = min(first, position), max(last, end)
    for record in log.read(ranges):
        try:
            event = decode(record.raw)
        except RecordError:
            event = None
        for name in names[record.key]:
            own = state[name]
            if not own.position <= record.offset < ends[name]:
                continue
            own.position = record.offset + 1
            if event is None or event.source != name:
                continue
            if isinstance(event, SourceFenced):
                own.topic_ids = event.data.topic_ids
            if own.validity.admit(event):
                own.records.append(event)


def fenced_by(record: Incoming, epochs: dict[str, int]) -> bool:
    """Whether a record opens a higher epoch of one of our sources (name to our epoch)."""
    if record.raw is None or b'"source.fenced.v1"' not in record.raw[:400]:
        return False
    try:
        event = decode(record.raw)
    except RecordError:
        return False
    return isinstance(event, SourceFenced) and (event.epoch or 0) > epochs.get(
        event.source, 1 << 62
    )


def recover(
    log: Log, sources: list[Source], own: Mapping[str, tuple[int, Finals]], partitions: int
) -> list[Recovered]:
    """Fold own records and every input up to the last basis into sources, fresh ones from the
    beginning, others from where they stand. Decides nothing.

    From where all have come to the lowest basis, an input that several read is folded once.
    """
    recovered = []
    for source in sources:
        source.epoch, records = own[source.name]
        if isinstance(records, Recovered):
            recovered.append(records)
            continue
        found = Recovered(source)
        for record in records:
            found.note(record)
        recovered.append(found)
    inputs = {}
    for key in sorted({key for source in sources for key in source.positions}):
        inputs[key] = _Input([r for r in recovered if key in r.source.positions], key)
    for incoming in log.read({key: each.span for key, each in inputs.items()}):
        inputs[incoming.key].fold(incoming, partitions)
    for found in recovered:
        records = own[found.source.name][1]
        if not isinstance(records, Recovered):
            for record in records:
                found.source.fold_own(record)
    return recovered


class _Input:
    """One input partition and the fresh sources that read it, each up to a basis of its own."""

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

    def fold(self, record: Incoming, partitions: int) -> None:
        event, offset = _event(record, partitions), record.offset
        leader = self.readers[0].source
        together = self.level <= offset < self.shared
        if together:
            leader.fold(self.key, offset, event)
            if offset == self.shared - 1:
                for other in self.readers[1:]:
                    other.source.copy_input(self.key, leader)
        for reader, basis in zip(self.readers, self.bases, strict=True):
            if not together and reader.source.positions[self.key] <= offset < basis:
                skip = (self.key, offset) in reader.skips
                reader.source.fold(self.key, offset, None if skip else event)
            last = offset == basis - 1 and not reader.source.requests[self.key]
            if last and event and event.id == reader.cause:
                reader.redo = (self.key, event)


def _event(record: Incoming, partitions: int) -> Envelope | None:
    try:
        return take(record, partitions, again=True)
    except RecordError:
        return None
