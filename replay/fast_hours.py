"""Equity told hour by hour while nothing else happens: the same records, a stretch at a time.

With a position open and nobody else woken, `positions` answers the first tick of each hour with one
record of equity. Its readers are not asked about such records, and of a run of them the last leaves
the state that all leave (:attr:`domain.decider.Decider`, `equity_last`). So a stretch of hours is
decided in one go: figures, ids, bases and places in the log are those of one tick after the other.
"""

from bisect import bisect_left
from decimal import Decimal, localcontext
from typing import cast

import numpy as np

from domain.average_cost import EXACT
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

    def tell(self, source: Source, hours: range, log: MemoryLog) -> list[PositionUpdated]:
        """Append what `positions` answers to these ticks; folded nowhere yet. Empty where it has to
        be asked tick by tick: several accounts, a symbol without a price."""
        decider = cast("Positions", source.decider)
        account = decider.told_alone(source.slices) if hours else None
        if account is None:
            return []
        first_us, name, output = self.course.first_us, source.name, source.output
        epoch, sequence, basis = source.epoch, source.sequence, source.basis()
        unkept = log.unkept
        out: list[PositionUpdated] = []
        with localcontext(EXACT):
            line = decider.line(source.slices, account)
            held = [symbol for symbol, _, _ in line.trades]
            if not all(s in self._ticks and self._ticks[s][hours.start] >= 0 for s in held):
                return []
            columns = [(self._ticks[s], self.course.rows[s].series.text) for s in held]
            for n in hours:
                time = time_text(first_us + self._clock[n] * MINUTE_US)
                cause = tick_id(time)
                identity = record_id(name, account, cause)
                market, clock = self._market[n], self._clock[n]
                texts = [text(ticks[n]) for ticks, text in columns]
                marks = [(Decimal(mark), mark) for mark in texts]
                item = line.at(part_id(identity, 0), marks)
                sequence += 1
                unkept[MARKET_KEY], unkept[CLOCK_KEY] = market, clock
                record = shaped(
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
                log.append(output, record)
                out.append(record)
        return out


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
