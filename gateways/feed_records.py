"""The outside records of a fed run, in the exact order in which the feed publishes them.

Instruments, warm-up candles, then instant by instant: funding, prices, and at candle times the
candles that close there and the tick; scripted events (opening policies, probes, a person's
commands) come last at their instant. Pure: the same files give the same records, whatever the
pace.

A candle's event time is its close. A missing candle has no points and no record; ticks run on.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from domain.points import POINT_S, path
from gateways.candles import CandleFileError, Candles, FundingRates, Ints, TickCandles, exact
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.market import (
    Candle,
    CandlesClosed,
    CandlesData,
    ClockTicked,
    Funding,
    FundingData,
    FundingSettled,
    Instrument,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
    TickData,
)
from schemas.scalars import dec, text, time_text
from schemas.topics import CLOCK, MARKET
from schemas.trusted import trusted

SOURCE = "/feed"
CANDLE_S = 60
FUNDING_INTERVAL_H = 8
_MINUTE_MS = CANDLE_S * 1000


class Scripted(NamedTuple):
    """An outside event at a time of its own: it follows everything of the last instant <=
    `time`."""

    time: str
    topic: str
    event: Envelope


Record = tuple[str, Envelope]


def midnight(day: date | datetime) -> str:
    """Canonical time of a date's beginning, or of a moment (naive ones are UTC)."""
    if isinstance(day, datetime):
        moment = day if day.tzinfo else day.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{day.isoformat()}T00:00:00.000000Z"


def milliseconds(day: date | datetime) -> int:
    """Milliseconds since 1970 of a date's beginning, or of a moment; whole minutes only."""
    moment = datetime.strptime(midnight(day), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    ms = int(moment.timestamp() * 1000)
    if ms % _MINUTE_MS or moment.microsecond:
        raise ValueError(f"{midnight(day)} is not a whole minute; a run begins and ends on one")
    return ms


def stamp(ms: int) -> str:
    """Canonical time of milliseconds since 1970."""
    return time_text(ms * 1000)


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol ready to be published: candles, prices in ticks, row by open time."""

    candles: Candles
    ticks: TickCandles
    tick: int
    """The tick in units of the last decimal place."""
    places: int
    rows: "RowsByTime"

    def text(self, ticks: int) -> str:
        """Canonical text of a price in ticks."""
        whole, part = divmod(ticks * self.tick, 10**self.places)
        if not part:
            return str(whole)
        return f"{whole}.{part:0{self.places}d}".rstrip("0")

    def candle(self, row: int) -> Candle:
        c, t = self.candles, self.ticks
        return trusted(
            Candle,
            symbol=c.symbol,
            interval="1m",
            opened_at=stamp(int(c.ts_ms[row])),
            open=self.text(int(t.open[row])),
            high=self.text(int(t.high[row])),
            low=self.text(int(t.low[row])),
            close=self.text(int(t.close[row])),
            volume=text(exact(c.volume[row])),
        )

    def path_texts(self, row: int) -> list[str]:
        t = self.ticks
        prices = path(int(t.open[row]), int(t.high[row]), int(t.low[row]), int(t.close[row]))
        return [self.text(n) for n in prices]


class RowsByTime:
    """Row of the candle that opens at a time, without a table: rows are where their time says, but
    for gaps."""

    __slots__ = ("_first", "_ts")

    def __init__(self, ts_ms: Ints) -> None:
        self._ts, self._first = ts_ms, int(ts_ms[0])

    def get(self, ms: int) -> int | None:
        row = min((ms - self._first) // _MINUTE_MS, len(self._ts) - 1)
        if row < 0:
            return None
        if self._ts[row] != ms:
            row = int(np.searchsorted(self._ts[: row + 1], ms))
            if row == len(self._ts) or self._ts[row] != ms:
                return None
        return row

    def __contains__(self, ms: int) -> bool:
        return self.get(ms) is not None

    def __getitem__(self, ms: int) -> int:
        row = self.get(ms)
        if row is None:
            raise KeyError(ms)
        return row


def series_of(candles: Candles, tick_text: str) -> Series:
    tick = dec(tick_text).normalize()
    exponent = tick.as_tuple().exponent
    assert isinstance(exponent, int)
    places = max(0, -exponent)
    ticks, rows = candles.in_ticks(tick), RowsByTime(candles.ts_ms)
    return Series(candles, ticks, int(tick * Decimal(10) ** places), places, rows)


def fed_records(
    files: Iterable[Candles],
    *,
    start: date | datetime,
    end: date | datetime,
    warm_up_start: date | datetime | None = None,
    instruments: Sequence[Instrument],
    funding: Sequence[FundingRates] = (),
    script: Iterable[Scripted] = (),
) -> Iterator[Record]:
    """(topic name, event) of a run over [start, end): its last candle closes at `end`.

    `warm_up_start` (default `start`): candles from there to `start` come first, marked as
    warm-up. `funding`: settlements of [start, end). `instruments`: one for each file's symbol.
    Whole minutes. Raises :class:`CandleFileError` (prices off the tick, no candle in the range)
    and ValueError (a symbol without or with two files or instruments, an empty range) before the
    first record.
    """
    first, last = milliseconds(start), milliseconds(end)
    warm = first if warm_up_start is None else milliseconds(warm_up_start)
    if not warm <= first < last:
        raise ValueError(
            f"warm-up {stamp(warm)}, start {stamp(first)}, end {stamp(last)}: not in this order"
        )
    series = all_series(tuple(files), instruments, first, last)
    listed = tuple(i for i in instruments if any(s.candles.symbol == i.symbol for s in series))
    events = sorted(script, key=lambda item: item.time)
    if events and events[-1].time > stamp(last):
        raise ValueError(f"scripted event at {events[-1].time}, after the run's end {stamp(last)}")
    return _run(series, listed, funding, events, warm=warm, first=first, last=last)


def all_series(
    files: tuple[Candles, ...], instruments: Sequence[Instrument], first: int, last: int
) -> tuple[Series, ...]:
    tables = {i.symbol: i for i in instruments}
    seen: dict[str, Candles] = {}
    for file in files:
        if file.symbol in seen:
            raise ValueError(
                f"{file.symbol}: two files, {seen[file.symbol].path} and {file.path}; give one"
            )
        if file.symbol not in tables:
            raise ValueError(f"{file.path}: no filters, fees and brackets for {file.symbol}")
        if not np.any((file.ts_ms >= first) & (file.ts_ms < last)):
            raise CandleFileError(
                f"{file.path}: no candle between {stamp(first)} and {stamp(last)}; it holds "
                f"{stamp(int(file.ts_ms[0]))} to {stamp(int(file.ts_ms[-1]))}: choose other dates"
            )
        seen[file.symbol] = file
    if not seen:
        raise ValueError("no candle files were given; a run needs at least one")
    return tuple(series_of(seen[symbol], tables[symbol].tick) for symbol in sorted(seen))


def _run(
    series: tuple[Series, ...],
    instruments: tuple[Instrument, ...],
    funding: Sequence[FundingRates],
    script: list[Scripted],
    *,
    warm: int,
    first: int,
    last: int,
) -> Iterator[Record]:
    yield MARKET.name, instruments_record(instruments, warm)
    for opened in range(warm, first, _MINUTE_MS):
        record = candles_record(series, opened, warm_up=True)
        if record:
            yield MARKET.name, record
    rates = funding_by_instant(funding, first, last)
    waiting = iter(script)
    following = next(waiting, None)
    opening = stamp(first)
    while following and following.time <= opening:
        yield following.topic, following.event
        following = next(waiting, None)
    paths: list[tuple[str, list[str]]] = []
    for ms in range(first, last + 1, POINT_S * 1000):
        if ms in rates:
            yield MARKET.name, funding_record(rates[ms], ms)
        if ms % _MINUTE_MS == 0:
            paths = _paths(series, ms) if ms < last else []
        if paths:
            yield MARKET.name, _prices(paths, ms)
        if ms % _MINUTE_MS == 0 and ms > first:
            record = candles_record(series, ms - _MINUTE_MS, warm_up=False)
            if record:
                yield MARKET.name, record
            yield CLOCK.name, tick_record(ms)
        # An event falls to the last instant not after it, so it waits for the next one to be later.
        upcoming = stamp(ms + POINT_S * 1000)
        while following and following.time < upcoming:
            yield following.topic, following.event
            following = next(waiting, None)


def _paths(series: tuple[Series, ...], opened: int) -> list[tuple[str, list[str]]]:
    """Symbol and the six texts of every candle that opens at `opened`."""
    return [
        (one.candles.symbol, one.path_texts(one.rows[opened]))
        for one in series
        if opened in one.rows
    ]


def _prices(paths: list[tuple[str, list[str]]], ms: int) -> PricesObserved:
    point = ms % _MINUTE_MS // (POINT_S * 1000)
    return prices_record([(symbol, texts[point]) for symbol, texts in paths], point, ms)


def prices_record(prices: list[tuple[str, str]], point: int, ms: int) -> PricesObserved:
    """Symbols and their last prices at one point of their candles' paths."""
    time = stamp(ms)
    return trusted(
        PricesObserved,
        id=natural_id("prices", time),
        source=SOURCE,
        subject="market",
        time=time,
        partitionkey="market",
        data=trusted(
            PricesData,
            point=point,
            items=tuple(trusted(Price, symbol=symbol, last=last) for symbol, last in prices),
        ),
    )


def candles_record(
    series: tuple[Series, ...], opened: int, *, warm_up: bool
) -> CandlesClosed | None:
    items = []
    for one in series:
        row = one.rows.get(opened)
        if row is not None:
            items.append(one.candle(row))
    if not items:
        return None
    return trusted(
        CandlesClosed,
        id=natural_id("candles", "1m", stamp(opened)),
        source=SOURCE,
        subject="market",
        time=stamp(opened + _MINUTE_MS),
        partitionkey="market",
        data=trusted(CandlesData, warm_up=warm_up, items=tuple(items)),
    )


_TICK = TickData(candle_s=CANDLE_S)


def tick_id(time: str) -> str:
    """Id of the clock's tick of a canonical time."""
    return natural_id("tick", time)


def tick_record(ms: int) -> ClockTicked:
    time = stamp(ms)
    return trusted(
        ClockTicked,
        id=tick_id(time),
        source=SOURCE,
        subject="clock",
        time=time,
        partitionkey="clock",
        data=_TICK,
    )


def instruments_record(instruments: tuple[Instrument, ...], ms: int) -> InstrumentsListed:
    names = ",".join(f"{i.symbol}@{i.as_of}" for i in instruments)
    return InstrumentsListed(
        id=natural_id("instruments", names, stamp(ms)),
        source=SOURCE,
        subject="market",
        time=stamp(ms),
        partitionkey="market",
        data=InstrumentsData(items=instruments),
    )


def funding_by_instant(
    funding: Sequence[FundingRates], first: int, last: int
) -> dict[int, list[Funding]]:
    """Settlements by the first instant at or after them, symbols in order."""
    grid = POINT_S * 1000
    out: dict[int, list[Funding]] = {}
    for file in sorted(funding, key=lambda f: f.symbol):
        for ts, rate in zip(file.ts_ms.tolist(), file.rate.tolist(), strict=True):
            if first <= ts < last:
                item = Funding(
                    symbol=file.symbol, rate=text(exact(rate)), interval_h=FUNDING_INTERVAL_H
                )
                out.setdefault(-(-ts // grid) * grid, []).append(item)
    return out


def funding_record(items: list[Funding], ms: int) -> FundingSettled:
    time = stamp(ms)
    return FundingSettled(
        id=natural_id("funding", ",".join(i.symbol for i in items), time),
        source=SOURCE,
        subject="market",
        time=time,
        partitionkey="market",
        data=FundingData(items=tuple(items)),
    )
