"""The gateway's live shell: the only place with effects.

It folds orders, control and the venue's reports like any source, and records what the venue says.
What is to be sent is decided by the pure core (gateways/core.py) and sent by one thread, by these
steps: t0, the barrier (ends of control and of the own partition asked of the broker and folded),
the core asked again, request. A barrier that is not answered in 50 ms lets only reductions and
cancels out, and what it let out leaves within 25 ms of the question, and not while a control record
waits to be folded: on a busy machine a round takes long, and an emergency is obeyed in the middle
of it.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator

from domain.decider import Slices
from domain.source import Source
from gateways.core import GatewayCore
from gateways.orders import Report, SendRequest
from runtime.host_clock import StepWatch
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.ids import record_id
from schemas.scalars import EPOCH_TEXT
from schemas.sources import SkippedData, SourceSkipped
from schemas.topics import CLOCK, CONTROL, EXECUTION_RES, MARKET, ORDER, VENUE_REPORT
from schemas.trade import ExecutionData
from schemas.validity import Validity
from schemas.venue import VenueReported
from streams.log import Incoming, Log
from streams.recovery import Identity
from streams.shell import Shell
from streams.snapshots import Stand

logger = logging.getLogger(__name__)
BARRIER_S = 0.05
FRESH_S = 0.025
"""How long after its barrier was asked an entry may leave: half of what an emergency has (SAFE-8),
the other half is the way to the venue."""
PUMP_S = 0.05
EXIT_PUMP = 73
EXIT_CLOCK = 76
SHARED = (f"{CONTROL.name}/0", f"{MARKET.name}/0", f"{CLOCK.name}/0")


def wall_us() -> int:
    """Wall time in microseconds since 1970."""
    return time.time_ns() // 1000


class GatewaySource(Source):
    """A source whose records are reports of the world: epoch and sequence, no basis."""

    def __init__(self, partition: int, partitions: int, wall: Callable[[], int] = wall_us) -> None:
        self.wall = wall
        self.partition = partition
        self.name = f"/gateway/{partition}"
        self.output = f"{EXECUTION_RES.name}/{partition}"
        self.epoch = 0
        self.sequence = 0
        self.duplicates = 0
        self.slices = Slices()
        self.core = GatewayCore(partition, partitions)
        keys = [f"{ORDER.name}/{partition}", f"{VENUE_REPORT.name}/{partition}", *SHARED]
        self.positions = dict.fromkeys(keys, 0)
        self.validity = {key: Validity() for key in keys}
        self.requests = dict.fromkeys(keys, False)

    def fold(self, key: str, offset: int, event: Envelope | None) -> bool:
        self.positions[key] = offset + 1
        if event is None or not self.validity[key].admit(event) or event.type.startswith("source."):
            return False
        topic = key.rpartition("/")[0]
        if topic == ORDER.name:
            self.core.on_order(event, offset)
        elif topic == CONTROL.name:
            self.core.on_control(event)
        elif topic == MARKET.name:
            self.core.on_market(event)
        elif topic == CLOCK.name:
            self.core.on_clock(event)
        return isinstance(event, VenueReported)

    def decide(
        self, key: str, cause: Envelope, *, answered: Container[str] = ()
    ) -> Iterator[Envelope]:
        """The record of what a report says that was not recorded before, if anything."""
        assert isinstance(cause, VenueReported)
        data = self.core.on_report(cause, self.wall())
        if data is not None:
            yield self.record(data, cause.partitionkey, cause)

    def record(self, data: ExecutionData, account: str, cause: Envelope) -> Envelope:
        """The record of what was reported, folded into own state."""
        after = {key: self.positions[key] for key in SHARED}
        record = self.core.record(data, account, cause, after, self.sequence + 1, self.epoch)
        self.fold_own(record)
        return record

    def fold_own(self, record: Envelope) -> None:
        self.sequence = record.sequence or self.sequence
        if not record.type.startswith("source."):
            self.core.on_own(record)

    def share(self, key: str, other: Source) -> None:
        """Nothing is shared: each core folds for itself."""

    def advance(self, key: str, offset: int, event: Envelope | None) -> None:
        self.fold(key, offset, event)

    def copy_input(self, key: str, other: Source) -> None:
        """Nothing to copy: inputs are folded from the beginning at a start."""

    def skipped(self, key: str, offset: int, raw: bytes | None, reason: str) -> Envelope:
        data = SkippedData.of(key, offset, raw, reason)
        record = SourceSkipped(
            id=record_id(self.name, "gateway", f"skipped {key} {offset}"),
            source=self.name,
            subject="gateway",
            time=self.core.now or EPOCH_TEXT,
            partitionkey="gateway",
            sequence=self.sequence + 1,
            epoch=self.epoch,
            data=data,
        )
        self.fold_own(record)
        return record


class GatewayShell(Shell):
    """Gateway sources of one process and the thread that sends for them.

    `wall` gives wall time in microseconds. Without `sender` there is no thread: who runs the shell
    calls :meth:`pump` (crash tests do, one step at a time, and wait for nothing: `barrier_s` 0)."""

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
        self._folded_more = threading.Condition(self.lock)
        self._sending: threading.Thread | None = None

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
        with self._folded_more:
            self._folded_more.notify_all()
        self._wake.set()

    def fenced(self, record: Incoming) -> bool:
        with self._folded_more:
            found = super().fenced(record)
            self._folded_more.notify_all()
        return found

    def checkpoint(self, now_s: float) -> None:
        """A gateway has no basis and writes no checkpoints."""

    def unresolved(self) -> int:
        return sum(source.core.unresolved for source in self.gateways.values())

    def event_time(self) -> str:
        return max((s.core.now for s in self.gateways.values()), default=EPOCH_TEXT)

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
            wanted = {n: s.core.wants(t0_us) for n, s in self.gateways.items()}
        if not any(wanted.values()):
            return False
        risky = [n for n, wants in wanted.items() if wants == "risky"]
        fresh_until = self._monotonic() + self._fresh_s
        passed = not risky or self._barrier(risky)
        with self.lock:
            for source in list(self.gateways.values()):
                for action in source.core.due(t0_us):
                    if isinstance(action, Report):
                        data = ExecutionData(items=action.items)
                        self._publish(source, source.record(data, action.account, action.cause))
                    elif not action.risk_increasing or (passed and self._lets_out(fresh_until)):
                        self._send(source, action.stamped(t0_us), t0_us)
                    elif passed:
                        self._wake.set()  # another round, behind a barrier of its own
        return True

    def _lets_out(self, fresh_until: float) -> bool:
        """Whether an entry may still leave on the barrier of this round."""
        return self._arrived == self._folded_control and self._monotonic() <= fresh_until

    def _barrier(self, numbers: list[int]) -> bool:
        """Whether control and the own partitions are folded up to ends the broker gave just now."""
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

    def _send(self, source: GatewaySource, action: SendRequest, t0_us: int) -> None:
        source.core.sent(action, t0_us)
        request = action.record(source.core.now, source.name).model_copy(
            update={"after": {key: source.positions[key] for key in SHARED}}
        )
        output = f"venue.request/{source.partition}"
        self._append(output, encode(request), request.partitionkey)
        if self.on_record:
            self.on_record(request)
