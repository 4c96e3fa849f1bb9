"""Fuzzed files of a feed and of a backtest: read whole, or refused in one line that names the file.

Method: hypothesis changes small good files, bytes and lines of them; `--full`: 10,000 a kind. What
is taken has as many rows as the file: nothing is left out silently.
"""

import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateways.candles import CandleFileError, read_candles, read_funding
from gateways.instrument_files import InstrumentFileError, read_instruments
from gateways.signal_files import SignalFileError, signal_script
from gateways.ticks import read_ticks
from schemas.instruments import FOLDER

EACH = 10_000 if os.environ.get("QUANTUM_TEST_FULL") else 150
Columns = Mapping[str, Sequence[float]]
T0 = 1_621_123_200_000
MINUTES = [T0 + n * 60_000 for n in range(6)]
PRICES = [100.0, 101.0, 100.5, 102.0, 101.0, 99.5]
CANDLES: Columns = {
    "ts": MINUTES, "open": PRICES, "high": [p + 1 for p in PRICES],
    "low": [p - 1 for p in PRICES], "close": PRICES, "volume": [5.0, 0.0, 2.5, 1.0, 3.0, 4.0],
}  # fmt: skip
FUNDING: Columns = {
    "ts": [T0 + n * 28_800_000 for n in range(4)],
    "rate": [0.0001, -0.0002, 0.0, 0.0003],
}
TRADES: Columns = {
    "ts_us": [minute * 1000 for minute in MINUTES], "id": [7, 8, 9, 10, 12, 13],
    "price": PRICES, "qty": [1.0, 2.0, 0.1, 0.2, 5.0, 1.0], "buyer_is_maker": [True, False] * 3,
}  # fmt: skip
SIGNALS = "time,symbol,side,confidence\n" + "".join(
    f"2021-05-19T12:0{n}:00Z,BTCUSDT,{side},0.{n + 1}\n" for n, side in enumerate(("BUY", "SELL"))
)
ODD = (
    "",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    '"',
    "\x00",
    "ÿ",
    "9" * 30,
    "true",
    ",",
    "\n\n",
    "null",
)


def csv(columns: Columns) -> bytes:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(str(each) for each in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def parquet(columns: Columns) -> bytes:
    sink = pa.BufferOutputStream()
    pa_parquet.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def signals(file: Path) -> int:
    """Items that the file's rows became."""
    day = datetime(2021, 5, 19, tzinfo=UTC)
    made = signal_script(file, start=day, end=day.replace(day=20), symbols=("BTCUSDT",))
    events: list[Any] = [each.event for each in made]
    return sum(len(event.data.items) for event in events)


def trades(file: Path) -> int:
    """Trades that come out when they are read again, as a feed does."""
    found = read_ticks(file)
    assert sum(len(batch.us) for _, batch in found.batches()) == found.rows
    return found.rows


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: a good one, how many rows a reader takes, and how it refuses."""

    name: str
    good: bytes
    read: Callable[[Path], int]
    refusal: type[Exception]


KINDS = [
    Kind("candles.csv", csv(CANDLES), lambda f: len(read_candles(f)), CandleFileError),
    Kind("candles.parquet", parquet(CANDLES), lambda f: len(read_candles(f)), CandleFileError),
    Kind("funding.csv", csv(FUNDING), lambda f: len(read_funding(f).rate), CandleFileError),
    Kind("funding.parquet", parquet(FUNDING), lambda f: len(read_funding(f).rate), CandleFileError),
    Kind("trades.csv", csv(TRADES), trades, CandleFileError),
    Kind("trades.parquet", parquet(TRADES), trades, CandleFileError),
    Kind("signals.csv", SIGNALS.encode(), signals, SignalFileError),
    Kind(
        "signals.jsonl",
        b'{"time":"2021-05-19T12:00:00Z","symbol":"BTCUSDT","side":"BUY","confidence":"0.8"}\n' * 1
        + b'{"time":"2021-05-19T12:01:00Z","symbol":"BTCUSDT","side":"SELL","confidence":0.7}\n',
        signals,
        SignalFileError,
    ),
    Kind(
        "instruments.json",
        json.dumps(json.loads((FOLDER / "BTCUSDT-20210501.json").read_text())).encode(),
        lambda file: len(read_instruments(file)),
        InstrumentFileError,
    ),
]


def test_a_parquet_file_that_says_it_has_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    """Found by the long form: nobody knows which of both is true."""
    for kind in (kind for kind in KINDS if kind.name.endswith(".parquet")):
        said = struct.pack(
            "<b", 2 * (rows(kind, kind.good) or 0)
        )  # as Thrift writes a small number
        at = kind.good.rindex(b"\x16" + said + b"\x19\x1c\x19")
        file = tmp_path / f"BTCUSDT-1m-{kind.name}"
        file.write_bytes(kind.good[: at + 1] + b"\x00" + kind.good[at + 2 :])
        with pytest.raises(CandleFileError, match="rows were read, the file says it has 0"):
            kind.read(file)


@st.composite
def spoilt(draw: st.DrawFn, good: bytes) -> bytes:
    """A file with one to three things changed: bytes, cells or lines."""
    raw = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        kind = draw(st.sampled_from(("cut", "byte", "insert", "odd", "twice", "swapped")))
        lines = bytes(raw).splitlines(keepends=True)
        if kind == "cut":
            del raw[at : at + draw(st.integers(1, 40))]
        elif kind == "byte" and raw:
            raw[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            raw[at:at] = draw(st.binary(max_size=8))
        elif kind == "odd":
            end = raw.find(b",", at)
            raw[at : end if end > 0 else at + 1] = draw(st.sampled_from(ODD)).encode()
        elif lines:
            line = draw(st.integers(0, len(lines) - 1))
            other = lines[line] if kind == "twice" else lines.pop(line)
            lines.insert(draw(st.integers(0, len(lines))), other)
            raw = bytearray(b"".join(lines))
    return bytes(raw)


def rows(kind: Kind, raw: bytes) -> int | None:
    """How many rows a file of this kind has, as far as its form alone says it."""
    if kind.name.endswith(".json"):
        body = json.loads(raw)
        return len(body) if isinstance(body, list) else 1
    if kind.name.endswith(".parquet"):
        return int(pa_parquet.read_metadata(pa.BufferReader(raw)).num_rows)
    if b'"' in raw and kind.name.endswith(".csv"):
        return None  # a quoted cell may hold lines
    lines = [line for line in raw.replace(b"\r", b"\n").split(b"\n") if line.strip()]
    return len(lines) - kind.name.endswith(".csv")


def rows_or_refusal(kind: Kind, file: Path) -> tuple[int | None, str | None]:
    try:
        return kind.read(file), None
    except kind.refusal as error:
        return None, str(error)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_spoilt_file_is_read_whole_or_refused_in_one_line(kind: Kind, tmp_path: Path) -> None:
    stem, _, ending = kind.name.partition(".")
    file = tmp_path / f"BTCUSDT-1m-{stem}.{ending}"
    file.write_bytes(kind.good)
    assert kind.read(file) == rows(kind, kind.good)

    @settings(
        max_examples=EACH, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(raw=spoilt(kind.good))
    def read(raw: bytes) -> None:
        file.write_bytes(raw)
        taken, refused = rows_or_refusal(kind, file)
        assert refused is None or refused.startswith(str(file))
        assert "\n" not in (refused or "")
        assert taken is None or rows(kind, raw) in (None, taken)

    read()
