"""The hourly range of one symbol at any row, and where its regime changes.

Ranges and averages of whole hours are computed at once. Only hours in which the regime may change
(the range only grows within one, so its end bounds what each minute saw) are folded row by row, by
the class that the deciders use themselves.
"""

from bisect import bisect_right
from fractions import Fraction
from typing import Any

import numpy as np

from domain.regime import HIGH_VOL_PCT, PERIODS, SCALE, UNIT, HourlyRange
from gateways.candles import Ints
from replay.backtest_course import Rows
from schemas.scalars import time_text
from schemas.trade import Regime

MINUTES = 60
HOUR_MS = 3_600_000
MARGIN = 1e-9
"""Floats decide only which hours are looked at exactly: with room to spare."""


class HourTable:
    """Rows of one symbol by hour, from the first of the run's warm-up on."""

    def __init__(self, rows: Rows) -> None:
        series, a, b = rows.series, rows.after, rows.stop
        unit = Fraction(series.tick, 10**series.places) / Fraction(UNIT)
        self._up, self._down = unit.numerator, unit.denominator
        self._first = a
        self._set_row, self._set_seeds = -1, list[int]()
        self._set: tuple[Any, ...] = ()
        """What :meth:`set` made last."""
        self._ticks, self._ts = series.ticks, series.candles.ts_ms
        hours = self._ts[a:b] // HOUR_MS
        starts = np.flatnonzero(np.diff(hours, prepend=hours[0] - 1))
        self._hours: list[int] = hours[starts].tolist()
        self._starts: list[int] = (starts + a).tolist()
        self._stops = [*self._starts[1:], b]
        self._highs = self._units(np.maximum.reduceat(series.ticks.high[a:b], starts))
        self._lows = self._units(np.minimum.reduceat(series.ticks.low[a:b], starts))
        stops = np.append(starts[1:], b - a) + a
        self._closes = self._units(series.ticks.close[stops - 1])
        self._seeds: list[int] = []
        self._averages = self._average()
        self.changes: list[int] = [-1]
        self.regimes: list[Regime] = ["NORMAL"]
        least = self._units(np.minimum.reduceat(series.ticks.close[a:b], starts))
        self._walk(least)

    def _units(self, ticks: Ints) -> list[int]:
        if self._down == 1:
            whole: list[int] = (ticks * self._up).tolist()
            return whole
        return [int(n) * self._up // self._down for n in ticks]

    def _average(self) -> list[int | None]:
        """Average when each hour began (the hours before it closed), and after the last."""
        before: int | None = None
        average: int | None = None
        out: list[int | None] = []
        rest = PERIODS - 1
        for high, low, close in zip(self._highs, self._lows, self._closes, strict=True):
            out.append(average)
            if before is None:
                true_range = high - low
            else:
                true_range = (max(before, high)) - (min(before, low))
            before = close
            if average is not None:
                average = (average * rest + true_range * SCALE) // PERIODS
            else:
                self._seeds.append(true_range)
                if len(self._seeds) == PERIODS:
                    average = sum(self._seeds) * SCALE // PERIODS
        out.append(average)
        return out

    # ------------------------------------------------------------------ changes of the regime

    def _walk(self, least: list[int]) -> None:
        """Fold hours in which the regime may change, minute by minute."""
        state = HourlyRange()
        loud = self._loud(least)
        g = 0
        while g < len(self._hours):
            if state.regime == "NORMAL" and not loud[g]:
                following = loud[g:].argmax()
                if not loud[g + following]:
                    break
                g += int(following)
            self._begin(state, g)
            for row in range(self._starts[g], self._stops[g]):
                self._fold(state, row)
                if state.regime != self.regimes[-1]:
                    self.changes.append(row - self._first)
                    self.regimes.append(state.regime)
            g += 1

    def _loud(self, least: list[int]) -> "np.typing.NDArray[np.bool_]":
        """Hours in which some minute may stand above the lowest threshold."""
        average = np.array([float(n or 0) for n in self._averages], dtype=np.float64)
        known = np.array([n is not None for n in self._averages])
        after, before = average[1:], average[:-1]
        closes = np.array(self._closes, dtype=np.float64)
        last = np.concatenate((closes[:1], closes[:-1]))
        highest = np.maximum(np.array(self._highs, dtype=np.float64), last)
        lowest = np.minimum(np.array(self._lows, dtype=np.float64), last)
        forming = before + np.maximum(0.0, (highest - lowest) * SCALE - before) / PERIODS
        top = np.maximum(forming, after) * 100
        bound = HIGH_VOL_PCT * SCALE * np.array(least, dtype=np.float64)
        found: np.typing.NDArray[np.bool_] = known[1:] & (top >= bound * (1 - MARGIN))
        return found

    def _begin(self, state: HourlyRange, g: int) -> None:
        """The state before an hour's first row; the regime goes on."""
        state.hour = ""
        self._earlier(state, g)

    def _earlier(self, state: HourlyRange, g: int) -> None:
        """What the hours before hour `g` left."""
        state.close_before = self._closes[g - 1] if g else None
        state.average = self._averages[g]
        state.seeds = self._seeds[:g] if g < PERIODS else []

    def _fold(self, state: HourlyRange, row: int) -> None:
        t, up, down = self._ticks, self._up, self._down
        state.fold_units(
            time_text(int(self._ts[row]) * 1000),
            int(t.high[row]) * up // down,
            int(t.low[row]) * up // down,
            int(t.close[row]) * up // down,
        )

    # ------------------------------------------------------------------ asking

    def regime(self, row: int) -> Regime:
        """After a row of the file."""
        return self.regimes[bisect_right(self.changes, row - self._first) - 1]

    def differs_from(self, regime: Regime, row: int) -> int | None:
        """The first row at or after `row` with another regime; None: none."""
        n = bisect_right(self.changes, row - self._first) - 1
        if self.regimes[n] != regime:
            return row
        return self.changes[n + 1] + self._first if n + 1 < len(self.changes) else None

    def set(self, state: HourlyRange, row: int) -> None:
        """Make `state` that after a row of the file; one before the first row is empty."""
        if row < self._first:
            state.hour, state.high, state.low, state.close = "", 0, 0, 0
            state.close_before, state.average, state.seeds = None, None, []
            state.regime = "NORMAL"
            return
        if row == self._set_row:  # Slices of several sources stand at one place.
            made = self._set
            state.hour, state.high, state.low, state.close = made[:4]
            state.close_before, state.average, state.regime = made[4:]
            state.seeds = list(self._set_seeds)
            return
        g = bisect_right(self._starts, row) - 1
        ms, t, first = int(self._ts[row]), self._ticks, self._starts[g]
        ended = ms // 60_000 % MINUTES == MINUTES - 1
        if row == self._stops[g] - 1:
            state.high, state.low, state.close = self._highs[g], self._lows[g], self._closes[g]
        else:
            state.high = int(t.high[first : row + 1].max()) * self._up // self._down
            state.low = int(t.low[first : row + 1].min()) * self._up // self._down
            state.close = int(t.close[row]) * self._up // self._down
        state.hour = "" if ended else time_text(self._hours[g] * HOUR_MS * 1000)[:13]
        self._earlier(state, g + 1 if ended else g)
        state.regime = self.regime(row)
        self._set_row, self._set_seeds = row, list(state.seeds)
        self._set = (
            state.hour, state.high, state.low, state.close,
            state.close_before, state.average, state.regime,
        )  # fmt: skip
