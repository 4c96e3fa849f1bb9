"""Goal: a report adds up to the last digit, and says what its figures assume."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from gateways.candles import Candles
from replay.backtest import run
from replay.equity_curve import CandlePoints
from replay.report import costs, report, warning
from replay.report_assumptions import assumptions
from replay.report_trades import TradeRow, ambiguous, fill_costs
from schemas.positions import EquityItem, PositionItem, PositionUpdated
from schemas.scalars import dec, micros
from tests.replay.backtests import crash_plan, crash_result, stopped_result

KEYS = {
    "bars", "seconds", "bars_per_second", "trades", "final_equity", "max_drawdown_pct",
    "max_gross_pct", "events", "events_digest", "path",
}  # fmt: skip


def test_the_keys_that_other_tools_rely_on_are_there() -> None:
    figures = report(crash_result()).figures
    assert set(figures) >= KEYS
    assert figures["path"] in ("fast", "slow")
    assert json.loads(json.dumps(figures)) == figures


def test_final_equity_is_that_of_the_books_and_of_the_curve() -> None:
    made = report(crash_result())
    figures = made.figures
    parts = sum(
        dec(figures[name]) for name in ("start_equity", "realised", "funding", "unrealised")
    )
    assert dec(figures["final_equity"]) == parts - dec(figures["fees"])
    assert float(crash_result().curve.equity[-1]) == pytest.approx(float(figures["final_equity"]))
    last = [
        item
        for stored in crash_result().records
        if isinstance(stored.event, PositionUpdated)
        for item in stored.event.data.items
        if isinstance(item, EquityItem)
    ][-1]
    assert dec(figures["realised"]) == dec(last.realised)


def test_a_run_that_ends_within_an_hour_is_marked_at_its_last_point() -> None:
    made = report(run(crash_plan(end=datetime(2021, 5, 19, 14, 17, tzinfo=UTC))))
    figures = made.figures
    assert figures["open_positions"] > 0
    growth = float(figures["final_equity"]) / float(figures["start_equity"])
    assert figures["statistics"]["return_pct"] == pytest.approx(100 * (growth - 1), abs=1e-3)


def test_why_nothing_was_opened_any_more_is_said_with_what_safety_did() -> None:
    figures = report(stopped_result()).figures
    assert figures["trading_state"] == "HALTED"
    assert figures["safety"][-1]["level"] == "STOP"
    (emergency,) = figures["emergencies"]
    assert emergency["activated_at"] <= emergency["flat_at"]
    assert emergency["reset_at"] is None
    assert figures["standing"] == (
        "The run ended HALTED (governor STOP by drawdown; emergency latched): nothing was opened "
        f"after {max(t['opened_at'] for t in figures['trade_list'])[:16].replace('T', ' ')} UTC."
    )
    assert json.loads(json.dumps(figures)) == figures
    quiet = report(crash_result()).figures
    assert (quiet["standing"], quiet["emergencies"]) == (None, [])


def test_open_positions_are_listed_as_the_account_holds_them() -> None:
    figures = report(run(crash_plan(end=datetime(2021, 5, 19, 14, 17, tzinfo=UTC)))).figures
    assert len(figures["positions"]) == figures["open_positions"] > 0
    unrealised = sum((dec(p["unrealised"]) for p in figures["positions"]), Decimal(0))
    assert unrealised == dec(figures["unrealised"])


def test_exposure_counts_every_price_for_as_long_as_it_stood() -> None:
    """Walked in steps of a quarter of a second, which is when fills come."""
    result = stopped_result()
    made = report(result)
    points = [CandlePoints(c, made.end_us) for c in result.backtest.candles]
    times = np.arange(made.start_us, made.end_us, 250_000)
    marks = {}
    for each in points:
        at, prices = each.between(made.start_us - 60_000_000, made.end_us)
        marks[each.candles.symbol] = prices[np.searchsorted(at, times, side="right") - 1]
    held = {symbol: np.zeros(len(times)) for symbol in marks}
    base = np.zeros(len(times))
    for stored in result.records:
        if isinstance(stored.event, PositionUpdated):
            later = times >= micros(stored.event.time)
            for item in stored.event.data.items:
                if isinstance(item, PositionItem):
                    held[item.symbol][later] = float(item.quantity)
                elif isinstance(item, EquityItem):
                    worth = sum(
                        held[s][-1] * float(mark) for s, mark in item.marks.items() if s in held
                    )
                    base[later] = float(item.equity) - worth
    gross = sum(abs(held[symbol]) * mark for symbol, mark in marks.items())
    equity = base + sum(held[symbol] * mark for symbol, mark in marks.items())
    exposure = 100 * float(np.mean(gross / np.where(equity > 0, equity, np.inf)))
    assert made.figures["statistics"]["exposure_pct"] == pytest.approx(exposure, rel=1e-4)


def test_sides_add_up_to_all_trades() -> None:
    figures = report(crash_result()).figures
    sides = figures["sides"].values()
    assert figures["trades"] > 3
    assert sum(side["trades"] for side in sides) == figures["trades"]
    assert sum(dec(side["net"]) for side in sides) == dec(figures["statistics"]["net"])
    assert sum(figures["exits"].values()) == figures["trades"]
    listed = sum((dec(trade["net"]) for trade in figures["trade_list"]), Decimal(0))
    assert listed == dec(figures["statistics"]["net"])


def test_the_last_thirty_are_the_last_thirty() -> None:
    figures = report(crash_result()).figures
    assert figures["_30"]["trades"] == min(30, figures["trades"])
    assert figures["_150"]["net"] == figures["statistics"]["net"]


def test_costs_twice_and_three_times_take_the_same_costs_once_and_twice_more() -> None:
    made = report(crash_result())
    once, twice, thrice = costs(crash_result(), made.trades)
    spent = sum(
        (fill.fee + fill.slippage for fill in fill_costs(crash_result().records, "backtest")),
        Decimal(0),
    )
    assert once["costs"] == pytest.approx(float(spent), abs=0.01)
    assert once["final_equity"] - twice["final_equity"] == pytest.approx(float(spent), abs=0.02)
    assert twice["final_equity"] - thrice["final_equity"] == pytest.approx(float(spent), abs=0.02)
    assert once["net"] == pytest.approx(float(made.figures["statistics"]["net"]), abs=0.01)
    assert once["net"] > twice["net"] > thrice["net"]


def test_r_is_net_over_the_risk_that_was_approved() -> None:
    stopped = [row for row in report(crash_result()).trades if row.exit_kind == "stop" and row.risk]
    assert stopped
    for row in stopped:
        assert row.r is not None
        assert -2.5 < row.r < 0  # a stop loses about the risk, the jump over it aside


def test_a_candle_that_holds_both_levels_is_counted_with_the_other_result_beside_it() -> None:
    opened = 1_621_382_400_000
    column = {
        name: np.array([v])
        for name, v in {
            "open": 100.0,
            "high": 103.0,
            "low": 98.0,
            "close": 101.0,
            "volume": 5.0,
        }.items()
    }
    candles = Candles(Path("X"), "BTCUSDT", 60, np.array([opened]), **column)
    row = TradeRow(
        trade_id="t", symbol="BTCUSDT", side="LONG", quantity=Decimal(2), entry=Decimal(100),
        exit=Decimal(99), opened_us=opened * 1000 - 60_000_000,
        closed_us=opened * 1000 + 20_000_000, opened_at="", closed_at="",
        net=Decimal(-3), fees=Decimal(1), funding=Decimal(0),
        exit_kind="stop", risk=Decimal(2), stop=Decimal(99), target=Decimal(102),
    )  # fmt: skip
    found = ambiguous([row], [candles])
    assert (found.count, found.net, found.net_opposite) == (1, Decimal(-3), Decimal(3))
    far = replace(row, target=Decimal(104))
    assert ambiguous([far], [candles]).count == 0
    assert ambiguous([replace(row, exit_kind="exit_time")], [candles]).count == 0


def test_every_assumption_that_definitions_ask_for_is_told() -> None:
    told = {each.name: each.words for each in assumptions(crash_result(), variants=6)}
    wanted = {
        "source", "traded as", "candles", "mark", "path rule", "latency", "costs BTCUSDT",
        "costs ETHUSDT", "impact", "participation", "funding", "stop and target", "venue faults",
        "costs x2, x3", "variants tried", "open at the end", "warm-up",
    }  # fmt: skip
    assert set(told) == wanted
    assert "BTCUSDT spot" in told["source"]
    assert "brackets and filters as of 2021-05-01" in told["costs BTCUSDT"]
    assert "none for ETHUSDT" in told["funding"]
    assert told["warm-up"] == ("16 h of closed candles before the first decision (16 h asked for)")
    assert told["variants tried"] == "6, all of them printed"


def test_the_first_line_says_what_a_short_run_cannot_show() -> None:
    words = warning(crash_result(), 7)
    assert words.startswith("Spot candles traded as perpetuals; 5 hours and 7 trades")
    run = crash_result().backtest
    assert run.start is not None
    longer = replace(crash_result(), backtest=replace(run, end=run.start + timedelta(days=60)))
    assert "60 days" in warning(longer, 7)
    assert "no ratio is annualised" not in warning(longer, 7)
