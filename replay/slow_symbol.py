"""One symbol on the slow path: its candles as plain lists, and the levels that wait for it."""

from decimal import Decimal
from fractions import Fraction

from domain.points import path
from domain.regime import UNIT, HourlyRange
from replay.backtest_course import INSTANTS, MINUTE_US, Rows
from replay.fast_moves import BEFORE, moved
from replay.fast_search import NEVER
from schemas.scalars import time_text

HOUR_US = 3_600_000_000
MINUTES = [f"{minute:02d}" for minute in range(60)]


class SlowSymbol:
    """One symbol as it goes: candles of the run as plain lists, last price, range."""

    def __init__(self, rows: Rows) -> None:
        a, b = rows.after, rows.stop
        series = rows.series
        t, c = series.ticks, series.candles
        columns = (t.open, t.high, t.low, t.close)
        self.series = series
        self.ticks = list(zip(*(column[a:b].tolist() for column in columns), strict=True))
        floats = (c.open, c.high, c.low, c.close, c.volume)
        self.floats = list(zip(*(column[a:b].tolist() for column in floats), strict=True))
        self.highs, self.lows = [row[1] for row in self.ticks], [row[2] for row in self.ticks]
        self.minutes: list[int] = rows.minute[a:b].tolist()
        self.opened_us = [ms * 1000 for ms in c.ts_ms[a:b].tolist()]
        self.warm = rows.first - rows.after
        self.row = 0
        """The next row to open; `closed` candles have closed."""
        self.closed = 0
        self.closed_minute: int | None = None
        self.path: tuple[int, ...] = ()
        """Of the candle that is open; empty where none is."""
        self.hourly = HourlyRange()
        self.unit = (Fraction(series.tick, 10**series.places) / Fraction(UNIT)).as_integer_ratio()
        self._hour, self._hour_text = -1, ""

    def open(self, minute: int) -> bool:
        """Take the candle that opens in a minute; False: none does."""
        if self.row < len(self.minutes) and self.minutes[self.row] == minute:
            self.path = path(*self.ticks[self.row])
            self.row += 1
            return True
        self.path = ()
        return False

    def points(self, point: int) -> int:
        """How many prices were seen; `point`: the last one of the open candle."""
        count = (self.row - self.warm) * INSTANTS
        return max(count - (INSTANTS - 1 - point if self.path else 0), 0)

    def price(self, ordinal: int) -> int:
        """The n-th price (0: the first), whole ticks."""
        row, point = divmod(ordinal, INSTANTS)
        return path(*self.ticks[self.warm + row])[point]

    def standing(self, point: int) -> int:
        """The last price, whole ticks; -1 before the first."""
        if self.path and point >= 0:
            return self.path[point]
        n = self.points(point) - 1
        return self.price(n) if n >= 0 else -1

    def point_us(self, ordinal: int) -> int:
        row, point = divmod(ordinal, INSTANTS)
        opened_us: int = self.opened_us[self.warm + row]
        return opened_us + point * (MINUTE_US // INSTANTS)

    def is_wide(self, share: float) -> bool:
        """Whether the last three candles span a move of a share; the last one is open."""
        if not self.path:
            return False
        first = max(self.row - 3, self.warm)
        if first >= self.row:
            return False  # the warm-up has no prices
        low, high = min(self.lows[first : self.row]), max(self.highs[first : self.row])
        return bool(high - low >= low * share)

    def moved(self, point: int, pct: Decimal) -> bool:
        """Whether the price of the open candle's `point` moved that far within a minute."""
        if not self.path:
            return False
        n = self.points(point) - 1
        return moved([self.price(i) for i in range(max(n - BEFORE, 0), n + 1)], pct)

    def close(self, minute: int) -> bool:
        """Close the candle that opened in a minute; False: none did."""
        n = self.closed
        if n >= len(self.minutes) or self.minutes[n] != minute:
            return False
        _, high, low, close = self.ticks[n]
        up, down = self.unit
        self.hourly.fold_units(
            self._minute_text(self.opened_us[n]),
            high * up // down, low * up // down, close * up // down,
        )  # fmt: skip
        self.closed += 1
        self.closed_minute = minute
        return True

    def _minute_text(self, us: int) -> str:
        """Canonical time up to the minute."""
        hour, rest = divmod(us, HOUR_US)
        if hour != self._hour:
            self._hour, self._hour_text = hour, time_text(hour * HOUR_US)[:14]
        return self._hour_text + MINUTES[rest // MINUTE_US]


class SlowLevels:
    """Levels of one symbol in whole ticks, of all deciders: met at or below, at or above."""

    __slots__ = ("high", "low", "rows")

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int]] = []
        self.low, self.high = -1, NEVER

    def set(self, rows: list[tuple[int, int, int]]) -> None:
        """(decider, low, high) each."""
        self.rows = rows
        self.low = max((row[1] for row in rows), default=-1)
        self.high = min((row[2] for row in rows), default=NEVER)

    def met(self, price: int) -> list[int]:
        return [n for n, low, high in self.rows if price <= low or price >= high]
