"""Snapshots: states of sources beside the log, so that a restart need not fold everything again.

A snapshot stands at a checkpoint of its source and names it: output partition, offset, epoch,
sequence, id. It is written only when that record is known to be valid, that is, when the own output
was read up to it without another's fence. Whoever starts looks again: a snapshot is taken only if
what it names is valid in the output partition, and if the state in it has the digest which that
checkpoint has. All others are passed over; without any, everything is folded from the beginning.
"""

import hashlib
import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from domain.source import Memory, Source
from schemas.codec import RecordError, decode
from schemas.envelope import Envelope
from schemas.sources import SourceCheckpointed, SourceFenced
from schemas.topics import SNAPSHOTS
from streams.log import Incoming, Log
from streams.paces import Pace, Paces
from streams.state_form import Form, FormError, form_of, read_model, shape

logger = logging.getLogger(__name__)
KEY = f"{SNAPSHOTS.name}/0"
FORMAT = 1
STATE_VERSIONS = {
    "control": 1, "signals": 1, "risk": 1, "execution": 1, "venue": 1, "positions": 1,
    "safety": 1,
}  # fmt: skip
"""Raised by hand when a decider folds the same records into another state of the same structure;
another structure is noticed by itself (`shape`)."""
PART_BYTES = 512_000
"""Below what the broker takes in one message (1 MB)."""
BODY_BYTES_MAX = 256_000_000
LOOK_BACK = 5_000
"""Messages of the topic that a restart looks through, from the end, before it replays."""
WINDOW = 200
FENCE = b'"source.fenced.v1"'


def state_version(source: Source) -> str:
    """Version of a source's state: by hand, and the structure of all its types."""
    kinds = [type(state) for _, state in sorted(source.slices_by_key().items())]
    return f"{STATE_VERSIONS[source.decider.name]}-{shape(Memory, *kinds)}"


def topic_ids(source: Source, ids: dict[str, str]) -> dict[str, str]:
    """Ids of the topics its offsets belong to."""
    names = {key.rpartition("/")[0] for key in (*source.positions, source.output)}
    return {name: ids.get(name, "") for name in sorted(names)}


def form(state: Any) -> Form:
    """How a slice is written."""
    return form_of(cast("Any", type(state)))


def packed(source: Source) -> dict[str, Any]:
    """All of a source's state as JSON values; nothing in it is shared with the source."""
    return {
        "memory": form_of(Memory).pack(source.memory()),
        "slices": {key: form(state).pack(state) for key, state in source.slices_by_key().items()},
    }


def unpack(source: Source, state: dict[str, Any]) -> None:
    """Let a fresh source stand where the packed one stood. Raises ValueError, TypeError or KeyError
    when the state has another form; the source is then as it was."""
    memory: Memory = form_of(Memory).unpack(state["memory"])
    kinds = source.slices_by_key()
    if kinds.keys() != state["slices"].keys():
        raise ValueError(f"slices of {sorted(state['slices'])}")
    slices = {key: form(kind).unpack(state["slices"][key]) for key, kind in kinds.items()}
    source.remember(memory, slices)


def parts(source: str, body: bytes, size: int = PART_BYTES) -> list[bytes]:
    """Messages of a snapshot: a line of JSON about the whole, then a piece of it."""
    digest = hashlib.sha256(body).hexdigest()
    about = {"snapshot": FORMAT, "source": source, "digest": digest}
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        orjson.dumps({**about, "part": number, "parts": len(pieces)}) + b"\n" + piece
        for number, piece in enumerate(pieces)
    ]


# ---------------------------------------------------------------------- writing


@dataclass(slots=True)
class Taken:
    """A state that was taken, and the checkpoint it was taken at. `offset` is not known before that
    record is delivered; `since`: where the own output was read from, before the own fence."""

    source: str
    output: str
    since: int
    named: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict)
    offset: int | None = None

    def delivered(self, offset: int) -> None:
        self.offset = offset

    def body(self) -> bytes:
        about = {"output": self.output, "since": self.since, "offset": self.offset, **self.named}
        return zlib.compress(orjson.dumps({**about, "state": self.state}), 1)


@dataclass(slots=True)
class Keeper:
    """Takes and writes the snapshots of one process."""

    log: Log
    ids: dict[str, str]
    paces: Paces = field(default_factory=Paces)
    since: dict[str, int] = field(default_factory=dict)
    """Where each own output was read from, before the own fence."""
    waiting: dict[str, Taken] = field(default_factory=dict)
    """Taken, by source; their checkpoints are not yet known to be valid."""
    lock: Any = field(default_factory=threading.Lock)
    without: set[str] = field(default_factory=set)
    """Sources whose state has no form: a strategy of one's own may remember anything."""
    written: int = 0
    held_ms: float = 0.0
    """What the last one took while the source stood still, in milliseconds."""

    def due(self, sources: Iterable[Source], now_s: float) -> Source | None:
        """The source that most needs a snapshot, if one does and there is time for it."""
        return self.paces.snapshot((s for s in sources if s.name not in self.without), now_s)

    def take(self, source: Source, now_s: float) -> tuple[Envelope, Taken]:
        """The state of a source at a checkpoint, and that checkpoint, which is to be appended next,
        with the same lock held. The snapshot itself is written later (:meth:`write`)."""
        began = time.perf_counter()
        record = source.checkpoint()
        named = {
            "source": source.name,
            "version": state_version(source),
            "topics": topic_ids(source, self.ids),
            "epoch": record.epoch,
            "sequence": record.sequence,
            "id": record.id,
        }
        taken = Taken(source.name, source.output, self.since[source.output], named)
        try:
            taken.state = packed(source)
            with self.lock:
                self.waiting[source.name] = taken
        except (FormError, TypeError) as error:
            logger.warning("%s keeps no snapshots, a restart replays: %s", source.name, error)
            self.without.add(source.name)
        cost_s = time.perf_counter() - began
        self.held_ms = round(cost_s * 1000, 1)
        self.paces.kept[source.name] = Pace(now_s, sum(source.positions.values()), cost_s)
        self.paces.spent(now_s, cost_s)
        return record, taken

    def write(self, seen: dict[str, int]) -> None:
        """Write those whose checkpoint was read back: `seen` is how far each own output was read,
        and no fence of another was there, or this process would have ended."""
        if not self.waiting:
            return
        with self.lock:
            ready = [
                taken
                for taken in self.waiting.values()
                if taken.offset is not None and seen.get(taken.output, 0) > taken.offset
            ]
            for taken in ready:
                del self.waiting[taken.source]
        for taken in ready:
            body = taken.body()
            for part in parts(taken.source, body):
                self.log.append(KEY, part, taken.source, _ignored)
            self.written += 1

    def forget(self, names: Iterable[str]) -> None:
        """Sources that were given up."""
        with self.lock:
            for name in names:
                self.waiting.pop(name, None)
                self.paces.kept.pop(name, None)


def _ignored(_offset: int) -> None:
    """Where a part lies is of no interest: it is found by reading back from the end."""


# ---------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Stand:
    """A restored source: what its checkpoint says, and the offset behind it in the own output."""

    epoch: int
    sequence: int
    position: int


@dataclass(slots=True)
class _Whole:
    """A snapshot of which all parts are there and the digest is right."""

    source: str
    body: dict[str, Any]
    record: SourceCheckpointed | None = None
    epoch: int = 0

    @property
    def span(self) -> tuple[int, int]:
        return int(self.body["since"]), int(self.body["offset"]) + 1

    def look(self, record: Incoming) -> None:
        """A record of the own output, in order from before the fence of who wrote the snapshot."""
        last = record.offset == self.body["offset"]
        if not last and (record.raw is None or FENCE not in record.raw[:400]):
            return
        try:
            event = decode(record.raw)
        except RecordError:
            return
        if isinstance(event, SourceFenced) and event.source == self.source:
            self.epoch = max(self.epoch, event.epoch or 0)
        elif last and isinstance(event, SourceCheckpointed):
            self.record = event

    def why_not(self) -> str | None:
        """Why the record it names is not a valid one of its source; None: it is."""
        found, body = self.record, self.body
        if found is None or found.source != self.source or found.id != body["id"]:
            return "it names no checkpoint of the source"
        if not (found.epoch == body["epoch"] == self.epoch):
            return f"its checkpoint is of epoch {found.epoch}, epoch {self.epoch} stood there"
        return None if found.sequence == body["sequence"] else "it names another sequence"


def restore(
    log: Log, sources: list[Source], make: Callable[[int], Source], ids: dict[str, str]
) -> dict[str, Stand]:
    """Put each fresh source where its newest good snapshot stands, in place in the list; where it
    stands then, by name. Sources without a good one are left fresh."""
    at = {source.name: index for index, source in enumerate(sources)}
    stands: dict[str, Stand] = {}
    for found in _newest_first(log, set(at), stands):
        fit = [whole for whole in found if _fits(whole, sources[at[whole.source]], ids)]
        ends = log.ends(sorted({sources[at[w.source]].output for w in fit}))
        spans: dict[str, list[_Whole]] = {}  # several sources of a worker may share an output
        for whole in fit:
            key = sources[at[whole.source]].output
            if 0 <= whole.span[0] < whole.span[1] <= ends[key]:
                spans.setdefault(key, []).append(whole)
        ranges = {
            key: (min(w.span[0] for w in among), max(w.span[1] for w in among))
            for key, among in spans.items()
        }
        for record in log.read(ranges):
            for whole in spans[record.key]:
                if whole.span[0] <= record.offset < whole.span[1]:
                    whole.look(record)
        for whole in fit:
            index = at[whole.source]
            why = whole.why_not() or _load(sources[index], whole)
            if why is None:
                body = whole.body
                stands[whole.source] = Stand(body["epoch"], body["sequence"], body["offset"] + 1)
                continue
            logger.warning("a snapshot of %s is passed over: %s", whole.source, why)
            sources[index] = make(sources[index].partition)
    read_model.cache_clear()
    return stands


def _newest_first(log: Log, names: set[str], stands: dict[str, Stand]) -> Iterator[list[_Whole]]:
    """Rounds of whole snapshots, at most one a source that has none yet, newest first."""
    end, start = log.end(KEY), log.start(KEY)
    low = end
    pieces: dict[tuple[str, str], dict[int, bytes]] = {}
    while low > max(start, end - LOOK_BACK) and names - stands.keys():
        high, low = low, max(start, low - WINDOW, end - LOOK_BACK)
        whole: dict[str, list[_Whole]] = {}
        for record in reversed(list(log.read({KEY: (low, high)}))):
            found = _piece(record, names, pieces)
            if found is not None:
                whole.setdefault(found.source, []).append(found)
        while any(name not in stands and found for name, found in whole.items()):
            yield [found.pop(0) for name, found in whole.items() if found and name not in stands]


def _piece(
    record: Incoming, names: set[str], pieces: dict[tuple[str, str], dict[int, bytes]]
) -> _Whole | None:
    """Take a message in; the snapshot it makes whole, if it does and its digest is right."""
    if (record.message_key or b"").decode(errors="replace") not in names:
        return None
    head, _, piece = (record.raw or b"").partition(b"\n")
    try:
        about = orjson.loads(head)
        source, digest, count = about["source"], about["digest"], int(about["parts"])
        if about["snapshot"] != FORMAT or source not in names:
            return None
        have = pieces.setdefault((source, digest), {})
        have[int(about["part"])] = piece
        if sorted(have) != list(range(count)):
            return None
        del pieces[source, digest]
        raw = b"".join(have[n] for n in range(count))
        if hashlib.sha256(raw).hexdigest() != digest:
            logger.warning("a snapshot of %s is passed over: its digest is wrong", source)
            return None
        body = orjson.loads(zlib.decompressobj().decompress(raw, BODY_BYTES_MAX))
        whole = _Whole(source, body)
        return whole if body["source"] == source and whole.span else None
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        logger.warning("no snapshot at %s offset %d: %r", record.key, record.offset, error)
        return None


def _fits(whole: _Whole, source: Source, ids: dict[str, str]) -> bool:
    """Whether it is of this build's state and of these topics."""
    body = whole.body
    same = (
        body.get("version") == state_version(source)
        and body.get("topics") == topic_ids(source, ids)
        and body.get("output") == source.output
    )
    if not same:
        logger.warning("a snapshot of %s is passed over: other state or topics", source.name)
    return same


def _load(source: Source, whole: _Whole) -> str | None:
    """Put the source there; why it cannot be, if it cannot."""
    record = whole.record
    assert record is not None
    try:
        unpack(source, whole.body["state"])
        if source.basis() != record.basis or source.sequence != record.sequence:
            return "its state does not stand at its checkpoint"
        source.sequence -= 1  # the digest was taken before the record that has it was folded
        digest = source.digest()
        source.sequence += 1
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        return f"its state does not fit: {error!r:.200}"
    return None if digest == record.data.digest else "its state has another digest"
