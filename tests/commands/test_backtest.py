"""Goal: `backtest` tells what it did and what it read; what is wrong with its input is one line."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from commands.app import create
from tests.replay.backtests import FILES, FUNDING
from tests.replay.test_report import KEYS

ROOT = Path(__file__).parents[2]
BTC = str(FILES[0])
HOURS = ("--from", "2021-05-19T12:00", "--to", "2021-05-19T15:00", "--warm-up", "15")
GAP = ROOT / "tests" / "data" / "BTCUSDT-1m-20230324-20230324.parquet"
T0 = 1_621_123_200_000


def backtest(*arguments: str) -> Result:
    return CliRunner().invoke(create("backtest"), ["backtest", *arguments])


def refused(*arguments: str) -> str:
    """The one line of a misuse, spaces folded."""
    done = backtest(*arguments)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert done.output.startswith("error: ")
    return " ".join(done.output.split())


def test_json_holds_what_other_tools_rely_on() -> None:
    done = backtest(BTC, *HOURS, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert set(told) >= KEYS
    assert told["bars"] == 15 * 60 + 180
    assert told["path"] == "fast"
    assert re.fullmatch("[0-9a-f]{64}", told["events_digest"])


def test_slow_and_fast_give_the_same_digest() -> None:
    digests = set()
    for more in ((), ("--slow",)):
        told = json.loads(backtest(BTC, *HOURS, *more, "--json").stdout)
        digests.add(told["events_digest"])
        assert told["path"] == ("slow" if more else "fast")
    assert len(digests) == 1


def test_the_first_line_is_honest_about_the_data_and_the_assumptions_stand_below() -> None:
    done = backtest(*map(str, FILES), *HOURS, "--funding", str(FUNDING))
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].startswith("Spot candles traded as perpetuals; 3 hours")
    for words in ("Figures", "Costs once, twice and three times", "Assumptions", "path rule",
                  "brackets and filters as of 2021-05-01", "stop comes first"):  # fmt: skip
        assert words in done.stdout


def test_help_starts_with_examples() -> None:
    lines = [line for line in backtest("--help").stdout.splitlines() if line.strip()]
    assert "Examples" in lines[1]


def test_out_writes_events_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "made" / "report"
    done = backtest(*map(str, FILES), *HOURS, "--out", str(out), "--json")
    told = json.loads(done.stdout)
    lines = (out / "events.jsonl").read_bytes().splitlines()
    table = pq.read_table(out / "events.parquet")
    assert [bytes(row.as_py()) for row in table["value"]] == lines
    counted = [t for t in table["topic"].to_pylist() if t.startswith("trade.") or t == "control"]
    assert len(counted) == told["events"]
    figures = json.loads((out / "report.json").read_text())
    assert figures["events_digest"] == told["events_digest"]
    assert len(figures["trade_list"]) == told["trades"] > 0
    page = (out / "report.html").read_text()
    assert re.findall(r"https?:|<script|<link|@import|url\((?!#)|src=", page) == []
    for words in ("Equity and drawdown", "BTCUSDT: trades on price", "ETHUSDT: trades on price",
                  "Exposure", "Monthly returns", "Refused, by first reason", "x3", "path rule",
                  "What each figure means", "prefers-color-scheme: dark"):  # fmt: skip
        assert words in page


def test_missing_candles_are_counted_and_told_and_never_filled_in() -> None:
    done = backtest(str(GAP), "--warm-up", "0", "--from", "2023-03-24T11:00", "--json")
    told = json.loads(done.stdout)
    assert "80 candles are missing in 1 gap (80 from 2023-03-24 12:40)" in done.stderr
    assert "80 missing in 1 gap" in told["assumptions"]["candles"]
    assert "72 without volume" in told["assumptions"]["candles"]
    assert told["bars"] == 130


@pytest.mark.parametrize(
    ("arguments", "hours", "asked"),
    [
        (("--to", "2021-05-16T02:00"), "0 h", 24),
        (("--from", "2021-05-16T01:30", "--to", "2021-05-16T02:00"), "1.5 h", 24),
        (("--to", "2021-05-17T12:00", "--warm-up", "100"), "0 h", 100),
    ],
)
def test_a_warm_up_shorter_than_asked_for_is_told_with_the_remedy(
    arguments: tuple[str, ...], hours: str, asked: int
) -> None:
    done = backtest(BTC, *arguments, "--json")
    words = f"{hours} of closed candles before the first decision ({asked} h asked for)"
    assert json.loads(done.stdout)["assumptions"]["warm-up"] == words
    assert f"warm-up: {words}; begin later (--from)" in " ".join(done.stderr.split())


def test_a_whole_warm_up_is_no_news_and_missing_candles_are_none_of_it() -> None:
    done = backtest(BTC, *HOURS, "--json")
    assert "15 h of closed" in json.loads(done.stdout)["assumptions"]["warm-up"]
    assert "warm-up" not in done.stderr
    done = backtest(str(GAP), "--warm-up", "1", "--from", "2023-03-24T14:01", "--json")
    assert "warm-up: 0.02 h of closed candles" in " ".join(done.stderr.split())


def test_options_replace_costs_and_the_report_says_so() -> None:
    told = json.loads(
        backtest(BTC, *HOURS, "--fees", "0.1,0.05", "--slippage", "3", "--latency", "400",
                 "--equity", "5000", "--json").stdout
    )  # fmt: skip
    assert told["assumptions"]["costs BTCUSDT"].startswith(
        "taker 0.1 %, maker 0.05 %, half spread 3 bp"
    )
    assert "--fees 0.1,0.05" in told["assumptions"]["costs BTCUSDT"]
    assert told["assumptions"]["latency"].startswith("400 ms")
    assert told["start_equity"] == "5000"


def test_a_policy_file_is_taken_and_an_unknown_field_in_it_is_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.json"
    good.write_text('risk_target_pct = "1"\n')
    bad.write_text('{"max_sise_pct": "20"}')
    told = json.loads(backtest(BTC, *HOURS, "--policy", str(good), "--json").stdout)
    assert told["settings"]["risk_target_pct"] == "1"
    words = refused(BTC, "--policy", str(bad))
    assert "bad.json" in words
    assert "max_sise_pct" in words
    assert "did you mean" in words


def test_a_sweep_prints_every_variant_and_the_best_with_its_other_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # two processes: tests/replay/test_sweep.py
    done = backtest(BTC, *HOURS, "--sweep", "policy.target_r=1,2", "--split", "50")
    assert done.exit_code == 0
    assert done.stdout.startswith("2 variants tried, all of them below")
    assert re.search(r"best in sample: target_r \d: .* out of sample .* rank \d of 2", done.stdout)


def test_a_symbol_without_a_table_is_traded_on_one_that_is_said_to_be_assumed(
    tmp_path: Path,
) -> None:
    other = tmp_path / "XYZUSDT-1m-20210516-20210522.parquet"
    other.write_bytes(FILES[1].read_bytes())
    told = json.loads(backtest(str(other), *HOURS, "--json").stdout)
    assert "assumed, no table is shipped" in told["assumptions"]["costs XYZUSDT"]


# ---------------------------------------------------------------------- bad input


def file(folder: Path, *rows: str, name: str = "BTCUSDT-1m-bad.csv") -> str:
    made = folder / name
    stamped = [f"{T0 + n * 60_000},{row}" for n, row in enumerate(rows)]
    made.write_text("\n".join(["ts,open,high,low,close,volume", *stamped]) + "\n")
    return str(made)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("100,101,99,nan,1", "row 2: close nan is not a number"),
        ("100,101,0,100,1", "row 2: low 0.0 is not above 0"),
        ("-1,101,-2,100,1", "row 2: open -1.0 is not above 0"),
        ("100.005,101,99,100,1", "row 2: prices off the tick: open 100.005"),
    ],
)
def test_a_bad_row_is_told_with_file_and_row(tmp_path: Path, row: str, told: str) -> None:
    words = refused(file(tmp_path, "100,101,99,100,1", row))
    assert told in words
    assert "BTCUSDT-1m-bad.csv" in words


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing.parquet",), "nothing.parquet: no such file"),
        ((BTC, BTC), "files of a symbol must not overlap"),
        ((BTC, "--from", "2022-01-01"), "the data go from 2021-05-16T00:00 to 2021-05-23T00:00"),
        ((BTC, "--to", "2021-05-15"), "choose a time between"),
        ((BTC, "--from", "2021-05-23"), "the data go from 2021-05-16T00:00 to 2021-05-23T00:00"),
        ((BTC, "--to", "2021-05-16"), "the data go from 2021-05-16T00:00 to 2021-05-23T00:00"),
        ((BTC, "--from", "2021-05-18", "--to", "2021-05-18"), "is not before --to"),
        ((BTC, "--from", "2021-05-18T00:00:30"), "whole minutes only"),
        ((BTC, "--from", "noon"), "write 2021-05-19 or 2021-05-19T11:00"),
        ((BTC, "--profile", "live"), "there are production, testnet"),
        ((BTC, "--strategy", "nothing"), "there are baseline, donchian"),
        ((BTC, "--strategy", "donchian", "--yardstick"), "exclude each other"),
        ((BTC, "--equity", "0"), "give an amount above 0"),
        ((BTC, "--equity", "1e400"), "written out it has more than 40 digits"),
        ((BTC, "--fees", "1e-999999999"), "written out it has more than 40 digits"),
        (("run:nothing",), "There is no run nothing"),
        ((BTC, "--fees", "free"), "--fees free: not a number"),
        ((BTC, "--fees", "1,2,3"), "TAKER or TAKER,MAKER"),
        ((BTC, "--slippage", "-1"), "outside 0 to 100"),
        ((BTC, "--latency", "10000"), "outside 0 to 9999 ms"),
        ((BTC, "--sweep", "nothing=1,2"), "no field of a policy"),
        ((BTC, "--sweep", "target_r=1,2", "--out", "x"), "leave --sweep out"),
        ((str(FILES[0]), "--funding", "RATES"), "the rates of BTCUSDT go from 2023-01-01T00:00"),
        ((str(FILES[1]), "--funding", str(FUNDING)), "BTCUSDT is not traded here"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_told_in_one_line(
    arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    rates = tmp_path / "BTCUSDT_PERP-funding-2023.csv"
    rates.write_text("ts,rate\n1672531200000,0.0001\n")
    assert told in refused(*(str(rates) if word == "RATES" else word for word in arguments))


def test_times_with_a_zone_are_turned_into_utc() -> None:
    told = json.loads(
        backtest(BTC, "--from", "2021-05-19T14:00+02:00", "--to", "2021-05-19T13:00Z", "--warm-up",
                 "2", "--json").stdout
    )  # fmt: skip
    assert told["period"]["from"] == "2021-05-19T12:00:00.000000Z"
    assert told["period"]["to"] == "2021-05-19T13:00:00.000000Z"
