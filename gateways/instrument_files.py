"""Filters, fees and brackets from a person's own file, for symbols that none are shipped for.

A JSON file with one instrument, or a list of them, in the form of `schemas/instruments/*.json`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from gateways.assumed_instrument import assumed_instrument
from gateways.candles import Candles
from schemas.instruments import shipped_instrument, shipped_symbols
from schemas.market import Instrument

EXAMPLE = "schemas/instruments/BTCUSDT-20210501.json"


class InstrumentFileError(ValueError):
    """A file that is no instrument table: names the file, the symbol, the field, the remedy."""


class NoInstrumentError(LookupError):
    """A symbol that no table is known for. The text names the ways to give one."""


def read_instruments(path: Path | str) -> tuple[Instrument, ...]:
    """The file's tables, in its order. Raises InstrumentFileError: not there, not JSON, a field
    that is missing, unknown or out of range, a symbol twice."""
    file = Path(path)
    try:
        body = orjson.loads(file.read_bytes())
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise InstrumentFileError(f"{file}: {why}; give a JSON file like {EXAMPLE}") from None
    except orjson.JSONDecodeError as error:
        raise InstrumentFileError(f"{file}: not JSON ({error}); see {EXAMPLE}") from None
    tables = [_table(file, item) for item in (body if isinstance(body, list) else [body])]
    if not tables:
        raise InstrumentFileError(f"{file}: an empty list; see {EXAMPLE}")
    seen: set[str] = set()
    for table in tables:
        if table.symbol in seen:
            raise InstrumentFileError(f"{file}: {table.symbol} is there twice; remove one")
        seen.add(table.symbol)
    return tuple(tables)


def instruments_for(
    candles: Sequence[Candles],
    *,
    at: str,
    given: Iterable[Instrument] = (),
    assume: bool = False,
) -> tuple[Instrument, ...]:
    """A table for each symbol, in their order: of `given`, else the shipped one of that time
    (canonical `at`), else, if `assume`, one read off the prices, which says so in its origin.

    Raises :class:`NoInstrumentError` for a symbol without one, CandleFileError where none can be
    read off its prices.
    """
    own = {table.symbol: table for table in given}
    shipped = shipped_symbols()
    out = []
    for one in candles:
        if one.symbol in own:
            out.append(own[one.symbol])
        elif one.symbol in shipped:
            out.append(shipped_instrument(one.symbol, at=at))
        elif assume:
            out.append(assumed_instrument(one, as_of=at))
        else:
            raise NoInstrumentError(
                f"no filters, fees and brackets are known for {one.symbol} (shipped are "
                f"{', '.join(shipped)}): give --instruments FILE, JSON in the form of {EXAMPLE}"
            )
    return tuple(out)


def _table(file: Path, item: Any) -> Instrument:
    name = item.get("symbol", "?") if isinstance(item, dict) else "?"
    try:
        table = Instrument.model_validate_json(orjson.dumps(item))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "table"
        raise InstrumentFileError(
            f"{file}: {name}: {field}: {first['msg']} (got {first['input']!r:.60}); see {EXAMPLE}"
        ) from None
    if not table.brackets:
        raise InstrumentFileError(f"{file}: {name}: brackets: at least one is needed")
    return table
