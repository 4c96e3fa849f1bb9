"""Goal: files of single trades are read in batches, checked row by row, and made into candles."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from gateways import ticks
from gateways.candles import CandleFileError, read_candles
from gateways.ticks import holds_trades, joined_ticks, read_ticks

MARKET = Path(__file__).parents[2] / "data" / "market"
SHIPPED = MARKET / "APEUSDT_PERP-aggTrades-20241018T13-20241018T14.parquet"
DAY_US = 1_729_209_600_000_000
MINUTE_US = 60_000_000


def columns(**changes: Any) -> dict[str, Any]:
    """Five trades in three minutes, one of which has none."""
    seconds = [1, 30, 61, 61, 185]
    base: dict[str, Any] = {
        "ts_us": [DAY_US + s * 1_000_000 for s in seconds],
        "id": [7, 8, 9, 10, 12],
        "price": [10.0, 10.2, 9.9, 10.1, 10.0],
        "qty": [1.0, 2.0, 0.1, 0.2, 5.0],
        "buyer_is_maker": [True, False, True, False, True],
    }
    return {**base, **changes}


def parquet(folder: Path, name: str = "XUSDT-aggTrades-1-1.parquet", **changes: Any) -> Path:
    path = folder / name
    table = {k: v for k, v in columns(**changes).items() if v is not None}
    pa_parquet.write_table(pa.table(table), path)
    return path


def test_the_shipped_hours_are_read_whole_with_a_candle_a_minute() -> None:
    trades = read_ticks(SHIPPED)
    assert (trades.symbol, trades.rows, len(trades.candles)) == ("APEUSDT", 5872, 120)
    rows = pa_parquet.read_table(SHIPPED).to_pylist()
    first = [r for r in rows if r["ts_us"] // MINUTE_US == rows[0]["ts_us"] // MINUTE_US]
    c = trades.candles
    prices = [r["price"] for r in first]
    assert (c.open[0], c.high[0], c.low[0], c.close[0]) == (
        prices[0], max(prices), min(prices), prices[-1],
    )  # fmt: skip
    assert c.volume.sum() == sum(r["qty"] for r in rows)


def test_a_minute_without_a_trade_is_a_missing_candle(tmp_path: Path) -> None:
    candles = read_ticks(parquet(tmp_path)).candles
    minutes = [int(ts - DAY_US // 1000) // 60_000 for ts in candles.ts_ms]
    assert minutes == [0, 1, 3]
    assert candles.gaps[0].missing == 1
    assert list(candles.volume) == [3.0, 0.30000000000000004, 5.0]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_candles_do_not_depend_on_how_the_file_was_cut(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    whole = read_ticks(SHIPPED).candles
    monkeypatch.setattr(ticks, "BATCH_ROWS", rows * 97)
    cut = read_ticks(SHIPPED).candles
    for name in ("ts_ms", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name))


def test_a_run_reads_the_file_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    trades = read_ticks(SHIPPED)
    monkeypatch.setattr(ticks, "BATCH_ROWS", 1000)
    sizes = [len(batch.us) for _, batch in trades.batches()]
    assert sum(sizes) == trades.rows
    assert max(sizes) <= 1000


def test_the_exchanges_own_csv_columns_are_known(tmp_path: Path) -> None:
    path = tmp_path / "XUSDT-aggTrades-1-1.csv"
    source = columns()
    table = pa.table(
        {
            "agg_trade_id": source["id"],
            "price": source["price"],
            "quantity": source["qty"],
            "first_trade_id": source["id"],
            "transact_time": [us // 1000 for us in source["ts_us"]],
            "is_buyer_maker": source["buyer_is_maker"],
        }
    )
    pa_csv.write_csv(table, path)
    trades = read_ticks(path)
    (_, batch), *_ = trades.batches()
    assert batch.us.tolist() == source["ts_us"]
    assert batch.sold.tolist() == source["buyer_is_maker"]


def test_a_csv_is_refused_for_what_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "XUSDT-aggTrades-1-1.csv"
    path.write_text(f"ts_us,price,qty,buyer_is_maker\n{DAY_US},10,1,true\n{DAY_US},10.5,x,true\n")
    with pytest.raises(CandleFileError, match=r"row 2: .*invalid value 'x'"):
        read_ticks(path)
    path.write_text(f"ts_us,price,qty,buyer_is_maker\n{DAY_US},10,1,true\n{DAY_US},nan,1,true\n")
    with pytest.raises(CandleFileError, match="row 2: price nan is not a number"):
        read_ticks(path)


def test_trades_and_candles_are_told_apart_by_their_columns() -> None:
    assert holds_trades(SHIPPED)
    assert not holds_trades(MARKET / "BTCUSDT-1m-20210516-20210522.parquet")
    assert not holds_trades(MARKET / "none.parquet")
    with pytest.raises(CandleFileError, match="column ts, open, high, low, close, volume is miss"):
        read_candles(SHIPPED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"price": [10.0, 0.0, 9.9, 10.1, 10.0]}, r"row 2: price 0.0 is not above 0"),
        ({"qty": [1.0, 1.0, float("nan"), 1.0, 1.0]}, r"row 3: qty nan is not a number"),
        ({"qty": [1.0, 1.0, 1.0, -2.0, 1.0]}, r"row 4: qty -2.0 is not above 0"),
        ({"price": [10.0, None, 9.9, 10.1, 10.0]}, r"row 2: price is empty"),
        ({"id": [7, 8, 8, 10, 12]}, r"row 3: id 8 is not above the row before's"),
        ({"ts_us": [DAY_US + 5, DAY_US, DAY_US + 6, DAY_US + 7, DAY_US + 8]}, r"row 2: .*earlier"),
        ({"ts_us": [DAY_US // 1000 + n for n in range(5)]}, r"row 1: .*before 1973"),
        ({"price": ["a", "b", "c", "d", "e"]}, r"column price holds string; numbers"),
        ({"buyer_is_maker": [0, 1, 0, 1, 0]}, r"column buyer_is_maker holds int64; true or false"),
        ({"buyer_is_maker": None}, r"column buyer_is_maker or is_buyer_maker is missing"),
    ],
)
def test_a_bad_file_is_refused_with_file_row_and_value(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = parquet(tmp_path, **changes)
    with pytest.raises(CandleFileError, match=message) as refused:
        read_ticks(path)
    assert str(path) in str(refused.value)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "XUSDT-aggTrades-1-1.parquet"
    pa_parquet.write_table(pa.table(columns()).slice(0, 0), path)
    with pytest.raises(CandleFileError, match="no rows"):
        read_ticks(path)


def test_disorder_across_two_batches_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "BATCH_ROWS", 2)
    path = parquet(tmp_path, ts_us=[DAY_US + s for s in (0, 9, 8, 10, 11)])
    with pytest.raises(CandleFileError, match=r"row 3: .*earlier"):
        read_ticks(path)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match="no such file"):
        read_ticks(tmp_path / "none.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(CandleFileError, match="cannot be read"):
        read_ticks(broken)


def test_a_name_that_begins_with_no_symbol_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, "xusdt-aggTrades-1-1.parquet")
    with pytest.raises(CandleFileError, match="must begin with the symbol in capitals"):
        read_ticks(path)
    assert read_ticks(path, symbol="XUSDT").symbol == "XUSDT"


def test_files_that_follow_one_another_are_one_run(tmp_path: Path) -> None:
    first = read_ticks(parquet(tmp_path, "XUSDT-aggTrades-1-1.parquet"))
    later = columns()["ts_us"]
    shifted = [us + 10 * MINUTE_US for us in later]
    second = read_ticks(parquet(tmp_path, "XUSDT-aggTrades-2-2.parquet", ts_us=shifted))
    both = joined_ticks([second, first])
    assert both.rows == 10
    assert len(both.candles) == 6
    assert [len(batch.us) for _, batch in both.batches()] == [5, 5]
    with pytest.raises(CandleFileError, match="overlap"):
        joined_ticks([first, first])
