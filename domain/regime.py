"""Average true range on 1 h candles and the volatility regime (DEFINITIONS 5; Wilder 1978).

A fold of closed 1 m candles in whole units of 1e-8, so that no rounding depends on the path. The
regime goes up at once with the forming hour and down only at the close of an hour.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from schemas.trade import Regime

UNIT = Decimal("0.00000001")
PERIODS = 14
SCALE = 1_000_000
"""The average is kept in millionths of a unit."""
HIGH_VOL_PCT = 3
EXTREME_VOL_PCT = 6
LEAVE_AT = Decimal("0.8")
"""A regime is left at an hour's close below this share of its threshold."""
_LEVELS: tuple[tuple[Regime, int], ...] = (
    ("EXTREME_VOL", EXTREME_VOL_PCT),
    ("HIGH_VOL", HIGH_VOL_PCT),
)


def units(price: Decimal) -> int:
    """A price in whole units of 1e-8."""
    return int(price / UNIT)


@dataclass(slots=True)
class HourlyRange:
    """Wilder's ATR (n = 14, seeded with the mean of 14) of one symbol. Prices in units of 1e-8."""

    hour: str = ""
    high: int = 0
    low: int = 0
    close: int = 0
    close_before: int | None = None
    seeds: list[int] = field(default_factory=list)
    average: int | None = None
    """ATR of the closed hours, in millionths of a unit; None before 14 hours are closed."""
    regime: Regime = "NORMAL"

    def fold(self, opened_at: str, high: Decimal, low: Decimal, close: Decimal) -> None:
        """Fold a closed 1 m candle; `opened_at` names the hour it belongs to."""
        self.fold_units(opened_at, units(high), units(low), units(close))

    def fold_units(self, opened_at: str, high: int, low: int, close: int) -> None:
        """The same with prices in units of 1e-8."""
        hour = opened_at[:13]
        if hour != self.hour:
            if self.hour:
                self._close_hour()
            self.hour, self.high, self.low = hour, high, low
        else:
            self.high, self.low = max(self.high, high), min(self.low, low)
        self.close = close
        if opened_at[14:16] == "59":
            self._close_hour()
            self.hour = ""
            self._fall()
        else:
            self._rise()

    def _true_range(self) -> int:
        if self.close_before is None:
            return self.high - self.low
        last = self.close_before
        return max(self.high, last) - min(self.low, last)

    def _close_hour(self) -> None:
        true_range = self._true_range()
        self.close_before = self.close
        if self.average is None:
            self.seeds.append(true_range)
            if len(self.seeds) == PERIODS:
                self.average = sum(self.seeds) * SCALE // PERIODS
                self.seeds.clear()
        else:
            self.average = (self.average * (PERIODS - 1) + true_range * SCALE) // PERIODS

    def _current(self) -> int | None:
        """ATR with the forming hour: ATR + max(0, TR_forming - ATR) / 14."""
        if self.average is None or not self.hour:
            return self.average
        above = self._true_range() * SCALE - self.average
        return self.average + above // PERIODS if above > 0 else self.average

    def _above(self, value: int, pct: Decimal) -> bool:
        return value * 100 > pct * self.close * SCALE

    def _rise(self) -> None:
        current = self._current()
        if current is None or current * 100 <= HIGH_VOL_PCT * self.close * SCALE:
            return  # The lowest threshold, in whole numbers: most minutes end here.
        for regime, threshold in _LEVELS:
            if self._above(current, Decimal(threshold)):
                if not (regime == "HIGH_VOL" and self.regime == "EXTREME_VOL"):
                    self.regime = regime
                return

    def _fall(self) -> None:
        value = self.average
        if value is None:
            return
        self._rise()
        if self.regime == "EXTREME_VOL" and not self._above(value, LEAVE_AT * EXTREME_VOL_PCT):
            self.regime = "HIGH_VOL"
        if self.regime == "HIGH_VOL" and not self._above(value, LEAVE_AT * HIGH_VOL_PCT):
            self.regime = "NORMAL"

    @property
    def atr(self) -> Decimal | None:
        """ATR in price units with the forming hour; None before 14 hours are closed."""
        current = self._current()
        return None if current is None else (current // SCALE) * UNIT

    @property
    def atr_pct(self) -> Decimal | None:
        """100 ATR / close, four decimals."""
        current = self._current()
        if current is None or not self.close:
            return None
        return Decimal(current * 1_000_000 // (self.close * SCALE)) / 10_000
