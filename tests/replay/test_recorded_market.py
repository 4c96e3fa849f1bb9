"""Goal: the market of a recorded run is the input of a backtest, and gives what its files give."""

from datetime import timedelta

import pytest

from gateways.candles import CandleFileError
from gateways.feed_records import fed_records
from replay.backtest import complete, run
from replay.memory_log import MemoryLog
from replay.recorded_market import recorded_market
from replay.report_assumptions import market_of
from replay.sources import RecordedLog
from tests.replay.backtests import crash_plan


def recorded() -> RecordedLog:
    """Two hours of both symbols with an hour before them, as a feed would publish them."""
    plan = complete(crash_plan())
    assert plan.start is not None
    log = MemoryLog()
    for topic, event in fed_records(
        plan.candles,
        start=plan.start,
        end=plan.start + timedelta(hours=2),
        warm_up_start=plan.start - timedelta(hours=1),
        instruments=plan.instruments,
        funding=plan.funding,
    ):
        log.append(f"{topic}/0", event)
    return RecordedLog(log.order, "a recorded run")


def test_a_backtest_of_a_recorded_market_is_that_of_its_files() -> None:
    found = recorded_market(recorded())
    plan = crash_plan(warm_up_h=1)
    assert plan.start is not None
    assert found.start == plan.start
    assert [len(candles) for candles in found.candles] == [180, 180]
    assert market_of(found.candles).warning.startswith("Candles of a recorded run")
    first = crash_plan(warm_up_h=1, end=plan.start + timedelta(hours=2))
    again = crash_plan(
        warm_up_h=1, end=first.end, candles=found.candles, funding=found.funding,
        instruments=found.instruments,
    )  # fmt: skip
    assert run(again).digest == run(first).digest


def test_a_log_without_candles_is_refused_by_its_name() -> None:
    with pytest.raises(CandleFileError, match="nothing: no closed candle"):
        recorded_market(RecordedLog([], "nothing"))
