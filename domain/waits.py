"""What a decider waits for: how bulk runs (backtests) know which outside records can matter to it.

A decider with a `waits` method promises: as long as none of its other inputs changes, no record of
`market` or `clock` that is not named by its waits makes it decide anything. Such records are then
folded in bulk (`skip`), in which nothing is decided. **A wait may wake it for nothing, never too
late.** A decider without the method is woken by every record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from schemas.trade import Regime


class Level(NamedTuple):
    """Prices of a symbol that matter: at or below `below`, at or above `above` (None: no bound).
    Both last and mark count, so a decider that looks at one of them gives its level for both."""

    symbol: str
    below: Decimal | None = None
    above: Decimal | None = None


class EquityBound(NamedTuple):
    """Equity that matters: cash + sum of quantity x mark at or below `below` or at or above
    `above`, USDT. `quantities` are signed, by symbol. One symbol's bound is a price level; that of
    several is looked at with a margin of floats, so it may wake for nothing."""

    cash: Decimal
    quantities: Mapping[str, Decimal]
    below: Decimal | None = None
    above: Decimal | None = None


@dataclass(slots=True)
class Waits:
    """Everything one decider waits for, of all its accounts together."""

    levels: Sequence[Level] = ()
    """Woken by the first price that meets one."""
    tick_levels: Sequence[Level] = ()
    """Woken by the first tick at which the last price meets one."""
    bounds: Sequence[EquityBound] = ()
    """Woken by the first prices that meet one."""
    moves: Sequence[tuple[str, Decimal]] = ()
    """Symbols and percentages: woken by each price that stands that much above or below one of the
    minute before it."""
    at_us: int | None = None
    """Woken by the first tick at or after this event time, microseconds."""
    every_tick: bool = False
    every_price: bool = False
    every_close: bool = False
    """Woken by every record of closed candles."""
    bars: frozenset[int] = frozenset()
    """Woken by closed candles at whole multiples of these minutes."""
    every_closes: Sequence[tuple[str, int]] = ()
    """Symbols and numbers: woken by each closed candle of the symbol that is a multiple of the
    number (the first is 1, warm-up not counted)."""
    regimes: Sequence[tuple[str, Regime]] = ()
    """Woken by the first tick at which a symbol's regime is another than this."""
    funding: frozenset[str] = frozenset()
    """Woken by settlements of these symbols."""

    def wake_at(self, at_us: int) -> None:
        """Also wait for this time."""
        self.at_us = at_us if self.at_us is None else min(self.at_us, at_us)


class Waiting(Protocol):
    """A decider that says what it waits for."""

    waits_on: frozenset[str]
    """Topics whose slices `waits` looks at, :data:`~domain.decider.OWN` for own records. What was
    listed is always there; the rest of `market` is brought up to date only for those who name
    it."""

    def waits(self, slices: Any) -> Waits:
        """What it waits for in this state."""


NOTHING = Waits()
EVERYTHING = Waits(every_tick=True, every_price=True, every_close=True)
"""Of a decider that cannot say: woken by each record. Settlements count as prices."""
