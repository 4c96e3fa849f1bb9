"""Candle files: what is read, and how each kind of bad file is refused."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateways.candles import CandleFileError, Gap, exact, read_candles, read_funding

ROOT = Path(__file__).parents[2]
MARKET = ROOT / "data" / "market"
EXCERPT = ROOT / "tests" / "data" / "BTCUSDT-1m-20230324-20230324.parquet"
T0 = 1_621_123_200_000
GOOD = ["100,102,99,101,5", "101,101.5,100.25,100.5,0", "100.5,103,100,102,2.5"]


def csv(path: Path, rows: list[str], header: str = "ts,open,high,low,close,volume") -> Path:
    file = path / "BTCUSDT-1m-20210516-20210516.csv"
    stamped = [
        row if row.count(",") == 5 else f"{T0 + n * 60_000},{row}" for n, row in enumerate(rows)
    ]
    file.write_text("\n".join([header, *stamped]) + "\n")
    return file


def test_the_shipped_week_is_whole_and_on_the_tick() -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        candles = read_candles(MARKET / f"{symbol}-1m-20210516-20210522.parquet")
        assert (candles.symbol, len(candles), candles.gaps) == (symbol, 10_080, ())
        ticks = candles.in_ticks(Decimal("0.01"))
        for row in range(0, 10_080, 97):
            assert Decimal(int(ticks.high[row])) * Decimal("0.01") == exact(candles.high[row])


def test_a_csv_reads_like_a_parquet_file(tmp_path: Path) -> None:
    candles = read_candles(csv(tmp_path, GOOD))
    assert candles.symbol == "BTCUSDT"
    assert candles.in_ticks(Decimal("0.25")).close.tolist() == [404, 402, 408]


def test_the_gap_of_24_march_2023_is_listed_and_nothing_is_filled_in() -> None:
    candles = read_candles(EXCERPT)
    assert len(candles) == 130
    assert candles.gaps == (Gap(ts_ms=1_679_661_600_000, missing=80),)
    assert int((candles.volume == 0).sum()) == 72


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("100,102,99,nan,5", r"row 2: close nan is not a number"),
        ("100,inf,99,100,5", r"row 2: high inf is not a number"),
        ("100,102,99,100,nan", r"row 2: volume nan is not a number"),
        ("0,102,0,100,5", r"row 2: open 0\.0 is not above 0"),
        ("100,102,-1,100,5", r"row 2: low -1\.0 is not above 0"),
        ("100,102,99,100,-5", r"row 2: volume -5\.0 is negative"),
        ("100,101,99,102,5", r"row 2: high 101\.0 is below open 100\.0 or close 102\.0"),
        ("100,102,100.5,101,5", r"row 2: low 100\.5 is above open 100\.0 or close 101\.0"),
        (f"{T0},100,102,99,101,5", r"row 2: ts 1621123200000 is there twice"),
        (f"{T0 - 60_000},100,102,99,101,5", r"row 2: ts 1621123140000 is earlier than the row"),
        (f"{T0 + 61_000},100,102,99,101,5", r"row 2: ts 1621123261000 is no multiple of .* 60 s"),
        (f"{T0 + 60_000},100,102,99,,5", r"row 2: close is empty"),
    ],
)
def test_a_bad_row_is_refused_with_file_row_and_value(tmp_path: Path, row: str, what: str) -> None:
    file = csv(tmp_path, [GOOD[0], row])
    with pytest.raises(CandleFileError, match=what) as refused:
        read_candles(file)
    assert str(refused.value).startswith(str(file))


def test_candles_of_another_interval_are_refused(tmp_path: Path) -> None:
    rows = [f"{T0 + n * 300_000},{row}" for n, row in enumerate(GOOD)]
    with pytest.raises(CandleFileError, match=r"wrong interval: .* the closest are 300 s"):
        read_candles(csv(tmp_path, rows))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    file = csv(tmp_path, ["100,102,99,101,5"], header="ts,open,high,low,last,volume")
    with pytest.raises(CandleFileError, match=r"column close is missing; .* found ts, open, high"):
        read_candles(file)


def test_text_where_a_number_belongs_is_named(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match="column close holds string; numbers are needed"):
        read_candles(csv(tmp_path, ["100,102,99,cheap,5"]))


def test_an_empty_file_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match="no rows"):
        read_candles(csv(tmp_path, []))
    with pytest.raises(CandleFileError, match="no such file"):
        read_candles(tmp_path / "nothing.parquet")


@pytest.mark.parametrize(
    "name", ["BTCUSDT ok copy.csv", "btcusdt-1m.csv", "noname.csv", "a[1].csv", "_PERP-1m.csv"]
)
def test_a_name_that_begins_with_no_symbol_is_refused(tmp_path: Path, name: str) -> None:
    file = csv(tmp_path, GOOD).rename(tmp_path / name)
    rates = tmp_path / "rates" / name
    rates.parent.mkdir()
    rates.write_text(f"ts,rate\n{T0},0.0001\n")
    for read, path in ((read_candles, file), (read_funding, rates)):
        with pytest.raises(CandleFileError, match="must begin with the symbol in capitals") as no:
            read(path)
        assert str(no.value).startswith(str(path))
    assert read_candles(file, symbol="BTCUSDT").symbol == "BTCUSDT"


def test_a_broken_parquet_file_is_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / EXCERPT.name
    broken.write_bytes(EXCERPT.read_bytes()[:-200] + b"\0" * 200)
    with pytest.raises(
        CandleFileError, match=r"cannot be read .*; fetch the file again"
    ) as refused:
        read_candles(broken)
    assert "\n" not in str(refused.value)


def test_a_price_off_the_tick_is_refused_with_row_value_and_tick(tmp_path: Path) -> None:
    candles = read_candles(csv(tmp_path, GOOD))
    with pytest.raises(CandleFileError, match=r"row 3: prices off the tick: open 100\.5 .* of 1;"):
        candles.in_ticks(Decimal(1))


def test_funding_stamps_lose_their_jitter_and_rates_stay_exact() -> None:
    funding = read_funding(MARKET / "BTCUSDT_PERP-funding-20210501-20210531.parquet")
    assert (funding.symbol, len(funding.ts_ms)) == ("BTCUSDT", 93)
    assert not (funding.ts_ms % 28_800_000).any()
    assert exact(funding.rate[45]) == Decimal("0.00040248")
