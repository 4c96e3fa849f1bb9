"""Equity told hour by hour while nothing else happens: the same records, a stretch at a time.

With a position open and nobody else woken, `positions` answers the first tick of each hour with one
record of equity. Its readers are not asked about such records, and of a run of them the last leaves
the state that all leave (:attr:`domain.decider.Decider`, `equity_last`). So a stretch of hours is
decided in one go: figures, ids, bases and places in the log are those of one tick after the other.
The last record of a stretch is made and folded; the others are made when the log is looked at.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, localcontext
from typing import cast

import numpy as np

from domain.average_cost import EXACT
from domain.equity_line import EquityLine
from domain.positions import HOUR_US, Positions
from domain.source import Source
from gateways.candles import Ints
from gateways.feed_records import tick_id
from replay.backtest_course import (
    CLOCK_KEY,
    INSTANTS,
    MARKET_KEY,
    MINUTE_US,
    STAGES,
    TICKED,
    Course,
    path_ticks,
)
from replay.memory_log import MemoryLog
from schemas.ids import part_id, record_id
from schemas.positions import PositionData, PositionUpdated
from schemas.scalars import time_text
from schemas.trusted import shaped


class FastHours:
    """The ticks at full hours of a run: places, offsets, last prices."""

    def __init__(self, course: Course) -> None:
        first = -(-course.first_us // HOUR_US) * HOUR_US
        begin = max((first - course.first_us) // MINUTE_US, 0) or HOUR_US // MINUTE_US
        minutes = np.arange(begin, course.minutes + 1, HOUR_US // MINUTE_US)
        self.course = course
        self.places: list[int] = (minutes * INSTANTS * STAGES + TICKED).tolist()
        settled = np.searchsorted(np.array(course.settled), minutes * INSTANTS, side="right")
        count = course.count[minutes]
        offsets = 1 + course.warm_minutes + count * INSTANTS + course.has[minutes] + count + settled
        self._market: list[int] = offsets.tolist()
        self._clock: list[int] = minutes.tolist()
        self._ticks = {name: _last_ticks(course, name, minutes) for name in course.rows}

    def stretch(self, place: int, until: int) -> range:
        """Numbers of the hours from the tick at `place` to before place `until`; empty where that
        tick is none of a full hour."""
        begin = bisect_left(self.places, place)
        if begin == len(self.places) or self.places[begin] != place:
            return range(0)
        return range(begin, bisect_left(self.places, until, begin))

    def tell(self, source: Source, hours: range, log: MemoryLog) -> PositionUpdated | None:
        """Append what `positions` answers to these ticks; folded nowhere yet. The last of it, or
        None where it has to be asked tick by tick: several accounts, a symbol without a price."""
        decider = cast("Positions", source.decider)
        account = decider.told_alone(source.slices) if hours else None
        if account is None:
            return None
        with localcontext(EXACT):
            line = decider.line(source.slices, account)
        held = [symbol for symbol, _, _ in line.trades]
        if not all(s in self._ticks and self._ticks[s][hours.start] >= 0 for s in held):
            return None
        stretch = _Told(self, hours, source, account, line, len(log))
        log.append_stretch(source.output, stretch)
        market, clock = self.offsets(hours[-1])
        log.unkept[MARKET_KEY], log.unkept[CLOCK_KEY] = market, clock
        return stretch.last

    def offsets(self, n: int) -> tuple[int, int]:
        """Next offsets of `market` and `clock` at the n-th full hour."""
        return self._market[n], self._clock[n]

    def columns(self, symbols: Iterable[str]) -> list[tuple[list[int], Callable[[int], str]]]:
        """Of each symbol its last price at every full hour, whole ticks, and how one is written."""
        return [(self._ticks[s], self.course.rows[s].series.text) for s in symbols]


class _Told:
    """The hours of one stretch: the last is made at once, because it is folded."""

    def __init__(
        self,
        grid: FastHours,
        hours: range,
        source: Source,
        account: str,
        line: EquityLine,
        place: int,
    ) -> None:
        self.grid, self.hours, self.line = grid, hours, line
        self.name, self.account, self.epoch = source.name, account, source.epoch
        self.sequence, self.basis, self.place = source.sequence, source.basis(), place
        with localcontext(EXACT):
            (self.last,) = self._records(hours[-1:])

    @property
    def places(self) -> list[int]:
        """Place of each in the order of all appends; of `market` and `clock` too."""
        first = self.place
        return [first + i + sum(self.grid.offsets(n)) for i, n in enumerate(self.hours)]

    def made(self) -> list[PositionUpdated]:
        """All records of the stretch."""
        with localcontext(EXACT):
            return [*self._records(self.hours[:-1]), self.last]

    def _records(self, hours: range) -> Iterator[PositionUpdated]:
        grid, name, account, line = self.grid, self.name, self.account, self.line
        epoch, basis, first_us = self.epoch, self.basis, grid.course.first_us
        columns = grid.columns(symbol for symbol, _, _ in line.trades)
        sequence = self.sequence + self.hours.index(hours.start) if hours else 0
        for n in hours:
            market, clock = grid.offsets(n)
            time = time_text(first_us + clock * MINUTE_US)
            cause = tick_id(time)
            identity = record_id(name, account, cause)
            texts = [text(ticks[n]) for ticks, text in columns]
            item = line.at(part_id(identity, 0), [(Decimal(mark), mark) for mark in texts])
            sequence += 1
            yield shaped(
                PositionUpdated,
                {
                    "specversion": "1.0",
                    "id": identity,
                    "type": "trade.position.updated.v1",
                    "source": name,
                    "subject": account,
                    "time": time,
                    "partitionkey": account,
                    "sequence": sequence,
                    "epoch": epoch,
                    "causationid": cause,
                    "correlationid": cause,
                    "basis": {**basis, MARKET_KEY: market, CLOCK_KEY: clock},
                    "after": None,
                    "data": shaped(PositionData, {"items": (item,)}),
                },
            )


def _last_ticks(course: Course, symbol: str, minutes: Ints) -> list[int]:
    """A symbol's last price at the beginning of each minute, that instant's included, in whole
    ticks; -1: none yet."""
    rows = course.rows[symbol]
    opened = rows.minute[rows.first : rows.stop]
    if not len(opened):
        return [-1] * len(minutes)
    at = np.searchsorted(opened, minutes, side="right") - 1
    row, t = np.maximum(at, 0), rows.series.ticks
    four = (column[rows.first + row] for column in (t.open, t.high, t.low, t.close))
    paths = path_ticks(*four).reshape(-1, INSTANTS)
    last = np.where(opened[row] == minutes, paths[:, 0], paths[:, -1])
    found: list[int] = np.where(at < 0, -1, last).tolist()
    return found
