"""Goal: tables of a person's own file are used; a symbol without one is refused with a remedy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateways.candles import Candles
from gateways.instrument_files import (
    InstrumentFileError,
    NoInstrumentError,
    instruments_for,
    read_instruments,
)
from schemas.instruments import FOLDER

AT = "2024-10-18T00:00:00.000000Z"
SHIPPED: dict[str, Any] = json.loads((FOLDER / "BTCUSDT-20210501.json").read_text())


def candles(symbol: str) -> Candles:
    price = np.array([0.71, 0.7102])
    times, volume = np.array([0, 60_000]), np.array([1.0, 2.0])
    return Candles(Path("x"), symbol, 60, times, price, price, price, price, volume)


def write(folder: Path, body: Any) -> Path:
    path = folder / "tables.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


def test_a_file_holds_one_table_or_several(tmp_path: Path) -> None:
    ape = {**SHIPPED, "symbol": "APEUSDT"}
    assert [t.symbol for t in read_instruments(write(tmp_path, ape))] == ["APEUSDT"]
    both = read_instruments(write(tmp_path, [ape, SHIPPED]))
    assert [t.symbol for t in both] == ["APEUSDT", "BTCUSDT"]


def test_a_given_table_goes_before_the_shipped_one(tmp_path: Path) -> None:
    given = read_instruments(write(tmp_path, {**SHIPPED, "taker_fee_pct": "0.01"}))
    (own,) = instruments_for([candles("BTCUSDT")], at=AT, given=given)
    (shipped,) = instruments_for([candles("BTCUSDT")], at=AT)
    assert (own.taker_fee_pct, shipped.taker_fee_pct) == ("0.01", "0.05")


def test_a_symbol_without_a_table_is_refused_with_what_to_give() -> None:
    with pytest.raises(NoInstrumentError, match=r"APEUSDT.*give --instruments FILE"):
        instruments_for([candles("APEUSDT")], at=AT)


def test_a_table_that_is_assumed_says_so() -> None:
    (table,) = instruments_for([candles("APEUSDT")], at=AT, assume=True)
    assert (table.tick, table.as_of) == ("0.0001", AT)
    assert table.origin.startswith("assumed")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "not JSON"),
        ([], "an empty list"),
        ([SHIPPED, SHIPPED], "BTCUSDT is there twice"),
        ({**SHIPPED, "tick": "0"}, "BTCUSDT: tick: "),
        ({**SHIPPED, "colour": "red"}, "BTCUSDT: colour: "),
        ({k: v for k, v in SHIPPED.items() if k != "step"}, "BTCUSDT: step: Field required"),
        ({**SHIPPED, "brackets": []}, "brackets: at least one"),
        ("[3]", r"\?: "),
    ],
)
def test_a_bad_table_is_refused_with_file_symbol_and_field(
    tmp_path: Path, body: Any, message: str
) -> None:
    path = write(tmp_path, body)
    with pytest.raises(InstrumentFileError, match=message) as refused:
        read_instruments(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstrumentFileError, match=r"none\.json: No such file"):
        read_instruments(tmp_path / "none.json")
