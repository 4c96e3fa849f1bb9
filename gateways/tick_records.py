"""The outside records of a run over single trades, in the order in which an engine takes them.

All trades of one instant are one `market.prices.observed` record, in order, with their aggressors.
Candles are built from the same trades. A candle that closes at T, its tick of the clock, and a
scripted event of time T are given a latency after T, behind every trade up to then: what is decided
on them meets the last trade at arrival, never the close that made it. Funding comes at its second.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter

from gateways.candles import FundingRates, exact
from gateways.feed_records import (
    FUNDING_INTERVAL_H,
    SOURCE,
    Record,
    Scripted,
    Series,
    all_series,
    candles_record,
    funding_record,
    instruments_record,
    milliseconds,
    stamp,
    tick_record,
)
from gateways.ticks import Ticks, check_tick, price_texts, quantity_texts
from schemas.ids import natural_id
from schemas.market import Funding, Instrument, Price, PricesData, PricesObserved, Print
from schemas.scalars import dec, micros, text, time_text
from schemas.topics import CLOCK, MARKET
from schemas.trade import Side

LATENCY_MS = 250
_MINUTE_MS = 60_000
_FUNDING, _TRADES, _CANDLES, _SCRIPT = range(4)
"""At one instant, in this order."""

Timed = tuple[int, int, int, str, Record | list[Print]]
"""Microseconds, rank, running number, symbol, and what happens then."""


def tick_records(
    files: Sequence[Ticks],
    *,
    start: date | datetime,
    end: date | datetime,
    warm_up_start: date | datetime | None = None,
    instruments: Sequence[Instrument],
    funding: Sequence[FundingRates] = (),
    script: Iterable[Scripted] = (),
    latency_ms: int = LATENCY_MS,
) -> Iterator[Record]:
    """(topic name, event) of a run over [start, end), as :func:`gateways.feed_records.fed_records`
    gives them for candles. Trades before `start` only make warm-up candles.

    Memory does not grow with the files. Raises CandleFileError (no candle in the range, prices off
    the tick) and ValueError as `fed_records`, before the first record.
    """
    first, last = milliseconds(start), milliseconds(end)
    warm = first if warm_up_start is None else milliseconds(warm_up_start)
    if not warm <= first < last:
        raise ValueError(
            f"warm-up {stamp(warm)}, start {stamp(first)}, end {stamp(last)}: not in this order"
        )
    tables = {table.symbol: table for table in instruments}
    for file in files:
        if file.symbol in tables:
            check_tick(file, dec(tables[file.symbol].tick))
    series = all_series(tuple(file.candles for file in files), instruments, first, last)
    events = sorted(script, key=lambda item: item.time)
    if events and events[-1].time > stamp(last):
        raise ValueError(f"scripted event at {events[-1].time}, after the run's end {stamp(last)}")
    span = _Span(warm, first, last, latency_ms * 1000)
    return _run(files, series, tuple(instruments), funding, events, span)


@dataclass(frozen=True, slots=True)
class _Span:
    """Milliseconds; the latency in microseconds."""

    warm: int
    first: int
    last: int
    latency_us: int


def _run(
    files: Sequence[Ticks],
    series: tuple[Series, ...],
    instruments: tuple[Instrument, ...],
    funding: Sequence[FundingRates],
    script: list[Scripted],
    span: _Span,
) -> Iterator[Record]:
    symbols = {one.candles.symbol for one in series}
    listed = tuple(i for i in instruments if i.symbol in symbols)
    yield MARKET.name, instruments_record(listed, span.warm)
    for opened in range(span.warm, span.first, _MINUTE_MS):
        record = candles_record(series, opened, warm_up=True)
        if record:
            yield MARKET.name, record
    opening = stamp(span.first)
    for item in script:
        if item.time <= opening:
            yield item.topic, item.event
    tables = {i.symbol: i for i in instruments}
    timeline = heapq.merge(
        _settled(funding, span),
        *(_trades(file, tables[file.symbol], span) for file in files),
        _closed(series, span),
        _scripted(script, opening, span),
        key=itemgetter(0, 1, 3, 2),
    )
    for (us, rank), group in groupby(timeline, key=itemgetter(0, 1)):
        if rank == _TRADES:
            yield MARKET.name, _prices(us, {item[3]: item[4] for item in group})  # type: ignore[misc]
        else:
            yield from (item[4] for item in group)  # type: ignore[misc]


def _settled(funding: Sequence[FundingRates], span: _Span) -> Iterator[Timed]:
    found: dict[int, list[Funding]] = {}
    for file in sorted(funding, key=lambda f: f.symbol):
        for ts, rate in zip(file.ts_ms.tolist(), file.rate.tolist(), strict=True):
            if span.first <= ts < span.last:
                shown = text(exact(rate))
                item = Funding(symbol=file.symbol, rate=shown, interval_h=FUNDING_INTERVAL_H)
                found.setdefault(ts, []).append(item)
    for ms in sorted(found):
        yield ms * 1000, _FUNDING, 0, "", (MARKET.name, funding_record(found[ms], ms))


def _trades(file: Ticks, instrument: Instrument, span: _Span) -> Iterator[Timed]:
    """Trades of [first, last), all of one instant together."""
    tick = dec(instrument.tick)
    first, last = span.first * 1000, span.last * 1000
    at, trades = -1, list[Print]()
    for path, batch in file.batches():
        if int(batch.us[-1]) < first:
            continue
        if int(batch.us[0]) >= last:
            break
        prices, quantities = price_texts(path, batch, tick), quantity_texts(batch)
        rows = zip(batch.us.tolist(), prices, quantities, batch.sold.tolist(), strict=True)
        for us, price, quantity, sold in rows:
            if not first <= us < last:
                continue
            if us != at:
                if trades:
                    yield at, _TRADES, 0, file.symbol, trades
                at, trades = us, []
            side: Side = "SELL" if sold else "BUY"
            trades.append(Print(price=price, quantity=quantity, aggressor=side))
    if trades:
        yield at, _TRADES, 0, file.symbol, trades


def _closed(series: tuple[Series, ...], span: _Span) -> Iterator[Timed]:
    """The candles that close at each minute, then the tick of the clock, a latency later."""
    for ms in range(span.first + _MINUTE_MS, span.last + 1, _MINUTE_MS):
        us = ms * 1000 + span.latency_us
        record = candles_record(series, ms - _MINUTE_MS, warm_up=False)
        if record:
            yield us, _CANDLES, 0, "", (MARKET.name, record)
        yield us, _CANDLES, 1, "", (CLOCK.name, tick_record(ms))


def _scripted(script: list[Scripted], opening: str, span: _Span) -> Iterator[Timed]:
    for number, item in enumerate(script):
        if item.time > opening:
            at = micros(item.time) + span.latency_us
            yield at, _SCRIPT, number, "", (item.topic, item.event)


def _prices(us: int, trades: dict[str, list[Print]]) -> PricesObserved:
    time = time_text(us)
    return PricesObserved(
        id=natural_id("prices", time),
        source=SOURCE,
        subject="market",
        time=time,
        partitionkey="market",
        data=PricesData(
            items=tuple(
                Price(symbol=symbol, last=of[-1].price, trades=tuple(of))
                for symbol, of in sorted(trades.items())
            )
        ),
    )
