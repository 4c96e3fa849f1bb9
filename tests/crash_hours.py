"""Three hours of 19 May 2021 as the engine trades them: a real log for tests of readers."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from gateways.candles import read_candles
from gateways.feed_records import fed_records
from gateways.probes import demo_script
from replay.engine import Engine, accounts_of
from replay.memory_log import Stored
from schemas.envelope import Envelope
from schemas.instruments import load_instruments
from schemas.validity import Validity

START, END = datetime(2021, 5, 19, 11, tzinfo=UTC), datetime(2021, 5, 19, 14, tzinfo=UTC)
DATA = Path(__file__).parent.parent / "data" / "market"


@cache
def crash_log() -> tuple[Stored, ...]:
    """Every record in append order, fences included."""
    candles = [
        read_candles(DATA / f"{symbol}-1m-20210516-20210522.parquet")
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    records = list(
        fed_records(
            candles,
            start=START,
            end=END,
            warm_up_start=START - timedelta(hours=24),
            instruments=load_instruments(),
            funding=[],
            script=demo_script(candles, start=START, end=END),
        )
    )
    engine = Engine(accounts_of(event for _, event in records))
    for topic, event in records:
        engine.feed(topic, event)
    return tuple(engine.log.order)


@cache
def crash_events() -> tuple[Envelope, ...]:
    """The valid events in append order."""
    validity: dict[str, Validity] = {}
    return tuple(
        stored.event
        for stored in crash_log()
        if validity.setdefault(stored.key, Validity()).admit(stored.event)
    )
