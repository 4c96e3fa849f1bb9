"""The one shell of all pure processors: fold, decide, publish, under one lock.

Records come in from any lane (Faust agent, followers) by :meth:`Shell.receive`. A record is folded
when everything it was based on is folded; control records never wait. What comes out is appended in
order; the log is the only effect. Nothing here reads a clock for a decision.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from domain.processors import build
from domain.source import Source
from runtime.logs import handling
from schemas.codec import RecordError, encode
from schemas.envelope import Envelope
from schemas.market import ClockTicked
from schemas.scalars import EPOCH_TEXT
from schemas.sources import SourceHalted
from schemas.topics import TOPICS, Lane
from streams.log import Delivered, Incoming, Log
from streams.paces import Every, Paces
from streams.progress import Snapshot
from streams.recovery import Identity, fence, fenced_by, recover
from streams.snapshots import Keeper, Stand, restore
from streams.taking import Recovered, take
from streams.turns import Precedence, Underway

logger = logging.getLogger(__name__)
NOT_ADMITTED = "NOT_ADMITTED"


class Shell:
    """Sources of one processor in one process. `admits` looks at a request when it is decided; a
    text it returns is why it is not (recorded as skipped, so that replays skip the same)."""

    _own_first = True
    """Own records are folded while they are read, before the inputs."""

    def __init__(
        self,
        processor: str,
        partitions: int,
        log: Log,
        identity: Identity,
        *,
        admits: Callable[[Envelope], str | None] | None = None,
        make: Callable[[int], Source] | None = None,
        every: Every | None = None,
    ) -> None:
        self.processor = processor
        self.partitions = partitions
        self.log = log
        self.identity = identity
        self.lock = threading.RLock()
        self._precedence = Precedence(self.lock)
        self.sources: dict[int, Source] = {}
        self.keeper = Keeper(log, identity.topic_ids, Paces(every or Every()))
        self._watched: dict[str, int] = {}
        self.dead_letters = 0
        self.halts = 0
        self.restored = 0
        """Sources that stood at a snapshot when they were last taken over."""
        self._folded: set[str] = set()
        self.on_idle: Callable[[], None] | None = None
        """Called (from any thread) when everything appended so far is delivered."""
        self.on_halt: Callable[[str, str, str], None] | None = None
        """Called with account, cause id and error when a decision failed."""
        self.on_record: Callable[[Envelope], None] | None = None
        """Called with each record that was appended, for figures."""
        self._underway = Underway()
        self._leader: Source | None = None
        self._admits = admits
        self._make = make or self._pure
        self._skips: dict[str, set[tuple[str, int]]] = {}
        self._linked: set[str] = set()
        self._queues: dict[str, deque[tuple[Incoming, Envelope | RecordError]]] = {}
        self._keys: list[str] = []
        self._rank: dict[str, int] = {}
        self._first: frozenset[str] = frozenset()
        """Inputs of the control lane: what comes there waits for nothing."""
        self._single: frozenset[str] = frozenset()
        """Inputs with one partition: sources may share their slice of it."""
        self._waiting: set[str] = set()
        self._readers: dict[str, tuple[Source, ...]] = {}
        self._positions: dict[str, int] = {}
        self.fed = True
        """Whether a feed may wait for this worker; not where the clock is a live one."""
        self._since: dict[str, int] = {}

    # ------------------------------------------------------------------ ownership

    def acquire(self, numbers: Iterable[int]) -> None:
        """Fence and recover sources, then decide what lies between their basis and the ends."""
        with self.lock:
            fresh = [self._make(number) for number in sorted(set(numbers) - self.sources.keys())]
            stands = self._restore(fresh)
            self.restored = len(stands)
            self._watched |= (before := self.log.ends([s.output for s in fresh]))
            self.keeper.since |= before
            reads = {key for source in fresh for key in source.positions}
            outputs = {s.name: s.output for s in fresh}
            into = {s.name: Recovered(s) for s in fresh if self._own_first}
            own = fence(self.log, outputs, self.identity, stands, reads, into)
            self._report_what_stands([s.output for s in fresh])
            found = recover(self.log, fresh, own, self.partitions)
            self._own(*self.sources.values(), *fresh)
            for recovered in found:
                self._skips[recovered.source.name] = recovered.skips
                if recovered.redo:
                    key, cause = recovered.redo
                    answers = recovered.source.decide(key, cause, answered=recovered.answered)
                    for record in answers:
                        self._publish(recovered.source, record)
            self._fenced(fresh)
            self._catch_up()

    def _report_what_stands(self, outputs: list[str]) -> None:
        """Answer for the ends of outputs up to the own fence: a predecessor that died between an
        append and its report told nobody, and the feed would go on before readers are there."""
        self._underway.answer_for(self.log.ends(outputs))

    def _restore(self, fresh: list[Source]) -> dict[str, Stand]:
        """Put fresh sources where their newest good snapshots stand."""
        return restore(self.log, fresh, self._make, self.identity.topic_ids)

    def _fenced(self, sources: list[Source]) -> None:
        """Hook between the fold of own records and the catch-up on inputs."""

    def _pure(self, number: int) -> Source:
        return Source(build(self.processor, number, self.partitions), number, self.partitions)

    def _own(self, *sources: Source) -> None:
        self.sources = {s.partition: s for s in sorted(sources, key=lambda s: s.partition)}
        self._keys = sorted({k for s in sources for k in s.positions}, key=_lane_first)
        self._rank = {key: rank for rank, key in enumerate(self._keys)}
        topics = {key: TOPICS[key.rpartition("/")[0]] for key in self._keys}
        self._first = frozenset(k for k, topic in topics.items() if topic.lane is Lane.CONTROL)
        self._single = frozenset(k for k, topic in topics.items() if not topic.keyed)
        self._readers = {
            key: tuple(s for s in self.sources.values() if key in s.positions) for key in self._keys
        }
        self._positions = {
            key: min(s.positions[key] for s in readers) for key, readers in self._readers.items()
        }
        self._queues = {key: self._queues.get(key, deque()) for key in self._keys}
        self._waiting = {key for key, queue in self._queues.items() if queue}
        leader = next(iter(self.sources.values()), None)
        self._linked &= {s.name for s in sources if leader and s.partition != leader.partition}
        if leader is not self._leader:
            self._linked.clear()
        self._leader = leader
        self._link()

    def release(self, numbers: Iterable[int]) -> None:
        """Give up sources: another worker takes them over by its fence."""
        with self.lock:
            gone = set(numbers)
            self.keeper.forget(s.name for s in self.sources.values() if s.partition in gone)
            self._own(*(s for s in self.sources.values() if s.partition not in gone))

    def _catch_up(self) -> None:
        ranges = {key: (self.position(key), end) for key, end in self.log.ends(self._keys).items()}
        backlog = list(self.log.read({k: r for k, r in ranges.items() if r[0] < r[1]}))
        backlog.sort(key=lambda r: (r.timestamp_ms, *_lane_first(r.key), r.offset))
        for record in backlog:
            self._received(record)

    def _link(self) -> None:
        """Let sources that stand where the first one does share single-partition slices."""
        leader = self._leader
        if leader is None or len(self._linked) == len(self.sources) - 1:
            return
        shared = [k for k in leader.positions if not TOPICS[k.rpartition("/")[0]].keyed]
        for source in self.sources.values():
            if source is leader or source.name in self._linked:
                continue
            if all(source.positions[k] == leader.positions[k] for k in shared):
                for k in shared:
                    source.share(k, leader)
                self._linked.add(source.name)

    # ------------------------------------------------------------------ receiving

    def inputs(self) -> list[str]:
        """Input partitions of all sources, lane by lane."""
        return list(self._keys)

    def outputs(self) -> dict[str, int]:
        """Output partitions to watch for a fence by another, each from before the own fence on: one
        that came while this worker was starting must not be overlooked."""
        return {s.output: self._watched[s.output] for s in self.sources.values()}

    def fenced(self, record: Incoming) -> bool:
        """Whether a record of an output partition is a fence by another worker of our source."""
        if fenced_by(record, {s.name: s.epoch for s in self.sources.values()}):
            return True
        self._watched[record.key] = record.offset + 1
        self.keeper.write(self._watched)
        return False

    def position(self, key: str) -> int:
        """Next offset of an input: the lowest of the sources that read it."""
        return self._positions.get(key, 0)

    def receive(self, record: Incoming) -> None:
        """Take a record of any lane, in order within a partition; what was folded is dropped.
        A control record is the next to be taken when it comes, whatever else waits."""
        self._precedence.acquire(first=record.key in self._first)
        try:
            self._received(record)
        finally:
            self.lock.release()

    def _received(self, record: Incoming) -> None:
        if record.key not in self._rank:
            return  # nobody here reads it; whoever takes it over reads it from the log
        queue = self._queues[record.key]
        expected = queue[-1][0].offset + 1 if queue else self.position(record.key)
        if record.offset < expected:
            return
        queue.append((record, self._take(record)))
        if len(queue) == 1:
            self._waiting.add(record.key)
            self._drain()

    def _take(self, record: Incoming) -> Envelope | RecordError:
        try:
            return take(record, self.partitions)
        except RecordError as error:
            return error

    def _drain(self) -> None:
        moved = True
        while moved:
            moved = False
            for key in (
                sorted(self._waiting, key=self._rank.__getitem__)
                if len(self._waiting) > 1
                else list(self._waiting)
            ):
                queue = self._queues[key]
                while queue and self._ready(key, queue[0][1]):
                    record, event = queue.popleft()
                    if isinstance(event, Envelope):
                        handling.set(event.correlationid or event.id)
                        late = self._admits(event) if self._admits else None
                        if late is not None:  # now, not when it came: it may have waited since
                            event = RecordError(NOT_ADMITTED, late)
                    self._fold(record, event)
                    handling.set("")  # where folding fails, what stops the process says it
                    moved = True
                if not queue:
                    self._waiting.discard(key)

    def _ready(self, key: str, event: Envelope | RecordError) -> bool:
        if key in self._first or isinstance(event, RecordError):
            return True
        if not (event.basis or event.after):
            return True
        return all(s.ready(key, event) for s in self._readers[key])

    def _fold(self, record: Incoming, event: Envelope | RecordError) -> None:
        key, offset = record.key, record.offset
        shared = key in self._single
        refused = event if isinstance(event, RecordError) else None
        led = False
        readers = self._readers.get(key, ())
        for source in readers:
            if source.positions[key] > offset:
                continue
            self._since[source.name] = self._since.get(source.name, 0) + 1
            if isinstance(event, RecordError) or (key, offset) in self._skips[source.name]:
                self._skip(source, record, refused)
                continue
            if shared and source.name in self._linked:
                news = led
                source.advance(key, offset, event)
            else:
                news = source.fold(key, offset, event)
                led = news if source is self._leader else led
            if news:
                self._decide(source, record, event)
        if refused and refused.code != NOT_ADMITTED:
            self.dead_letters += 1
            self.log.dead_letter(self.processor, record, refused.reason)
        if len(readers) == 1:
            self._positions[key] = readers[0].positions[key]
        else:
            self._positions[key] = min((s.positions[key] for s in readers), default=0)
        self._folded.add("" if isinstance(event, RecordError) else event.type)
        if isinstance(event, ClockTicked):
            self.fed = event.data.candle_s > 1
        if shared:
            self._link()

    def _skip(self, source: Source, record: Incoming, refused: RecordError | None) -> None:
        source.fold(record.key, record.offset, None)
        if refused and (record.key, record.offset) not in self._skips[source.name]:
            note = source.skipped(record.key, record.offset, record.raw, refused.reason)
            self._publish(source, note)

    def _decide(self, source: Source, record: Incoming, event: Envelope) -> None:
        for answer in source.decide(record.key, event):
            self._publish(source, answer)
            if isinstance(answer, SourceHalted):
                self.halts += 1
                self.log.dead_letter(self.processor, record, answer.data.error)
                if self.on_halt:
                    self.on_halt(answer.data.account, answer.data.cause_id, answer.data.error)

    def _publish(self, source: Source, record: Envelope, also: Delivered | None = None) -> None:
        self._since[source.name] = 0
        self._append(source.output, encode(record), record.partitionkey, also)
        if self.on_record:
            self.on_record(record)

    def _append(
        self, output: str, raw: bytes, message_key: str, also: Delivered | None = None
    ) -> None:
        self._underway.begin()

        def delivered(offset: int) -> None:
            idle = self._underway.delivered(output, offset)
            if also:
                also(offset)
            if idle and self.on_idle:
                self.on_idle()

        self.log.append(output, raw, message_key, delivered)

    # ------------------------------------------------------------------ progress

    def snapshot(self) -> Snapshot | None:
        """What this process has read and written, at one instant; None while something it appended
        is not delivered. Clears the set of types folded since the last one."""
        with self.lock:
            if (ends := self._underway.ends()) is None:
                return None
            folded, self._folded = self._folded, set()
            waiting = sum(len(self._queues[key]) for key in self._waiting) + self.unresolved()
            epochs = {number: source.epoch for number, source in self.sources.items()}
            return Snapshot(dict(self._positions), ends, folded, waiting, self.event_time(), epochs)

    def unresolved(self) -> int:
        """Orders without answer or end that are not resting: none, but for the gateway."""
        return 0

    def event_time(self) -> str:
        """Latest event time any source folded."""
        slices = [s.slices for s in self.sources.values() if s.name not in self._linked]
        times = [s[t].time for s in slices for t in ("market", "clock") if t in s]
        return max(times, default=EPOCH_TEXT)

    def figures(self) -> dict[str, int]:
        """Figures for health: sources, records, duplicates, halted accounts, dead letters,
        snapshots that were used and written."""
        with self.lock:
            return {
                "sources": len(self.sources),
                "records": sum(s.sequence for s in self.sources.values()),
                "duplicates": sum(s.duplicates for s in self.sources.values()),
                "halted": sum(len(s.slices.halted) for s in self.sources.values()),
                "dead_letters": self.dead_letters,
                "unresolved": self.unresolved(),
                "restored": self.restored,
                "snapshots": self.keeper.written,
                "snapshot_held_ms": round(self.keeper.held_ms),
            }

    # ------------------------------------------------------------------ checkpoints

    def checkpoint(self, now_s: float) -> None:
        """Write the checkpoints and the snapshot that are due, as long as there is time for it.

        `now_s` is a monotonic time; it only decides when a checkpoint is due, not what is in it."""
        paces = self.keeper.paces
        with self.lock:
            # before checkpoints: a snapshot has one, and they would never leave time for it
            kept = self.keeper.due(self.sources.values(), now_s)
            if kept is not None:
                record, taken = self.keeper.take(kept, now_s)
                self._publish(kept, record, taken.delivered)
            for source in paces.checkpoints(self.sources.values(), self._since, now_s):
                if paces.rested(now_s):
                    began = time.perf_counter()
                    self._publish(source, source.checkpoint())
                    paces.told[source.name] = now_s, source.sequence
                    paces.spent(now_s, time.perf_counter() - began)
        self.keeper.write(self._watched)


def _lane_first(key: str) -> tuple[int, str]:
    return TOPICS[key.rpartition("/")[0]].lane, key
