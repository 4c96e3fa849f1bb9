"""Shipped filters, fees and brackets: dated JSON files in `schemas/instruments/`, one a symbol
and day.

They are data with an origin, never constants in code; a fed run publishes them as one
`market.instruments.listed` record before anything else.
"""

from pathlib import Path

from schemas.market import Instrument

FOLDER = Path(__file__).parent / "instruments"


def shipped_symbols() -> tuple[str, ...]:
    """Symbols with a shipped table, sorted."""
    return tuple(sorted({path.name.split("-")[0] for path in FOLDER.glob("*-*.json")}))


def shipped_instrument(symbol: str, *, at: str | None = None) -> Instrument:
    """The newest table of `symbol` that is not later than the canonical time `at`; the oldest one
    where all are later. Raises LookupError for a symbol without a table."""
    tables = [
        Instrument.model_validate_json(path.read_bytes())
        for path in sorted(FOLDER.glob(f"{symbol}-*.json"))
    ]
    if not tables:
        known = ", ".join(shipped_symbols())
        raise LookupError(
            f"no filters, fees and brackets are shipped for {symbol} (there are {known}); "
            f"add schemas/instruments/{symbol}-YYYYMMDD.json"
        )
    earlier = [table for table in tables if at is None or table.as_of <= at]
    return earlier[-1] if earlier else tables[0]


def load_instruments(*symbols: str, at: str | None = None) -> tuple[Instrument, ...]:
    """Tables of the symbols, in their order; of all shipped ones, sorted, when none is named."""
    return tuple(shipped_instrument(symbol, at=at) for symbol in symbols or shipped_symbols())
