"""Goal: backtests over what is not candles: a forced book, signals of a file, single trades.

The crash of 19 May 2021 in both shipped symbols, and the shipped two hours of APEUSDT trades.
"""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ticks_and_candles import compare, table
from domain.strategies.book import book_policy, parse_book
from domain.venue_faults import NO_FAULTS
from gateways.candles import Candles, read_candles
from gateways.instrument_files import instruments_for
from gateways.signal_files import signal_script
from gateways.ticks import Ticks, read_ticks
from replay.backtest import Backtest, Result, run
from schemas.envelope import Envelope
from schemas.positions import EquityItem, PositionUpdated
from schemas.scalars import dec
from schemas.trade import (
    ExecutionReported,
    Filled,
    Order,
    OrderDecided,
    SignalJudged,
    SignalPublished,
)
from schemas.venue import VenueReported

MARKET = Path(__file__).parents[2] / "data" / "market"
TRADES = MARKET / "APEUSDT_PERP-aggTrades-20241018T13-20241018T14.parquet"
CRASH = datetime(2021, 5, 19, 6, tzinfo=UTC)
AFTER = datetime(2021, 5, 19, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def week() -> tuple[Candles, ...]:
    return tuple(
        read_candles(MARKET / f"{symbol}-1m-20210516-20210522.parquet")
        for symbol in ("BTCUSDT", "ETHUSDT")
    )


@pytest.fixture(scope="module")
def trades() -> Ticks:
    return read_ticks(TRADES)


def of(result: Result, kind: type[Envelope]) -> list[Any]:
    return [s.event for s in result.records if isinstance(s.event, kind)]


def items(result: Result, kind: type[Envelope], part: type[Any]) -> list[Any]:
    return [i for e in of(result, kind) for i in e.data.items if isinstance(i, part)]


# ------------------------------------------------------------------ the forced book


UNSTOPPED = {"drawdown_stop_pct": "100", "flash_fall_pct": "100"}
"""The book is to be held through the crash; what the breaker does is `test_drills`' to show."""


def book(week: tuple[Candles, ...], asked: str, *, path: Any = "full", **more: Any) -> Result:
    held = parse_book(asked)
    return run(
        Backtest(
            candles=week, start=CRASH, end=AFTER, warm_up_h=1, strategy=held.strategy,
            policy={**book_policy(held, Decimal(10_000)), **UNSTOPPED}, faults=NO_FAULTS,
            path=path, **more,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def crashed(week: tuple[Candles, ...]) -> Result:
    return book(week, "long:1.5")


def test_a_book_of_one_and_a_half_really_exceeds_its_equity_in_both_symbols(
    crashed: Result,
) -> None:
    equities = items(crashed, PositionUpdated, EquityItem)
    early = next(e for e in equities if len(e.marks) == 2)
    assert Decimal("1.4") < dec(early.gross) / dec(early.equity) < Decimal("1.6")
    assert crashed.curve.max_gross_pct > 180, "the crash makes a held book larger"


def test_a_book_is_held_through_the_crash_without_stop_sale_or_liquidation(
    crashed: Result,
) -> None:
    orders = items(crashed, OrderDecided, Order)
    assert {order.purpose for order in orders} == {"entry"}
    assert {order.side for order in orders} == {"BUY"}
    fills = items(crashed, ExecutionReported, Filled)
    assert {fill.side for fill in fills} == {"BUY"}
    assert {order.leverage for order in orders} == {2}
    rules = {i.rule for e in of(crashed, VenueReported) for i in e.data.items if i.kind == "filled"}
    assert rules == {"market at point"}


def test_a_book_trades_when_it_is_short_of_its_share_and_then_no_more(crashed: Result) -> None:
    signals = of(crashed, SignalPublished)
    assert signals[0].time == "2021-05-19T06:05:00.000000Z"
    assert len(signals) < 5
    verdicts = [v for e in of(crashed, SignalJudged) for v in e.data.items]
    assert {v.verdict for v in verdicts} == {"approved"}
    assert all(len(v.limits) > 20 for v in verdicts), "every check has still run"


def test_a_large_book_is_built_over_several_orders_of_a_tenth_of_the_volume(
    week: tuple[Candles, ...],
) -> None:
    rich = Decimal(20_000_000)
    held = parse_book("short:1.5")
    result = run(
        Backtest(
            candles=week, start=CRASH, end=datetime(2021, 5, 19, 7, tzinfo=UTC), warm_up_h=1,
            strategy=held.strategy, policy=book_policy(held, rich), equity=str(rich),
            faults=NO_FAULTS, path="full",
        )
    )  # fmt: skip
    fills = items(result, ExecutionReported, Filled)
    assert len([f for f in fills if f.symbol == "BTCUSDT"]) >= 4
    volumes = {c.symbol: c.volume.max() for c in week}
    assert all(dec(f.quantity) <= Decimal(volumes[f.symbol]) / 10 for f in fills)
    assert {f.side for f in fills} == {"SELL"}


def test_a_book_gives_the_same_bytes_on_the_fast_path(
    week: tuple[Candles, ...], crashed: Result
) -> None:
    assert book(week, "long:1.5", path="fast").digest == crashed.digest


# ------------------------------------------------------------------ signals of a file


def test_signals_of_a_file_trade_at_the_first_price_not_before_their_time(
    week: tuple[Candles, ...], tmp_path: Path
) -> None:
    path = tmp_path / "signals.csv"
    path.write_text(
        "time,symbol,side,confidence,source,stop_price,target_price,limit_price\n"
        "2021-05-19T06:10:03Z,BTCUSDT,BUY,0.9,mine,37000,,\n"
        "2021-05-19T06:20:00Z,ETHUSDT,BUY,0.64,mine,,,\n"
    )
    script = signal_script(path, start=CRASH, end=AFTER, symbols=("BTCUSDT", "ETHUSDT"))
    result = run(
        Backtest(
            candles=week, start=CRASH, end=datetime(2021, 5, 19, 7, tzinfo=UTC), warm_up_h=1,
            strategy=None, script=script, faults=NO_FAULTS, path="full",
        )
    )  # fmt: skip
    first, second = [v for e in of(result, SignalJudged) for v in e.data.items]
    assert (first.verdict, first.origin) == ("approved", "mine")
    assert (second.verdict, second.reason) == ("rejected", "LOW_CONFIDENCE")
    fill = items(result, ExecutionReported, Filled)[0]
    assert fill.filled_at == "2021-05-19T06:10:10.250000Z"
    btc = next(c for c in week if c.symbol == "BTCUSDT")
    row = int(btc.ts_ms.searchsorted(int(CRASH.timestamp() * 1000) + 600_000))
    assert btc.low[row] <= float(fill.reference) <= btc.high[row]


# ------------------------------------------------------------------ ticks


def ticked(trades: Ticks, path: Path, **more: Any) -> Backtest:
    start = datetime(2024, 10, 18, 13, 30, tzinfo=UTC)
    end = datetime(2024, 10, 18, 15, tzinfo=UTC)
    script = signal_script(
        path, start=start, end=end, symbols=("APEUSDT",), grid_s=0 if "ticks" in more else 10
    )
    tables = instruments_for([trades.candles], at="2024-10-18T00:00:00.000000Z", assume=True)
    return Backtest(
        start=start, end=end, warm_up_h=1, strategy=None, script=script, instruments=tables,
        policy={"cooldown_s": 0, "limit_expiry_s": 600}, faults=NO_FAULTS, path="full", **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ape_signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signals") / "signals.jsonl"
    path.write_text(
        '{"time":"2024-10-18T13:40:00Z","symbol":"APEUSDT","side":"BUY","confidence":0.9,'
        '"stop_price":0.72,"target_price":0.74}\n'
        '{"time":"2024-10-18T14:20:00Z","symbol":"APEUSDT","side":"SELL","confidence":0.9,'
        '"stop_price":0.73,"target_price":0.71,"limit_price":0.7209}\n'
    )
    return path


def test_on_ticks_an_order_meets_the_last_trade_at_its_arrival(
    trades: Ticks, ape_signals: Path
) -> None:
    result = run(ticked(trades, ape_signals, ticks=(trades,)))
    assert result.path == "full"
    fill = items(result, ExecutionReported, Filled)[0]
    arrival = datetime(2024, 10, 18, 13, 40, 0, 250_000, tzinfo=UTC).timestamp() * 1e6
    last = 0.0
    for _, batch in trades.batches():
        last = float(batch.price[int(batch.us.searchsorted(arrival, side="right")) - 1])
    assert float(fill.reference) == last
    stop = next(o for o in items(result, OrderDecided, Order) if o.purpose == "stop")
    assert stop.trigger_price == "0.72"
    rules = [i.rule for e in of(result, VenueReported) for i in e.data.items if i.kind == "filled"]
    assert rules[:2] == ["market at trade", "stop at trade"]


def test_a_run_on_ticks_is_the_same_bytes_again_and_keeps_no_trade_in_memory(
    trades: Ticks, ape_signals: Path
) -> None:
    first = run(ticked(trades, ape_signals, ticks=(trades,)))
    second = run(ticked(trades, ape_signals, ticks=(trades,)))
    assert first.digest == second.digest
    assert first.outside > 3000
    assert not any(s.key.startswith(("market", "clock")) for s in first.records)


def test_candles_built_from_the_ticks_tell_the_same_story_with_other_fills(
    trades: Ticks, ape_signals: Path
) -> None:
    on_ticks = run(ticked(trades, ape_signals, ticks=(trades,)))
    on_candles = run(ticked(trades, ape_signals, candles=(trades.candles,)))
    sides = [[f.side for f in items(r, ExecutionReported, Filled)] for r in (on_ticks, on_candles)]
    assert sides[0][:2] == sides[1][:2] == ["BUY", "SELL"]
    prices = [items(r, ExecutionReported, Filled)[0].price for r in (on_ticks, on_candles)]
    assert abs(float(prices[0]) - float(prices[1])) / float(prices[0]) < 0.001


def test_the_comparison_of_trades_and_candles_pairs_every_intent(trades: Ticks) -> None:
    figures = [compare(trades, kind) for kind in ("market", "limit")]
    for one in figures:
        assert one["intents"] == one["approved_ticks"] == one["approved_candles"] == 5
    assert figures[0]["filled_both"] == 5
    assert 0 < figures[0]["entry_apart_bp_mean"] < 5, "other fills, but of the same market"
    pair = figures[1]["filled_both"] + figures[1]["filled_candles_only"]
    assert pair <= 5
    assert table(figures).count("APEUSDT") == 2
