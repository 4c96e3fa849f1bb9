"""The outside records of a run as an index: where each one stands, without making them.

The feed's order (:mod:`gateways.feed_records`) is a grid: an instant every ten seconds from start
to end, and at each up to four records. A **place** is ``instant * 5 + stage``: after the
settlement (0), prices (1), closed candles (2), tick (3), scripted events (4) of that instant; -1 is
the place before the first instant, where listing and warm-up stand. Offsets of `market` and `clock`
follow from the place by counting.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from domain.points import Path, path
from gateways.candles import FundingRates, Ints
from gateways.feed_records import (
    Scripted,
    Series,
    candles_record,
    funding_by_instant,
    funding_record,
    prices_record,
    tick_record,
)
from schemas.envelope import Envelope
from schemas.market import Funding
from schemas.scalars import micros, time_text

STAGES = 5
SETTLED, PRICED, CLOSED, TICKED, SCRIPTED = range(STAGES)
MARKET_KEY, CLOCK_KEY = "market/0", "clock/0"
"""Partitions of the outside records."""
INSTANTS = 6
"""Instants a minute, one a point of a candle's path."""
INSTANT_US = 10_000_000
MINUTE_US = 60_000_000
SPAN = 512
"""Rows whose lowest and highest price are known together."""
BEFORE = -1


class Where(NamedTuple):
    """A place taken apart."""

    minute: int
    point: int
    stage: int


def where(place: int) -> Where:
    instant, stage = divmod(place, STAGES)
    minute, point = divmod(instant, INSTANTS)
    return Where(minute, point, stage)


@dataclass(frozen=True, slots=True)
class Course:
    """Grid of one run. Minutes count from its start; warm-up minutes are negative."""

    series: tuple[Series, ...]
    first_us: int
    minutes: int
    warm_minutes: int
    """Minutes of warm-up with at least one candle."""
    rows: dict[str, "Rows"]
    has: Ints
    """1 where a candle of any symbol opens in the minute; one more for the end."""
    count: Ints
    """Minutes with candles before each minute; has two more than there are minutes."""
    previous: Ints
    """The last minute before each with candles; -1: none."""
    listed_us: int
    """Time of the listing: the warm-up's begin."""
    warm_us: int | None
    """Close of the last warm-up candle."""
    funding: dict[int, list[Funding]]
    """Settlements by instant."""
    settled: list[int] = field(default_factory=list)
    """Their instants, ascending."""

    @property
    def end(self) -> int:
        """The last place."""
        return self.minutes * INSTANTS * STAGES + SCRIPTED

    def time_us(self, place: int) -> int:
        return self.first_us + place // STAGES * INSTANT_US

    def tick_at(self, us: int) -> int:
        """Place of the first tick at or after an event time."""
        minute = max(1, -(-(us - self.first_us) // MINUTE_US))
        return minute * INSTANTS * STAGES + TICKED

    def tick_after(self, place: int) -> int:
        """Place of the next tick."""
        minute, point, stage = where(place)
        if place >= 0 and minute > 0 and point == 0 and stage < TICKED:
            return minute * INSTANTS * STAGES + TICKED
        return (max(minute, 0) + 1) * INSTANTS * STAGES + TICKED

    def close_place(self, minute: int) -> int:
        """Place of the record that closes the candles of a minute."""
        return (minute + 1) * INSTANTS * STAGES + CLOSED

    def price_place(self, minute: int, point: int) -> int:
        return (minute * INSTANTS + point) * STAGES + PRICED

    def market_offset(self, place: int) -> int:
        """Next offset of `market` after everything up to a place."""
        base = 1 + self.warm_minutes
        if place < 0:
            return base
        minute, point, stage = where(place)
        count = self.count
        prices = int(count[minute]) * INSTANTS
        if self.has[minute]:
            prices += point + (stage >= PRICED)
        behind = minute if point or stage >= CLOSED else max(minute - 1, 0)
        return base + prices + int(count[behind]) + self.settlements(place)

    def settlements(self, place: int) -> int:
        """How many settlement records there are up to a place."""
        return bisect_right(self.settled, place // STAGES) if self.settled else 0

    def clock_offset(self, place: int) -> int:
        """Next offset of `clock`; the first tick is a minute after the start."""
        if place < 0:
            return 0
        minute, point, stage = where(place)
        return minute if point or stage >= TICKED else max(minute - 1, 0)

    def event(self, place: int) -> Envelope:
        """The outside record at a place. There must be one."""
        ms = self.time_us(place) // 1000
        minute, point, stage = where(place)
        if stage == SETTLED:
            return funding_record(self.funding[place // STAGES], ms)
        if stage == PRICED:
            texts = []
            for one in self.series:
                rows = self.rows[one.candles.symbol]
                row = rows.at(minute)
                if row is not None:
                    texts.append((one.candles.symbol, one.text(rows.path(row)[point])))
            return prices_record(texts, point, ms)
        if stage == CLOSED:
            record = candles_record(self.series, ms - 60_000, warm_up=False)
            assert record is not None, f"no candle closes at {time_text(ms * 1000)}"
            return record
        return tick_record(ms)


class Rows:
    """One symbol's rows of the run. `first`: the first that is traded; `low`, `high` of rows are
    whole ticks, `span_low`, `span_high` those of every :data:`SPAN` rows of the file. `minute`: of
    each row, from the run's start."""

    __slots__ = (
        "_path", "_path_row", "after", "first", "high", "low", "minute", "series", "span_high",
        "span_low", "stop",
    )  # fmt: skip

    def __init__(self, series: Series, warm_ms: int, first_ms: int, last_ms: int) -> None:
        ts = series.candles.ts_ms
        self.series = series
        self.minute = (ts - first_ms) // 60_000
        self.after = int(np.searchsorted(ts, warm_ms))
        """The first row of the warm-up."""
        self.first = int(np.searchsorted(ts, first_ms))
        self.stop = int(np.searchsorted(ts, last_ms))
        """Behind the last row."""
        t = series.ticks
        self.low, self.high = t.low, t.high
        spans = np.arange(0, len(ts), SPAN)
        self.span_low = np.minimum.reduceat(t.low, spans)
        self.span_high = np.maximum.reduceat(t.high, spans)
        self._path_row, self._path = -1, (0, 0, 0, 0, 0, 0)

    def path(self, row: int) -> Path:
        """The six prices of a row, whole ticks."""
        if row != self._path_row:
            t = self.series.ticks
            self._path_row = row
            self._path = path(
                int(t.open[row]), int(t.high[row]), int(t.low[row]), int(t.close[row])
            )
        return self._path

    def price(self, ordinal: int) -> int:
        """The n-th price of the run (0: the first), whole ticks."""
        row, point = divmod(ordinal, INSTANTS)
        return self.path(self.first + row)[point]

    def up_to(self, minute: int) -> int:
        """How many rows of the file open in minutes up to this one (in the run only)."""
        guess = self.first + minute + 1
        m = self.minute
        if self.first <= guess <= self.stop and guess > self.first and m[guess - 1] == minute:
            return guess
        return min(int(np.searchsorted(m, minute, side="right")), self.stop)

    def at(self, minute: int) -> int | None:
        """The row that opens in a minute; None: there is none."""
        row = self.up_to(minute) - 1
        return row if row >= self.after and int(self.minute[row]) == minute else None


def path_ticks(opened: Ints, high: Ints, low: Ints, close: Ints) -> Ints:
    """Six prices of every candle one after the other: :func:`domain.points.path` in numpy, in whole
    ticks (a mid is rounded half to even in both)."""
    up = high - opened < opened - low
    a, b = np.where(up, high, low), np.where(up, low, high)
    out = np.empty((len(opened), INSTANTS), dtype=np.int64)
    out[:, 0], out[:, 2], out[:, 4] = opened, a, b
    for column, (x, y) in ((1, (opened, a)), (3, (a, b)), (5, (b, close))):
        total = x + y
        half = total >> 1
        out[:, column] = half + (total & half & 1)
    return out.reshape(-1)


def course_of(
    series: tuple[Series, ...],
    funding: tuple[FundingRates, ...],
    *,
    warm_ms: int,
    first_ms: int,
    last_ms: int,
) -> Course:
    """The index of a run over [first, last) with warm-up from `warm_ms`, whole minutes."""
    minutes = (last_ms - first_ms) // 60_000
    warm = (first_ms - warm_ms) // 60_000
    rows = {s.candles.symbol: Rows(s, warm_ms, first_ms, last_ms) for s in series}
    open_in = np.zeros(warm + minutes, dtype=np.int64)
    for r in rows.values():
        open_in[r.minute[r.after : r.stop] + warm] = 1
    has = np.concatenate((open_in[warm:], [0]))
    count = np.concatenate(([0], np.cumsum(has)))
    rates = funding_by_instant(funding, first_ms, last_ms)
    last_warm = int(np.flatnonzero(open_in[:warm]).max(initial=-1))
    numbers = np.where(has == 1, np.arange(len(has)), -1)
    previous = np.concatenate(([-1], np.maximum.accumulate(numbers)))
    by_instant = {(ms - first_ms) // 10_000: items for ms, items in sorted(rates.items())}
    return Course(
        series=series,
        first_us=first_ms * 1000,
        minutes=minutes,
        warm_minutes=int(open_in[:warm].sum()),
        rows=rows,
        has=has,
        count=count,
        previous=previous,
        listed_us=warm_ms * 1000,
        warm_us=None if last_warm < 0 else (warm_ms + (last_warm + 1) * 60_000) * 1000,
        funding=by_instant,
        settled=sorted(by_instant),
    )


def places_of(course: Course, script: tuple[Scripted, ...]) -> list[tuple[int, Scripted]]:
    """Scripted events with the places they follow, in order: the last instant not after them."""
    out = []
    opening = time_text(course.first_us)
    for item in sorted(script, key=lambda one: one.time):
        if item.time <= opening:
            out.append((BEFORE, item))
            continue
        instant = min((micros(item.time) - course.first_us) // INSTANT_US,
                      course.minutes * INSTANTS)  # fmt: skip
        out.append((instant * STAGES + SCRIPTED, item))
    return out
