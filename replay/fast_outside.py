"""What folding all outside records up to a place would have left, computed from the index.

Nothing is folded: a place is looked up. Implements :class:`domain.skipping.Outside`.
"""

from decimal import Decimal

from domain.market_state import ClosedCandle
from domain.regime import HourlyRange
from domain.skipping import Point
from domain.strategy import Bar
from gateways.candles import exact
from replay.backtest_course import (
    BEFORE,
    CLOSED,
    INSTANT_US,
    INSTANTS,
    MINUTE_US,
    PRICED,
    STAGES,
    Course,
    Rows,
)
from replay.fast_regime import HourTable
from schemas.scalars import EPOCH_TEXT, micros, text, time_text

RECENT_US = 60_000_000


class _Symbol:
    """One symbol: tables, and what was looked up last."""

    __slots__ = (
        "candle", "candle_row", "closed", "closed_at", "decimals", "hours", "last", "last_at",
        "points", "points_at", "rows", "ts",
    )  # fmt: skip

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.hours = HourTable(rows)
        self.decimals: dict[int, Decimal] = {}
        self.candle_row = -1
        self.candle: ClosedCandle | None = None
        self.ts = rows.series.candles.ts_ms
        self.points = self.closed = 0
        self.last: Point | None = None
        self.points_at = self.closed_at = self.last_at = -2
        """Places that `points`, `closed` and `last` were looked up at."""

    def price(self, ticks: int) -> Decimal:
        known = self.decimals.get(ticks)
        if known is None:
            known = self.decimals[ticks] = Decimal(self.rows.series.text(ticks))
        return known


class FastOutside:
    """Stands at `place`; :meth:`go` moves it forward."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.symbols = tuple(course.rows)
        self.candle_s = MINUTE_US // 1_000_000
        self._known = {name: _Symbol(rows) for name, rows in course.rows.items()}
        self.place = BEFORE
        self.market_offset = self.clock_offset = 0
        self.market_time = self.traded_time = self.clock_time = EPOCH_TEXT
        self._here, self._here_us = "", -1
        self._minute, self._point, self._stage = 0, 0, -1
        self.go(BEFORE)

    def go(self, place: int) -> None:
        """Stand at a later place."""
        course = self.course
        self.place = place
        instant, self._stage = divmod(place, STAGES) if place >= 0 else (0, -1)
        self._minute, self._point = divmod(instant, INSTANTS)
        self.market_offset = course.market_offset(place)
        self.clock_offset = course.clock_offset(place)
        self._times()

    # ------------------------------------------------------------------ times

    def _times(self) -> None:
        course, ticks = self.course, self.clock_offset
        first = course.first_us
        self._here_us = course.time_us(self.place) if self.place >= 0 else -1
        self._here = time_text(self._here_us) if self._here_us >= 0 else ""
        self.clock_time = self._stamp(first + ticks * MINUTE_US) if ticks else EPOCH_TEXT
        traded_us = self._traded_us()
        market_us = course.listed_us if traded_us is None else max(traded_us, course.listed_us)
        if settled := course.settlements(self.place):
            market_us = max(market_us, first + course.settled[settled - 1] * INSTANT_US)
        self.traded_time = EPOCH_TEXT if traded_us is None else self._stamp(traded_us)
        self.market_time = self._stamp(market_us)

    def _stamp(self, us: int) -> str:
        """Canonical time; most are that of the place itself."""
        return self._here if us == self._here_us else time_text(us)

    @property
    def closed_time(self) -> str:
        """Time of the last record of closed candles."""
        course, minute = self.course, self._minute
        behind = minute if self._point or self._stage >= CLOSED else max(minute - 1, 0)
        before = int(course.previous[behind])
        if before >= 0:
            return self._stamp(course.first_us + (before + 1) * MINUTE_US)
        return EPOCH_TEXT if course.warm_us is None else time_text(course.warm_us)

    def _traded_us(self) -> int | None:
        """Time of the last prices or candles."""
        course = self.course
        minute, point, stage = self._minute, self._point, self._stage
        if course.has[minute] and (point or stage >= PRICED):
            return course.first_us + (minute * INSTANTS + point - (stage < PRICED)) * INSTANT_US
        before = int(course.previous[minute])
        if before < 0:
            return course.warm_us
        closes = (before + 1) * INSTANTS
        here = minute * INSTANTS + point
        if here > closes or (here == closes and stage >= CLOSED):
            return course.first_us + closes * INSTANT_US
        return course.first_us + (closes - 1) * INSTANT_US

    # ------------------------------------------------------------------ prices

    def points(self, symbol: str) -> int:
        """How many prices of a symbol were observed."""
        known = self._known[symbol]
        if known.points_at != self.place:
            known.points_at = self.place
            rows, minute = known.rows, self._minute
            stop = rows.up_to(minute)
            count = (stop - rows.first) * INSTANTS
            if stop > rows.first and rows.minute[stop - 1] == minute:
                count -= INSTANTS - self._point - (self._stage >= PRICED)
            known.points = max(0, count)
        return known.points

    def point_us(self, symbol: str, ordinal: int) -> int:
        """Time of the n-th price (0: the first)."""
        rows = self._known[symbol].rows
        row, point = divmod(ordinal, INSTANTS)
        minute = int(rows.minute[rows.first + row])
        return self.course.first_us + (minute * INSTANTS + point) * INSTANT_US

    def last(self, symbol: str) -> Point | None:
        known = self._known[symbol]
        if known.last_at != self.place:
            known.last_at = self.place
            n = self.points(symbol) - 1
            known.last = None
            if n >= 0:
                price = known.price(known.rows.price(n))
                known.last = Point(price, self._stamp(self.point_us(symbol, n)), n % INSTANTS)
        return known.last

    def before(self, symbol: str) -> Decimal | None:
        n, known = self.points(symbol) - 2, self._known[symbol]
        return known.price(known.rows.price(n)) if n >= 0 else None

    def recent(self, symbol: str, kept_us: int = RECENT_US) -> list[tuple[int, Decimal]]:
        known = self._known[symbol]
        rows, price = known.rows, known.price
        row, point = divmod(self.points(symbol) - 1, INSTANTS)
        out: list[tuple[int, Decimal]] = []
        since: int | None = None
        while row >= 0:
            path = rows.path(rows.first + row)
            opened = self.course.first_us + int(rows.minute[rows.first + row]) * MINUTE_US
            for n in range(point, -1, -1):
                at = opened + n * INSTANT_US
                out.append((at, price(path[n])))
                if since is None:
                    since = at - kept_us
                elif at <= since:
                    return out[::-1]
            row, point = row - 1, INSTANTS - 1
        return out[::-1]

    # ------------------------------------------------------------------ candles

    def closed_stop(self, symbol: str) -> int:
        """The row behind the last closed one."""
        known = self._known[symbol]
        if known.closed_at != self.place:
            known.closed_at, minute = self.place, self._minute
            ended = self._point or self._stage >= CLOSED
            known.closed = known.rows.up_to(minute - 1 if ended else max(minute - 2, -1))
        return known.closed

    def opened_at(self, symbol: str) -> str:
        known = self._known[symbol]
        row = self.closed_stop(symbol) - 1
        return time_text(int(known.ts[row]) * 1000) if row >= known.rows.after else ""

    def candle(self, symbol: str) -> ClosedCandle | None:
        known = self._known[symbol]
        row = self.closed_stop(symbol) - 1
        if row < known.rows.after:
            return None
        if row != known.candle_row:
            series, price = known.rows.series, known.price
            t, c = series.ticks, series.candles
            known.candle_row = row
            known.candle = ClosedCandle(
                time_text(int(c.ts_ms[row]) * 1000),
                price(int(t.open[row])),
                price(int(t.high[row])),
                price(int(t.low[row])),
                price(int(t.close[row])),
                _volume(float(c.volume[row])),
            )
        return known.candle

    def traded(self, symbol: str) -> int:
        return max(self.closed_stop(symbol) - self._known[symbol].rows.first, 0)

    def minutes(self, symbol: str, since: str) -> list[Bar]:
        rows = self._known[symbol].rows
        c = rows.series.candles
        first = rows.after
        if since:
            first = rows.up_to((micros(since) - self.course.first_us) // MINUTE_US)
        stop = self.closed_stop(symbol)
        columns = (c.open, c.high, c.low, c.close, c.volume)
        values = zip(*(column[first:stop].tolist() for column in columns), strict=True)
        stamps = c.ts_ms[first:stop].tolist()
        return [Bar(time_text(ms * 1000), *five) for ms, five in zip(stamps, values, strict=True)]

    def hours(self, symbol: str) -> HourTable:
        return self._known[symbol].hours

    def hourly(self, symbol: str, state: HourlyRange) -> None:
        self._known[symbol].hours.set(state, self.closed_stop(symbol) - 1)


def _volume(value: float) -> Decimal:
    return Decimal(text(exact(value)))
