"""Logs that `benchmarks.verify` and `benchmarks.memory` use, made by the in-process engine.

``day``: the demo's accounts trade a day of shipped candles; hardly anything is decided on most
records. ``dense``: signals of many parts, as `bench throughput` sends them, at one price; nearly
every record is a decision or an answer to one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.bench_world import LIMITS, MINUTE_US, PRICE, WARM_UP_MINUTES
from gateways.candles import read_candles
from gateways.feed_records import fed_records
from gateways.probes import demo_script
from replay.engine import Engine, accounts_of
from replay.sources import RawRecord, RecordedLog
from runtime.settings import ROOT
from schemas.codec import encode
from schemas.control import PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id
from schemas.instruments import load_instruments, shipped_instrument
from schemas.market import (
    Candle,
    CandlesClosed,
    CandlesData,
    ClockTicked,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
    TickData,
)
from schemas.scalars import micros, time_text
from schemas.topics import CLOCK, COMMANDS_CONTROL, MARKET, SIGNAL
from schemas.trade import Signal, SignalData, SignalPublished

END = datetime(2021, 5, 20, tzinfo=UTC)
SHIPPED_BEFORE = 3
"""Days of shipped candles before END, less the warm-up."""
SECOND_US = 1_000_000
SIGNALS_A_SECOND = 20
SYMBOLS = tuple(f"B{n:02d}USDT" for n in range(1, 21))
ACCOUNTS = tuple(f"bench-{n:04d}" for n in range(1, 33))


def day(days: float) -> RecordedLog:
    """The log of the demo's accounts over the days before 20 May 2021, with 24 h of warm-up; of
    more than three (at most six) over those before 23 May."""
    end = END if days <= SHIPPED_BEFORE else END + timedelta(days=3)
    start = end - timedelta(days=days)
    names = ("BTCUSDT", "ETHUSDT")
    files = [ROOT / "data" / "market" / f"{s}-1m-20210516-20210522.parquet" for s in names]
    candles = [read_candles(path) for path in files]
    records = list(
        fed_records(
            candles,
            start=start,
            end=end,
            warm_up_start=start - timedelta(hours=24),
            instruments=load_instruments(),
            funding=[],
            script=demo_script(candles, start=start, end=end),
        )
    )
    engine = Engine(accounts_of(event for _, event in records))
    for topic, event in records:
        engine.feed(topic, event)
    return recorded(engine)


def dense(signals: int, parts: int) -> RecordedLog:
    """The log of 32 accounts on all partitions that answer so many signal records of so many parts
    (at most 20), all of them entries, 20 records a second."""
    engine = Engine(ACCOUNTS)
    begin = micros("2021-05-19T00:00:00.000000Z")
    for event in _opening(begin):
        engine.feed(MARKET.name, event)
    engine.feed(CLOCK.name, _tick(begin))
    for account in ACCOUNTS:
        engine.feed(COMMANDS_CONTROL.name, _policy(account, begin))
    for number in range(signals):
        at = begin + SECOND_US + number * SECOND_US // SIGNALS_A_SECOND
        if number % SIGNALS_A_SECOND == 0:
            engine.feed(MARKET.name, _prices(at))
            engine.feed(CLOCK.name, _tick(at))
        account = ACCOUNTS[number % len(ACCOUNTS)]
        first = number // len(ACCOUNTS) * parts
        chosen = tuple(SYMBOLS[(first + n) % len(SYMBOLS)] for n in range(parts))
        engine.feed(SIGNAL.name, _signal(account, number, chosen, at))
    return recorded(engine)


def recorded(engine: Engine) -> RecordedLog:
    """The engine's log as bytes."""
    raw = []
    for stored in engine.log.order:
        topic, _, number = stored.key.rpartition("/")
        key = stored.event.partitionkey.encode()
        place = (topic, int(number), stored.offset, stored.order)
        raw.append(RawRecord(*place, key, encode(stored.event)))
    return RecordedLog(raw)


def _opening(begin: int) -> Iterator[Envelope]:
    model = shipped_instrument("BTCUSDT")
    items = tuple(model.model_copy(update={"symbol": symbol}) for symbol in SYMBOLS)
    first = begin - WARM_UP_MINUTES * MINUTE_US
    yield InstrumentsListed(
        **_head("instruments", "market", first), data=InstrumentsData(items=items)
    )
    for minute in range(WARM_UP_MINUTES):
        yield _candles(first + minute * MINUTE_US)
    yield _prices(begin)


def _candles(opened: int) -> CandlesClosed:
    prices = {"open": PRICE, "high": "40120", "low": "39880", "close": PRICE, "volume": "1000"}
    items = tuple(
        Candle(symbol=symbol, interval="1m", opened_at=time_text(opened), **prices)
        for symbol in SYMBOLS
    )
    head = _head("candles", "market", opened + MINUTE_US)
    return CandlesClosed(**head, data=CandlesData(warm_up=True, items=items))


def _prices(at: int) -> PricesObserved:
    items = tuple(Price(symbol=symbol, last=PRICE) for symbol in SYMBOLS)
    return PricesObserved(**_head("prices", "market", at), data=PricesData(items=items))


def _tick(at: int) -> ClockTicked:
    return ClockTicked(**_head("tick", "clock", at), data=TickData(candle_s=1))


def _policy(account: str, at: int) -> PolicySet:
    return PolicySet(
        id=natural_id("bench policy", account),
        source="/bench",
        subject=account,
        time=time_text(at),
        partitionkey=account,
        data=PolicySetData(
            expected_version=0,
            operator="bench",
            reason="limits raised, every check executed",
            profile="production",
            changes=LIMITS,
        ),
    )


def _signal(account: str, number: int, symbols: tuple[str, ...], at: int) -> SignalPublished:
    identity = natural_id("bench signal", account, str(number))
    items = tuple(
        Signal(
            id=part_id(identity, ordinal),
            symbol=symbol,
            side="BUY",
            confidence="0.9",
            origin="bench",
            position_size_pct="0.05",
        )
        for ordinal, symbol in enumerate(symbols)
    )
    return SignalPublished(
        id=identity,
        source="/bench",
        subject=f"{account}/{symbols[0]}" if len(symbols) == 1 else account,
        time=time_text(at),
        partitionkey=account,
        data=SignalData(items=items),
    )


def _head(kind: str, key: str, at: int) -> dict[str, Any]:
    time = time_text(at)
    return {
        "id": natural_id(f"bench {kind}", time),
        "source": "/feed",
        "subject": key,
        "time": time,
        "partitionkey": key,
    }
