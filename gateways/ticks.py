"""Files of single trades (aggTrades): checked row by row, read in batches, never held whole.

Columns: `ts_us` (int64, microseconds since 1970, UTC) or `ts` (int64, milliseconds); `price` (> 0);
`qty` (> 0, base asset); `buyer_is_maker` (bool; true: the aggressor sold); `id` where there is one
(int64, rising). The names of the exchange's own CSV files are known too: `transact_time`,
`quantity`, `is_buyer_maker`, `agg_trade_id`. Parquet, or CSV with a header, sorted by time; further
columns are ignored. Rows are counted from 1, the header of a CSV not counted.

A first pass checks everything and builds the 1 m candles (open, high, low, close, volume of the
trades in a minute; a minute without a trade is a missing candle); a run is a second pass.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from gateways.candles import (
    CandleFileError,
    Candles,
    Floats,
    Ints,
    check_columns,
    check_count,
    first_line,
    shown,
    symbol_of,
)

BATCH_ROWS = 65_536
_ROW = re.compile(r"Row #(\d+): (.*)")
MINUTE_US = 60_000_000
US_MIN = 10**14
"""Stamps below are no microseconds after 1973: another unit."""
NAMES: dict[str, tuple[str, ...]] = {
    "time": ("ts_us", "ts", "transact_time"),
    "price": ("price",),
    "quantity": ("qty", "quantity"),
    "sold": ("buyer_is_maker", "is_buyer_maker"),
    "id": ("id", "agg_trade_id"),
}

TYPES = {
    "time": pa.int64(), "price": pa.float64(), "quantity": pa.float64(), "sold": pa.bool_(),
    "id": pa.int64(),
}  # fmt: skip


class Batch(NamedTuple):
    """Trades in file order: times (us), prices, quantities, whether the aggressor sold. `row`: of
    the first one, from 0."""

    us: Ints
    price: Floats
    quantity: Floats
    sold: npt.NDArray[np.bool_]
    row: int


@dataclass(frozen=True, slots=True)
class Ticks:
    """Checked trades of one symbol; the files follow one another in time."""

    paths: tuple[Path, ...]
    symbol: str
    rows: int
    first_us: int
    last_us: int
    candles: Candles
    """1 m candles built from the trades."""

    def batches(self) -> Iterator[tuple[Path, Batch]]:
        """All trades again, in order, at most :data:`BATCH_ROWS` at a time."""
        for path in self.paths:
            for batch in _batches(path):
                yield path, batch


def holds_trades(path: Path | str) -> bool:
    """Whether a file's columns are those of trades (rather than of candles)."""
    try:
        names = set(_columns(Path(path)))
    except CandleFileError:
        return False
    return "price" in names and bool(names & set(NAMES["quantity"]))


def read_ticks(path: Path | str, *, symbol: str | None = None) -> Ticks:
    """A checked file of trades. `symbol` defaults to the file name's (SYMBOL-aggTrades-…).

    Raises :class:`CandleFileError`: not there, broken, empty, a missing column, NaN, a price or
    quantity <= 0, times that go back, ids that do not rise.
    """
    file = Path(path)
    name = symbol or ""
    building = _Building()
    rows, first, last, last_id = 0, 0, 0, -1
    for batch, ids in _checked(file):
        if not rows:
            name, first = name or symbol_of(file), int(batch.us[0])
        elif int(batch.us[0]) < last:
            raise _refusal(file, batch.row, f"{_back(int(batch.us[0]), last)}")
        if ids is not None:
            if int(ids[0]) <= last_id:
                raise _refusal(file, batch.row, f"id {ids[0]} is not above the row before's")
            last_id = int(ids[-1])
        building.add(batch)
        rows, last = rows + len(batch.us), int(batch.us[-1])
    if not rows:
        raise CandleFileError(f"{file}: no rows; a file needs at least one")
    return Ticks((file,), name, rows, first, last, building.candles(file, name))


def joined_ticks(parts: Sequence[Ticks]) -> Ticks:
    """Files of one symbol as one. Raises CandleFileError where two overlap in time or share a
    minute: its candle would be neither's."""
    ordered = sorted(parts, key=lambda part: (part.first_us, str(part.paths[0])))
    for before, after in pairwise(ordered):
        if after.first_us // MINUTE_US <= before.last_us // MINUTE_US:
            raise CandleFileError(
                f"{after.paths[0]}: row 1: begins within the last minute of {before.paths[-1]} or "
                "before it: files of a symbol must not overlap or share a minute, cut one of them"
            )
    if len(ordered) == 1:
        return ordered[0]
    candles = [part.candles for part in ordered]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(c, name) for c in candles])
        for name in ("ts_ms", "open", "high", "low", "close", "volume")
    }
    return Ticks(
        tuple(path for part in ordered for path in part.paths),
        ordered[0].symbol,
        sum(part.rows for part in ordered),
        ordered[0].first_us,
        ordered[-1].last_us,
        replace(candles[0], **columns),
    )


def check_tick(ticks: Ticks, tick: Decimal) -> None:
    """Raises CandleFileError for the first price that is no multiple of the tick."""
    for path, batch in ticks.batches():
        _counts(path, batch, tick)


def price_texts(path: Path, batch: Batch, tick: Decimal) -> list[str]:
    """Canonical texts of a batch's prices. Raises CandleFileError for a price off the tick."""
    known: dict[float, str] = {}
    out = []
    for count in _counts(path, batch, tick).tolist():
        shown = known.get(count)
        if shown is None:
            shown = known[count] = _shown(int(count) * tick)
        out.append(shown)
    return out


def _counts(path: Path, batch: Batch, tick: Decimal) -> Floats:
    """Prices in whole ticks."""
    multiple, scale = tick.as_integer_ratio()
    counts: Floats = np.rint(batch.price * (scale / multiple))
    off = np.flatnonzero(counts * multiple / scale != batch.price)
    if off.size:
        row = int(off[0])
        raise _refusal(
            path, batch.row + row,
            f"prices off the tick: price {float(batch.price[row])!r} is not a multiple of {tick}; "
            "use the instrument table the symbol had at that venue and time",
        )  # fmt: skip
    return counts


def quantity_texts(batch: Batch) -> list[str]:
    """Canonical texts of a batch's quantities."""
    return [_shown(Decimal(repr(value))) for value in batch.quantity.tolist()]


def _shown(value: Decimal) -> str:
    out = f"{value:f}"
    return out.rstrip("0").rstrip(".") if "." in out else out


# ---------------------------------------------------------------------- candles


class _Building:
    """1 m candles of trades that come in batches: only the last minute's trades are kept."""

    def __init__(self) -> None:
        self._open: list[Batch] = []
        self._columns: dict[str, list[npt.NDArray[Any]]] = {
            name: [] for name in ("ts_ms", "open", "high", "low", "close", "volume")
        }

    def add(self, batch: Batch) -> None:
        minutes = batch.us // MINUTE_US
        cut = int(np.searchsorted(minutes, minutes[-1]))
        if self._open and int(self._open[0].us[0]) // MINUTE_US != minutes[-1]:
            self._close([*self._open, _cut(batch, 0, cut)])
            self._open = [_cut(batch, cut, len(minutes))]
        elif cut:
            self._close([_cut(batch, 0, cut)])
            self._open = [_cut(batch, cut, len(minutes))]
        else:
            self._open.append(batch)

    def _close(self, batches: list[Batch]) -> None:
        us, price, quantity = (np.concatenate([b[i] for b in batches]) for i in range(3))
        minutes = us // MINUTE_US
        begins = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 1))
        ends = np.append(begins[1:], len(us))
        # The exactly rounded sum: the same on every machine, however the file was cut.
        volumes = [math.fsum(quantity[a:b]) for a, b in zip(begins, ends, strict=True)]
        for name, values in (
            ("ts_ms", minutes[begins] * 60_000),
            ("open", price[begins]),
            ("high", np.maximum.reduceat(price, begins)),
            ("low", np.minimum.reduceat(price, begins)),
            ("close", price[ends - 1]),
            ("volume", np.array(volumes)),
        ):
            self._columns[name].append(values)

    def candles(self, path: Path, symbol: str) -> Candles:
        self._close(self._open)
        return Candles(
            path, symbol, 60, **{name: np.concatenate(parts) for name, parts in
                                 self._columns.items()},
        )  # fmt: skip


def _cut(batch: Batch, first: int, last: int) -> Batch:
    us, price, quantity, sold, row = batch
    part = slice(first, last)
    return Batch(us[part], price[part], quantity[part], sold[part], row + first)


# ---------------------------------------------------------------------- reading


def _refusal(path: Path, row: int, what: str) -> CandleFileError:
    return CandleFileError(f"{path}: row {row + 1}: {what}")


def _columns(path: Path) -> list[str]:
    if not path.is_file():
        raise CandleFileError(f"{path}: no such file; give the path of a Parquet or CSV file")
    try:
        if path.suffix == ".csv":
            with pa_csv.open_csv(path) as reader:
                return list(reader.schema.names)
        return list(pa_parquet.read_schema(path).names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> CandleFileError:
    line = first_line(error)
    named = _ROW.search(line)
    if named:  # The reader counts the header as a row.
        return CandleFileError(f"{path}: row {int(named[1]) - 1}: {named[2]:.200}; correct it")
    return CandleFileError(f"{path}: cannot be read ({line}); fetch the file again")


def _named(path: Path) -> dict[str, str]:
    """The file's own name of each column that is needed; `id` only where there is one."""
    there = _columns(path)
    out: dict[str, str] = {}
    for wanted, names in NAMES.items():
        found = next((name for name in names if name in there), None)
        if found is not None:
            out[wanted] = found
        elif wanted != "id":
            raise CandleFileError(
                f"{path}: column {' or '.join(names)} is missing; a file of trades needs ts_us or "
                f"ts, price, qty and buyer_is_maker, found {shown(there)}"
            )
    check_columns(path, list(out.values()), there)
    return out


def _tables(path: Path, names: dict[str, str]) -> Iterator[pa.RecordBatch]:
    columns = list(names.values())
    try:
        if path.suffix == ".csv":
            # Named types: the reader would guess them from the first block and stumble later on.
            types = {name: TYPES[wanted] for wanted, name in names.items()}
            options = pa_csv.ConvertOptions(
                include_columns=columns, column_types=types, null_values=[""]
            )
            # One thread: only then the reader's own refusals name the row.
            whole = pa_csv.ReadOptions(use_threads=False)
            with pa_csv.open_csv(path, read_options=whole, convert_options=options) as reader:
                yield from reader
        else:
            with pa_parquet.ParquetFile(path) as file:
                found = 0
                for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                    found += batch.num_rows
                    yield batch
                check_count(path, file.metadata.num_rows, found)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(path, error) from None


def _raw(path: Path) -> Iterator[tuple[Batch, Ints | None]]:
    names = _named(path)
    scale = 1 if names["time"] == "ts_us" else 1000
    row = 0
    for table in _tables(path, names):
        if not table.num_rows:
            continue
        taken = {
            wanted: _values(path, row, wanted, name, table.column(name))
            for wanted, name in names.items()
        }
        yield (
            Batch(
                taken["time"].astype(np.int64) * scale,
                taken["price"].astype(np.float64),
                taken["quantity"].astype(np.float64),
                taken["sold"].astype(np.bool_),
                row,
            ),
            taken.get("id"),
        )
        row += table.num_rows


def _batches(path: Path) -> Iterator[Batch]:
    for batch, _ in _raw(path):
        yield batch


def _values(path: Path, row: int, wanted: str, name: str, column: Any) -> npt.NDArray[Any]:
    kind = column.type
    fits = {
        "time": pa.types.is_integer(kind),
        "id": pa.types.is_integer(kind),
        "sold": pa.types.is_boolean(kind),
    }.get(wanted, pa.types.is_integer(kind) or pa.types.is_floating(kind))
    if not fits:
        needed = {"time": "whole micro- or milliseconds", "id": "whole numbers", "sold": "true or "
                  "false"}.get(wanted, "numbers")  # fmt: skip
        raise CandleFileError(f"{path}: column {name} holds {kind}; {needed} are needed")
    if column.null_count:
        first = column.is_null().to_pylist().index(True)
        raise _refusal(path, row + first, f"{name} is empty; remove the row")
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _checked(path: Path) -> Iterator[tuple[Batch, Ints | None]]:
    for batch, ids in _raw(path):
        for name, column in (("price", batch.price), ("qty", batch.quantity)):
            bad = ~(np.isfinite(column) & (column > 0))
            if bad.any():
                row = int(bad.argmax())
                what = "not above 0" if np.isfinite(column[row]) else "not a number"
                raise _refusal(path, batch.row + row, f"{name} {column[row]} is {what}")
        if int(batch.us.min()) < US_MIN:
            row = int((batch.us < US_MIN).argmax())
            raise _refusal(
                path, batch.row + row,
                f"time {batch.us[row]} us is before 1973: ts_us is microseconds, ts milliseconds",
            )  # fmt: skip
        back = np.flatnonzero(np.diff(batch.us) < 0)
        if back.size:
            row = int(back[0]) + 1
            shown = _back(int(batch.us[row]), int(batch.us[row - 1]))
            raise _refusal(path, batch.row + row, shown)
        if ids is not None and (falls := np.flatnonzero(np.diff(ids) <= 0)).size:
            row = int(falls[0]) + 1
            shown = f"id {ids[row]} is not above the row before's ({ids[row - 1]}): sort by id"
            raise _refusal(path, batch.row + row, f"{shown}, remove doubles")
        yield batch, ids


def _back(us: int, before: int) -> str:
    return f"time {us} us is earlier than the row before ({before}): sort by time"
