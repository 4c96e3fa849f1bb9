"""Random interleavings of verdicts, fills, ends, ticks and emergencies against a naive venue.

Goal: what must hold after every single event, and that an emergency always ends flat. Method: a
hypothesis state machine; the venue is a dictionary of orders that fills, refuses and forgets as it
likes, reduce-only orders clipped to what is open.
"""

from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.execution_state import CLOSING, PROTECTIVE, REDUCING
from schemas.scalars import time_text
from tests.domain.execution_world import BTC, ETH, SECOND, World

SYMBOLS = st.sampled_from([BTC, ETH])
SIDES = st.sampled_from(["BUY", "SELL"])
PICK = st.integers(0, 30)
STEP = Decimal("0.001")
TOPICS = ["own", "trade.signal.safe", "trade.execution.res", "control", "market", "clock"]


class Trading(RuleBasedStateMachine):
    """The decider in a world that answers in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(max_time_in_trade_s=600)
        self.world.prices(BTCUSDT="40000", ETHUSDT="40000")
        self.world.hours("300")
        self.resting: dict[str, Any] = {}
        self.left: dict[str, Decimal] = {}
        self.cancels: list[str] = []
        self.position = {BTC: Decimal(0), ETH: Decimal(0)}
        self.questions: list[Any] = []
        self.is_stopped = False
        self.was_unknown: set[str] = set()
        self.flats = 0

    # ------------------------------------------------------------------ the naive venue

    def take(self, items: list[Any]) -> None:
        for item in items:
            if item.kind == "order":
                assert item.purpose != "entry" or not self.is_stopped
                assert item.reduce_only == (item.purpose != "entry")
                self.resting[item.id], self.left[item.id] = item, Decimal(item.quantity)
            elif item.kind == "cancel":
                assert item.order_id not in self.cancels, "a cancel is decided once"
                self.cancels.append(item.order_id)
            elif item.kind == "step" and item.name == "confirm":
                self.questions.append(item)
            elif item.kind == "flat":
                self.flats += 1
                assert not self.resting
                assert not any(self.position.values())

    def pick(self, number: int) -> Any:
        orders = list(self.resting.values())
        return orders[number % len(orders)]

    def end(self, order: Any, status: str) -> Any:
        filled = Decimal(order.quantity) - self.left[order.id]
        del self.resting[order.id]
        return self.world.ended(order, status, str(max(filled, Decimal(0))))

    def fill(self, order: Any, wanted: Decimal | None) -> list[Any]:
        """Items of a fill; None: as much as there is. The end comes with the last of it."""
        open_ = self.position[order.symbol]
        sign = 1 if order.side == "BUY" else -1
        room = self.left[order.id]
        if order.reduce_only:
            reducible = abs(open_) if open_ * sign < 0 else Decimal(0)
            room = reducible if order.close_position else min(room, reducible)
        amount = room if wanted is None else min(wanted, room)
        if not amount:
            return [self.end(order, "REJECTED")] if order.reduce_only else []
        self.position[order.symbol] += sign * amount
        self.left[order.id] = max(self.left[order.id] - amount, Decimal(0))
        items: list[Any] = [self.world.filled(order, str(amount))]
        done = not self.left[order.id] or (order.close_position and amount == room)
        return [*items, self.end(order, "FILLED")] if done else items

    # ------------------------------------------------------------------ what may happen

    @rule(symbol=SYMBOLS, side=SIDES, limit=st.booleans(), steps=st.integers(1, 30))
    def approve_an_entry(self, symbol: str, side: str, limit: bool, steps: int) -> None:
        stop = "39000" if side == "BUY" else "41000"
        target = "42000" if side == "BUY" else "38000"
        verdict = self.world.verdict(
            side, symbol, limit="40000" if limit else None, stop=stop, target=target,
            quantity=str(STEP * steps),
        )  # fmt: skip
        self.take(self.world.judge(verdict))

    @rule(symbol=SYMBOLS, side=SIDES)
    def open_a_position(self, symbol: str, side: str) -> None:
        """An entry that is filled whole and whose protection is taken, as on most days."""
        self.approve_an_entry(symbol, side, False, 30)
        for purpose in ("entry", "stop", "target"):
            for order in [o for o in self.resting.values() if o.purpose == purpose]:
                if purpose == "entry":
                    self.take(self.world.report(*self.fill(order, None)))
                else:
                    self.take(self.world.report(self.world.accepted(order)))

    @precondition(lambda self: any(self.position.values()))
    @rule(symbol=SYMBOLS, either=st.integers(0, 4))
    def approve_an_exit(self, symbol: str, either: int) -> None:
        side = "SELL" if (self.position[symbol] > 0) == bool(either) else "BUY"
        self.take(self.world.judge(self.world.verdict(side, symbol, kind="exit")))

    @precondition(lambda self: self.resting)
    @rule(number=PICK)
    def accept(self, number: int) -> None:
        self.take(self.world.report(self.world.accepted(self.pick(number))))

    @precondition(lambda self: self.resting)
    @rule(number=PICK, steps=st.one_of(st.none(), st.integers(1, 20)))
    def fill_some(self, number: int, steps: int | None) -> None:
        items = self.fill(self.pick(number), None if steps is None else STEP * steps)
        if items:
            self.take(self.world.report(*items))

    @precondition(lambda self: self.resting)
    @rule(number=PICK, status=st.sampled_from(["REJECTED", "EXPIRED", "CANCELED", "NEVER_SENT"]))
    def refuse(self, number: int, status: str) -> None:
        self.take(self.world.report(self.end(self.pick(number), status)))

    @precondition(lambda self: self.resting)
    @rule(number=PICK)
    def lose_an_answer(self, number: int) -> None:
        order = self.pick(number)
        self.was_unknown.add(order.symbol)
        self.take(self.world.report(self.world.unknown(order)))

    @precondition(lambda self: any(order in self.resting for order in self.cancels))
    @rule()
    def obey_a_cancel(self) -> None:
        order = next(order for order in self.cancels if order in self.resting)
        self.take(self.world.report(self.end(self.resting[order], "CANCELED")))

    @precondition(lambda self: any(self.position.values()))
    @rule(symbol=SYMBOLS, chance=st.integers(0, 3))
    def liquidate(self, symbol: str, chance: int) -> None:
        open_ = self.position[symbol]
        if open_ and not chance:
            self.position[symbol] = Decimal(0)
            side = "SELL" if open_ > 0 else "BUY"
            self.take(self.world.report(self.world.foreign(side, str(abs(open_)), symbol)))

    @rule(seconds=st.sampled_from([1, 3, 30, 61, 700]))
    def tick(self, seconds: int) -> None:
        self.take(self.world.tick(seconds))

    @rule(price=st.sampled_from(["38000", "40000", "42000"]))
    def move(self, price: str) -> None:
        self.take(self.world.prices(BTCUSDT=price, ETHUSDT=price))

    @rule(high=st.sampled_from(["40000", "60000", "90000"]), minutes=st.sampled_from([1, 60]))
    def storm(self, high: str, minutes: int) -> None:
        """A candle that may raise the regime of one symbol, or let it fall an hour later."""
        self.world.us += minutes * 60 * SECOND
        opened = time_text(self.world.us // (60 * SECOND) * 60 * SECOND)
        self.world.candle(opened, high, "39900", "40000")

    @rule(forbidden=st.integers(0, 4))
    def allow(self, forbidden: int) -> None:
        self.take(self.world.change(allow_new_trades=forbidden != 1))

    @precondition(lambda self: not self.is_stopped)
    @rule(chance=st.integers(0, 4))
    def stop(self, chance: int) -> None:
        if chance:
            return
        self.is_stopped, self.flats = True, 0
        self.was_unknown = {o.symbol for o in self.resting.values()}
        self.take(self.world.stop())

    @precondition(lambda self: self.is_stopped and self.world.own.emergency.flat)
    @rule()
    def reset(self) -> None:
        self.is_stopped = False
        self.was_unknown = set()
        self.take(self.world.reset())

    @precondition(lambda self: self.questions)
    @rule()
    def read_back(self) -> None:
        open_ = {symbol: str(q) for symbol, q in self.position.items() if q}
        self.take(self.world.report(self.world.read_back(self.questions.pop(0), **open_)))

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def quantities_from_results_are_those_of_the_venue(self) -> None:
        known = {s: p.quantity for s, p in self.world.results.positions.items()}
        assert known == {s: q for s, q in self.position.items() if q}

    @invariant()
    def one_close_at_a_time(self) -> None:
        for symbol in (BTC, ETH):
            closes = [
                o for o in self.resting.values() if o.symbol == symbol and o.purpose in CLOSING
            ]
            trades = [o.owner_id for o in closes]
            excused = self.is_stopped and symbol in self.was_unknown
            assert excused or len(trades) == len(set(trades)), [o.purpose for o in closes]

    @invariant()
    def a_position_is_protected_or_being_closed(self) -> None:
        for position in self.world.results.positions.values():
            care = self.world.own.care.get(position.symbol)
            mine = care is not None and care.trade_id == position.trade_id
            stops = [
                o
                for o in self.resting.values()
                if o.purpose == "stop" and o.owner_id == position.trade_id
            ]
            assert self.is_stopped or stops or (mine and care is not None and care.closing)

    @invariant()
    def protection_does_not_outlive_its_trade(self) -> None:
        if self.is_stopped:
            return
        trades = {p.trade_id for p in self.world.results.positions.values()}
        for order in self.resting.values():
            if order.purpose in PROTECTIVE and order.owner_id not in trades:
                assert order.id in self.cancels

    @invariant()
    def memory_holds_what_is_open_and_no_more(self) -> None:
        kept = {o for p in self.world.results.positions.values() for o in p.orders}
        assert set(self.resting) <= set(self.world.own.orders) <= set(self.resting) | kept

    def teardown(self) -> None:
        """However it stands: an emergency now ends flat once the venue answers; and the state does
        not depend on the order in which topics are folded."""
        if not self.is_stopped:
            self.stop(0)
        for _ in range(12):
            for order in list(self.resting.values()):
                if order.purpose in REDUCING:
                    self.take(self.world.report(*self.fill(order, None)))
            while self.questions:
                self.read_back()
            while any(order in self.resting for order in self.cancels):
                self.obey_a_cancel()
            self.tick(1)
        assert self.world.own.emergency is not None
        assert self.world.own.emergency.flat
        assert self.flats
        assert not self.world.own.orders
        digest = self.world.source.digest()
        assert self.world.folded(TOPICS) == digest
        assert self.world.folded(TOPICS[::-1]) == digest


TestTrading = Trading.TestCase
TestTrading.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
