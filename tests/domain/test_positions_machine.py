"""Goal: whatever is traded, the books equal those of a naive model that keeps all fills in a list.

Method: a hypothesis state machine with fills, repeats, funding, transfers and prices; after each
step the last equity item is compared with sums over the whole history, in exact fractions.
"""

from decimal import Decimal
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schemas.positions import PositionUpdated
from schemas.trade import ExecutionItem, Filled
from tests.domain.positions_world import BTC, ETH, World, ended, funded, item

SYMBOLS = (BTC, ETH)
SIDES = st.sampled_from(("BUY", "SELL"))
QUANTITIES = st.integers(1, 60).map(lambda n: str(Decimal(n) / 1000))
PRICES = st.integers(1, 9_000_000).map(lambda n: str(Decimal(n) / 100))
FEES = st.integers(-50, 500).map(lambda n: str(Decimal(n) / 1000))
FILL = st.tuples(SIDES, QUANTITIES, PRICES, st.sampled_from(SYMBOLS), FEES)
TOLERANCE = Fraction(1, 10**9)
"""Averages are shown to 1e-12; sums are compared exactly."""


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.fills: list[Filled] = []
        self.transfers = Fraction(0)
        self.funding = Fraction(0)
        self.marks: dict[str, Fraction] = {}
        self.last: PositionUpdated | None = None
        self.closed = 0

    def take(self, *items: ExecutionItem) -> PositionUpdated | None:
        update = self.world.result(*items)
        if update is not None:
            self.last = update
            self.closed += sum(i.kind == "trade_closed" for i in update.data.items)
        return update

    def quantity(self, symbol: str) -> Fraction:
        signs = {"BUY": 1, "SELL": -1}
        return sum(
            (signs[f.side] * Fraction(f.quantity) for f in self.fills if f.symbol == symbol),
            Fraction(0),
        )

    @rule(amount=st.integers(-100_000, 1_000_000))
    def transfer(self, amount: int) -> None:
        update = self.world.deposit(str(amount))
        self.transfers += amount
        self.last = update

    @rule(described=st.lists(FILL, min_size=1, max_size=3))
    def trade(self, described: list[tuple[str, str, str, str, str]]) -> None:
        made = [
            self.world.fill(side, quantity, price, symbol=symbol, fee=fee)
            for side, quantity, price, symbol, fee in described
        ]
        update = self.take(*made, ended(made[-1]))
        for one in made:
            before = self.quantity(one.symbol)
            self.fills.append(one)
            self.expect_trade(one, before)
        touched = {one.symbol for one in made}
        told = [i for i in update.data.items if i.kind == "position"] if update else []
        assert {i.symbol for i in told} == touched
        for position in told:
            assert Fraction(position.quantity) == self.quantity(position.symbol)

    def expect_trade(self, one: Filled, before: Fraction) -> None:
        """The trade that is open belongs to the fill that left flat or crossed it."""
        after = self.quantity(one.symbol)
        if after == 0 or one is not [f for f in self.fills if f.symbol == one.symbol][-1]:
            return
        if before == 0 or (before > 0) != (after > 0):
            trade = self.world.book().open.get(one.symbol)
            if trade is not None and trade.entered == abs(trade.quantity) and not trade.left:
                assert trade.side == ("BUY" if trade.quantity > 0 else "SELL")

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.fills:
            assert self.world.result(data.draw(st.sampled_from(self.fills))) is None

    @rule(amount=st.integers(-10_000, 10_000), symbol=st.sampled_from(SYMBOLS))
    def fund(self, amount: int, symbol: str) -> None:
        self.world.number += 1
        value = Decimal(amount) / 1000
        self.take(funded(str(value), symbol, str(self.world.number)))
        self.funding += Fraction(value)

    @rule(price=PRICES, symbol=st.sampled_from(SYMBOLS))
    def move(self, price: str, symbol: str) -> None:
        self.world.price(**{symbol: price})
        self.marks[symbol] = Fraction(price)

    @rule(seconds=st.integers(1, 5000))
    def pass_time(self, seconds: int) -> None:
        update = self.world.tick(seconds)
        if update is not None:
            self.last = update
            assert any(self.quantity(symbol) for symbol in SYMBOLS)

    @invariant()
    def positions_are_the_sums_of_fills(self) -> None:
        if not self.fills:
            return
        book = self.world.book()
        for symbol in SYMBOLS:
            trade = book.open.get(symbol)
            assert Fraction(trade.quantity if trade else 0) == self.quantity(symbol)

    @invariant()
    def equity_is_transfers_less_fills_plus_value(self) -> None:
        if self.last is None:
            return
        told = [i for i in self.last.data.items if i.kind == "equity"]
        if not told or self.last is not self.world.updates[-1]:
            return
        equity = told[0]
        assert Fraction(equity.transfers) == self.transfers
        if self.fills:
            assert Fraction(equity.fees) == sum(Fraction(f.fee) for f in self.fills)
        assert Fraction(equity.funding) == self.funding
        paid = sum(
            Fraction(f.quantity) * Fraction(f.price) * (1 if f.side == "BUY" else -1)
            for f in self.fills
        )
        value = sum(self.quantity(s) * Fraction(m) for s, m in equity.marks.items())
        fees = sum(Fraction(f.fee) for f in self.fills)
        assert Fraction(equity.equity) == self.transfers - paid + value - fees + self.funding
        parts = (equity.transfers, equity.realised, equity.funding, equity.unrealised)
        assert Fraction(equity.equity) == sum(map(Fraction, parts)) - Fraction(equity.fees)
        assert set(equity.marks) == {s for s in SYMBOLS if self.quantity(s)}

    @invariant()
    def closed_trades_and_open_ones_make_up_the_result(self) -> None:
        closed = [i for u in self.world.updates for i in u.data.items if i.kind == "trade_closed"]
        if not self.fills:
            return
        book = self.world.book()
        net = sum(Fraction(i.realised) for i in closed)
        still = sum(Fraction(t.realised) for t in book.open.values())
        assert net + still == Fraction(book.realised)
        for trade in closed:
            sign = 1 if trade.side == "BUY" else -1
            exact = sign * (Fraction(trade.exit_average) - Fraction(trade.entry_average))
            assert Fraction(trade.net) == (
                Fraction(trade.realised) - Fraction(trade.fees) + Fraction(trade.funding)
            )
            if Fraction(trade.realised) * exact < 0:
                assert abs(Fraction(trade.realised)) < TOLERANCE


Books.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase


def test_the_last_equity_item_is_the_last_item() -> None:
    world = World()
    world.deposit("1")
    update = world.result(world.fill("BUY", "1", "1"))
    assert update is not None
    assert update.data.items[-1] == item(update, "equity")
