"""Goal: signals of a file enter a run at their time and never before; a bad row is named."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from gateways.feed_records import Scripted
from gateways.signal_files import SignalFileError, signal_script
from schemas.codec import decode, encode
from schemas.trade import IntentPublished, SignalPublished

START = datetime(2021, 5, 19, tzinfo=UTC)
END = datetime(2021, 5, 20, tzinfo=UTC)
HEAD = "time,symbol,side,confidence"
ROW = "2021-05-19T12:00:00Z,BTCUSDT,BUY,0.8"


def written(folder: Path, *lines: str, name: str = "signals.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def script(path: Path, **changes: Any) -> tuple[Scripted, ...]:
    options: dict[str, Any] = {
        "start": START, "end": END, "symbols": ("BTCUSDT", "ETHUSDT"), "account": "main",
    }  # fmt: skip
    return signal_script(path, **{**options, **changes})


def test_a_row_is_a_signal_and_one_with_a_price_of_its_own_an_intent(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"{HEAD},source,stop_price,limit_price,size_pct",
        f"{ROW},,,,5",
        "2021-05-19T13:00:00+01:00,ETHUSDT,sell,0.65,model.7,2500.50,,",
    )
    signal, intent = script(path)
    assert isinstance(signal.event, SignalPublished)
    item = signal.event.data.items[0]
    assert (item.symbol, item.side, item.confidence, item.origin) == (
        "BTCUSDT", "BUY", "0.8", "file",
    )  # fmt: skip
    assert item.position_size_pct == "5"
    assert isinstance(intent.event, IntentPublished)
    other = intent.event.data.items[0]
    assert (other.side, other.stop_price, other.origin) == ("SELL", "2500.5", "model.7")
    assert (signal.topic, intent.topic) == ("trade.signal.v5", "trade.intent")
    assert signal.time == intent.time == "2021-05-19T12:00:00.000000Z"
    for one in (signal, intent):
        assert decode(encode(one.event)) == one.event


@pytest.mark.parametrize(
    ("time", "enters"),
    [
        ("2021-05-19T12:00:00Z", "12:00:00"),
        ("2021-05-19T12:00:00.000001Z", "12:00:10"),
        ("2021-05-19T12:00:03Z", "12:00:10"),
        ("2021-05-19T12:00:59.999Z", "12:01:00"),
        ("1621425603000", "12:00:10"),
    ],
)
def test_a_row_enters_at_the_first_instant_that_is_not_before_it(
    tmp_path: Path, time: str, enters: str
) -> None:
    path = written(tmp_path, HEAD, f"{time},BTCUSDT,BUY,0.8")
    (one,) = script(path)
    assert one.time == f"2021-05-19T{enters}.000000Z"
    assert one.event.time <= one.time
    (exact,) = script(path, grid_s=0)
    assert exact.time == exact.event.time


def test_rows_of_one_time_are_one_record_in_their_order(tmp_path: Path) -> None:
    path = written(
        tmp_path, HEAD, ROW, ROW.replace("BTC", "ETH"), ROW.replace("12:00", "12:05")
    )  # fmt: skip
    first, second = script(path)
    assert isinstance(first.event, SignalPublished)
    assert [i.symbol for i in first.event.data.items] == ["BTCUSDT", "ETHUSDT"]
    assert first.event.subject == "main"
    assert second.event.subject == "main/BTCUSDT"


def test_csv_parquet_and_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"time": "2021-05-19T12:00:00Z", "symbol": "BTCUSDT", "side": "BUY", "confidence": 0.7,
         "stop_price": 40000.1},
        {"time": "2021-05-19T12:05:00Z", "symbol": "ETHUSDT", "side": "SELL", "confidence": 0.65,
         "stop_price": None},
    ]  # fmt: skip
    csv = written(
        tmp_path, f"{HEAD},stop_price", "2021-05-19T12:00:00Z,BTCUSDT,BUY,0.70,40000.1",
        "2021-05-19T12:05:00Z,ETHUSDT,SELL,0.65,", name="s.csv",
    )  # fmt: skip
    lines = written(tmp_path, *(json.dumps(row) for row in rows), name="s.jsonl")
    parquet = tmp_path / "s.parquet"
    moments = [datetime(2021, 5, 19, 12, tzinfo=UTC) + timedelta(minutes=m) for m in (0, 5)]
    pa_parquet.write_table(pa.Table.from_pylist(rows).set_column(0, "time", [moments]), parquet)
    items = [[s.event.data.items for s in script(path)] for path in (csv, lines, parquet)]  # type: ignore[attr-defined]
    plain = [[[i.model_dump(exclude={"id"}) for i in one] for one in of_file] for of_file in items]
    assert plain[0] == plain[1] == plain[2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEAD], "no rows"),
        (["time,symbol,side", "x,y,z"], "column confidence is missing"),
        ([f"{HEAD},colour", f"{ROW},red"], "column colour is not known"),
        ([HEAD, ROW, ROW.replace("12:00", "11:00")], "row 2: time .* is earlier"),
        ([HEAD, ROW, ROW], "row 2: BUY BTCUSDT of file is there twice"),
        ([HEAD, ROW.replace("BTCUSDT", "DOGEUSDT")], "row 1: symbol DOGEUSDT has no data"),
        ([HEAD, ROW, ROW.replace("05-19", "05-20")], "row 2: time .* is outside the run"),
        ([HEAD, ROW.replace("05-19", "05-18")], "row 1: time .* is outside the run"),
        ([HEAD, ROW.replace("BUY", "HOLD")], "row 1: side 'HOLD' is neither BUY nor SELL"),
        ([HEAD, ROW.replace("0.8", "1.01")], "row 1: confidence '1.01' is not a number from 0"),
        ([HEAD, ROW.replace("0.8", "nan")], "row 1: confidence 'nan' is not a number"),
        ([HEAD, ROW.replace("0.8", "")], "row 1: confidence None is not a number from 0"),
        ([HEAD, ROW.replace("Z", "")], "row 1: time .* has no zone"),
        ([HEAD, ROW.replace("2021-05-19T12:00:00Z", "noon")], "row 1: time 'noon' is no time"),
        ([HEAD, ROW.replace("2021-05-19T12:00:00Z", "1621425600")], "not in milliseconds"),
        ([f"{HEAD},stop_price", f"{ROW},-3"], "row 1: stop_price '-3' is not a number above 0"),
        ([f"{HEAD},source", f"{ROW},a b"], "row 1: source 'a b' is no name"),
    ],
)
def test_a_bad_file_is_refused_with_file_and_row(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    path = written(tmp_path, *lines)
    with pytest.raises(SignalFileError, match=message) as refused:
        script(path)
    assert str(path) in str(refused.value)


def test_a_line_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignalFileError, match="row 1: not a JSON object"):
        script(written(tmp_path, "[1, 2]", name="s.jsonl"))
    with pytest.raises(SignalFileError, match=r"row 1: column .*side.* is missing"):
        script(written(tmp_path, '{"time": 1}', name="s.jsonl"))


def test_a_missing_or_strange_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SignalFileError, match="no such file"):
        script(tmp_path / "none.csv")
    with pytest.raises(SignalFileError, match="cannot be read"):
        script(written(tmp_path, "hello", name="signals.xls"))
