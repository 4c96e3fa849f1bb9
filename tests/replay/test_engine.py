"""Goal: the deciders trade and report on real data before any broker is involved.

Method: the in-process engine over the shipped week with the demo's accounts and probes; what it
wrote is folded into the same summary as a live run's log.
"""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from commands.demo import FUNDING, MARKET
from gateways.candles import read_candles, read_funding
from gateways.feed_records import fed_records
from gateways.probes import ACCOUNTS, RESET_AT, RESET_BY, demo_script
from replay.engine import Engine
from replay.summary import Summary
from runtime.settings import ROOT
from schemas.codec import encode
from schemas.instruments import load_instruments
from schemas.positions import EquityItem, PositionUpdated
from schemas.trade import Order, OrderDecided

CRASH = datetime(2021, 5, 19, 11, tzinfo=UTC)


def run(first: datetime, last: datetime) -> Engine:
    """The demo of a span of the shipped week, in memory."""
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
        script=demo_script(files, start=first, end=last),
    ):
        engine.feed(topic, event)
    return engine


def digest(engine: Engine) -> str:
    """SHA-256 of the canonical bytes of everything in the log, in append order."""
    found = hashlib.sha256()
    for stored in engine.log.order:
        found.update(stored.key.encode() + b" " + encode(stored.event) + b"\n")
    return found.hexdigest()


@pytest.fixture(scope="module")
def week() -> Engine:
    return run(datetime(2021, 5, 17, tzinfo=UTC), datetime(2021, 5, 23, tzinfo=UTC))


def test_the_shipped_week_trades_both_sides_and_ends_positions_in_every_way(week: Engine) -> None:
    summary = Summary.of(week.log.events())
    main = summary.accounts["main"]
    assert {trade.side for trade in main.trades} == {"BUY", "SELL"}
    assert {"stop", "target", "exit_signal"} <= set(main.exits())
    assert main.approved > 20
    assert sum(main.rejected.values()) > 20


def test_no_decision_fails_in_the_shipped_week(week: Engine) -> None:
    assert Counter(e.type for e in week.log.events() if e.type.startswith("source.")) == Counter(
        {"source.fenced.v1": len(week.sources) + len(week.gateways)}
    )


def test_every_entry_is_protected_by_a_stop_and_a_target_in_one_record(week: Engine) -> None:
    entries, stops, targets = set(), set(), set()
    for event in week.log.events("trade.order"):
        if isinstance(event, OrderDecided):
            for item in event.data.items:
                if isinstance(item, Order):
                    if item.purpose == "entry":
                        entries.add(item.id)
                    elif item.purpose == "stop" and item.replaces is None:
                        stops.add(item.owner_id)
                    elif item.purpose == "target":
                        targets.add(item.owner_id)
    assert len(entries) == len(stops)
    assert stops == targets


def test_the_breaker_of_hot_trips_is_reset_once_and_meets_the_crash(week: Engine) -> None:
    """SAFE-3 on real data: it trips, latches, a named operator lifts it, it meets the crash."""
    summary = Summary.of(week.log.events())
    first, *later = [line for line in summary.emergencies if line.account == "hot"]
    assert first.activated_at < RESET_AT
    assert first.flat_at is not None
    assert first.reset_at == RESET_AT
    assert len(later) == 1
    assert later[0].reset_at is None
    assert "2021-05-19T06" < later[0].activated_at < "2021-05-20"
    hot, main = summary.accounts["hot"], summary.accounts["main"]
    assert (hot.emergencies, hot.trading_state, hot.governor) == (2, "HALTED", "STOP")
    assert hot.flash_crashes >= 1
    assert hot.drawdown_max_pct is not None
    assert hot.drawdown_max_pct >= 10
    assert (main.emergencies, main.trading_state, main.governor) == (0, "ACTIVE", "NORMAL")
    resets = [e for e in week.log.events("control") if e.type == "emergency.reset.v2"]
    assert [e.data.items[0].operator for e in resets] == [RESET_BY]  # type: ignore[attr-defined]


def test_between_a_stop_and_its_reset_no_entry_of_that_account_is_decided(week: Engine) -> None:
    stopped: set[str] = set()
    for stored in week.log.order:
        event = stored.event
        if event.type == "emergency.activated.v2":
            stopped.add(event.partitionkey)
        elif event.type == "emergency.reset.v2":
            stopped.discard(event.partitionkey)
        elif isinstance(event, OrderDecided) and event.partitionkey in stopped:
            purposes = {item.purpose for item in event.data.items if isinstance(item, Order)}
            assert purposes <= {"emergency_close"}, event


def test_equity_is_the_sum_of_its_parts_to_the_last_digit(week: Engine) -> None:
    seen = 0
    for event in week.log.events("trade.position.update"):
        if isinstance(event, PositionUpdated):
            for item in event.data.items:
                if isinstance(item, EquityItem):
                    parts = (item.transfers, item.realised, item.funding, item.unrealised)
                    total = sum(map(Decimal, parts)) - Decimal(item.fees)
                    assert total == Decimal(item.equity)
                    seen += 1
    assert seen > 100


def test_lost_requests_and_lost_answers_of_the_fault_plan_are_found_out_by_queries(
    week: Engine,
) -> None:
    kinds = Counter(
        item.kind
        for event in week.log.events("trade.execution.res")
        if event.type == "trade.execution.reported.v1"
        for item in event.data.items  # type: ignore[attr-defined]
    )
    assert kinds["unknown"] > 0
    ended = [o for a in Summary.of(week.log.events()).accounts.values() for o in a.orders.values()]
    assert ended


def test_two_processes_with_different_hash_seeds_write_the_same_bytes() -> None:
    digests = set()
    for seed in ("1", "2"):
        code = (
            "from tests.replay.test_engine import run, digest, CRASH;"
            "from datetime import timedelta;"
            "print(digest(run(CRASH, CRASH + timedelta(hours=2))))"
        )
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "TZ": f"UTC+{seed}"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_what_comes_later_does_not_change_what_was_decided() -> None:
    until = CRASH + timedelta(hours=1)
    stop = f"{until:%Y-%m-%dT%H:%M:%S.%f}Z"
    before = [
        [encode(e) for e in run(CRASH, last).log.events() if e.time < stop]
        for last in (until, until + timedelta(hours=1))
    ]
    assert before[0] == before[1]
    assert len(before[0]) > 2000
