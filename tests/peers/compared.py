"""Our trades beside a peer's, one by one, with every difference in price and P&L taken apart."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from gateways.candles import Candles
from replay.backtest import Backtest, run
from schemas.positions import PositionUpdated, TradeClosedItem
from schemas.scalars import dec, micros
from schemas.trade import ExecutionReported, Filled, Order, OrderDecided
from tests.peers.rules import HALF_SPREAD, Bars, Trade, impact

PARTS = ("next_open", "spread", "impact", "rounding", "exit_level", "other_exit", "fees")
"""What a difference in net P&L is made of: entry at the next open and not at the close; half
spreads; impact; ticks; exit levels made from another close or tick; an exit in another candle;
fees."""


def bars_of(candles: Candles) -> Bars:
    """The file's prices as the shortest decimals of its floats."""
    columns = (candles.open, candles.high, candles.low, candles.close)
    prices = ([Decimal(repr(value)) for value in column.tolist()] for column in columns)
    opened, high, low, close = prices
    return Bars(opened, high, low, close, candles.volume.tolist())


def without_first(candles: Candles, count: int) -> Candles:
    """The same candles without the first `count`."""
    names = ("ts_ms", "open", "high", "low", "close", "volume")
    return replace(candles, **{name: getattr(candles, name)[count:] for name in names})


@dataclass(frozen=True, slots=True)
class Traded:
    """Closed trades of a run of ours, and what its record says about all of them."""

    trades: list[Trade]
    rules: Counter[str]
    """Fills by the venue's rule."""
    pieces: Counter[int]
    """Orders by how many fills they had."""


def traded(candles: Candles, *, first: int = 0, path: Any = "fast") -> Traded:
    """The yardstick by our system on the candles from `first` on; candles are counted in the whole
    file."""
    whole = {ts: n for n, ts in enumerate(candles.ts_ms.tolist())}
    result = run(
        Backtest(
            candles=(without_first(candles, first),),
            strategy="yardstick",
            warm_up_h=0,
            path=path,
        )
    )
    orders: dict[str, Order] = {}
    signals: dict[str, int] = {}
    fills: dict[str, list[Filled]] = {}
    closed: list[TradeClosedItem] = []
    for stored in result.records:
        event = stored.event
        if isinstance(event, OrderDecided):
            for order in (i for i in event.data.items if isinstance(i, Order)):
                orders[order.id] = order
                signals[order.id] = whole.get(micros(event.time) // 1000 - 60_000, -1)
        elif isinstance(event, ExecutionReported):
            for fill in (i for i in event.data.items if isinstance(i, Filled)):
                fills.setdefault(fill.order_id or "", []).append(fill)
        elif isinstance(event, PositionUpdated):
            closed += [i for i in event.data.items if isinstance(i, TradeClosedItem)]
    opened_by = {fill.id: order_id for order_id, made in fills.items() for fill in made}
    trades = [_trade(t, orders, signals[opened_by[t.trade_id]], whole) for t in closed]
    every = [fill for made in fills.values() for fill in made]
    return Traded(
        trades, Counter(f.rule for f in every), Counter(len(made) for made in fills.values())
    )


def _trade(
    closed: TradeClosedItem, orders: dict[str, Order], signal: int, whole: dict[int, int]
) -> Trade:
    purpose = orders[closed.exit_order_id or ""].purpose
    assert purpose in ("stop", "target")
    moment = micros(closed.closed_at) // 1000
    return Trade(
        signal=signal,
        entry=signal + 1,
        entry_price=dec(closed.entry_average),
        exit=whole[moment - moment % 60_000],
        exit_price=dec(closed.exit_average),
        how=purpose,
        quantity=dec(closed.quantity_max),
        fees=dec(closed.fees),
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """One trade of ours and the peer's of the same signal. `parts` sum exactly to the difference
    of net P&L, ours less the peer's at our quantity."""

    ours: Trade
    theirs: Trade
    parts: dict[str, Decimal]

    @property
    def same_exit(self) -> bool:
        return (self.ours.exit, self.ours.how) == (self.theirs.exit, self.theirs.how)

    @property
    def difference(self) -> Decimal:
        return self.ours.pnl - self.theirs.pnl * self.ours.quantity / self.theirs.quantity


def compare(bars: Bars, ours: Iterable[Trade], theirs: Iterable[Trade]) -> list[Compared]:
    """Every pair of one signal, in order."""
    known = {trade.signal: trade for trade in theirs}
    return [
        Compared(trade, other, _parts(bars, trade, other))
        for trade in ours
        if (other := known.get(trade.signal)) is not None
    ]


def _parts(bars: Bars, ours: Trade, theirs: Trade) -> dict[str, Decimal]:
    """See :data:`PARTS`. Money per trade at our quantity."""
    quantity = ours.quantity
    opened, close = bars.open[ours.entry], bars.close[ours.signal]
    seen = opened if theirs.entry == ours.entry else close
    level = _level(bars, ours)
    moved = impact(bars, ours.signal), impact(bars, ours.exit - 1)
    paid = opened * (HALF_SPREAD + moved[0])
    left = level * (HALF_SPREAD + moved[1])
    same = (ours.exit, ours.how) == (theirs.exit, theirs.how)
    apart = level - theirs.exit_price
    return {
        "next_open": -quantity * (opened - seen),
        "spread": -quantity * HALF_SPREAD * (opened + level),
        "impact": -quantity * (opened * moved[0] + level * moved[1]),
        "rounding": -quantity * (ours.entry_price - opened - paid)
        + quantity * (ours.exit_price - level + left)
        - quantity * (seen - theirs.entry_price),
        "exit_level": quantity * apart if same else Decimal(0),
        "other_exit": Decimal(0) if same else quantity * apart,
        "fees": theirs.fees * quantity / theirs.quantity - ours.fees,
    }


def _level(bars: Bars, trade: Trade) -> Decimal:
    """Where our stop or target stood, or the open beyond it."""
    share = Decimal("0.98") if trade.how == "stop" else Decimal("1.03")
    level = (bars.close[trade.signal] * share).quantize(Decimal("0.01"))
    opened = bars.open[trade.exit]
    return min(level, opened) if trade.how == "stop" else max(level, opened)


def totals(compared: Iterable[Compared]) -> dict[str, Decimal]:
    """Sum of each part over all trades."""
    found = dict.fromkeys(PARTS, Decimal(0))
    for each in compared:
        for name in PARTS:
            found[name] += each.parts[name]
    return found
