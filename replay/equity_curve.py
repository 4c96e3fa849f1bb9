"""The equity curve of an account, from its position updates and prices: statistics, not money.

Between two equity records of an account nothing but marks moves its equity, so E at a price point
is the record's cash and cost plus sum q m. Looked at on every price point (DEFINITIONS 10) and at
every equity record; NAV and drawdown as in DEFINITIONS 6. Floats: figures for people.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gateways.candles import Candles, Floats, Ints
from replay.report_stats import exposure_us
from schemas.envelope import Envelope
from schemas.positions import EquityItem, PositionItem, PositionUpdated
from schemas.scalars import dec, micros

HOUR_US = 3_600_000_000
POINT_US = 10_000_000


@dataclass(frozen=True, slots=True)
class Curve:
    """`time_us`, `nav`, `equity`, `gross`: at every equity record, every full hour and the run's
    last point, ascending; columns of equal length."""

    time_us: Ints
    nav: Floats
    equity: Floats
    gross: Floats
    max_drawdown_pct: float
    """Largest fall of NAV below its high, over all price points and records, in percent."""
    max_gross_pct: float
    """Largest gross exposure in percent of equity, over the same."""
    exposure_us: float
    """Gross exposure over equity, summed over time in microseconds, over the same."""


@dataclass(frozen=True, slots=True)
class Step:
    """What an equity record leaves behind until the next: E = base + sum q m."""

    time_us: int
    equity: float
    gross: float
    base: float
    transfers: float
    held: Mapping[str, float]
    marks: Mapping[str, float]

    @classmethod
    def of(cls, time_us: int, item: EquityItem, held: Mapping[str, float]) -> "Step":
        """`held`: signed quantities by symbol once the record is told."""
        marks = {s: float(m) for s, m in item.marks.items()}
        worth = sum(q * marks[s] for s, q in held.items() if s in marks)
        equity = float(dec(item.equity))
        transfers = float(dec(item.transfers))
        gross = float(dec(item.gross))
        return cls(time_us, equity, gross, equity - worth, transfers, held, marks)


class Points(Protocol):
    """Price points of one symbol."""

    @property
    def ends_us(self) -> int:
        """Behind the last of them."""

    def between(self, first_us: int, last_us: int) -> tuple[Ints, Floats]:
        """Times and prices of points after `first_us` up to before `last_us`."""


class CandlePoints:
    """Points of candles up to `ends_us`, as floats (a mid off the tick by half a tick)."""

    def __init__(self, candles: Candles, ends_us: int) -> None:
        self.candles = candles
        self.ends_us = min(int(candles.ts_ms[-1] + 60_000) * 1000, ends_us)

    def between(self, first_us: int, last_us: int) -> tuple[Ints, Floats]:
        c, last_us = self.candles, min(last_us, self.ends_us)
        opened = c.ts_ms
        a = int(np.searchsorted(opened, first_us // 1000 - 60_000))
        b = int(np.searchsorted(opened, -(-last_us // 1000)))
        o, h, low, close = c.open[a:b], c.high[a:b], c.low[a:b], c.close[a:b]
        up = h - o < o - low
        x, y = np.where(up, h, low), np.where(up, low, h)
        path = np.column_stack((o, (o + x) / 2, x, (x + y) / 2, y, (y + close) / 2))
        times = opened[a:b, None] * 1000 + np.arange(6) * POINT_US
        inside = (times > first_us) & (times < last_us)
        return times[inside], path[inside]


class SeenPoints:
    """Points as records told them, in order of time: 16 bytes each."""

    def __init__(self) -> None:
        self._times, self._prices = array("q"), array("d")

    def see(self, time_us: int, price: float) -> None:
        """Take the next one; one that is older than the last is nobody's mark any more."""
        if not self._times or time_us > self._times[-1]:
            self._times.append(time_us)
            self._prices.append(price)

    @property
    def ends_us(self) -> int:
        return self._times[-1] + 1 if self._times else 0

    def between(self, first_us: int, last_us: int) -> tuple[Ints, Floats]:
        times = np.array(self._times, dtype=np.int64)
        a, b = np.searchsorted(times, first_us, side="right"), np.searchsorted(times, last_us)
        return times[a:b], np.array(self._prices, dtype=np.float64)[a:b]


def equity_curve(
    events: Iterable[Envelope], candles: Sequence[Candles], account: str, end_ms: int
) -> Curve:
    """The curve of `account` from its `trade.position.update` records, in order, up to `end_ms`."""
    prices = {c.symbol: CandlePoints(c, end_ms * 1000) for c in candles}
    return curve_of(_steps(events, account), prices)


def curve_of(steps: Sequence[Step], prices: Mapping[str, Points]) -> Curve:
    """The curve of equity records, in order, and of all points of `prices` between them."""
    ends = max((each.ends_us for each in prices.values()), default=0)
    seen = _Seen()
    for n, step in enumerate(steps):
        last = steps[n + 1].time_us if n + 1 < len(steps) else max(ends, step.time_us)
        seen.begin(step)
        if step.held:
            times, equity, gross = _held(step, prices, last)
            if len(times) > 1:
                seen.points(times[1:], equity[1:], gross[1:])
            seen.exposure_us += exposure_us(times, gross, equity, last)
    seen.end()
    return seen.curve(ends)


def _steps(events: Iterable[Envelope], account: str) -> list[Step]:
    held: dict[str, float] = {}
    steps: list[Step] = []
    for event in events:
        if not isinstance(event, PositionUpdated) or event.partitionkey != account:
            continue
        for item in event.data.items:
            if isinstance(item, PositionItem):
                quantity = float(item.quantity)
                if quantity:
                    held[item.symbol] = quantity
                else:
                    held.pop(item.symbol, None)
            elif isinstance(item, EquityItem):
                steps.append(Step.of(micros(event.time), item, dict(held)))
    return steps


def _held(step: Step, prices: Mapping[str, Points], last_us: int) -> tuple[Ints, Floats, Floats]:
    """Times, equity and gross of what is held: at the record, then at all points of the held
    symbols until the next."""
    columns = {s: prices[s].between(step.time_us, last_us) for s in step.held if s in prices}
    at_record = np.array([step.time_us], dtype=np.int64)
    times = np.unique(np.concatenate([at_record, *(t for t, _ in columns.values())]))
    equity = np.full(len(times), step.base)
    gross = np.zeros(len(times))
    for symbol, quantity in step.held.items():
        first = step.marks.get(symbol, 0.0)
        if symbol not in columns:
            mark = np.full(len(times), first)
        else:
            t, p = columns[symbol]
            at = np.searchsorted(t, times, side="right")
            mark = np.concatenate(([first], p))[at]
        equity += quantity * mark
        gross += abs(quantity) * mark
    equity[0], gross[0] = step.equity, step.gross
    return times, equity, gross


class _Seen:
    """NAV and extremes over everything looked at, in order."""

    def __init__(self) -> None:
        self.units = 0.0
        self.transfers = 0.0
        self.high = 0.0
        self.drawdown = 0.0
        self.gross_pct = 0.0
        self.exposure_us = 0.0
        self.latest = (0, 0.0, 0.0)
        self.rows: list[tuple[int, float, float, float]] = []

    def begin(self, step: Step) -> None:
        moved = step.transfers - self.transfers
        if moved:
            nav = (step.equity - moved) / self.units if self.units else 1.0
            self.units += moved / nav if nav > 0 else 0.0
            self.transfers = step.transfers
        self._look(np.array([step.equity]), np.array([step.gross]))
        self._hours(step.time_us)
        self._row(step.time_us, step.equity, step.gross)

    def points(self, times: Ints, equity: Floats, gross: Floats) -> None:
        self._look(equity, gross)
        self.latest = (int(times[-1]), float(equity[-1]), float(gross[-1]))
        # The first point at or after a full hour closes it; what follows is the next hour's.
        hours = times // HOUR_US
        firsts = np.flatnonzero(np.diff(hours, prepend=hours[0]))
        for i in firsts:
            self._hours(int(times[i]))
            self._row(int(times[i]), float(equity[i]), float(gross[i]))

    def end(self) -> None:
        """The last point looked at is a row too: a run may end within an hour."""
        at, equity, gross = self.latest
        if self.rows and at > self.rows[-1][0]:
            self._row(at, equity, gross)

    def _look(self, equity: Floats, gross: Floats) -> None:
        if self.units <= 0:
            return
        nav = equity / self.units
        highs = np.maximum.accumulate(np.concatenate(([self.high], nav)))[1:]
        self.high = float(highs[-1])
        self.drawdown = max(self.drawdown, float(np.max(1 - nav / highs)))
        solvent = equity > 0
        if solvent.any():
            self.gross_pct = max(self.gross_pct, float(np.max(gross[solvent] / equity[solvent])))

    def _hours(self, time_us: int) -> None:
        """Full hours since the last row, in which nothing changed."""
        if self.rows:
            at, _, equity, gross = self.rows[-1]
            for hour in range(at // HOUR_US * HOUR_US + HOUR_US, time_us, HOUR_US):
                self._row(hour, equity, gross)

    def _row(self, time_us: int, equity: float, gross: float) -> None:
        nav = equity / self.units if self.units > 0 else 1.0
        self.rows.append((time_us, nav, equity, gross))

    def curve(self, ends_us: int) -> Curve:
        self._hours(ends_us + 1)
        table = np.array(self.rows, dtype=np.float64).reshape(-1, 4)
        return Curve(
            table[:, 0].astype(np.int64), table[:, 1], table[:, 2], table[:, 3],
            100 * self.drawdown, 100 * self.gross_pct, self.exposure_us,
        )  # fmt: skip
