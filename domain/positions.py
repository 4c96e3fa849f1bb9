"""The positions decider: results in, positions, order ends, closed trades and equity out (CORE-6).

A record that told anything is answered by one record: position items, order ends, closed trades and
last the equity, so that an order's end and what it left of the position can never be seen apart.
While something is open equity is told once an hour too, at the first tick of the hour.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

from domain.average_cost import EXACT, ZERO
from domain.clock_state import ClockState
from domain.decider import OWN, Decision, Read, Slices
from domain.equity_line import NEW_ID, EquityLine, marks_of
from domain.market_state import MarksState
from domain.policy_state import ControlState
from domain.positions_state import SETTLEMENT, AccountBook, Fee, Results, Trade, ratio
from domain.waits import Waits
from schemas.envelope import Envelope
from schemas.ids import part_id
from schemas.market import ClockTicked
from schemas.positions import (
    EquityItem,
    OrderEndItem,
    PositionData,
    PositionItem,
    PositionUpdated,
    PositionUpdateItem,
    TradeClosedItem,
)
from schemas.scalars import dec, micros, text
from schemas.topics import CLOCK, CONTROL, EXECUTION_RES, MARKET, POSITION_UPDATE
from schemas.trade import ExecutionReported
from schemas.trusted import renamed, trusted

HOUR_US = 3_600_000_000


@dataclass(slots=True)
class AccountTold:
    """What own records said last: fees as valued (a mark is not seen again), and the hour."""

    fees: Decimal = ZERO
    trade_fees: dict[str, Decimal] = field(default_factory=dict)
    """Fees of open trades by symbol, in the settlement asset."""
    hour: str = ""


@dataclass(slots=True)
class PositionsOwn:
    accounts: dict[str, AccountTold] = field(default_factory=dict)


class Positions:
    """One source an account partition."""

    name = "positions"
    output = POSITION_UPDATE
    reads: tuple[Read, ...] = (Read(EXECUTION_RES), Read(CONTROL), Read(MARKET), Read(CLOCK))
    waits_on = frozenset({OWN, EXECUTION_RES.name})
    asks_about: tuple[type[Envelope], ...] = (ExecutionReported, ClockTicked)

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition, self.partitions = partition, partitions

    def begin(self, topic: str) -> Any:
        states = {
            OWN: PositionsOwn,
            EXECUTION_RES.name: Results,
            CONTROL.name: ControlState,
            MARKET.name: MarksState,
            CLOCK.name: ClockState,
        }
        return states[topic]()

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        if topic == OWN:
            return _fold_own(state, event)
        if topic == EXECUTION_RES.name:
            return isinstance(event, ExecutionReported) and bool(state.fold(event))
        return bool(state.fold(event))

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        if isinstance(fact, ExecutionReported):
            return (fact.partitionkey,)
        if not isinstance(fact, ClockTicked):
            return ()
        hour, told = fact.time[:13], slices[OWN].accounts
        books = slices[EXECUTION_RES.name].accounts
        return sorted(
            account
            for account, book in books.items()
            if book.open and account in told and told[account].hour < hour
        )

    def waits(self, slices: Slices) -> Waits:
        """The next full hour of every account with an open position."""
        waits, told = Waits(), slices[OWN].accounts
        for account, book in slices[EXECUTION_RES.name].accounts.items():
            if book.open and account in told and told[account].hour:
                waits.wake_at(micros(f"{told[account].hour}:00:00.000000Z") + HOUR_US)
            elif book.open and account in told:
                waits.every_tick = True
        return waits

    def told_alone(self, slices: Slices) -> str | None:
        """The account whose equity a tick tells, where there is but one; its equity was told
        before."""
        told = slices[OWN].accounts
        held = [a for a, book in slices[EXECUTION_RES.name].accounts.items() if book.open]
        one = held[0] if len(held) == 1 else None
        return one if one in told and told[one].hour else None

    def line(self, slices: Slices, account: str) -> EquityLine:
        """What an account's equity is told by until its next record of results. Call it in the
        context :data:`EXACT`."""
        return EquityLine(slices[EXECUTION_RES.name].accounts[account],
                          slices[OWN].accounts[account].fees)  # fmt: skip

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        book: AccountBook = slices[EXECUTION_RES.name].accounts[account]
        market: MarksState = slices[MARKET.name]
        told: AccountTold = slices[OWN].accounts.get(account) or AccountTold()
        with localcontext(EXACT):
            if isinstance(cause, ExecutionReported):
                items = _answer(book, market, told)
            else:
                items = [_equity(book, market, told.fees)]
        if not items:
            return None
        named = tuple(renamed(item, part_id(record_id, n)) for n, item in enumerate(items))
        symbols = {item.symbol for item in named if not isinstance(item, EquityItem)}
        symbol = symbols.pop() if len(symbols) == 1 else None
        return Decision(PositionUpdated, account, trusted(PositionData, items=named), symbol)

    def tidy(self, slices: Slices) -> None:
        """Nothing to take out: closed trades leave memory with the record after the one that closed
        them, ends of orders likewise."""


def _fold_own(state: PositionsOwn, event: Envelope) -> bool:
    if not isinstance(event, PositionUpdated):
        return False
    told = state.accounts.setdefault(event.partitionkey, AccountTold())
    for item in event.data.items:
        if isinstance(item, PositionItem):
            if dec(item.quantity):
                told.trade_fees[item.symbol] = dec(item.fees)
            else:
                told.trade_fees.pop(item.symbol, None)
        elif isinstance(item, EquityItem):
            told.fees = dec(item.fees)
            told.hour = event.time[:13]
    return True


def _answer(book: AccountBook, market: MarksState, told: AccountTold) -> list[PositionUpdateItem]:
    """Items of the answer to a record of results, in order."""
    last = book.told
    fees, by_trade = told.fees, _carried(book, told)
    for fee in last.fees:
        value = _value(fee, market)
        fees += value
        by_trade[fee.trade_id] = by_trade.get(fee.trade_id, ZERO) + value
    items: list[PositionUpdateItem] = []
    for symbol in last.symbols:
        trade = book.open.get(symbol) or next(
            t for t in reversed(last.closed) if t.symbol == symbol
        )
        items.append(_position(trade, by_trade.get(trade.trade_id, ZERO)))
    items.extend(
        trusted(
            OrderEndItem,
            id=NEW_ID,
            order_id=end.order_id,
            symbol=end.symbol,
            status=end.status,
            filled_quantity=end.filled_quantity,
        )
        for end in last.ends
    )
    items.extend(_closed(trade, by_trade.get(trade.trade_id, ZERO)) for trade in last.closed)
    if last.money:
        items.append(_equity(book, market, fees))
    return items


def _carried(book: AccountBook, told: AccountTold) -> dict[str, Decimal]:
    """Fees told so far, by trade. A symbol's told fees are those of the trade that was open before
    the record: the first one it closed, else the one that is open."""
    owner: dict[str, str] = {symbol: trade.trade_id for symbol, trade in book.open.items()}
    for trade in reversed(book.told.closed):
        owner[trade.symbol] = trade.trade_id
    return {owner[s]: fees for s, fees in told.trade_fees.items() if s in owner}


def _value(fee: Fee, market: MarksState) -> Decimal:
    """A fee in the settlement asset, at the mark of its own asset at fill time (DEFINITIONS 3).

    Raises ValueError when no price of that asset is known: a fee is never taken for 0.
    """
    if fee.asset == SETTLEMENT:
        return fee.amount
    symbol = f"{fee.asset}{SETTLEMENT}"
    mark = market.mark(symbol) or (fee.price if fee.symbol == symbol else None)
    if mark is None:
        raise ValueError(
            f"fee of {fee.amount} {fee.asset} cannot be valued: no price of {symbol} is known; "
            f"publish prices of {symbol} before trades that pay fees in {fee.asset}"
        )
    return fee.amount * mark


def _position(trade: Trade, fees: Decimal) -> PositionItem:
    return trusted(
        PositionItem,
        id=NEW_ID,
        symbol=trade.symbol,
        trade_id=trade.trade_id,
        quantity=text(trade.quantity),
        cost=text(trade.cost),
        average_entry=text(ratio(trade.cost, trade.quantity)) if trade.quantity else None,
        realised=text(trade.realised),
        fees=text(fees),
        funding=text(trade.funding),
        opened_at=trade.opened_at,
        entry_at=trade.entry_at,
    )


def _closed(trade: Trade, fees: Decimal) -> TradeClosedItem:
    return trusted(
        TradeClosedItem,
        id=NEW_ID,
        trade_id=trade.trade_id,
        symbol=trade.symbol,
        side=trade.side,
        quantity_max=text(trade.quantity_max),
        entry_average=text(ratio(trade.entered_value, trade.entered)),
        exit_average=text(ratio(trade.left_value, trade.left)),
        realised=text(trade.realised),
        fees=text(fees),
        funding=text(trade.funding),
        net=text(trade.realised - fees + trade.funding),
        opened_at=trade.opened_at,
        closed_at=trade.closed_at,
        exit_order_id=trade.exit_order_id,
    )


def _equity(book: AccountBook, market: MarksState, fees: Decimal) -> EquityItem:
    return EquityLine(book, fees).at(NEW_ID, marks_of(book, market.mark))
