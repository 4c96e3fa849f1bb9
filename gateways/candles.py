"""Candle and funding files: read whole, checked row by row, refused with file, row, value and
remedy.

Columns of candles: `ts` (open time), `open`, `high`, `low`, `close` (> 0), `volume` (>= 0, base
asset). Columns of funding: `ts` (with the exchange's jitter), `rate` (fraction). `ts` is whole
milliseconds since 1970, or an ISO time: without a zone it is UTC, with one it is turned into UTC.
Parquet, or CSV with a header; further columns are ignored. Rows are counted from 1, the header of
a CSV not counted. Missing candles are allowed: nothing is ever filled in, :attr:`Candles.gaps`
lists them.
"""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from schemas.scalars import SYMBOL_PATTERN

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRICES = ("open", "high", "low", "close")
COLUMNS = ("ts", *PRICES, "volume")
TICKS_MAX = 2**53
"""Whole ticks up to here are exact in a float."""
MIXED_RUN = 10
"""So many steps of one larger size in a row are another interval, fewer are missing candles."""
_SYMBOL = re.compile(SYMBOL_PATTERN)
_MS_MIN, _MS_MAX = 10**11, 10**14
"""1973 to 5138: smaller stamps are seconds, larger ones microseconds."""


_CSV = pa_csv.ConvertOptions(null_values=[""])
"""Only an empty field is empty: `nan` is a value, to be refused as one."""


class CandleFileError(ValueError):
    """A market data file that cannot be used: names the file, the row, the value and what to do."""


class Gap(NamedTuple):
    """`missing` candles are missing from `ts_ms` (open time of the first one) on."""

    ts_ms: int
    missing: int


@dataclass(frozen=True, slots=True)
class TickCandles:
    """Candles in whole ticks (int64), same rows as the :class:`Candles` they come from."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints


@dataclass(frozen=True, slots=True)
class Candles:
    """One checked file: columns of equal length, rows by open time."""

    path: Path
    symbol: str
    interval_s: int
    ts_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.ts_ms)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where candles are missing between the first and the last."""
        step = self.interval_s * 1000
        jumps = np.diff(self.ts_ms)
        return tuple(
            Gap(int(self.ts_ms[i]) + step, int(jumps[i]) // step - 1)
            for i in np.flatnonzero(jumps != step)
        )

    def in_ticks(self, tick: Decimal) -> TickCandles:
        """Prices in whole ticks, exactly. Raises :class:`CandleFileError` for a price off the
        tick.

        A float is on the tick if it is the float nearest to a multiple of it, which is the same
        as its shortest repr being that multiple.
        """
        return TickCandles(*(self._column_in_ticks(name, tick) for name in PRICES))

    def _column_in_ticks(self, name: str, tick: Decimal) -> Ints:
        values: Floats = getattr(self, name)
        multiple, scale = tick.as_integer_ratio()
        counts = np.rint(values * (scale / multiple))
        if counts.size and counts.max() * multiple >= TICKS_MAX:
            row = int(counts.argmax())
            raise _refusal(self.path, row, f"{name} {values[row]!r} is too large for tick {tick}")
        off = np.flatnonzero(counts * multiple / scale != values)
        if off.size:
            row = int(off[0])
            raise _refusal(
                self.path,
                row,
                f"prices off the tick: {name} {float(values[row])!r} is not a multiple of {tick}; "
                f"use the instrument table {self.symbol} had at that venue and time",
            )
        return counts.astype(np.int64)


def read_candles(path: Path | str, *, symbol: str | None = None, interval_s: int = 60) -> Candles:
    """A checked candle file. `symbol` defaults to the file name's (SYMBOL-INTERVAL-START-END).

    Raises :class:`CandleFileError`: not there, broken, empty, a missing column, NaN, a price <=
    0, high below or low above open or close, a negative volume, unsorted, twice, off the
    interval.
    """
    file = Path(path)
    columns = _columns(file, COLUMNS)
    candles = Candles(
        file, symbol or symbol_of(file), interval_s, columns["ts"].astype(np.int64),
        *(columns[name].astype(np.float64) for name in COLUMNS[1:]),
    )  # fmt: skip
    _check_values(candles)
    _check_times(candles)
    return candles


@dataclass(frozen=True, slots=True)
class FundingRates:
    """Settlements of one perpetual: `ts_ms` (int64, jitter taken off to the second), rates as
    read."""

    path: Path
    symbol: str
    ts_ms: Ints
    rate: Floats


JITTER_MS = 1000
"""Settlement stamps are up to 15 ms late; they are taken down to the second."""


def read_funding(path: Path | str, *, symbol: str | None = None) -> FundingRates:
    """A checked funding file. Raises :class:`CandleFileError` as :func:`read_candles` does."""
    file = Path(path)
    columns = _columns(file, ("ts", "rate"))
    rate = columns["rate"].astype(np.float64)
    _refuse_rows(file, ~np.isfinite(rate), lambda row: f"rate {rate[row]} is not a number")
    _refuse_rows(file, abs(rate) >= 1, lambda row: f"rate {rate[row]} is not a fraction below 1")
    stamps = columns["ts"].astype(np.int64) // JITTER_MS * JITTER_MS
    _check_order(file, stamps)
    return FundingRates(file, symbol or symbol_of(file), stamps, rate)


def symbol_of(path: Path) -> str:
    """The symbol in a file's name; `_PERP` only says which market the data are from. Raises
    :class:`CandleFileError` where the name does not begin with one."""
    symbol = path.name.split("-")[0].split(".")[0].removesuffix("_PERP")
    if not _SYMBOL.fullmatch(symbol):
        raise CandleFileError(
            f"{path}: {symbol!r} is no symbol; rename the file: its name must begin with the "
            "symbol in capitals, e.g. BTCUSDT-1m.csv"
        )
    return symbol


def exact(value: float) -> Decimal:
    """The decimal number a float's shortest text stands for."""
    return Decimal(repr(float(value)))


# ---------------------------------------------------------------------- reading


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise CandleFileError(f"{path}: no such file; give the path of a Parquet or CSV file")
    try:
        table = (
            pa_csv.read_csv(path, convert_options=_CSV)
            if path.suffix == ".csv"
            else pa_parquet.read_table(path)
        )
        if path.suffix != ".csv":
            check_count(path, pa_parquet.read_metadata(path).num_rows, table.num_rows)
        there = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CandleFileError(
            f"{path}: cannot be read ({first_line(error)}); fetch the file again"
        ) from None
    check_columns(path, names, there)
    if table.num_rows == 0:
        raise CandleFileError(f"{path}: no rows; a file needs at least one")
    return {name: _numbers(path, name, table[name]) for name in names}


def check_count(path: Path, said: int, found: int) -> None:
    """CandleFileError if a file says that it has another number of rows than it has."""
    if said != found:
        raise CandleFileError(
            f"{path}: {found} rows were read, the file says it has {said}; fetch the file again"
        )


def check_columns(path: Path, needed: Collection[str], there: Sequence[str]) -> None:
    """CandleFileError if one of the columns is missing, or there more than once."""
    found = shown(there)
    if missing := [name for name in needed if name not in there]:
        raise CandleFileError(
            f"{path}: column {', '.join(missing)} is missing; needed are {', '.join(needed)}, "
            f"found {found}"
        )
    if twice := [name for name in needed if there.count(name) > 1]:
        raise CandleFileError(f"{path}: column {twice[0]} is there more than once: {found}")


def shown(names: Sequence[str]) -> str:
    """Column names of a file on one line."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names)


def first_line(error: Exception) -> str:
    """What a reader says in its first line, at most 200 characters."""
    return f"{str(error).splitlines()[0] if str(error) else type(error).__name__:.200}"


def _numbers(path: Path, name: str, column: Any) -> npt.NDArray[Any]:
    kind = column.type
    if name == "ts" and pa.types.is_timestamp(kind):
        if not column.null_count:
            stamps: npt.NDArray[Any] = column.to_numpy().astype("datetime64[ms]").astype(np.int64)
            return stamps
        kind = pa.int64()
    if name == "ts" and pa.types.is_string(kind):
        raise _refusal(path, _no_time(column), _TIMES)
    if not (pa.types.is_integer(kind) or (name != "ts" and pa.types.is_floating(kind))):
        wanted = "whole milliseconds or ISO times" if name == "ts" else "numbers"
        raise CandleFileError(f"{path}: column {name} holds {kind}; {wanted} are needed")
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise _refusal(path, row, f"{name} is empty; remove the row, a missing candle is missing")
    values: npt.NDArray[Any] = column.to_numpy()
    if name == "ts":
        strange = (values < _MS_MIN) | (values >= _MS_MAX)
        _refuse_rows(path, strange, lambda row: _unit(int(values[row])))
    return values


_TIMES = (
    "ts is neither whole milliseconds nor an ISO time like the others (2021-05-19T12:00:00, UTC, "
    "or all of them with a zone): write all rows one way"
)


def _no_time(column: Any) -> int:
    """First row that is no time, or of another kind than the first row."""
    from datetime import datetime

    first: str | None = None
    for row, text in enumerate(column.to_pylist()):
        try:
            kind = "zoned" if datetime.fromisoformat(text or "").tzinfo else "naive"
        except ValueError:
            return row
        first = first or kind
        if kind != first:
            return row
    return 0


def _unit(stamp: int) -> str:
    unit = "seconds" if abs(stamp) < _MS_MIN else "microseconds or finer"
    return f"ts {stamp} is not in milliseconds since 1970, it looks like {unit}: convert the column"


# ---------------------------------------------------------------------- checks


def _refusal(path: Path, row: int, what: str) -> CandleFileError:
    return CandleFileError(f"{path}: row {row + 1}: {what}")


def _refuse_rows(path: Path, bad: npt.NDArray[np.bool_], what: Any) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise _refusal(path, row, what(row))


def _check_values(c: Candles) -> None:
    for name in (*PRICES, "volume"):
        column: Floats = getattr(c, name)
        _refuse_rows(
            c.path,
            ~np.isfinite(column),
            lambda row, name=name, column=column: f"{name} {column[row]} is not a number",
        )
        low = 0.0 if name == "volume" else math.ulp(0.0)
        _refuse_rows(
            c.path,
            column < low,
            lambda row, name=name, column=column: (
                f"{name} {column[row]} is {'negative' if name == 'volume' else 'not above 0'}"
            ),
        )
    _refuse_rows(
        c.path,
        c.high < np.maximum(c.open, c.close),
        lambda row: f"high {c.high[row]} is below open {c.open[row]} or close {c.close[row]}",
    )
    _refuse_rows(
        c.path,
        c.low > np.minimum(c.open, c.close),
        lambda row: f"low {c.low[row]} is above open {c.open[row]} or close {c.close[row]}",
    )


def _check_order(path: Path, stamps: Ints) -> None:
    steps = np.diff(stamps, prepend=stamps[0] - 1)
    _refuse_rows(path, steps == 0, lambda row: f"ts {stamps[row]} is there twice")
    _refuse_rows(
        path,
        steps < 0,
        lambda row: (
            f"ts {stamps[row]} is earlier than the row before ({stamps[row - 1]}): sort by ts"
        ),
    )


def _check_times(c: Candles) -> None:
    _check_order(c.path, c.ts_ms)
    step = c.interval_s * 1000
    _refuse_rows(
        c.path,
        c.ts_ms % step != 0,
        lambda row: f"ts {c.ts_ms[row]} is no multiple of the interval of {c.interval_s} s",
    )
    if len(c) > 1 and int(np.diff(c.ts_ms).min()) > step:
        raise CandleFileError(
            f"{c.path}: wrong interval: no two candles are {c.interval_s} s apart, the closest are "
            f"{int(np.diff(c.ts_ms).min()) // 1000} s; give a file of {c.interval_s} s candles"
        )
    _check_mixed(c, step)


def _check_mixed(c: Candles, step: int) -> None:
    """Refuse a stretch of another interval: it would look like candles that are missing."""
    jumps = np.diff(c.ts_ms)
    same = (jumps > step) & (jumps == np.roll(jumps, 1))
    same[:1] = False
    ends = np.flatnonzero(np.diff(np.concatenate((same, [False])).astype(np.int8)) == -1)
    begins = np.flatnonzero(np.diff(np.concatenate(([False], same)).astype(np.int8)) == 1)
    for begin, end in zip(begins, ends, strict=True):
        if end - begin + 2 >= MIXED_RUN:
            row = int(begin) - 1
            raise _refusal(
                c.path,
                row,
                f"mixed intervals: {end - begin + 2} candles from here on are "
                f"{int(jumps[row]) // 1000} s apart, those before {c.interval_s} s: keep one "
                "interval a file",
            )
