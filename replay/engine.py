"""The in-process engine: every decider, the gateway's core and the venue on one in-memory log.

Synchronous, without asyncio, broker or database. One outside record goes in, and everything that
follows from it runs to quiescence in append order, so each reader has folded what a record was
based on before it sees the record. Wall time is virtual: it only moves when nothing else is left.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping

from domain.decider import Decider
from domain.intents import Intents
from domain.processors import PROCESSORS, REHEARSAL, build, partitions_of
from domain.signals import Signals
from domain.source import Source
from domain.strategies import STRATEGIES
from domain.strategy import Strategy
from domain.venue import LATENCY_MS, Venue
from domain.venue_faults import FaultPlan
from gateways.core import GatewayCore
from gateways.orders import Report, SendRequest
from replay.memory_log import MemoryLog, Stored
from schemas.control import PolicySet
from schemas.envelope import Envelope
from schemas.sources import FencedData, SourceFenced
from schemas.topics import PARTITIONS_EMBEDDED, TOPICS, partition_of
from schemas.trade import ExecutionData
from schemas.trusted import trusted

STEP_US = 50_000
"""How far virtual wall time moves when only a time-out can bring things forward."""
STEPS_MAX = 2_000


class NoProgress(RuntimeError):
    """An order stayed without answer however long virtual time ran: a defect, never expected."""


class Engine:
    """Runs the whole loop in memory for the accounts given."""

    def __init__(
        self,
        accounts: Iterable[str],
        *,
        partitions: int = PARTITIONS_EMBEDDED,
        strategies: Mapping[str, Strategy] = STRATEGIES,
        latency_ms: int = LATENCY_MS,
        faults: FaultPlan = REHEARSAL,
        unkept: Collection[str] = (),
        intents: bool = False,
    ) -> None:
        self.log = MemoryLog(unkept=unkept)
        self.partitions = partitions
        self._make: dict[str, Callable[[int], Decider]] = {
            "intents": lambda number: Intents(number, partitions),
            "signals": lambda number: Signals(number, partitions, strategies),
            "venue": lambda number: Venue(number, partitions, faults=faults, latency_ms=latency_ms),
        }
        self.wall_us = 0
        self._queue: deque[Stored] = deque()
        owned = sorted({partition_of(account, partitions) for account in accounts})
        self.sources: list[Source] = []
        self._readers: dict[str, list[Source]] = {}
        for name in (*PROCESSORS, "intents") if intents else PROCESSORS:
            numbers = [
                n for n in partitions_of(name, partitions) if n in owned or name == "control"
            ]
            group = [self._source(name, number) for number in numbers]
            for source in group[1:]:
                for key in source.positions:
                    if key in group[0].positions:
                        source.share(key, group[0])
        self.gateways = {number: _Gateway(self, number) for number in owned}
        for source in self.sources:
            self._fence(source.name, source.output)
        for number, gateway in self.gateways.items():
            self._fence(f"/gateway/{number}", gateway.output)
        self.run()

    def _source(self, name: str, number: int) -> Source:
        make = self._make.get(name)
        decider = make(number) if make else build(name, number, self.partitions)
        source = Source(decider, number, self.partitions)
        source.epoch = 1
        self.sources.append(source)
        for key in source.positions:
            self._readers.setdefault(key, []).append(source)
        return source

    def _fence(self, name: str, output: str) -> None:
        about = FencedData(build="engine", configuration="engine", topic_ids={})
        self.append(output, SourceFenced.opening(name, 1, about))

    def key(self, topic: str, account: str) -> str:
        """Partition key ``topic/number`` of an account's record."""
        keyed = TOPICS[topic].keyed
        return f"{topic}/{partition_of(account, self.partitions) if keyed else 0}"

    def feed(self, topic: str, event: Envelope) -> None:
        """Append an outside record and run to quiescence."""
        self.append(self.key(topic, event.partitionkey), event)
        self.run()

    def append(self, key: str, event: Envelope) -> None:
        self._queue.append(self.log.append(key, event))

    def run(self) -> None:
        """Deliver everything; let virtual time pass while an order waits for an answer."""
        for _ in range(STEPS_MAX):
            while self._queue:
                self._deliver(self._queue.popleft())
            if not any(gateway.unresolved() for gateway in self.gateways.values()):
                return
            self.wall_us += STEP_US
            for gateway in self.gateways.values():
                gateway.pump()
        raise NoProgress("an order has had no answer for 100 s of virtual time")

    def _deliver(self, stored: Stored) -> None:
        key, offset, event = stored.key, stored.offset, stored.event
        folded: dict[str, tuple[Source, bool]] = {}
        for source in self._readers.get(key, ()):
            name = source.decider.name
            leader = folded.get(name)
            if leader is None:
                news = source.fold(key, offset, event)
                folded[name] = (source, news)
            else:
                news = leader[1]
                source.advance(key, offset, event)
            if news:
                for record in source.decide(key, event):
                    self.append(source.output, record)
        for gateway in self.gateways.values():
            gateway.deliver(key, offset, event)


class _Gateway:
    """The gateway of one partition in the engine: the pure core and a virtual wall clock."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.engine = engine
        self.number = number
        self.core = GatewayCore(number, engine.partitions)
        self.output = f"trade.execution.res/{number}"
        self.sequence = 0
        self.after: dict[str, int] = {}
        self.core.fenced_at(0)

    def unresolved(self) -> int:
        return self.core.unresolved

    def deliver(self, key: str, offset: int, event: Envelope) -> None:
        topic, _, number = key.rpartition("/")
        if topic in ("control", "market", "clock"):
            self.after[key] = offset + 1
        elif int(number) != self.number:
            return
        if topic == "trade.order":
            self.core.on_order(event)
        elif topic == "venue.report":
            data = self.core.on_report(event, self.engine.wall_us)
            if data is not None:
                self._publish(data, event.partitionkey, event)
        elif topic == "control":
            self.core.on_control(event)
        elif topic == "clock":
            self.core.on_clock(event)
        elif topic == "market":
            self.core.on_market(event)
        if topic in ("trade.order", "venue.report", "control"):
            self.pump()

    def pump(self) -> None:
        for action in self.core.due(self.engine.wall_us):
            if isinstance(action, Report):
                self._publish(
                    trusted(ExecutionData, items=action.items), action.account, action.cause
                )
            else:
                self.core.sent(action, self.engine.wall_us)
                self._send(action)

    def _publish(self, data: ExecutionData, account: str, cause: Envelope) -> None:
        self.sequence += 1
        record = self.core.record(data, account, cause, dict(self.after), self.sequence, 1)
        self.core.on_own(record)
        self.engine.append(self.output, record)

    def _send(self, action: SendRequest) -> None:
        request = action.record(self.core.now, f"/gateway/{self.number}")
        request = request.model_copy(update={"after": dict(self.after)})
        self.engine.append(f"venue.request/{self.number}", request)


def accounts_of(records: Iterable[Envelope]) -> list[str]:
    """Accounts that a script opens: the partition keys of its policy commands, in order."""
    return list(dict.fromkeys(r.partitionkey for r in records if isinstance(r, PolicySet)))
