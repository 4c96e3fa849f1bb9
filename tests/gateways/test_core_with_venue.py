"""The gateway's core, the simulated venue, control and positions together, in one thread.

Goal: whatever answers and requests are lost and wherever the gateway dies, an order has at most one
effect and exactly one end, and the books equal the venue's. Method: real deciders on real records;
orders are hand-made, wall time moves when nothing else is left to do.
"""

from typing import Any

import pytest

from domain.control import Control
from domain.positions import Positions
from domain.source import Source
from domain.venue import Venue
from domain.venue_faults import FaultPlan
from gateways.core import GatewayCore
from gateways.orders import Report
from schemas.codec import decode, encode
from schemas.control import EmergencyStop, EmergencyStopData, PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.market import (
    Candle,
    CandlesClosed,
    CandlesData,
    ClockTicked,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
    TickData,
)
from schemas.scalars import time_text
from schemas.sources import FencedData, SourceFenced
from schemas.trade import Ended, ExecutionData, OrderData, OrderDecided, OrderItem
from tests.domain.venue_world import instrument
from tests.gateways.core_world import MAIN, START, order, stop

RES = "trade.execution.res/0"


class World:
    """One partition. `logs`: all records by topic-partition, as a broker would hold them."""

    def __init__(self, faults: FaultPlan | None = None) -> None:
        self.logs: dict[str, list[Envelope]] = {}
        self.sources = [
            Source(Control(0, 1), 0, 1),
            Source(Venue(0, 1, faults=faults or FaultPlan()), 0, 1),
            Source(Positions(0, 1), 0, 1),
        ]
        self.wall, self.us, self.number, self.orders = 0, START, 0, 0
        for source in self.sources:
            source.epoch = 1
            self.append(source.output, self._fence(source.name, 1))
        self.append("trade.order/0", self._fence("/execution/0", 1))
        self.start()
        self.feed("market/0", InstrumentsListed, InstrumentsData(items=(instrument("BTCUSDT"),)))
        candle = Candle(
            symbol="BTCUSDT", interval="1m", opened_at=time_text(START - 60_000_000), open="40000",
            high="40010", low="39990", close="40000", volume="100",
        )  # fmt: skip
        self.feed("market/0", CandlesClosed, CandlesData(warm_up=False, items=(candle,)))
        self.price("40000")
        data = PolicySetData(expected_version=0, operator="anna", reason="open", changes={})
        self.feed("commands.control/0", PolicySet, data, source="/hand")

    # ------------------------------------------------------------------ the log

    def _fence(self, name: str, epoch: int) -> SourceFenced:
        return SourceFenced(
            id=natural_id("fence", name, str(epoch)), source=name, subject="x", partitionkey="x",
            time=time_text(self.us), epoch=epoch,
            data=FencedData(build="t", configuration="t", topic_ids={}),
        )  # fmt: skip

    def append(self, key: str, event: Envelope) -> None:
        """Write a record and let everybody read it, before anything that follows from it."""
        assert decode(encode(event)) == event
        log = self.logs.setdefault(key, [])
        log.append(event)
        offset = len(log) - 1
        answers = []
        for source in self.sources:
            if key in source.positions and source.fold(key, offset, event):
                answers += [(source.output, a) for a in source.decide(key, event)]
        self.deliver(key, offset, event)
        for output, answer in answers:
            self.append(output, answer)

    def feed(self, key: str, kind: type[Any], data: Any, source: str = "/feed") -> None:
        self.number += 1
        event = kind(
            id=natural_id("test", str(self.number)), source=source, subject=MAIN,
            partitionkey=MAIN, time=time_text(self.us), data=data,
        )  # fmt: skip
        self.append(key, event)
        self.settle()

    def price(self, price: str) -> None:
        self.us += 1_000_000
        data = PricesData(items=(Price(symbol="BTCUSDT", last=price),))
        self.feed("market/0", PricesObserved, data)

    def decide(self, *items: OrderItem, settle: bool = True) -> None:
        self.orders += 1
        event = OrderDecided(
            id=natural_id("decided", str(self.orders)), source="/execution/0", subject=MAIN,
            time=time_text(self.us), partitionkey=MAIN, sequence=self.orders, epoch=1,
            data=OrderData(items=items),
        )  # fmt: skip
        self.append("trade.order/0", event)
        if settle:
            self.settle()

    # ------------------------------------------------------------------ the gateway's shell

    def start(self) -> None:
        """Start a gateway, in the order of the design."""
        self.core = GatewayCore(0, 1)
        own = [e for e in self.logs.get(RES, []) if e.sequence is not None]
        self.sequence = len(own)
        self.epoch = 1 + sum(e.type == "source.fenced.v1" for e in self.logs.get(RES, []))
        self.append(RES, self._fence("/gateway/0", self.epoch))
        for event in own:
            self.core.on_own(event)
        ends = {"trade.order/0": len(self.logs["trade.order/0"])}
        self.core.fenced_at(self.wall, ends, self.epoch)
        for key in ("control/0", "clock/0", "market/0", "trade.order/0", "venue.report/0"):
            for offset, event in enumerate(list(self.logs.get(key, []))):
                self.deliver(key, offset, event)

    def deliver(self, key: str, offset: int, event: Envelope) -> None:
        if event.type.startswith("source."):
            return
        if key == "trade.order/0":
            self.core.on_order(event, offset)
        elif key == "control/0":
            self.core.on_control(event)
        elif key == "market/0":
            self.core.on_market(event)
        elif key == "clock/0":
            self.core.on_clock(event)
        elif key == "venue.report/0":
            data = self.core.on_report(event, self.wall)
            if data is not None:
                self.write(data, event.partitionkey, event)

    def write(self, data: ExecutionData, account: str, cause: Envelope) -> None:
        self.sequence += 1
        record = self.core.record(data, account, cause, None, self.sequence, self.epoch)
        self.append(RES, record)

    def pump(self) -> bool:
        done = False
        for action in self.core.due(self.wall):
            done = True
            self.core.sent(action, self.wall)
            if isinstance(action, Report):
                self.write(ExecutionData(items=action.items), action.account, action.cause)
            else:
                request = action.record(self.core.now, self.core.name)
                self.append("venue.request/0", request)
        return done

    def settle(self) -> None:
        """Run until nothing is due and nothing is unresolved."""
        for _ in range(200):
            while self.pump():
                pass
            if not self.core.unresolved:
                return
            upcoming = self.core.next_due_us(self.wall)
            assert upcoming is not None
            self.wall = upcoming
        raise AssertionError("no quiescence")

    # ------------------------------------------------------------------ what a test looks at

    def ends(self) -> dict[str, str]:
        """Order id -> status; an order with two ends fails."""
        out: dict[str, str] = {}
        for record in self.logs[RES]:
            for item in getattr(record.data, "items", ()):  # type: ignore[attr-defined]
                if isinstance(item, Ended):
                    assert item.order_id not in out, "two ends"
                    out[item.order_id] = item.status
        return out

    def check(self) -> None:
        """The books of positions are those of the venue."""
        venue = self.sources[1].slices["own"].accounts[MAIN]
        book = self.sources[2].slices["trade.execution.res"].accounts[MAIN]
        held = {s: p.quantity for s, p in venue.positions.items() if p.quantity}
        assert {s: t.quantity for s, t in book.open.items()} == held
        told = [i for update in self._updates() for i in update.items if i.kind == "equity"]
        assert told[-1].transfers == "10000"

    def _updates(self) -> list[Any]:
        log = self.logs["trade.position.update/0"]
        return [e.data for e in log if e.type == "trade.position.updated.v1"]  # type: ignore[attr-defined]


def test_an_account_opens_trades_is_protected_and_closes() -> None:
    world = World()
    world.decide(order("in"))
    world.decide(stop("stop"))
    world.check()
    assert list(world.ends()) == [order("in").id]
    world.price("38900")
    assert world.ends()[stop("stop").id] == "FILLED"
    world.check()
    kinds = [i.kind for i in world._updates()[-1].items]
    assert kinds == ["position", "order_end", "trade_closed", "equity"]


@pytest.mark.parametrize(
    "faults",
    [
        FaultPlan(lost_answer_every=1),
        FaultPlan(lost_request_every=1),
        FaultPlan(lost_answer_every=2, lost_request_every=2),
    ],
)
def test_lost_requests_and_answers_leave_one_effect_and_one_end(faults: FaultPlan) -> None:
    world = World(faults)
    names = [f"in{n}" for n in range(6)]
    for name in names:
        world.decide(order(name, quantity="0.001"))
    world.decide(stop("stop"))
    world.price("38900")
    ends = world.ends()
    assert set(ends) == {order(name).id for name in names} | {stop("stop").id}
    assert set(ends.values()) == {"FILLED"}
    world.check()


def test_an_emergency_while_answers_are_lost_ends_every_order_once() -> None:
    world = World(FaultPlan(lost_request_every=1))
    world.decide(order("in"), settle=False)
    world.pump()
    data = EmergencyStopData(operator="anna", reason="drill")
    world.feed("commands.control/0", EmergencyStop, data, source="/hand")
    assert world.ends() == {order("in").id: "NEVER_SENT"}
    venue = world.sources[1].slices["own"].accounts[MAIN]
    assert not venue.positions


@pytest.mark.parametrize("pumps", [0, 1, 2, 3])
@pytest.mark.parametrize("faults", [FaultPlan(), FaultPlan(lost_answer_every=1)])
def test_a_gateway_that_dies_anywhere_leaves_one_effect_and_one_end(
    pumps: int, faults: FaultPlan
) -> None:
    world = World(faults)
    world.decide(order("in", quantity="0.001"), stop("stop"), settle=False)
    for _ in range(pumps):
        world.pump()
        world.wall = world.core.next_due_us(world.wall) or world.wall
    world.start()
    world.settle()
    world.start()
    world.settle()
    world.check()
    assert world.ends()[order("in").id] == "FILLED"
    world.feed("clock/0", ClockTicked, TickData(candle_s=60))
    world.price("38900")
    assert set(world.ends()) == {order("in").id, stop("stop").id}
    world.check()
