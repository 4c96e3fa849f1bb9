"""The slow path: every point of every candle is looked at, in order, in plain Python.

No look-ahead and no numpy: it keeps what folding would have left as it goes (one hourly range a
symbol, folded candle by candle), and asks at each record whether a wait is met. It checks the fast
path's index, search and tables. Implements :class:`domain.skipping.Outside` and the search.
"""

from collections.abc import Iterator
from decimal import Decimal

from domain.market_state import ClosedCandle
from domain.regime import HourlyRange
from domain.skipping import Point
from domain.strategy import Bar
from domain.waits import EquityBound, Level, Waits
from replay.backtest_course import (
    BEFORE,
    CLOSED,
    INSTANTS,
    MINUTE_US,
    PRICED,
    SCRIPTED,
    SETTLED,
    STAGES,
    TICKED,
    Course,
)
from replay.fast_moves import SLACK
from replay.fast_search import MARGIN, NEVER, level_of, tick_bounds
from replay.slow_symbol import SlowLevels, SlowSymbol
from schemas.scalars import EPOCH_TEXT, text, time_text

RECENT_US = 60_000_000
Prices = list[tuple[tuple[int, ...], SlowLevels]]
"""Of each candle that is open: its path, and the levels that wait for its symbol."""


class SlowWalk:
    """Walks the course. :meth:`go` and :meth:`next` move forward; both look at every record."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.symbols = tuple(course.rows)
        self.candle_s = MINUTE_US // 1_000_000
        self.place = BEFORE
        self._known = {name: SlowSymbol(rows) for name, rows in course.rows.items()}
        self._levels = {name: SlowLevels() for name in course.rows}
        self._tick_levels = {name: SlowLevels() for name in course.rows}
        self._waits: dict[int, Waits] = {}
        self._tickers: list[tuple[int, Waits]] = []
        self._closers: list[tuple[int, Waits]] = []
        self._lookers: list[tuple[int, Waits]] = []
        """Those who wait for ticks, for candles, and those who look at every price. (A bound on a
        single position is a level.)"""
        self._movers: list[tuple[int, SlowSymbol, Decimal]] = []
        self._spans: list[tuple[SlowSymbol, float]] = []
        self._wide = False
        """Whether a symbol that someone waits for to move may have, in the candle that is open."""
        self._looks = False
        self._timer, self._regimes = NEVER, list[tuple[HourlyRange, str]]()
        """From when on a tick wakes somebody in any case, and regimes; another one does as well."""
        self._until, self._point = 0, -1
        self.market_offset, self.clock_offset = 1, 0
        self._market_us, self._traded_us, self._closed_us = course.listed_us, -1, -1
        self._clock_us = -1
        self._steps = self._walk()
        self._warm_up()

    def _warm_up(self) -> None:
        for minute in range(-((self.course.first_us - self.course.listed_us) // MINUTE_US), 0):
            closes = [s for s in self._known.values() if s.open(minute) and s.close(minute)]
            if closes:
                self.market_offset += 1
                self._closed_us = self._traded_us = self._time(minute + 1, 0)
                self._market_us = max(self._market_us, self._closed_us)

    def _time(self, minute: int, point: int) -> int:
        return self.course.first_us + (minute * INSTANTS + point) * (MINUTE_US // INSTANTS)

    # ------------------------------------------------------------------ walking

    def _walk(self) -> Iterator[list[int]]:
        """Take in record after record; who is woken by one, and nobody at the end of an instant
        that was to be reached."""
        known, settled = tuple(self._known.values()), set(self.course.settled)
        step, us, minutes = MINUTE_US // INSTANTS, self.course.first_us, self.course.minutes
        levels = [(symbol, self._levels[name]) for name, symbol in self._known.items()]
        for minute in range(minutes + 1):
            self._point = -1
            opened = [pair for pair in levels if pair[0].open(minute)]
            prices = [(symbol.path, level) for symbol, level in opened]
            self._look()
            base = minute * INSTANTS * STAGES
            for point in range(INSTANTS if minute < minutes else 1):
                if settled and base // STAGES in settled and (woken := self._settles(base, us)):
                    yield woken
                if prices and self._see(prices, point):
                    self.place, self._market_us, self._traded_us = base + PRICED, us, us
                    if woken := self._at_price():
                        yield woken
                if point == 0 and minute > 0:
                    if opened:
                        self._market_us = self._traded_us = us
                    yield from self._minute_ends(minute, base, us, known)
                if base + SCRIPTED >= self._until:
                    self.place = base + SCRIPTED
                    if opened:
                        self._market_us = self._traded_us = us
                    yield []
                us += step
                base += STAGES
                if point == 0 and minute < minutes and self._calm(prices, base, settled):
                    self._point = INSTANTS - 1
                    self.market_offset += INSTANTS - 1 if prices else 0
                    us += step * (INSTANTS - 1)
                    base += STAGES * (INSTANTS - 1)
                    break
            if opened:
                self._market_us = max(self._market_us, us - step)
                self._traded_us = us - step

    def _see(self, prices: Prices, point: int) -> bool:
        """Look at the prices of a point; whether one meets a level, or someone looks at all."""
        self._point = point
        self.market_offset += 1
        touched = self._looks
        for path, level in prices:
            if not level.low < path[point] < level.high:
                touched = True
        return touched

    def _calm(self, prices: Prices, base: int, settled: set[int]) -> bool:
        """Whether the points of this minute after the first wake nobody, each price looked at."""
        last = base + (INSTANTS - 2) * STAGES
        if self._looks or last + SCRIPTED >= self._until:
            return False
        for path, level in prices:
            if min(path) <= level.low or max(path) >= level.high:
                return False
        first = base // STAGES
        return not settled or settled.isdisjoint(range(first, first + INSTANTS - 1))

    def _look(self) -> None:
        """Note whether each price of the candles that are open is looked at closely."""
        self._wide = False
        for symbol, share in self._spans:
            self._wide = self._wide or symbol.is_wide(share)
        self._looks = self._wide or bool(self._lookers)

    def _settles(self, base: int, us: int) -> list[int]:
        """Take in a settlement; who is woken by it."""
        self._record(base + SETTLED, us)
        if self._point >= 0:
            self._traded_us = us - MINUTE_US // INSTANTS
        return self._at_settlement()

    def _minute_ends(
        self, minute: int, base: int, us: int, known: tuple[SlowSymbol, ...]
    ) -> Iterator[list[int]]:
        closes = False
        for symbol in known:
            closes = symbol.close(minute - 1) or closes
        if closes:
            self._traded_us = self._closed_us = us
            self._record(base + CLOSED, us)
            if self._closers and (woken := [n for n, w in self._closers if self._at_close(w, us)]):
                yield woken
        self.clock_offset += 1
        self._clock_us = us
        self.place = base + TICKED
        if self._ticks_count(us) and (
            woken := [n for n, w in self._tickers if self._at_tick(n, w, us)]
        ):
            yield woken

    def _ticks_count(self, us: int) -> bool:
        """Whether a tick may wake somebody."""
        if us >= self._timer:
            return True
        for name, levels in self._tick_levels.items():
            price = self._known[name].standing(self._point) if levels.rows else -1
            if price >= 0 and not levels.low < price < levels.high:
                return True
        return any(range_.regime != regime for range_, regime in self._regimes)

    def _record(self, place: int, us: int) -> None:
        self.place = place
        self.market_offset += 1
        self._market_us = us

    def go(self, place: int) -> None:
        """Stand at a place where someone was woken, or at an instant's end."""
        while self.place < place:
            self._until = place
            next(self._steps)

    def next(self, before: int) -> tuple[int, list[int]] | None:
        self._until = before
        woken = next(self._steps)
        return (self.place, woken) if woken else None

    def others(self, number: int) -> int:
        """Nothing is known of what comes: each place is looked at."""
        return self.place

    # ------------------------------------------------------------------ waits

    def expect(self, number: int, waits: Waits) -> None:
        self._waits[number] = waits
        every = self._waits.items()
        self._tickers = [
            (n, w) for n, w in every
            if w.every_tick or w.at_us is not None or w.regimes or w.tick_levels
        ]  # fmt: skip
        always = any(w.every_tick for _, w in self._tickers)
        timers = (w.at_us for _, w in self._tickers if w.at_us is not None)
        self._timer = 0 if always else min(timers, default=NEVER)
        self._regimes = [
            (self._known[symbol].hourly, regime)
            for _, w in self._tickers
            for symbol, regime in w.regimes
        ]
        self._closers = [(n, w) for n, w in every if w.every_close or w.bars or w.every_closes]
        self._movers = [(n, self._known[symbol], pct) for n, w in every for symbol, pct in w.moves]
        self._spans = [(symbol, float(pct) / 100 * (1 - SLACK)) for _, symbol, pct in self._movers]
        self._lookers = [
            (n, w) for n, w in every if w.every_price or not all(map(single, w.bounds))
        ]
        self._look()
        for symbol, levels in self._levels.items():
            levels.set(self._rows_of(symbol, "levels"))
        for symbol, levels in self._tick_levels.items():
            levels.set(self._rows_of(symbol, "tick_levels"))

    def _rows_of(self, symbol: str, kind: str) -> list[tuple[int, int, int]]:
        rows = self.course.rows[symbol]
        found: list[tuple[int, Level]] = []
        for number, waits in self._waits.items():
            found += [(number, level) for level in getattr(waits, kind)]
            if kind == "levels":
                for bound in waits.bounds:
                    if single(bound):
                        found.append((number, level_of(bound)))
        return [(n, *tick_bounds(level, rows)) for n, level in found if level.symbol == symbol]

    def _at_settlement(self) -> list[int]:
        symbols = {item.symbol for item in self.course.funding[self.place // STAGES]}
        return [n for n, w in self._waits.items() if w.every_price or w.funding & symbols]

    def _at_price(self) -> list[int]:
        met: set[int] = set()
        for name, symbol in self._known.items():
            if symbol.path:
                met.update(self._levels[name].met(symbol.path[self._point]))
        if self._wide:
            met.update(n for n, symbol, pct in self._movers if symbol.moved(self._point, pct))
        for number, waits in self._lookers:
            if waits.every_price or any(self._bound_met(bound) for bound in waits.bounds):
                met.add(number)
        return sorted(met)

    def _bound_met(self, bound: EquityBound) -> bool:
        held = {s: q for s, q in bound.quantities.items() if q}
        if len(held) == 1:
            return False
        equity = scale = abs(float(bound.cash))
        equity = float(bound.cash)
        for name, quantity in held.items():
            symbol = self._known[name]
            ticks = max(symbol.standing(self._point), 0)
            part = float(quantity) * ticks * symbol.series.tick / 10**symbol.series.places
            equity, scale = equity + part, scale + abs(part)
        margin = scale * MARGIN
        low, high = bound.below, bound.above
        return (low is not None and equity <= float(low) + margin) or (
            high is not None and equity >= float(high) - margin
        )

    def _at_tick(self, number: int, waits: Waits, us: int) -> bool:
        if waits.every_tick or (waits.at_us is not None and us >= waits.at_us):
            return True
        for name, regime in waits.regimes:
            if self._known[name].hourly.regime != regime:
                return True
        for level in waits.tick_levels:
            price = self._known[level.symbol].standing(self._point)
            levels = self._tick_levels[level.symbol]
            if price >= 0 and not levels.low < price < levels.high and number in levels.met(price):
                return True
        return False

    def _at_close(self, waits: Waits, us: int) -> bool:
        if waits.every_close or any(us // MINUTE_US % length == 0 for length in waits.bars):
            return True
        minute = (us - self.course.first_us) // MINUTE_US - 1
        return any(
            self.traded(symbol) % every == 0 and self._known[symbol].closed_minute == minute
            for symbol, every in waits.every_closes
        )

    # ------------------------------------------------------------------ outside

    @property
    def market_time(self) -> str:
        return time_text(max(self._market_us, self._traded_us))

    @property
    def traded_time(self) -> str:
        return _text(self._traded_us)

    @property
    def closed_time(self) -> str:
        return _text(self._closed_us)

    @property
    def clock_time(self) -> str:
        return _text(self._clock_us)

    def _decimal(self, symbol: SlowSymbol, ticks: int) -> Decimal:
        return Decimal(symbol.series.text(ticks))

    def last(self, symbol: str) -> Point | None:
        known = self._known[symbol]
        n = known.points(self._point) - 1
        if n < 0:
            return None
        price = self._decimal(known, known.price(n))
        return Point(price, time_text(known.point_us(n)), n % INSTANTS)

    def before(self, symbol: str) -> Decimal | None:
        known = self._known[symbol]
        n = known.points(self._point) - 2
        return None if n < 0 else self._decimal(known, known.price(n))

    def recent(self, symbol: str, kept_us: int = RECENT_US) -> list[tuple[int, Decimal]]:
        known = self._known[symbol]
        n = known.points(self._point) - 1
        out: list[tuple[int, Decimal]] = []
        while n >= 0:
            out.append((known.point_us(n), self._decimal(known, known.price(n))))
            if out[-1][0] <= out[0][0] - kept_us:
                break
            n -= 1
        return out[::-1]

    def candle(self, symbol: str) -> ClosedCandle | None:
        known = self._known[symbol]
        n = known.closed - 1
        if n < 0:
            return None
        opened, high, low, close = (self._decimal(known, ticks) for ticks in known.ticks[n])
        # repr of a float is the decimal number it stands for; canonical text drops a trailing `.0`.
        volume = Decimal(repr(known.floats[n][4]))
        return ClosedCandle(
            time_text(known.opened_us[n]), opened, high, low, close, Decimal(text(volume))
        )

    def opened_at(self, symbol: str) -> str:
        known = self._known[symbol]
        return time_text(known.opened_us[known.closed - 1]) if known.closed else ""

    def traded(self, symbol: str) -> int:
        known = self._known[symbol]
        return max(known.closed - known.warm, 0)

    def minutes(self, symbol: str, since: str) -> list[Bar]:
        known = self._known[symbol]
        out: list[Bar] = []
        for n in range(known.closed - 1, -1, -1):
            opened_at = time_text(known.opened_us[n])
            if opened_at <= since:
                break
            out.append(Bar(opened_at, *known.floats[n]))
        return out[::-1]

    def hourly(self, symbol: str, state: HourlyRange) -> None:
        mine = self._known[symbol].hourly
        state.hour, state.high, state.low, state.close = mine.hour, mine.high, mine.low, mine.close
        state.close_before, state.average = mine.close_before, mine.average
        state.seeds, state.regime = list(mine.seeds), mine.regime


def single(bound: EquityBound) -> bool:
    """Whether a bound is on exactly one position."""
    return sum(map(bool, bound.quantities.values())) == 1


def _text(us: int) -> str:
    return EPOCH_TEXT if us < 0 else time_text(us)
