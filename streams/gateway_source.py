"""A source whose records are reports of the world: the gateway on one partition."""

import time
from collections.abc import Callable, Container, Iterator

from domain.decider import Slices
from domain.source import Source
from gateways.core import GatewayCore
from gateways.own_closes import OwnCloses
from gateways.second_path import SecondPath
from schemas.codec import decode
from schemas.envelope import Envelope
from schemas.halting import HaltClosed, HaltNoted, HaltNotedData
from schemas.ids import record_id
from schemas.scalars import EPOCH_TEXT
from schemas.sources import SkippedData, SourceSkipped
from schemas.topics import (
    CLOCK,
    CONTROL,
    EXECUTION_RES,
    MARKET,
    ORDER,
    VENUE_REPORT,
    partition_of,
)
from schemas.trade import Ended, ExecutionData, ExecutionItem, ExecutionReported, Unknown
from schemas.validity import Validity
from schemas.venue import VenueReported

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
        self.second = SecondPath(
            self.name, self.core.window_ms, self.core.skew_us // 1000, self.core.entries
        )
        self.closes = OwnCloses(self.name, self.core.window_ms, self.core.skew_us // 1000)
        self.halts: dict[str, HaltNotedData] = {}
        """Halts that were told as obeyed and not as lifted, by key."""
        self._doubted: set[str] = set()
        """Orders whose end an earlier process had in its buffer and the venue was asked about."""
        self.flat: list[str] = []
        """Accounts that the second path has just seen flat."""
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
            if isinstance(event, HaltNoted):
                self._noted(event.data)
            elif isinstance(event, HaltClosed) and self._mine(event.partitionkey):
                self.closes.ordered(event, self.wall())
        elif topic == MARKET.name:
            self.core.on_market(event)
        elif topic == CLOCK.name:
            self.core.on_clock(event)
        return isinstance(event, VenueReported)

    def _mine(self, account: str) -> bool:
        return partition_of(account, self.core.partitions) == self.partition

    def _noted(self, data: HaltNotedData) -> None:
        if data.state == "set":
            self.halts[data.key] = data
        elif data.state == "lifted":
            self.halts.pop(data.key, None)

    def decide(
        self, key: str, cause: Envelope, *, answered: Container[str] = ()
    ) -> Iterator[Envelope]:
        """The record of what a report says that was not recorded before, if anything."""
        assert isinstance(cause, VenueReported)
        if self.second.on_report(cause):
            self.flat.append(cause.partitionkey)
        self.closes.on_report(cause)
        data = self.core.on_report(cause, self.wall())
        if data is not None:
            yield self.record(data, cause.partitionkey, cause)

    def watch_over(self, wall_us: int, *, alone: bool) -> None:
        """`alone`, nobody else closes what stands without a stop: that is to be closed now."""
        if not alone:
            self.core.unguarded.forget_old(wall_us)
            return
        for account, symbol, cause in self.core.unguarded.due(wall_us):
            self.second.unguarded(cause, account, symbol)

    def offered(self, raw: bytes) -> Envelope | None:
        """The record, under our own sequence, of what an earlier process had in its buffer; None if
        everything it says is known. Its id is that of its first news, as ever.

        What it says on its own account does not count: it may have been overtaken without knowing,
        and have called an order never sent that another one had sent since. We ask the venue."""
        event = decode(raw)
        if not isinstance(event, ExecutionReported) or event.source != self.name:
            return None
        told = (item for item in event.data.items if not _own_word(item))
        items = self.core.unreported(told)
        if not items:
            return None
        record = event.model_copy(
            update={
                "id": record_id(self.name, event.partitionkey, items[0].id),
                "sequence": self.sequence + 1,
                "epoch": self.epoch,
                "data": ExecutionData(items=items),
            }
        )
        self.fold_own(record)
        return record

    def doubts(self, raw: bytes) -> bool:
        """Whether an earlier process says in its buffer, on its own account, that an order ended
        which the venue has had, and the venue was not asked yet: it is from now on. Others that may
        have been sent are asked about anyway. After :meth:`offered` of the same bytes."""
        event = decode(raw)
        if not isinstance(event, ExecutionReported) or event.source != self.name:
            return False
        orders = {i.order_id for i in event.data.items if isinstance(i, Ended) and _own_word(i)}
        new = orders - self._doubted
        self._doubted |= new
        waiting = [self.core.asked(order, anew=order in new) for order in sorted(orders)]
        return any(waiting)

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


def _own_word(item: ExecutionItem) -> bool:
    """Whether a gateway may have said it without the venue: that nobody knows, or that an order
    ended unfilled without having been there."""
    if isinstance(item, Unknown):
        return True
    return (
        isinstance(item, Ended)
        and item.status in ("NEVER_SENT", "EXPIRED")
        and item.filled_quantity == "0"
    )
