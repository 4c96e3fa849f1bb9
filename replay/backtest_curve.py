"""The equity curve of a run, from its position updates and the candles: statistics, not money.

Between two equity records of an account nothing but marks moves its equity, so E at a price point
is the record's cash and cost plus sum q m. Looked at on every point of every candle (DEFINITIONS
10) and at every equity record; NAV and drawdown as in DEFINITIONS 6. Floats: figures for people.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gateways.candles import Candles, Floats, Ints
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


@dataclass(slots=True)
class _Step:
    """What an equity record leaves behind until the next: E = base + sum q m."""

    time_us: int
    equity: float
    gross: float
    base: float
    transfers: float
    held: dict[str, float]
    marks: dict[str, float]


def equity_curve(
    events: Iterable[Envelope], candles: Sequence[Candles], account: str, end_ms: int
) -> Curve:
    """The curve of `account` from its `trade.position.update` records, in order, up to `end_ms`."""
    steps = _steps(events, account)
    prices = {c.symbol: _Points(c) for c in candles}
    ends = min(max((int(c.ts_ms[-1]) + 60_000 for c in candles), default=0), end_ms) * 1000
    seen = _Seen()
    for n, step in enumerate(steps):
        last = steps[n + 1].time_us if n + 1 < len(steps) else max(ends, step.time_us)
        seen.begin(step)
        if step.held:
            _held(seen, step, prices, last)
    seen.end()
    return seen.curve(ends)


def _steps(events: Iterable[Envelope], account: str) -> list[_Step]:
    held: dict[str, float] = {}
    steps: list[_Step] = []
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
                marks = {s: float(m) for s, m in item.marks.items()}
                worth = sum(q * marks[s] for s, q in held.items() if s in marks)
                equity = float(dec(item.equity))
                steps.append(
                    _Step(
                        micros(event.time), equity, float(dec(item.gross)), equity - worth,
                        float(dec(item.transfers)), dict(held), marks,
                    )
                )  # fmt: skip
    return steps


class _Points:
    """Times and prices of one symbol's points, as floats (a mid off the tick by half a tick)."""

    def __init__(self, candles: Candles) -> None:
        self.candles = candles

    def between(self, first_us: int, last_us: int) -> tuple[Ints, Floats]:
        """Points after `first_us` up to before `last_us`."""
        c = self.candles
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


def _held(seen: "_Seen", step: _Step, prices: dict[str, _Points], last_us: int) -> None:
    """Marks of what is held, at all points of the held symbols until the next record."""
    columns = {s: prices[s].between(step.time_us, last_us) for s in step.held if s in prices}
    if not columns:
        return
    times = np.unique(np.concatenate([t for t, _ in columns.values()]))
    if not len(times):
        return
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
    seen.points(times, equity, gross)


class _Seen:
    """NAV and extremes over everything looked at, in order."""

    def __init__(self) -> None:
        self.units = 0.0
        self.transfers = 0.0
        self.high = 0.0
        self.drawdown = 0.0
        self.gross_pct = 0.0
        self.latest = (0, 0.0, 0.0)
        self.rows: list[tuple[int, float, float, float]] = []

    def begin(self, step: _Step) -> None:
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
            100 * self.drawdown, 100 * self.gross_pct,
        )  # fmt: skip
