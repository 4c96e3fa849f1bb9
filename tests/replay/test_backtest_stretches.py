"""Goal: what the fast path does in one go is what one record after the other would have done.

Method: hourly equity told in stretches, and the state its readers are left in, beside runs that
look at each tick; levels looked for in spans of candles beside looking at every price; forced books
and positions cut off in the middle, so that nothing of a stretch can have seen what comes later.
"""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.decider import OWN
from domain.execution_state import ExecutionMarket
from domain.safety_state import SafetyMarket
from domain.source import Source
from domain.strategies.book import book_policy, parse_book
from gateways.candles import read_candles
from gateways.feed_records import all_series
from replay import backtest
from replay.backtest import Backtest, run
from replay.backtest_course import SPAN, Rows, path_ticks
from replay.bulk_engine import BulkEngine
from replay.fast_search import NEVER, first_touch
from replay.slow_walk import SlowWalk
from schemas.codec import decode, encode
from schemas.instruments import load_instruments
from schemas.positions import EquityItem, PositionUpdated
from schemas.topics import POSITION_UPDATE
from schemas.validity import Validity
from tests.replay.backtest_world import START_US, funding, moment, walk
from tests.replay.test_backtest import CRASH, YEAR, shipped, three_ways

HOURS = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def calm(minutes: int, seed: int, gap: tuple[int, int], *, both: bool) -> Backtest:
    """A calm market in which the yardstick holds for many hours, with settlements on full hours
    (minutes 47, 107, … of the walk) and in between."""
    symbols = ("BTCUSDT", "ETHUSDT") if both else ("BTCUSDT",)
    files = tuple(
        walk(s, minutes, seed, gaps=(gap,) if s == "BTCUSDT" else (), step=2) for s in symbols
    )
    return Backtest(
        candles=files,
        start=moment(0),
        end=moment(minutes),
        warm_up_h=0,
        funding=(funding("BTCUSDT", (107, 230, 347)),),
        strategy="yardstick",
        policy={"max_time_in_trade_s": 1_000_000},
    )


def hourly(result: backtest.Result) -> list[PositionUpdated]:
    """Records that a tick caused: equity alone."""
    return [
        s.event
        for s in result.records
        if isinstance(s.event, PositionUpdated)
        and [type(item) for item in s.event.data.items] == [EquityItem]
        and s.event.causationid == s.event.correlationid
    ]


@HOURS
@given(
    seed=st.integers(0, 10_000),
    gap=st.tuples(st.integers(30, 600), st.integers(1, 200)),
    both=st.booleans(),
)
def test_equity_told_in_stretches_is_that_told_tick_by_tick(
    seed: int, gap: tuple[int, int], both: bool
) -> None:
    plan = calm(900, seed, gap, both=both)
    fast, slow = (run(replace(plan, path=path)) for path in ("fast", "slow"))
    assert fast.records == slow.records
    assert fast.digest == slow.digest


def test_a_calm_day_is_the_same_on_all_paths_and_its_records_are_valid() -> None:
    result = three_ways(calm(700, 5, (160, 90), both=True))
    told = hourly(result)
    assert len(told) >= 8
    assert all(decode(encode(event)) == event for event in told)
    assert [e.time[14:] for e in told] == ["00:00.000000Z"] * len(told)


def test_what_every_source_knows_at_the_end_is_the_same_on_all_paths() -> None:
    plan = backtest.complete(calm(700, 5, (160, 90), both=True))
    full, *others = (
        {source.name: known(source) for source in engine.sources}
        for engine in (
            backtest._full(replace(plan, path="full")),
            backtest._bulk(replace(plan, path="fast")),
            backtest._bulk(replace(plan, path="slow")),
        )
    )
    for other in others:
        assert other == full


def known(source: Source) -> str:
    """Digest of a source's whole state at the end of the run."""
    if source.catch_up is not None:
        source.catch_up(source)
    for state in source.slices.values():
        if isinstance(state, SafetyMarket | ExecutionMarket):
            state.settle()
    return source.digest()


def test_the_slow_path_never_tells_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: dict[str, list[int]] = {"fast": [], "slow": []}
    whole = BulkEngine._tell_hours

    def counted(self, search, place, numbers, until):  # type: ignore[no-untyped-def]
        before = len(self.log)
        done = whole(self, search, place, numbers, until)
        path = "slow" if isinstance(search, SlowWalk) else "fast"
        lengths[path].append(len(self.log) - before)
        return done

    monkeypatch.setattr(BulkEngine, "_tell_hours", counted)
    for path in ("fast", "slow"):
        run(replace(calm(700, 5, (160, 90), both=True), path=path))
    assert max(lengths["fast"]) > 3
    assert max(lengths["slow"]) == 0


def test_a_stretch_that_does_not_follow_what_is_known_is_refused() -> None:
    validity = Validity({"/positions/1": (1, 4)})
    assert not validity.admit_run("/positions/1", 1, 6, 9)
    assert not validity.admit_run("/positions/1", 2, 5, 9)
    assert not validity.admit_run("/positions/2", 1, 1, 3)
    assert validity.sources == {"/positions/1": (1, 4)}
    assert validity.admit_run("/positions/1", 1, 5, 9)
    assert validity.sources == {"/positions/1": (1, 9)}

    plan = backtest.complete(calm(700, 5, (160, 90), both=False))
    engine = backtest._bulk(plan)
    told = hourly(run(plan))[:2]
    reader = next(s for s in engine.sources if s.decider.name == "risk")
    key = f"{POSITION_UPDATE.name}/{reader.partition}"
    before = reader.digest()
    with pytest.raises(ValueError, match="do not follow"):
        reader.fold_last(key, reader.positions[key], told[-1], len(told))
    assert reader.digest() == before
    assert OWN in reader.slices


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 50),
    since=st.integers(0, 6 * 1500),
    low=st.integers(0, 4000),
    high=st.integers(0, 4000),
    ends=st.integers(1, 1500),
)
def test_a_level_is_found_over_spans_of_candles_as_by_looking_at_every_price(
    seed: int, since: int, low: int, high: int, ends: int
) -> None:
    minutes = 3 * SPAN - 36
    file = walk("BTCUSDT", minutes, seed, gaps=((400, 200),), step=4)
    first = START_US // 1000 + 70 * 60_000
    series = all_series((file,), load_instruments("BTCUSDT"), first, first + 10**9)
    rows = Rows(series[0], START_US // 1000, first, first + ends * 60_000)
    t, a, b = series[0].ticks, rows.first, rows.stop
    prices = path_ticks(t.open[a:b], t.high[a:b], t.low[a:b], t.close[a:b])
    if not len(prices):
        return
    since = min(since, len(prices))
    middle = int(prices[min(since, len(prices) - 1)])
    below, above = middle - low * 40, middle + high * 40
    met = np.flatnonzero((prices[since:] <= below) | (prices[since:] >= above))
    expected = since + int(met[0]) if len(met) else NEVER
    assert first_touch(rows, since, below, above) == expected


def test_a_run_cut_off_within_a_stretch_decided_the_same_until_then() -> None:
    long, short = (run(calm(700, 5, (160, 90), both=True)), run(cut(430)))
    until = f"{moment(430):%Y-%m-%dT%H:%M:%S.%f}Z"
    assert [e for e in texts(long) if e[0] < until] == [e for e in texts(short) if e[0] < until]
    assert any(event.time > until for event in hourly(long))


def cut(minutes: int) -> Backtest:
    return replace(calm(700, 5, (160, 90), both=True), end=moment(minutes))


def texts(result: backtest.Result) -> list[tuple[str, bytes]]:
    return [(s.event.time, encode(s.event)) for s in result.records]


def test_a_forced_book_does_not_see_what_comes_later_nor_trades_in_warm_up() -> None:
    book = parse_book("long:1.5")
    more = {"strategy": book.strategy, "policy": dict(book_policy(book, Decimal(10_000)))}
    until = f"{CRASH + timedelta(hours=2):%Y-%m-%dT%H:%M:%S.%f}Z"
    short, long = (texts(run(shipped(h, **more))) for h in (2, 4))
    assert [e for e in short if e[0] < until] == [e for e in long if e[0] < until]
    start = f"{CRASH:%Y-%m-%dT%H:%M:%S.%f}Z"
    decided = [s.event for s in run(shipped(2, **more)).records if s.key.startswith("trade.")]
    assert all(e.time >= start for e in decided if not e.type.startswith("source."))
    assert Counter(e.type for e in decided)["trade.order.decided.v1"] > 0


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["baseline", "donchian", "yardstick", "book"])
def test_all_paths_agree_over_the_whole_shipped_week(strategy: str) -> None:
    more: dict[str, object] = {"strategy": strategy}
    if strategy == "book":
        book = parse_book("long:1.5")
        more = {"strategy": book.strategy, "policy": dict(book_policy(book, Decimal(10_000)))}
    assert three_ways(replace(shipped(1, **more), start=None, end=None)).events > 100


@pytest.mark.long
def test_all_paths_agree_on_the_fall_of_2022_where_its_file_is_there() -> None:
    for path in sorted(YEAR.glob("BTCUSDT-1m-2022*.parquet")):
        three_ways(Backtest(candles=(read_candles(path),), strategy="yardstick"))
