"""Goal: several files make one series a symbol, or a refusal that names file and row."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateways.candle_sets import market_files, read_market, read_rates
from gateways.candles import CandleFileError, read_candles

T0 = 1_621_123_200_000
HEADER = "ts,open,high,low,close,volume"


def csv(path: Path, first: int, count: int, *, name: str = "BTCUSDT", price: str = "100") -> Path:
    """`count` flat candles from minute `first` of the day on."""
    file = path / f"{name}-1m-{first}-{count}.csv"
    rows = [f"{T0 + (first + n) * 60_000},{price},{price},{price},{price},1" for n in range(count)]
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    return file


def test_files_that_follow_one_another_are_joined_in_whatever_order_they_are_named(
    tmp_path: Path,
) -> None:
    early, late = csv(tmp_path, 0, 3), csv(tmp_path, 3, 2)
    (joined,) = read_market([late, early])
    assert joined.ts_ms.tolist() == [T0 + n * 60_000 for n in range(5)]
    assert joined.gaps == ()


def test_what_is_missing_between_two_files_is_a_gap_like_any_other(tmp_path: Path) -> None:
    (joined,) = read_market([csv(tmp_path, 0, 3), csv(tmp_path, 10, 2)])
    assert joined.gaps == ((T0 + 3 * 60_000, 7),)


def test_symbols_stay_apart_and_are_sorted(tmp_path: Path) -> None:
    eth, btc = csv(tmp_path, 0, 2, name="ETHUSDT"), csv(tmp_path, 5, 2)
    assert [c.symbol for c in read_market([eth, btc])] == ["BTCUSDT", "ETHUSDT"]


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    csv(tmp_path, 0, 2)
    csv(tmp_path, 2, 2)
    (tmp_path / "notes.txt").write_text("not data")
    assert len(market_files([tmp_path])) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(CandleFileError, match="no Parquet or CSV file in this folder"):
        market_files([tmp_path / "empty"])


def test_files_that_overlap_are_refused_with_both_names_and_the_row(tmp_path: Path) -> None:
    first, second = csv(tmp_path, 0, 5), csv(tmp_path, 3, 5)
    with pytest.raises(CandleFileError, match=r"row 1: ts \d+ of BTCUSDT lies within .* row 4 on"):
        read_market([first, second])
    with pytest.raises(CandleFileError, match="must not overlap"):
        read_market([first, first])


def test_a_price_off_the_tick_is_told_with_its_own_file_and_row(tmp_path: Path) -> None:
    good, bad = csv(tmp_path, 0, 3), csv(tmp_path, 3, 3, price="100.005")
    with pytest.raises(CandleFileError, match=rf"{bad.name}: row 1: prices off the tick"):
        read_market([good, bad], ticks={"BTCUSDT": Decimal("0.01")})


def test_funding_files_are_joined_and_must_not_overlap(tmp_path: Path) -> None:
    names = []
    for n in range(2):
        file = tmp_path / f"BTCUSDT_PERP-funding-{n}.csv"
        file.write_text(f"ts,rate\n{T0 + n * 28_800_000},0.0001\n")
        names.append(file)
    (rates,) = read_rates(reversed(names))
    assert rates.ts_ms.tolist() == [T0, T0 + 28_800_000]
    with pytest.raises(CandleFileError, match="must not overlap"):
        read_rates([names[0], names[0]])


# ---------------------------------------------------------------------- times


def rows(path: Path, stamps: list[str]) -> Path:
    file = path / "BTCUSDT-1m-times.csv"
    file.write_text("\n".join([HEADER, *(f"{s},100,101,99,100,1" for s in stamps)]) + "\n")
    return file


@pytest.mark.parametrize(
    "stamps",
    [
        ["2021-05-16T00:00:00", "2021-05-16T00:01:00"],
        ["2021-05-16 00:00:00", "2021-05-16 00:01:00"],
        ["2021-05-16T00:00:00Z", "2021-05-16T00:01:00Z"],
        ["2021-05-16T02:00:00+02:00", "2021-05-16T02:01:00+02:00"],
        ["2021-05-16T02:00:00+02:00", "2021-05-15T19:01:00-05:00"],
    ],
)
def test_iso_times_are_utc_or_are_turned_into_it(tmp_path: Path, stamps: list[str]) -> None:
    assert read_candles(rows(tmp_path, stamps)).ts_ms.tolist() == [T0, T0 + 60_000]


def test_a_parquet_file_may_hold_times_with_any_zone(tmp_path: Path) -> None:
    file = tmp_path / "BTCUSDT-1m-zone.parquet"
    stamps = pa.array([T0 * 1000, T0 * 1000 + 60_000_000], pa.timestamp("us", "America/New_York"))
    flat = {name: [100.0, 100.0] for name in HEADER.split(",")[1:]}
    pq.write_table(pa.table({"ts": stamps, **flat}), file)
    assert read_candles(file).ts_ms.tolist() == [T0, T0 + 60_000]


@pytest.mark.parametrize(
    ("stamps", "told"),
    [
        (["2021-05-16T00:00:00", "2021-05-16T00:01:00Z"], "row 2: ts is neither .* one way"),
        (["2021-05-16T00:00:00", "yesterday"], "row 2: ts is neither whole milliseconds"),
        ([str(T0 // 1000), str(T0 // 1000 + 60)], "row 1: ts .* looks like seconds"),
        ([str(T0 * 1000), str(T0 * 1000)], "row 1: ts .* looks like microseconds or finer"),
    ],
)
def test_times_of_another_kind_are_refused_with_the_row(
    tmp_path: Path, stamps: list[str], told: str
) -> None:
    with pytest.raises(CandleFileError, match=told):
        read_candles(rows(tmp_path, stamps))


def test_a_stretch_of_another_interval_is_no_stretch_of_missing_candles(tmp_path: Path) -> None:
    minutes = [*range(20), *range(25, 25 + 12 * 5, 5)]
    file = rows(tmp_path, [str(T0 + minute * 60_000) for minute in minutes])
    with pytest.raises(CandleFileError, match=r"row 21: mixed intervals: 11 candles .* 300 s"):
        read_candles(file)
    few = [*range(20), *range(25, 25 + 5 * 5, 5)]
    gaps = read_candles(rows(tmp_path, [str(T0 + minute * 60_000) for minute in few])).gaps
    assert sum(gap.missing for gap in gaps) == 5 + 4 * 4


def test_further_columns_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "BTCUSDT-1m-more.csv"
    file.write_text(f"symbol,{HEADER},trades\nBTCUSDT,{T0},100,101,99,100,1,17\n")
    assert len(read_candles(file)) == 1
