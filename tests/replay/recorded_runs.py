"""Recorded runs in memory that several tests look at: the crash, with people taking part or not."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache

from commands.demo import FUNDING, MARKET
from gateways.candles import read_candles, read_funding
from gateways.feed_records import Scripted, fed_records
from gateways.probes import ACCOUNTS, demo_script
from replay.engine import Engine
from replay.log import LogRecord
from replay.sources import RecordedLog
from schemas.control import EmergencyStop, EmergencyStopData, PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.instruments import load_instruments
from schemas.topics import COMMANDS_CONTROL, VENUE_REQUEST
from schemas.venue import Deposit, Place, VenueRequest, VenueRequestData, VenueRequested

CRASH = datetime(2021, 5, 19, 12, tzinfo=UTC)
MIDNIGHT = datetime(2021, 5, 19, tzinfo=UTC)


def canonical(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def engine_of(first: datetime, last: datetime, more: Iterable[Scripted] = ()) -> Engine:
    """The demo's accounts over a span of the shipped week, and what `more` people did."""
    files = [
        read_candles(MARKET / f"{s}-1m-20210516-20210522.parquet") for s in ("BTCUSDT", "ETHUSDT")
    ]
    engine = Engine([account.name for account in ACCOUNTS])
    for topic, event in fed_records(
        files,
        start=first,
        end=last,
        warm_up_start=first - timedelta(hours=24),
        instruments=load_instruments("BTCUSDT", "ETHUSDT"),
        funding=[read_funding(FUNDING)],
        script=[*demo_script(files, start=first, end=last), *more],
    ):
        engine.feed(topic, event)
    return engine


@cache
def crash() -> RecordedLog:
    """Two hours in which the market falls by a third."""
    return RecordedLog(engine_of(CRASH, CRASH + timedelta(hours=2)).log.order, "the crash")


@cache
def night() -> RecordedLog:
    """Around a midnight, with a deposit and a manual trade made at the venue."""
    at = canonical(MIDNIGHT - timedelta(minutes=20))
    later = canonical(MIDNIGHT + timedelta(minutes=20))
    gift = Deposit(transfer_id="gift", amount="250.5", asset="USDT")
    bought = Place(
        client_order_id="web_1", symbol="BTCUSDT", side="BUY", order_type="MARKET",
        time_in_force="IOC", quantity="0.01", reduce_only=False, close_position=False, leverage=1,
    )  # fmt: skip
    more = [
        Scripted(at, VENUE_REQUEST.name, at_venue("main", at, gift)),
        Scripted(later, VENUE_REQUEST.name, at_venue("probe", later, bought)),
    ]
    span = MIDNIGHT - timedelta(hours=2), MIDNIGHT + timedelta(hours=1)
    return RecordedLog(engine_of(*span, more).log.order, "a night")


@cache
def steered() -> RecordedLog:
    """The crash with a policy changed by hand on one account and an emergency on another."""
    calm, stop = (canonical(CRASH + timedelta(minutes=m)) for m in (35, 75))
    more = [
        Scripted(calm, COMMANDS_CONTROL.name, policy_set("main", calm, 1, {"cooldown_s": 0})),
        Scripted(calm, COMMANDS_CONTROL.name, policy_set("hot", calm, 7, {"cooldown_s": 0})),
        Scripted(stop, COMMANDS_CONTROL.name, emergency("hot", stop)),
    ]
    return RecordedLog(engine_of(CRASH, CRASH + timedelta(hours=2), more).log.order, "steered")


def at_venue(account: str, time: str, request: VenueRequest) -> Envelope:
    """What a person does at the venue itself, past the gateway."""
    return VenueRequested(
        id=natural_id("by hand", account, time),
        source="/person",
        subject=account,
        time=time,
        partitionkey=account,
        data=VenueRequestData(request=request, attempt=0, sent_at=time, window_ms=1000),
    )


def policy_set(account: str, time: str, expected: int, changes: dict[str, object]) -> Envelope:
    return PolicySet(
        id=natural_id("by hand", account, time, str(expected)),
        source="/person",
        subject=account,
        time=time,
        partitionkey=account,
        data=PolicySetData(
            expected_version=expected, operator="ann", reason="a test", changes=changes
        ),
    )


def emergency(account: str, time: str) -> Envelope:
    return EmergencyStop(
        id=natural_id("stop", account, time),
        source="/person",
        subject=account,
        time=time,
        partitionkey=account,
        data=EmergencyStopData(operator="ann", reason="it falls"),
    )


def records(log: RecordedLog) -> list[LogRecord]:
    return list(log.read())
