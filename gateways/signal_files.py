"""Signals of a file as outside events of a run: CSV, Parquet or JSON lines, checked row by row.

Columns: `time`, `symbol`, `side` (BUY or SELL), `confidence` (0 to 1); and, where wanted, `source`
(a name, default `file`), `stop_price`, `target_price`, `limit_price`, `size_pct` (percent of
equity, which the sizer may only lower). A row with a price of its own is an intent, any other a
signal. `time` is ISO 8601 with a zone (2021-05-19T12:00:00Z) or whole milliseconds since 1970.
Rows are sorted by time; they are counted from 1, the header of a CSV not counted.

**A row never trades at a price from before its time**: it enters the run at the first instant that
is not before it, behind everything of that instant.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from domain.points import POINT_S
from gateways.candles import first_line, shown
from gateways.feed_records import Scripted
from schemas.ids import natural_id, part_id
from schemas.scalars import micros, text, time_text
from schemas.topics import INTENT, SIGNAL
from schemas.trade import (
    Intent,
    IntentData,
    IntentPublished,
    Side,
    Signal,
    SignalData,
    SignalPublished,
)

SOURCE = "/signal-file"
ORIGIN = "file"
NEEDED = ("time", "symbol", "side", "confidence")
PRICES = ("limit_price", "stop_price", "target_price")
KNOWN = (*NEEDED, "source", *PRICES, "size_pct")
ITEMS_MAX = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLACES = Decimal("0.000001")
_MS_MIN, _MS_MAX = 10**11, 10**14


class SignalFileError(ValueError):
    """A signal file that cannot be used: names the file, the row, the value and what to do."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A checked row; numbers as canonical text."""

    us: int
    symbol: str
    side: Side
    confidence: str
    source: str
    prices: dict[str, str]
    size_pct: str | None


def signal_script(
    path: Path | str,
    *,
    start: datetime,
    end: datetime,
    symbols: Collection[str],
    account: str = "backtest",
    grid_s: int = POINT_S,
) -> tuple[Scripted, ...]:
    """The file's rows as scripted events of `account` in a run over [start, end) with `symbols`.

    `grid_s`: spacing of the run's instants in seconds (candles: 10); 0 on ticks, where an event
    follows every trade up to its time and the latency. Rows of one time make one record, signals
    and intents apart. Raises :class:`SignalFileError` for anything that is not as described above,
    a symbol without data, a time outside the run, and the same time, symbol, side and source twice.
    """
    file = Path(path)
    span = (_us(start), _us(end))
    rows = list(_checked(file, span, frozenset(symbols)))
    if not rows:
        raise SignalFileError(f"{file}: no rows; a file needs at least one")
    grid = grid_s * 1_000_000
    out = []
    for us, group in groupby(rows, key=lambda row: row.us):
        together = list(group)
        at = time_text(-(-us // grid) * grid if grid else us)
        for intents in (False, True):
            chosen = [row for row in together if bool(row.prices) is intents]
            for first in range(0, len(chosen), ITEMS_MAX):
                part = chosen[first : first + ITEMS_MAX]
                out.append(_record(file, part, account, at, first, intents=intents))
    return tuple(out)


def _record(
    file: Path, rows: list[_Row], account: str, at: str, first: int, *, intents: bool
) -> Scripted:
    time = time_text(rows[0].us)
    kind = "intents" if intents else "signals"
    identity = natural_id("signal file", file.name, account, kind, time, str(first))
    made: list[Any] = []
    for ordinal, row in enumerate(rows):
        fields: dict[str, Any] = {
            "id": part_id(identity, ordinal),
            "symbol": row.symbol,
            "side": row.side,
            "confidence": row.confidence,
            "origin": row.source,
            "position_size_pct": row.size_pct,
            **row.prices,
        }
        made.append(Intent(**fields) if intents else Signal(**fields))
    common: dict[str, Any] = {
        "id": identity,
        "source": SOURCE,
        "subject": f"{account}/{rows[0].symbol}" if len(rows) == 1 else account,
        "time": time,
        "partitionkey": account,
    }
    if intents:
        return Scripted(
            at, INTENT.name, IntentPublished(**common, data=IntentData(items=tuple(made)))
        )
    return Scripted(at, SIGNAL.name, SignalPublished(**common, data=SignalData(items=tuple(made))))


# ---------------------------------------------------------------------- checks


def _checked(file: Path, span: tuple[int, int], symbols: frozenset[str]) -> Iterator[_Row]:
    before, at_time = 0, set[tuple[str, str, str]]()
    for number, raw in enumerate(_rows(file), start=1):
        try:
            row = _row(raw)
            if row.symbol not in symbols:
                known = ", ".join(sorted(symbols))
                raise ValueError(f"symbol {row.symbol} has no data in this run (there are {known})")
            if not span[0] <= row.us < span[1]:
                raise ValueError(
                    f"time {time_text(row.us)} is outside the run, which goes from "
                    f"{time_text(span[0])} to before {time_text(span[1])}: remove the row, or give "
                    "the data and dates it belongs to"
                )
            if row.us < before:
                raise ValueError(f"time {time_text(row.us)} is earlier than the row before: sort")
            if row.us > before:
                before, at_time = row.us, set()
            key = (row.symbol, row.side, row.source)
            if key in at_time:
                raise ValueError(
                    f"{row.side} {row.symbol} of {row.source} is there twice at "
                    f"{time_text(row.us)}: remove one, or name another source"
                )
            at_time.add(key)
        except ValueError as error:
            raise SignalFileError(f"{file}: row {number}: {error}") from None
        yield row


def _row(raw: dict[str, Any]) -> _Row:
    symbol = str(raw.get("symbol") or "")
    side = str(raw.get("side") or "").upper()
    if side not in ("BUY", "SELL"):
        raise ValueError(f"side {raw.get('side')!r} is neither BUY nor SELL; leave out HOLD")
    confidence = _number(raw, "confidence")
    if confidence is None or not 0 <= confidence <= 1:
        raise ValueError(f"confidence {raw.get('confidence')!r} is not a number from 0 to 1")
    source = str(raw.get("source") or ORIGIN)
    if not _NAME.fullmatch(source):
        raise ValueError(f"source {source!r} is no name: letters, digits, dot, dash, underscore")
    prices = {name: _above(raw, name) for name in PRICES}
    return _Row(
        _time(raw.get("time")),
        symbol,
        cast("Side", side),
        text(confidence.quantize(_PLACES)),
        source,
        {name: price for name, price in prices.items() if price is not None},
        _above(raw, "size_pct"),
    )


def _number(raw: dict[str, Any], name: str) -> Decimal | None:
    value = raw.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else str(value).strip())
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or isinstance(value, bool):
        raise ValueError(f"{name} {value!r} is not a number")
    return found


def _above(raw: dict[str, Any], name: str) -> str | None:
    value = _number(raw, name)
    if value is None:
        return None
    if value <= 0 or len(value.as_tuple().digits) > 20:
        raise ValueError(f"{name} {raw[name]!r} is not a number above 0 of at most 20 digits")
    return text(value)


def _time(value: Any) -> int:
    """Microseconds since 1970."""
    if isinstance(value, datetime):
        moment: datetime | None = value
    elif isinstance(value, int) or (isinstance(value, str) and value.strip().isdigit()):
        ms = int(value)
        if not _MS_MIN <= ms < _MS_MAX:
            raise ValueError(f"time {value} is not in milliseconds since 1970")
        return ms * 1000
    else:
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            moment = None
    if moment is None:
        raise ValueError(f"time {value!r} is no time: write 2021-05-19T12:00:00Z")
    if moment.tzinfo is None:
        raise ValueError(f"time {value} has no zone: write it with one, 2021-05-19T12:00:00Z")
    return _us(moment)


def _us(moment: datetime) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return micros(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


# ---------------------------------------------------------------------- reading


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        raise SignalFileError(f"{file}: no such file; give a CSV, Parquet or JSON lines file")
    if file.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(file)
        return
    try:
        table = _csv(file) if file.suffix == ".csv" else pa_parquet.read_table(file)
        _columns(file, table.column_names)
        for batch in table.to_batches(max_chunksize=65_536):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SignalFileError(
            f"{file}: cannot be read ({first_line(error)}); it must be Parquet, or end in .csv or "
            ".jsonl"
        ) from None


def _csv(file: Path) -> pa.Table:
    """All columns as text: decimals stay as they were written."""
    with pa_csv.open_csv(file) as reader:
        names = reader.schema.names
    options = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, null_values=[""],
        strings_can_be_null=True,
    )  # fmt: skip
    return pa_csv.read_csv(file, convert_options=options)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line.decode(), parse_float=Decimal)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                text = shown([line.strip().decode(errors="replace")])
                raise SignalFileError(f"{file}: row {number}: not a JSON object: {text:.80}")
            _columns(file, list(row), f"row {number}: ")
            yield row


def _columns(file: Path, there: list[str], where: str = "") -> None:
    missing = [name for name in NEEDED if name not in there]
    strange = [name for name in there if name not in KNOWN]
    if missing or strange:
        what = f"column {', '.join(missing)} is missing" if missing else (
            f"column {shown(strange)} is not known"
        )  # fmt: skip
        raise SignalFileError(f"{file}: {where}{what}; there are {', '.join(KNOWN)}")
