"""Fill rules written down anew: what nautilus_trader, backtesting.py and our venue do with a bar.

Independent of the peers' code and of ours. A trade is (candle of the signal, entry candle and
price, exit candle and price, what ended it); candles are counted from 0 in the file.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Literal

EVERY = 100
How = Literal["stop", "target"]


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles as the file has them; shortest decimals of its floats."""

    open: Sequence[Decimal]
    high: Sequence[Decimal]
    low: Sequence[Decimal]
    close: Sequence[Decimal]
    volume: Sequence[float] = ()

    def rounded(self, tick: Decimal) -> "Bars":
        """Every price on a coarser tick, halves up."""

        def on_tick(prices: Sequence[Decimal]) -> list[Decimal]:
            return [(p / tick).quantize(Decimal(1), ROUND_HALF_UP) * tick for p in prices]

        return Bars(on_tick(self.open), on_tick(self.high), on_tick(self.low), on_tick(self.close))


@dataclass(frozen=True, slots=True)
class Trade:
    """A bracketed long. `pnl` is net of `fees`, for `quantity`."""

    signal: int
    entry: int
    entry_price: Decimal
    exit: int
    exit_price: Decimal
    how: How
    quantity: Decimal
    fees: Decimal

    @property
    def pnl(self) -> Decimal:
        return (self.exit_price - self.entry_price) * self.quantity - self.fees


def nautilus(bars: Bars, *, maker: Decimal, taker: Decimal) -> Iterator[Trade]:
    """nautilus_trader 1.221.0 on bars, `maker` and `taker` as fractions.

    Every price is rounded to the instrument's tick of 0.1. The order of bar n fills at its close,
    at once. From bar n + 1 on a bar is four prices: open, high, low, close. A limit fills when one
    of them reaches it, at its own price, as maker; a stop likewise, as taker, at its trigger. (A
    bar that opens beyond a level, or holds both, is not in the files compared: nothing is claimed.)
    """
    tick, quantity = Decimal("0.1"), Decimal("0.1")
    bars = bars.rounded(tick)
    at = EVERY - 1
    while at < len(bars.close):
        close = bars.close[at]
        stop, target = (_level(close, share) for share in (0.98, 1.03))
        found = _four_prices(bars, at + 1, stop, target)
        if found is None:
            return
        exit_at, how = found
        price = stop if how == "stop" else target
        fee = taker if how == "stop" else maker
        fees = quantity * (close * taker + price * fee)
        yield Trade(at, at, close, exit_at, price, how, quantity, fees)
        at = _next_look(exit_at, EVERY - 1)


def _four_prices(bars: Bars, first: int, stop: Decimal, target: Decimal) -> tuple[int, How] | None:
    for n in range(first, len(bars.close)):
        if bars.low[n] > stop and bars.high[n] < target:
            continue
        for price in (bars.open[n], bars.high[n], bars.low[n], bars.close[n]):
            if price >= target:
                return n, "target"
            if price <= stop:
                return n, "stop"
    return None


def backtesting_py(bars: Bars, *, commission: Decimal) -> Iterator[Trade]:
    """backtesting.py 0.6.6, `commission` as a fraction of each side's value.

    The first bar is never shown to a strategy, so its hundredth bar is bar 100, not 99. The order
    of bar n fills at the open of bar n + 1, and may be stopped in that bar. The stop is looked at
    first, then the target: each at its price, or at the open of a bar that opens beyond it.
    """
    quantity, at = Decimal(1), EVERY
    while at + 1 < len(bars.close):
        entry = bars.open[at + 1]
        stop = Decimal(repr(float(bars.close[at]) * 0.98))
        target = Decimal(repr(float(bars.close[at]) * 1.03))
        found = _stop_then_target(bars, at + 1, stop, target)
        if found is None:
            return
        exit_at, how = found
        opened = bars.open[exit_at]
        price = min(opened, stop) if how == "stop" else max(opened, target)
        fees = commission * (entry + price)
        yield Trade(at, at + 1, entry, exit_at, price, how, quantity, fees)
        at = _next_look(exit_at, 0)


def _stop_then_target(
    bars: Bars, first: int, stop: Decimal, target: Decimal
) -> tuple[int, How] | None:
    for n in range(first, len(bars.close)):
        if bars.low[n] <= stop:
            return n, "stop"
        if bars.high[n] >= target:
            return n, "target"
    return None


HALF_SPREAD = Decimal("0.0001")
CENT = Decimal("0.01")
OURS = Decimal("0.1")
"""Quantity of the yardstick here."""


def ours(bars: Bars, *, taker: Decimal, first: int = 0) -> Iterator[Trade]:
    """Our venue on bars from `first` on, `taker` as a fraction, prices on a tick of 0.01.

    The order of bar n fills 250 ms after its close, so at the open of bar n + 1, half a spread and
    the impact worse. A bar is six prices: open, middle, the extreme nearer to the open, middle, the
    other extreme, middle. Stop and target trigger where two of them enclose the level, and fill
    there as takers, half a spread and the impact worse; where a bar opens beyond it, at the open.
    Impact is that of the bar before. Stop and target in one bar: the stop.
    """
    at = first + EVERY - 1
    while at + 1 < len(bars.close):
        close = bars.close[at]
        stop, target = (
            (close * share).quantize(CENT, ROUND_HALF_EVEN)
            for share in (Decimal("0.98"), Decimal("1.03"))
        )
        entry = entered_at(bars, at)
        found = _stop_then_target(bars, at + 1, stop, target)
        if found is None:
            return
        exit_at, how = found
        opened = bars.open[exit_at]
        base = min(opened, stop) if how == "stop" else max(opened, target)
        price = left_at(bars, exit_at, base)
        fees = OURS * (entry + price) * taker
        yield Trade(at, at + 1, entry, exit_at, price, how, OURS, fees)
        at = _next_look(exit_at, (first + EVERY - 1) % EVERY)


def entered_at(bars: Bars, signal: int) -> Decimal:
    """What our venue takes for the order of a bar."""
    cost = 1 + HALF_SPREAD + impact(bars, signal)
    return (bars.open[signal + 1] * cost).quantize(CENT, ROUND_CEILING)


def left_at(bars: Bars, exit_at: int, base: Decimal) -> Decimal:
    """What our venue pays for an exit at `base` in a bar."""
    cost = 1 - HALF_SPREAD - impact(bars, exit_at - 1)
    return (base * cost).quantize(CENT, ROUND_FLOOR)


def impact(bars: Bars, before: int) -> Decimal:
    """sigma sqrt(Q / V) of a bar, sigma = ln(H / L) / (2 sqrt(ln 2)), as a fraction of price."""
    high, low, volume = float(bars.high[before]), float(bars.low[before]), bars.volume[before]
    deviation = math.log(high / low) / (2 * math.sqrt(math.log(2)))
    share = math.sqrt(float(OURS) / volume) if volume else 1.0
    return Decimal(deviation * share).quantize(Decimal("1E-12"))


def _next_look(exit_at: int, remainder: int) -> int:
    """The first bar from `exit_at` on whose number leaves `remainder` when divided by 100."""
    return exit_at + (remainder - exit_at) % EVERY


def _level(close: Decimal, share: float) -> Decimal:
    """A level as the strategy of nautilus_trader makes it: in floats, then to one decimal place,
    halves to even."""
    return Decimal(f"{float(close) * share:.1f}")
