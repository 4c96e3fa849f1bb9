"""Goal: the fast and the slow path write the same bytes as the engine that folds every record.

Method: the same backtest on all three paths, on shipped data and on made-up markets with gaps,
several symbols, funding and orders of every kind; states that were skipped to are compared with
states that folded each record.
"""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.demo import FUNDING, MARKET
from domain.strategies.book import book_policy, parse_book
from gateways.candles import read_candles, read_funding, symbol_of
from replay.backtest import Backtest, Result, run
from runtime.settings import ROOT
from schemas.codec import decode, encode
from schemas.instruments import shipped_symbols
from schemas.policy import Policy
from tests.replay.backtest_world import funding, intents, moment, walk

WEEK = tuple(MARKET / f"{s}-1m-20210516-20210522.parquet" for s in ("BTCUSDT", "ETHUSDT"))
CRASH = datetime(2021, 5, 19, 11, tzinfo=UTC)
YEAR = ROOT.parent / "shared" / "data" / "market"
FILES = [p for p in sorted(YEAR.glob("*-1m-*.parquet")) if symbol_of(p) in shipped_symbols()]
"""Of the others no filters and brackets are shipped."""
WIDE = {"cooldown_s": 0, "max_trades_per_hour": 1000, "max_position_usd": "20000"}


def three_ways(backtest: Backtest) -> Result:
    """The fast result, after comparing it with the slow and the full one record by record."""
    results = [run(replace(backtest, path=path)) for path in ("fast", "slow", "full")]
    fast = results[0]
    for other in results[1:]:
        for mine, theirs in zip(fast.records, other.records, strict=False):
            assert mine == theirs, other.path
        assert len(fast.records) == len(other.records), other.path
        assert fast.digest == other.digest
        assert (fast.outside, fast.bars) == (other.outside, other.bars)
    assert not any(s.event.type == "source.halted.v1" for s in fast.records)
    return fast


def shipped(hours: int, **more: object) -> Backtest:
    files = tuple(read_candles(path) for path in WEEK)
    return Backtest(
        candles=files,
        start=CRASH,
        end=CRASH + timedelta(hours=hours),
        funding=(read_funding(FUNDING),),
        **more,  # type: ignore[arg-type]
    )


def test_all_paths_write_the_same_bytes_in_the_crash_of_may_2021() -> None:
    result = three_ways(shipped(4))
    assert result.events > 40
    for stored in result.records:
        assert decode(encode(stored.event)) == stored.event


def test_all_paths_write_the_same_bytes_for_the_yardstick() -> None:
    result = three_ways(shipped(6, strategy="yardstick", warm_up_h=2))
    kinds = Counter(stored.key.split("/")[0] for stored in result.records)
    assert kinds["trade.intent"] >= 3
    assert kinds["trade.position.update"] > 10


def test_fast_and_slow_agree_over_the_shipped_week_for_every_strategy() -> None:
    files = tuple(read_candles(path) for path in WEEK)
    for strategy in ("baseline", "donchian", "yardstick"):
        plan = Backtest(candles=files, funding=(read_funding(FUNDING),), strategy=strategy)
        results = [run(replace(plan, path=path)) for path in ("fast", "slow")]
        assert results[0].digest == results[1].digest, strategy
        assert results[0].events > 100


def test_a_forced_book_is_the_same_on_all_paths() -> None:
    book = parse_book("long:1.5")
    policy = dict(book_policy(book, Decimal(10_000)))
    result = three_ways(shipped(4, strategy=book.strategy, policy=policy))
    assert result.curve.max_gross_pct > 100


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    gap=st.tuples(st.integers(1, 200), st.integers(1, 70)),
    step=st.sampled_from((3, 8, 40)),
    both=st.booleans(),
)
def test_no_small_market_tells_the_paths_apart(
    seed: int, gap: tuple[int, int], step: int, both: bool
) -> None:
    symbols = ("BTCUSDT", "ETHUSDT") if both else ("BTCUSDT",)
    files = [walk(s, 240, seed, gaps=(gap,) if s == "BTCUSDT" else (), step=step) for s in symbols]
    plan = Backtest(
        candles=tuple(files),
        start=moment(61 if both else 0),
        end=moment(240),
        warm_up_h=1,
        funding=(funding("BTCUSDT", (90, 150, 151)),),
        strategy="yardstick" if seed % 2 else None,
        policy={**WIDE, "max_time_in_trade_s": 1800},
        script=intents(files[-1], "backtest", seed, count=8, last=230),
    )
    three_ways(plan)


def test_what_comes_later_does_not_change_what_was_decided() -> None:
    until = f"{CRASH + timedelta(hours=3):%Y-%m-%dT%H:%M:%S.%f}Z"
    for strategy in ("baseline", "donchian", "yardstick"):
        short, long = (
            [encode(s.event) for s in run(shipped(h, strategy=strategy)).records
             if s.event.time < until]
            for h in (3, 5)
        )  # fmt: skip
        assert short == long, strategy
        assert len(short) > 10


def test_nothing_is_decided_before_the_start_and_warm_up_is_folded() -> None:
    for strategy in ("baseline", "donchian", "yardstick"):
        with_warm_up = run(shipped(3, strategy=strategy))
        without = run(shipped(3, strategy=strategy, warm_up_h=0))
        start = f"{CRASH:%Y-%m-%dT%H:%M:%S.%f}Z"
        decided = [s for s in with_warm_up.records if not s.event.type.startswith("source.")]
        assert all(s.event.time >= start for s in decided)
        assert with_warm_up.outside - without.outside == 24 * 60
        assert with_warm_up.bars - without.bars == 2 * 24 * 60


def test_hash_seed_time_zone_locale_and_cores_change_nothing() -> None:
    code = (
        "import os, sys; cores = list(os.sched_getaffinity(0))[: int(sys.argv[1])];"
        "os.sched_setaffinity(0, set(cores));"
        "from tests.replay.test_backtest import shipped; from replay.backtest import run;"
        "print(run(shipped(3)).digest)"
    )
    found = set()
    for cores, seed, zone, locale in (("1", "1", "UTC+5", "C"), ("9", "2", "Asia/Tokyo", "tr_TR")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale,
               "PYTHONPATH": str(ROOT)}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, cores], env=env, cwd=ROOT, capture_output=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_a_year_is_held_without_its_outside_records() -> None:
    result = run(shipped(24, strategy="yardstick"))
    assert result.outside > 6 * 24 * 60
    assert len(result.records) < result.outside / 20


def test_settings_that_contradict_each_other_are_refused_before_anything_is_decided() -> None:
    with pytest.raises(ValueError, match="no strategy is called nosuch; there are baseline"):
        run(shipped(1, strategy="nosuch"))
    with pytest.raises(ValueError, match="no candles"):
        run(Backtest(candles=()))


def test_the_curve_knows_the_drawdown_between_two_records() -> None:
    result = run(shipped(6, strategy="yardstick"))
    curve = result.curve
    assert curve.max_drawdown_pct > 0
    assert 0 < curve.max_gross_pct < 100
    assert (curve.time_us[1:] >= curve.time_us[:-1]).all()
    assert abs(curve.nav[0] - 1.0) < 1e-12
    assert float(Policy().start_equity_usdt) > 0


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("strategy", ["baseline", "yardstick"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_fast_and_slow_agree_on_every_file_there_is(path: Path, strategy: str) -> None:
    fast = run(Backtest(candles=(read_candles(path),), strategy=strategy))
    assert fast.digest == run(replace(fast.backtest, path="slow")).digest
