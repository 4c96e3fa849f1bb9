"""The gateway's live shell: the only place with effects.

It folds orders, control and the venue's reports like any source, and records what the venue says.
What is to be sent is decided by the pure core (gateways/core.py) and sent by one thread, by these
steps: t0, the barrier (ends of control and of the own partition asked of the broker and folded),
the core asked again, request. A barrier that is not answered in 50 ms lets only reductions and
cancels out, and what it let out leaves within 25 ms of the question, not while a control record
waits to be folded, and not behind entries that are still on their way (streams/entry_way.py): on a
busy machine a round takes long, and an emergency is obeyed in the middle of it. The halt file is
looked at before each order that leaves (SAFE-6).
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from domain.source import Source
from gateways.orders import Report, SendRequest
from runtime.halt_file import MODES, Halt
from runtime.host_clock import StepWatch
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.scalars import EPOCH_TEXT
from schemas.topics import ORDER, partition_of
from schemas.trade import ExecutionData
from schemas.venue import VenueReported
from streams.buffered_log import BufferedLog
from streams.entry_way import EntryWay
from streams.gateway_source import SHARED, GatewaySource, wall_us
from streams.gateway_stops import Stops, no_halt
from streams.log import Incoming, Log
from streams.offering import Offering
from streams.recovery import Identity
from streams.shell import Shell
from streams.snapshots import Stand
from streams.venue_line import TopicLine, VenueLine

__all__ = ["GatewayShell", "GatewaySource", "wall_us"]
logger = logging.getLogger(__name__)
BARRIER_S = 0.05
FRESH_S = 0.025
"""How long after its barrier was asked an entry may leave: half of what an emergency has (SAFE-8),
the other half is the way to the venue."""
PUMP_S = 0.05
EXIT_PUMP = 73
EXIT_CLOCK = 76


class GatewayShell(Shell):
    """Gateway sources of one process and the thread that sends for them.

    `wall` gives wall time in microseconds, `halt` the halt in force; `instance` is unique among
    gateways; `line` leads to the venue, by topics if there is no other. Without `sender` there is
    no thread: who runs the shell calls :meth:`pump` (crash tests do, one step at a time, and wait
    for nothing: `barrier_s` 0)."""

    _own_first = False
    """Its core takes orders first, then what became of them."""

    def __init__(
        self,
        partitions: int,
        log: Log,
        identity: Identity,
        *,
        wall: Callable[[], int] = wall_us,
        sender: bool = True,
        barrier_s: float = BARRIER_S,
        halt: Callable[[], Halt | None] = no_halt,
        instance: str = "gateway",
        line: VenueLine | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gateways: dict[int, GatewaySource] = {}
        super().__init__("gateway", partitions, log, identity, make=self._gateway)
        self._wall = wall
        self._sender = sender
        self._barrier_s = barrier_s
        self._monotonic = monotonic
        self._fresh_s = FRESH_S if sender else math.inf
        self._arrived = self._folded_control = 0
        """Control records handed to :meth:`receive`, and those of them that are folded."""
        self._wake = threading.Event()
        self._way = EntryWay(monotonic, self._wake.set)
        self._last_entry = -1
        """Partition of the entry that left last."""
        self._folded_more = threading.Condition(self.lock)
        self._sending: threading.Thread | None = None
        self.stops = Stops(self, halt, instance)
        self.line: VenueLine = line or TopicLine(self._append, self.away)
        self.silent: Callable[[], Mapping[str, float]] = dict
        """Streams that should have said something: no entry leaves while there are any (EXEC-7)."""
        self._silent: set[str] = set()
        self._kept: dict[str, bool] = {}
        """Ids of what found no place on the disk and was appended; whether the log has it."""
        self._offering = (
            Offering(log, self.gateways, self._publish, self._append)
            if isinstance(log, BufferedLog)
            else None
        )

    def _gateway(self, number: int) -> Source:
        source = self.gateways[number] = GatewaySource(number, self.partitions, self._wall)
        return source

    def acquire(self, numbers: Iterable[int]) -> None:
        super().acquire(numbers)
        if self._sender and self._sending is None:
            self._sending = threading.Thread(target=self._pump_forever, name="sender", daemon=True)
            self._sending.start()

    def _restore(self, fresh: list[Source]) -> dict[str, Stand]:
        """Nothing: what the gateway knows is made of own records, orders and reports in full."""
        return {}

    def _fenced(self, sources: list[Source]) -> None:
        """Orders below the end of `trade.order` may have been sent by an earlier process."""
        at_us = self._wall()
        ends = self.log.ends([f"{ORDER.name}/{source.partition}" for source in sources])
        for source in sources:
            gateway = self.gateways[source.partition]
            key = f"{ORDER.name}/{source.partition}"
            gateway.core.fenced_at(at_us, {key: ends[key]}, gateway.epoch)
        self.stops.apply(self.gateways)
        self._offer_what_was_left()

    def release(self, numbers: Iterable[int]) -> None:
        super().release(numbers)
        with self.lock:
            for number in numbers:
                self.gateways.pop(number, None)

    def receive(self, record: Incoming) -> None:
        control = record.key == SHARED[0]
        self._arrived += control  # of one follower only; before the lock, which a round may hold
        super().receive(record)
        self._folded_control += control

    def _received(self, record: Incoming) -> None:
        super()._received(record)
        self._folded_more.notify_all()
        self._wake.set()

    def fenced(self, record: Incoming) -> bool:
        with self._folded_more:
            found = super().fenced(record)
            self._folded_more.notify_all()
        return found

    def checkpoint(self, now_s: float) -> None:
        """A gateway has no basis and writes no checkpoints. It looks whether a process that was
        fenced has left a buffer."""
        with self.lock:
            self._offer_what_was_left()

    def _offer_what_was_left(self) -> None:
        if self._offering is not None:
            self._offering.look(settled=self._underway.ends() is not None)

    def unresolved(self) -> int:
        sources = self.gateways.values()
        return sum(source.core.unresolved + source.closes.unanswered for source in sources)

    def event_time(self) -> str:
        return max((s.core.now for s in self.gateways.values()), default=EPOCH_TEXT)

    def figures(self) -> dict[str, int]:
        """With `halt`: 0 none, else 1 entries, 2 all, 3 flatten."""
        obeyed = self.stops.obeyed
        log = self.log
        return super().figures() | {
            "halt": MODES.index(obeyed.mode) + 1 if obeyed else 0,
            "buffered": log.waiting() if isinstance(log, BufferedLog) else 0,
            "away": int(self.away()),
            "silent": len(self.silent()),
            "awaited": self._awaited(),
            "entries_under_way": self._way.under_way,
            "entries_allowed": self._way.limit,
        }

    def _awaited(self) -> int:
        with self.lock:  # other threads than those that fold ask for it
            sources = self.gateways.values()
            return sum(source.core.awaited + source.closes.unanswered for source in sources)

    def away(self) -> bool:
        """Whether Kafka does not answer."""
        return isinstance(self.log, BufferedLog) and self.log.away

    def wake(self) -> None:
        """Let the sender look at once."""
        self._wake.set()

    # ------------------------------------------------------------------ sending

    def _pump_forever(self) -> None:
        clock = StepWatch(lambda: self._wall() / 1e6)
        try:
            while True:
                self._wake.wait(PUMP_S)
                self._wake.clear()
                if step_s := clock.stepped_s():
                    self._stepped(step_s)
                began = time.monotonic()
                if self.pump() and self.on_idle:
                    self.on_idle()
                # as long a rest as the round took: what comes meanwhile is one round
                time.sleep(min(time.monotonic() - began, PUMP_S))
        except BaseException:
            logger.critical("the sender failed; ending the process", exc_info=True)
            logging.shutdown()
            os._exit(EXIT_PUMP)

    def _stepped(self, step_s: float) -> None:
        """Windows that began before a step of the clock end at no time that is known: whoever comes
        next asks about every order that may have been sent, as after any crash."""
        logger.critical("the host's clock was set by %+.1f s; the gateway starts anew", step_s)
        logging.shutdown()
        os._exit(EXIT_CLOCK)

    def pump(self) -> bool:
        """One round: what is due now is recorded or sent. True if anything was."""
        t0_us = self._wall()
        with self.lock:
            halt = self.stops.look()
            reachable = self.line.open()
            acted = reachable and self.stops.close(t0_us, alone=self.away())
            wanted = {n: s.core.wants(t0_us) for n, s in self.gateways.items()}
        if not any(wanted.values()):
            return acted
        risky = [n for n, wants in wanted.items() if wants == "risky"]
        fresh_until = self._monotonic() + self._fresh_s
        passed = not risky or (
            halt is None and not self._deaf() and self._way.room() and self._barrier(risky)
        )
        with self.lock:
            for source in self._in_turn():
                for action in source.core.due(t0_us):
                    if isinstance(action, Report):
                        data = ExecutionData(items=action.items)
                        self._publish(source, source.record(data, action.account, action.cause))
                    elif action.risk_increasing and not (passed and self._lets_out(fresh_until)):
                        if passed and self._way.room():
                            self._wake.set()  # another round, behind a barrier of its own
                        passed = False  # none overtakes one that was turned away
                    elif self.stops.keeps(action):
                        self._wake.set()  # another round ends it
                    elif reachable:
                        self.send(source, action.stamped(t0_us), t0_us)
        return True

    def _in_turn(self) -> list[GatewaySource]:
        """All gateways, beginning behind the one whose entry left last: what little room there is
        on the way goes round."""
        numbers = sorted(self.gateways, key=lambda n: (n <= self._last_entry, n))
        return [self.gateways[number] for number in numbers]

    # ------------------------------------------------------------------ the way out

    def _deaf(self) -> bool:
        """Whether a stream is silent that should not be: what the core knows may be old."""
        silent = self.silent()
        if silent.keys() != self._silent:
            self._silent = set(silent)
            said = ", ".join(f"{topic} for {age:.0f} s" for topic, age in silent.items())
            logger.error("silent: %s; no entry leaves", said or "nothing any more")
        return bool(silent)

    def _lets_out(self, fresh_until: float) -> bool:
        """Whether an entry may still leave on the barrier of this round."""
        heard = self._arrived == self._folded_control
        return heard and self._monotonic() <= fresh_until and self._way.room()

    def _barrier(self, numbers: list[int]) -> bool:
        """Whether control and the own partitions are folded up to ends the broker gave just now."""
        if isinstance(self.log, BufferedLog) and self.log.held:
            return False  # the buffer goes into the log first
        deadline = self._monotonic() + self._barrier_s
        try:
            wanted = [SHARED[0], *(self.gateways[n].output for n in numbers)]
            outputs = self.log.ends(wanted, timeout_s=BARRIER_S)
            control = outputs.pop(SHARED[0])
        except (ConnectionError, KeyError) as error:
            logger.warning("no entries go out: the broker did not answer the barrier (%s)", error)
            return False
        with self._folded_more:
            while self.position(SHARED[0]) < control or any(
                self._watched.get(key, 0) < end for key, end in outputs.items()
            ):
                left = deadline - self._monotonic()
                if left <= 0 or not self._folded_more.wait(left):
                    logger.warning(
                        "no entries go out: the barrier took more than %s s", self._barrier_s
                    )
                    return False
        return True

    def send(self, source: GatewaySource, action: SendRequest, t0_us: int) -> None:
        """Let a request leave, signed with its own stamp. Under the lock, by who has looked."""
        source.core.sent(action, t0_us)
        request = action.record(source.core.now, source.name).model_copy(
            update={"after": {key: source.positions[key] for key in SHARED}}
        )
        arrived = None
        if action.risk_increasing:
            arrived, self._last_entry = self._way.left(), source.partition
        self.line.send(request, source.partition, arrived)
        if self.on_record:
            self.on_record(request)

    def said(self, report: VenueReported) -> None:
        """Take a report of a venue that is reached without Kafka."""
        with self.lock:
            source = self.gateways.get(partition_of(report.partitionkey, self.partitions))
            if source is not None:
                for record in source.decide("", report):
                    self._publish(source, record)
        self._wake.set()

    def tell(self, event: Envelope) -> None:
        """Append an outside record to `control`."""
        self._append(SHARED[0], encode(event), event.partitionkey)

    def keep(self, event: Envelope) -> bool:
        """The same; True once it is on the disk or in the log, or as sure to get there as a record
        of ours is. Where the disk has no place it is asked for again and again, until the log has
        it."""
        if not isinstance(self.log, BufferedLog):
            self.tell(event)
            return True
        if self.log.keep(SHARED[0], encode(event), event.partitionkey):
            return True
        if event.id not in self._kept and not self.log.away:
            self._kept[event.id] = False

            def delivered(_offset: int) -> None:
                self._kept[event.id] = True
                self._wake.set()

            self._append(SHARED[0], encode(event), event.partitionkey, delivered)
        return self._kept.get(event.id, False)
