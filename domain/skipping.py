"""Bulk folds: what slices of `market` and `clock` take over when records are skipped.

`Outside` stands at a place in the outside records and tells what folding all of them up to there
would have left. A slice that is brought up to date by `skip` is equal to one that folded each
record (tests compare their canonical digests).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from domain.market_state import ClosedCandle
from domain.regime import HourlyRange
from domain.strategy import Bar

MINUTE_US = 60_000_000


class Point(NamedTuple):
    """The last price of a symbol: `at` its canonical time, `point` its place on a candle's path."""

    price: Decimal
    at: str
    point: int | None


class Outside(Protocol):
    """A place in the outside records. Symbols are those that are listed."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those with candles in this run, in order."""

    @property
    def market_time(self) -> str:
        """Latest time of prices, candles, settlements and listings."""

    @property
    def traded_time(self) -> str:
        """Latest time of prices and candles."""

    @property
    def closed_time(self) -> str:
        """Time of the last record of closed candles."""

    @property
    def clock_time(self) -> str:
        """Time of the last tick; :data:`~schemas.scalars.EPOCH_TEXT` before the first."""

    @property
    def candle_s(self) -> int:
        """Seconds that a tick stands for."""

    def last(self, symbol: str) -> Point | None:
        """The last price; None before the first."""

    def before(self, symbol: str) -> Decimal | None:
        """The price before the last."""

    def recent(self, symbol: str, kept_us: int = MINUTE_US) -> list[tuple[int, Decimal]]:
        """Time in microseconds and price of the points of the last `kept_us`, oldest first, with
        the one that held at their beginning."""

    def candle(self, symbol: str) -> ClosedCandle | None:
        """The last closed candle."""

    def opened_at(self, symbol: str) -> str:
        """Open time of the last closed candle; empty before the first."""

    def traded(self, symbol: str) -> int:
        """How many candles have closed, warm-up not counted."""

    def minutes(self, symbol: str, since: str) -> Sequence[Bar]:
        """The closed candles that opened after `since` (canonical; empty: all), up to the last."""

    def hourly(self, symbol: str, state: HourlyRange) -> None:
        """Set `state` to the range of the candles closed so far."""
