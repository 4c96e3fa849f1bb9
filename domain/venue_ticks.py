"""Ticks at the simulated venue: what traded at each price, what a trade does to a resting limit.

DEFINITIONS 10, Ticks: trades are looked at in order; a buy limit fills on trades whose aggressor
sold below it, or at it after the volume seen there on arrival has traded. Trade files show no
depth, so what is seen on arrival is estimated (ours): what aggressors of the other side traded at
that price in this minute and the one before, and no less than the mean over all prices they traded
at in that time, so that nobody stands first at a price that nothing is known of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from domain.market_state import SymbolMarket
from schemas.market import Price, Print
from schemas.trade import Side

ZERO = Decimal(0)
MINUTE_US = 60_000_000
DAY_MINUTES = 1440


@dataclass(slots=True)
class Level:
    """One price and side: `total` counts up; `here` is of minute `minute`, `before` of the one
    before it."""

    total: Decimal = ZERO
    minute: int = 0
    here: Decimal = ZERO
    before: Decimal = ZERO

    def add(self, quantity: Decimal, minute: int) -> None:
        if minute != self.minute:
            self.before = self.here if minute == self.minute + 1 else ZERO
            self.here, self.minute = ZERO, minute
        self.total += quantity
        self.here += quantity

    def seen(self, minute: int) -> Decimal:
        """Traded in `minute` and the one before it."""
        if minute == self.minute:
            return self.here + self.before
        return self.here if minute == self.minute + 1 else ZERO


@dataclass(slots=True)
class Levels:
    """Trades of one symbol by price, for each side of the aggressor. Prices that nothing has traded
    at for a day leave memory at the turn of a day; their count begins again."""

    day: int = 0
    sides: dict[str, dict[Decimal, Level]] = field(default_factory=lambda: {"BUY": {}, "SELL": {}})

    def fold(self, trades: Sequence[Print], us: int) -> None:
        minute = us // MINUTE_US
        if minute // DAY_MINUTES != self.day:
            self.day = minute // DAY_MINUTES
            for side, levels in self.sides.items():
                kept = {p: v for p, v in levels.items() if v.minute > minute - DAY_MINUTES}
                self.sides[side] = kept
        for trade in trades:
            levels, price = self.sides[trade.aggressor], Decimal(trade.price)
            level = levels.get(price)
            if level is None:
                level = levels[price] = Level()
            level.add(Decimal(trade.quantity), minute)

    def total(self, aggressor: str, price: Decimal) -> Decimal:
        level = self.sides[aggressor].get(price)
        return level.total if level else ZERO

    def queue(self, side: Side, limit: Decimal, us: int, step: Decimal) -> Decimal:
        """Count at which it is the turn of an order of `side` that arrives now at `limit`."""
        aggressor, minute = other(side), us // MINUTE_US
        recent = [v for level in self.sides[aggressor].values() if (v := level.seen(minute))]
        mean = sum(recent, ZERO) / len(recent) if recent else ZERO
        level = self.sides[aggressor].get(limit)
        ahead = max(level.seen(minute) if level else ZERO, mean)
        return self.total(aggressor, limit) + (ahead / step).to_integral_value(ROUND_CEILING) * step


@dataclass(slots=True)
class Printed:
    """One trade as resting orders of one account meet it. `before`: what had traded at its price
    when it came; `given`: what of it own orders took."""

    price: Decimal
    quantity: Decimal
    aggressor: str
    before: Decimal
    given: Decimal = ZERO

    def share(self, side: Side, limit: Decimal, queue: Decimal | None) -> Decimal | None:
        """What a resting order may take of it; None: all of the order (traded beyond its limit)."""
        if self.aggressor == side:
            return ZERO
        if self.price < limit if side == "BUY" else self.price > limit:
            return None
        if self.price != limit or queue is None:
            return ZERO
        passed = self.before + self.quantity - max(self.before, queue)
        return max(ZERO, min(passed, self.quantity - self.given))


def printed(trades: Sequence[Print], levels: Levels) -> list[Printed]:
    """Trades of one instant, in order; `levels` has them folded already."""
    running: dict[tuple[str, Decimal], Decimal] = {}
    for trade in trades:
        key = (trade.aggressor, Decimal(trade.price))
        running[key] = running.get(key, levels.total(*key)) - Decimal(trade.quantity)
    out = []
    for trade in trades:
        key, quantity = (trade.aggressor, Decimal(trade.price)), Decimal(trade.quantity)
        out.append(Printed(key[1], quantity, trade.aggressor, running[key]))
        running[key] += quantity
    return out


def looks(item: Price, known: SymbolMarket) -> list[tuple[Decimal, Decimal]]:
    """(last, mark) at which a watch has to look for anything that `item` may touch: a limit is
    touched at its own price on ticks, so the extremes are looked at a tick further out."""
    assert known.last is not None
    assert known.mark is not None
    if item.trades is None or known.terms is None:
        return [(known.last, known.mark)]
    prices = [Decimal(trade.price) for trade in item.trades]
    low, high, tick = min(prices), max(prices), known.terms.tick
    mark = Decimal(item.mark) if item.mark else None
    return [(low - tick, mark or low), (high + tick, mark or high)]


def other(side: Side) -> Side:
    """The aggressor that meets resting orders of `side`."""
    return "SELL" if side == "BUY" else "BUY"
