"""Fence and restart of one source: who writes now, and from which state (DESIGN, protocol).

1 fence, 2 own records up to the fence are final, 3 inputs folded up to the basis of the last own
record, topic by topic, deciding nothing. The caller then feeds inputs from there in append order.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from domain.source import Source
from schemas.codec import RecordError, decode, encode
from schemas.envelope import Envelope
from schemas.sources import FencedData, SourceFenced
from schemas.validity import Validity
from streams.log import Incoming, Log
from streams.snapshots import Stand
from streams.taking import Again, Recovered


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


class OtherTopicError(RuntimeError):
    """A topic was deleted and made anew; offsets of the one before mean nothing in it."""


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
    ends = log.ends(dict.fromkeys(outputs.values()))
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
        inputs[key] = Again([r for r in recovered if key in r.source.positions], key)
    for incoming in log.read({key: each.span for key, each in inputs.items()}):
        inputs[incoming.key].fold(incoming, partitions)
    for found in recovered:
        records = own[found.source.name][1]
        if not isinstance(records, Recovered):
            for record in records:
                found.source.fold_own(record)
    return recovered
