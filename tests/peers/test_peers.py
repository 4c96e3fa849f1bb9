"""Goal: the yardstick's trades are right, one by one: ours, nautilus_trader's, backtesting.py's.

Method: each engine's fill rule is written down anew (rules.py) and each engine's own trades are
compared with it, to the last digit; then ours are set beside the peers' and every difference in
P&L is taken apart into parts that sum exactly (compared.py). docs/peers.md tells what came out.

The peers are run by the interpreter in QUANTUM_PEERS_PYTHON (pip install nautilus_trader==1.221.0
backtesting==0.6.6 pyarrow); the year lies in ../shared/data/market, or where QUANTUM_PEERS_YEAR
says. Without them the tests that need them are skipped.
"""

import json
import os
import subprocess
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gateways.candles import Candles, read_candles
from runtime.settings import ROOT
from tests.peers.compared import Compared, Traded, bars_of, compare, totals, traded
from tests.peers.rules import Bars, Trade, backtesting_py, nautilus, ours

WEEK = ROOT / "data" / "market" / "BTCUSDT-1m-20210516-20210522.parquet"
YEAR = Path(
    os.environ.get("QUANTUM_PEERS_YEAR")
    or ROOT.parent / "shared" / "data" / "market" / "BTCUSDT-1m-20230101-20231231.parquet"
)
PYTHON = os.environ.get("QUANTUM_PEERS_PYTHON", "")
FEE = Decimal("0.0005")
NAUTILUS_FEES = {"maker": Decimal("0.0002"), "taker": Decimal("0.00018")}
BACKTESTING_FEE = Decimal("0.0004")

needs_peers = pytest.mark.skipif(
    not PYTHON, reason="QUANTUM_PEERS_PYTHON names no interpreter with the peers installed"
)
there = pytest.mark.skipif(not YEAR.exists(), reason=f"the year's candles are not at {YEAR}")
of_year = (there,) if PYTHON else (there, pytest.mark.long)
"""The year is a long form, unless the peers were asked for."""
files = pytest.mark.parametrize(
    "path", [WEEK, pytest.param(YEAR, marks=of_year)], ids=lambda path: str(path.stem)
)


def needs_year(test: Any) -> Any:
    """A test of the year alone."""
    for mark in of_year:
        test = mark(test)
    return test


@cache
def candles(path: Path) -> Candles:
    return read_candles(path)


@cache
def bars(path: Path) -> Bars:
    return bars_of(candles(path))


@cache
def our_trades(path: Path, first: int) -> Traded:
    return traded(candles(path), first=first)


@cache
def peer(script: str, path: Path) -> Any:
    """What a peer says about its own trades."""
    done = subprocess.run(
        [PYTHON, str(ROOT / script), str(path)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def nautilus_rule(path: Path) -> list[Trade]:
    return list(nautilus(bars(path), **NAUTILUS_FEES))


def backtesting_rule(path: Path) -> list[Trade]:
    return list(backtesting_py(bars(path), commission=BACKTESTING_FEE))


def beside_nautilus(path: Path) -> list[Compared]:
    return compare(bars(path), our_trades(path, 0).trades, nautilus_rule(path))


def beside_backtesting(path: Path) -> list[Compared]:
    return compare(bars(path), our_trades(path, 1).trades, backtesting_rule(path))


# ---------------------------------------------------------------- each engine and its own rule


@needs_peers
@files
def test_every_trade_of_nautilus_trader_follows_its_rule(path: Path) -> None:
    said = peer("tests/peers/nautilus_trades.py", path)
    index = {ts: n for n, ts in enumerate(candles(path).ts_ms.tolist())}
    assert (said["maker_fee"], said["taker_fee"], said["tick"]) == ("0.000200", "0.000180", "0.1")
    entries, exits = said["fills"][::2], said["fills"][1::2]
    told = [
        Trade(
            signal=index[entry["ts_ms"]],
            entry=index[entry["ts_ms"]],
            entry_price=Decimal(entry["price"]),
            exit=index[left["ts_ms"]],
            exit_price=Decimal(left["price"]),
            how="stop" if left["type"] == "STOP_MARKET" else "target",
            quantity=Decimal(entry["quantity"]),
            fees=Decimal(entry["fee"]) + Decimal(left["fee"]),
        )
        for entry, left in zip(entries, exits, strict=False)
    ]
    assert told == nautilus_rule(path)
    assert [trade.pnl for trade in told] == [Decimal(pnl) for pnl in said["pnl"]]
    assert {f["liquidity"] for f in exits if f["type"] == "LIMIT"} <= {"MAKER"}


@needs_peers
@files
def test_every_trade_of_backtesting_py_follows_its_rule(path: Path) -> None:
    told = peer("tests/peers/backtesting_trades.py", path)["trades"]
    rule = backtesting_rule(path)
    assert len(told) == len(rule)
    for said, trade in zip(told, rule, strict=True):
        assert (said["entry_bar"], said["exit_bar"]) == (trade.entry, trade.exit)
        assert said["entry_price"] == float(trade.entry_price)
        assert said["exit_price"] == float(trade.exit_price)
        assert said["fees"] == pytest.approx(float(trade.fees), abs=1e-9)
        assert said["pnl"] == pytest.approx(float(trade.pnl), abs=1e-6)


@pytest.mark.parametrize("first", [0, 1])
@files
def test_every_trade_of_ours_follows_our_rule_to_the_last_digit(path: Path, first: int) -> None:
    found = our_trades(path, first)
    assert found.trades == list(ours(bars(path), taker=FEE, first=first))
    assert found.pieces.keys() == {1}
    assert sum(found.rules.values()) >= 2 * len(found.trades) > 0


# ---------------------------------------------------------------- ours beside theirs


@pytest.mark.parametrize("beside", [beside_nautilus, beside_backtesting])
@files
def test_every_difference_in_pnl_is_the_sum_of_its_parts(path: Path, beside: Any) -> None:
    for each in beside(path):
        assert sum(each.parts.values()) == each.difference
        assert abs(each.parts["rounding"]) <= Decimal("0.1") * Decimal("0.07")
        assert each.parts["spread"] < 0
        assert each.parts["impact"] <= 0
        assert abs(each.parts["exit_level"]) <= Decimal("0.1") * Decimal("0.11")


@pytest.mark.parametrize("beside", [beside_nautilus, beside_backtesting])
@files
def test_no_trade_stands_on_one_side_only(path: Path, beside: Any) -> None:
    rule = nautilus_rule if beside is beside_nautilus else backtesting_rule
    first = 0 if beside is beside_nautilus else 1
    compared = beside(path)
    assert len(compared) == len(our_trades(path, first).trades) == len(rule(path))


@needs_year
def test_the_year_beside_nautilus_trader_is_as_the_document_says() -> None:
    compared = beside_nautilus(YEAR)
    assert len(compared) == 262
    (other,) = (each for each in compared if not each.same_exit)
    # nautilus_trader's stop stands on its tick of 0.1, and the low met exactly that
    assert other.theirs.exit_price == bars(YEAR).low[other.theirs.exit] == Decimal("28000.0")
    assert other.ours.exit == other.theirs.exit + 1
    assert other.ours.how == other.theirs.how == "stop"
    _documented(compared)


@needs_year
def test_the_year_beside_backtesting_py_is_as_the_document_says() -> None:
    compared = beside_backtesting(YEAR)
    assert len(compared) == 257
    assert all(each.same_exit for each in compared)
    _documented(compared)


def _documented(compared: list[Compared]) -> None:
    """Every sum stands in docs/peers.md, in cents."""
    page = (ROOT / "docs" / "peers.md").read_text()
    sums = totals(compared)
    sums["difference"] = sum((each.difference for each in compared), Decimal(0))
    sums["ours"] = sum((each.ours.pnl for each in compared), Decimal(0))
    for name, value in sums.items():
        shown = f"{round(value, 2) + 0:,.2f}"
        assert shown in page, f"{name}: {shown} is not in docs/peers.md"


@needs_year
def test_the_peers_differ_among_themselves_by_where_they_look_and_fill() -> None:
    """backtesting.py looks one bar later, so no trade of one is a trade of the other."""
    one = {trade.signal + 1: trade for trade in nautilus_rule(YEAR)}
    other = {trade.signal: trade for trade in backtesting_rule(YEAR)}
    both = one.keys() & other.keys()
    same = [s for s in both if (one[s].exit, one[s].how) == (other[s].exit, other[s].how)]
    assert (len(one), len(other), len(both), len(same)) == (262, 257, 221, 145)
    assert all(one[s].entry + 2 == other[s].entry for s in both)


@pytest.mark.parametrize("rule", [nautilus_rule, backtesting_rule])
@files
def test_no_exit_depends_on_a_gap_or_on_the_order_within_a_bar(path: Path, rule: Any) -> None:
    """Where rules differ most, this data has no case: docs/peers.md says so."""
    found = bars(path)
    for trade in rule(path):
        close, opened = found.close[trade.signal], found.open[trade.exit]
        stop, target = close * Decimal("0.98"), close * Decimal("1.03")
        assert found.low[trade.exit] > stop or found.high[trade.exit] < target
        assert stop < opened < target
