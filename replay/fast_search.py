"""Finds the next place at which a wait is met, with numpy on whole ticks.

Levels are looked for in spans of candles first (their lowest and highest), then candle by candle
(low and high hold the whole path), then within the candle. What was found stays valid as long as
the wait does, so it is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

import numpy as np

from domain.points import Path
from domain.waits import EquityBound, Level, Waits
from gateways.candles import Floats
from replay.backtest_course import (
    CLOSED,
    INSTANTS,
    MINUTE_US,
    PRICED,
    SETTLED,
    SPAN,
    STAGES,
    Course,
    Rows,
    path_ticks,
)
from replay.fast_moves import FastMoves
from replay.fast_outside import FastOutside

NEVER = 1 << 62
BLOCK = 128
"""Candles looked at first for bounds over several symbols; then twice as many each time."""
MARGIN = 1e-9
"""Share of the sums below which a float may be off: bounds over several symbols wake early."""
DOWN = Context(prec=60, rounding=ROUND_FLOOR)
UP = Context(prec=60, rounding=ROUND_CEILING)


@dataclass(slots=True)
class _Touch:
    """The first price from `since` on that meets a level (its ordinal; NEVER: none)."""

    since: int
    found: int


class FastSearch:
    """Next places of the waits of several deciders, each under a number."""

    def __init__(self, course: Course, outside: FastOutside) -> None:
        self.course, self.outside = course, outside
        self._due: dict[int, int] = {}
        self._touches: dict[tuple[str, int, int], _Touch] = {}
        self._grids: dict[str, Floats] = {}
        self._moves: dict[str, FastMoves] = {}
        self._priced = np.flatnonzero(course.has[:-1])

    def expect(self, number: int, waits: Waits) -> None:
        """What decider `number` waits for from the place on where `outside` stands."""
        self._due[number] = min(self._places(waits), default=NEVER)

    def next(self, before: int) -> tuple[int, list[int]] | None:
        """The next place at which someone is woken, and who; None: nobody before place `before`."""
        place = min(self._due.values(), default=NEVER)
        if place >= before:
            return None
        return place, [number for number, due in self._due.items() if due == place]

    def others(self, number: int) -> int:
        """The next place at which anyone else than `number` is woken."""
        return min((due for n, due in self._due.items() if n != number), default=NEVER)

    # ------------------------------------------------------------------ kinds of waits

    def _places(self, waits: Waits) -> Iterable[int]:
        course, here = self.course, self.outside.place
        if waits.every_tick:
            yield course.tick_after(here)
        elif waits.at_us is not None:
            yield max(course.tick_at(waits.at_us), course.tick_after(here))
        for level in waits.levels:
            yield self._price_place(level.symbol, self._touch(level, self._points(level)))
        for level in waits.tick_levels:
            yield self._tick_level(level)
        for symbol, pct in waits.moves:
            yield self._move(symbol, pct)
        for symbol, regime in waits.regimes:
            yield self._regime(symbol, regime)
        for bound in waits.bounds:
            yield self._bound(bound)
        if waits.every_price:
            yield self._next_price()
        if waits.every_close or waits.bars:
            yield self._next_close(waits.bars)
        for symbol, every in waits.every_closes:
            yield self._nth_close(symbol, every)
        if waits.funding or waits.every_price:
            yield self._settlement(None if waits.every_price else waits.funding)

    def _points(self, level: Level) -> int:
        return self.outside.points(level.symbol)

    def _price_place(self, symbol: str, ordinal: int) -> int:
        if ordinal >= NEVER:
            return NEVER
        us = self.outside.point_us(symbol, ordinal) - self.course.first_us
        return us // (MINUTE_US // INSTANTS) * STAGES + PRICED

    def _tick_level(self, level: Level) -> int:
        """The tick after the first price that meets it; the one that stands now counts."""
        since = max(self._points(level) - 1, 0)
        place = self._price_place(level.symbol, self._touch(level, since))
        here = self.outside.place
        return NEVER if place >= NEVER else self.course.tick_after(max(place, here))

    def _move(self, symbol: str, pct: Decimal) -> int:
        moves = self._moves.get(symbol)
        if moves is None:
            moves = self._moves[symbol] = FastMoves(self.course.rows[symbol])
        ordinal = moves.next(self.outside.points(symbol), pct)
        return NEVER if ordinal is None else self._price_place(symbol, ordinal)

    def _regime(self, symbol: str, regime: str) -> int:
        rows, hours = self.course.rows[symbol], self.outside.hours(symbol)
        row = hours.differs_from(regime, self.outside.closed_stop(symbol) - 1)  # type: ignore[arg-type]
        if row is None:
            return NEVER
        place = self.course.close_place(int(rows.minute[row]))
        return self.course.tick_after(max(place, self.outside.place))

    def _next_price(self) -> int:
        minute, point = self._from(PRICED)
        at = int(np.searchsorted(self._priced, minute))
        if at == len(self._priced):
            return NEVER
        found = int(self._priced[at])
        return self.course.price_place(found, point if found == minute else 0)

    def _from(self, stage: int) -> tuple[int, int]:
        """The first minute and point whose `stage` lies ahead."""
        instant, done = divmod(self.outside.place, STAGES)
        if self.outside.place < 0:
            return 0, 0
        return divmod(instant + (done >= stage), INSTANTS)

    def _next_close(self, bars: frozenset[int]) -> int:
        """The next record of closed candles whose time is a whole multiple of one of `bars`."""
        course = self.course
        minute, point = self._from(CLOSED)
        at = int(np.searchsorted(self._priced, minute - (point == 0)))
        first = course.first_us // MINUTE_US
        while at < len(self._priced):
            opened = int(self._priced[at])
            if not bars or any((first + opened + 1) % length == 0 for length in bars):
                return course.close_place(opened)
            at += 1
        return NEVER

    def _nth_close(self, symbol: str, every: int) -> int:
        rows = self.course.rows[symbol]
        seen = self.outside.traded(symbol)
        row = rows.first - 1 + seen + every - seen % every
        if not rows.first <= row < rows.stop:
            return NEVER
        return self.course.close_place(int(rows.minute[row]))

    def _settlement(self, symbols: frozenset[str] | None) -> int:
        course, here = self.course, self.outside.place
        for instant in course.settled[course.settlements(here) :]:
            if symbols is None or any(i.symbol in symbols for i in course.funding[instant]):
                return instant * STAGES + SETTLED
        return NEVER

    # ------------------------------------------------------------------ levels

    def _touch(self, level: Level, since: int) -> int:
        """Ordinal of the first price at or after `since` that meets a level."""
        rows = self.course.rows[level.symbol]
        low, high = tick_bounds(level, rows)
        key = (level.symbol, low, high)
        known = self._touches.get(key)
        if known is None or not known.since <= since <= known.found:
            found = first_touch(rows, since, low, high)
            known = self._touches[key] = _Touch(since, found)
            if len(self._touches) > 64:
                self._touches.pop(next(iter(self._touches)))
        return known.found

    # ------------------------------------------------------------------ bounds

    def _bound(self, bound: EquityBound) -> int:
        held = {s: q for s, q in bound.quantities.items() if q}
        if not held:
            met = (bound.below is not None and bound.cash <= bound.below) or (
                bound.above is not None and bound.cash >= bound.above
            )
            return self._next_price() if met else NEVER
        if len(held) == 1:
            level = level_of(bound)
            return self._price_place(level.symbol, self._touch(level, self._points(level)))
        return self._sum(bound, held)

    def _sum(self, bound: EquityBound, held: dict[str, Decimal]) -> int:
        """Instants of the grid in blocks that double; floats with a margin."""
        minute, point = self._from(PRICED)
        begin, stop, size = minute * INSTANTS + point, self.course.minutes * INSTANTS, 6 * BLOCK
        marks = {s: self._grid(s) for s in held}
        low = -np.inf if bound.below is None else float(bound.below)
        high = np.inf if bound.above is None else float(bound.above)
        while begin < stop:
            end = min(begin + size, stop)
            equity = np.full(end - begin, float(bound.cash))
            scale = np.full(end - begin, abs(float(bound.cash)))
            for symbol, quantity in held.items():
                part = float(quantity) * marks[symbol][begin:end]
                equity += part
                scale += np.abs(part)
            scale *= MARGIN
            met = (equity <= low + scale) | (equity >= high - scale)
            met &= self.course.has[np.arange(begin, end) // INSTANTS] == 1
            if met.any():
                return (begin + int(met.argmax())) * STAGES + PRICED
            begin, size = end, size * 2
        return NEVER

    def _grid(self, symbol: str) -> Floats:
        """Marks at every instant of the run; 0 before the first."""
        known = self._grids.get(symbol)
        if known is None:
            rows = self.course.rows[symbol]
            minutes = rows.minute[rows.first : rows.stop]
            at = np.searchsorted(minutes, np.arange(self.course.minutes), side="right") - 1
            t, a, b = rows.series.ticks, rows.first, rows.stop
            path = path_ticks(t.open[a:b], t.high[a:b], t.low[a:b], t.close[a:b])
            grid = path.reshape(-1, INSTANTS)[np.maximum(at, 0)]
            stands = minutes[np.maximum(at, 0)] != np.arange(self.course.minutes)
            grid = np.where(stands[:, None], grid[:, -1:], grid)
            grid[at < 0] = 0
            series = rows.series
            known = grid.reshape(-1) * (series.tick / 10**series.places)
            self._grids[symbol] = known
        return known


def tick_bounds(level: Level, rows: Rows) -> tuple[int, int]:
    """A level in whole ticks: at or below the first, at or above the second."""
    series = rows.series
    scale = Decimal(10) ** series.places / series.tick
    low = -1 if level.below is None else int((level.below * scale).to_integral_value(ROUND_FLOOR))
    high = (
        NEVER
        if level.above is None
        else int((level.above * scale).to_integral_value(ROUND_CEILING))
    )
    return low, high


def level_of(bound: EquityBound) -> Level:
    """The price at which the equity of a single position meets its bound, rounded so that it wakes
    early rather than late."""
    ((symbol, quantity),) = ((s, q) for s, q in bound.quantities.items() if q)
    sides: Sequence[Decimal | None] = (bound.below, bound.above)
    if quantity < 0:
        sides = (bound.above, bound.below)
    falls, rises = sides
    below = None if falls is None else UP.divide(UP.subtract(falls, bound.cash), quantity)
    above = None if rises is None else DOWN.divide(DOWN.subtract(rises, bound.cash), quantity)
    return Level(symbol, below, above)


def _met(prices: Path, point: int, low: int, high: int) -> int | None:
    """The first point from `point` on that meets a level."""
    for n in range(point, INSTANTS):
        if prices[n] <= low or prices[n] >= high:
            return n
    return None


def first_touch(rows: Rows, since: int, low: int, high: int) -> int:
    """Ordinal of the first of a symbol's prices from `since` on at or below `low` or at or above
    `high` (whole ticks); NEVER: none."""
    row, point = divmod(since, INSTANTS)
    if point and rows.first + row < rows.stop:
        found = _met(rows.path(rows.first + row), point, low, high)
        if found is not None:
            return row * INSTANTS + found
        row += 1
    begin = rows.first + row
    end = -(-begin // SPAN) * SPAN
    at = _first_met(rows, begin, end, low, high)
    if at < 0:
        block = end // SPAN
        met = (rows.span_low[block:] <= low) | (rows.span_high[block:] >= high)
        block = block + int(met.argmax()) if met.any() else len(rows.span_low)
        at = _first_met(rows, block * SPAN, (block + 1) * SPAN, low, high)
    if at < 0:
        return NEVER
    found = _met(rows.path(at), 0, low, high)
    assert found is not None, "low and high of a candle are on its path"
    return (at - rows.first) * INSTANTS + found


def _first_met(rows: Rows, begin: int, end: int, low: int, high: int) -> int:
    """The first row of [begin, end) in the run that meets a level; -1: none."""
    end = min(end, rows.stop)
    if begin >= end:
        return -1
    met = (rows.low[begin:end] <= low) | (rows.high[begin:end] >= high)
    at = int(met.argmax())
    return begin + at if met[at] else -1
