"""The in-memory system with a venue that is reached without Kafka, and a Kafka that can go away.

The venue is a party of its own: the venue's decider behind the gateway's line, with a market that
goes on whatever becomes of our broker. Everybody but the gateway stands still meanwhile.
"""

from collections import Counter, deque
from pathlib import Path
from typing import Any

from domain.source import Source
from domain.venue import Venue
from gateways.buffer_folder import BufferFolder
from replay.simulator.script import Fed
from schemas.envelope import Envelope
from schemas.scalars import time_text
from schemas.topics import partition_of
from schemas.venue import VenueItem, VenueReportData, VenueReported, VenueRequested
from streams.buffered_log import BufferedLog
from streams.gateway import GatewayShell
from streams.log import Delivered
from streams.shell import Shell
from streams.simulated.broker import MemoryLog
from tests.streams.crash_scenario import PARTITIONS
from tests.streams.crash_world import IDENTITY, World
from tests.streams.failing import FailingMemoryLog

TOPIC_IDS = {"trade.execution.res": "t1", "control": "t2"}


class DirectVenue:
    """The venue's decider as a line of the gateway. `said`: reports on their way."""

    def __init__(self) -> None:
        self.sources = [Source(Venue(n, PARTITIONS), n, PARTITIONS) for n in range(PARTITIONS)]
        for source in self.sources:
            source.epoch = 1
        self.offsets: Counter[str] = Counter()
        self.said: deque[VenueReported] = deque()

    def open(self) -> bool:
        return True

    def send(
        self, request: VenueRequested, partition: int, arrived: Delivered | None = None
    ) -> None:
        self._take(self.sources[partition], f"venue.request/{partition}", request)
        if arrived:
            arrived(0)

    def market(self, topic: str, event: Envelope) -> None:
        """Prices and ticks as the venue itself sees them."""
        for source in self.sources:
            self._take(source, f"{topic}/0", event)

    def _take(self, source: Source, key: str, event: Envelope) -> None:
        name = f"{source.name} {key}"
        self.offsets[name] += 1
        if source.fold(key, self.offsets[name] - 1, event):
            for answer in source.decide(key, event):
                assert isinstance(answer, VenueReported)
                self.said.append(answer)

    def says(self, account: str, item: VenueItem, us: int) -> None:
        """A report that nobody asked for, as when a venue drops an order."""
        source = self.sources[partition_of(account, PARTITIONS)]
        data = VenueReportData(delivered=True, items=(item,))
        last = VenueReported(
            id=f"00000000-0000-5000-8000-{len(self.said):012x}",
            source=source.name,
            subject=account,
            time=time_text(us),
            partitionkey=account,
            data=data,
        )
        self.said.append(last)


class AloneWorld(World):
    """`folder`: where gateways have their buffers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venue = DirectVenue()
        self.now_s = 0.0
        self.kafka_away = False
        self.logs: list[BufferedLog] = []
        super().__init__()

    def shell(self, name: str, log: MemoryLog) -> Shell:
        if name != "gateway":
            return super().shell(name, log)
        inner = FailingMemoryLog(self.broker, log.step)
        buffer = BufferFolder(self.folder, TOPIC_IDS, spare_bytes=1)
        self.logs.append(BufferedLog(inner, buffer, clock=lambda: self.now_s))
        return GatewayShell(
            PARTITIONS, self.logs[-1], IDENTITY, wall=self.wall, sender=False, barrier_s=0.0,
            line=self.venue,
        )  # fmt: skip

    @property
    def log(self) -> BufferedLog:
        """The log of the gateway that was started last."""
        return self.logs[-1]

    @property
    def inner(self) -> FailingMemoryLog:
        found = self.log.inner
        assert isinstance(found, FailingMemoryLog)
        return found

    @property
    def gateway(self) -> GatewayShell:
        shell = self.live["gateway"][0].shell
        assert isinstance(shell, GatewayShell)
        return shell

    def feed(self, topic: str, event: Envelope) -> None:
        if topic in ("market", "clock"):
            self.venue.market(topic, event)
        if self.kafka_away:
            self.settle()
        else:
            super().feed(topic, event)

    def feeds(self, *fed: Fed) -> None:
        for topic, event in fed:
            self.feed(topic, event)

    def round(self) -> bool:
        moved = bool(self.venue.said)
        while self.venue.said:
            self.gateway.said(self.venue.said.popleft())
        self.log.look()
        if self.kafka_away:
            return self.gateway.pump() or moved
        moved |= super().round()
        while self.inner.deliver():
            moved = True
        if self.log.held:
            moved |= self.log.drain()
        return moved

    def outage(self) -> None:
        """Kafka goes away, and the gateway notices."""
        self.kafka_away = self.inner.away = True
        self.log.note("progress", b"{}", "gateway")
        self.now_s += 6
        self.log.look()
        assert self.log.away

    def back(self) -> None:
        """Kafka is back; everybody reads on."""
        self.kafka_away = self.inner.away = False
        self.settle()
        assert not self.log.held

    def kill_the_gateway(self) -> None:
        """It ends in the middle of what it does; what it had in flight is lost."""
        self.live["gateway"].clear()
        self.inner.flight.clear()
        self.log.buffer.release()

    def reports(self) -> list[tuple[Any, ...]]:
        """What the gateway recorded, in the order of each partition."""
        from tests.streams.crash_checks import valid

        return sorted(
            (found.key, found.event.sequence or 0, found.event.partitionkey, found.event.time,
             found.event.data.model_dump_json())  # type: ignore[attr-defined]
            for found in valid(self)
            if found.event.type == "trade.execution.reported.v1"
        )  # fmt: skip
