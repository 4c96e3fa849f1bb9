"""What the paths of `backtest` hold: candles, trades, or the market of a recorded run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from gateways.candle_sets import market_files, read_market
from gateways.candles import Candles, FundingRates
from gateways.ticks import Ticks, holds_trades, joined_ticks, read_ticks
from replay.archive import MANIFEST
from replay.recorded_market import recorded_market
from replay.sources import EventLog, open_log
from runtime.runs import RunError
from schemas.instruments import shipped_instrument, shipped_symbols
from schemas.market import Instrument
from schemas.scalars import dec

RECORDED = ("run:", "kafka:")
"""Paths that name the log of a live run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What the paths hold. `start`: where a recorded run began to trade."""

    names: tuple[str, ...]
    candles: tuple[Candles, ...]
    ticks: tuple[Ticks, ...] = ()
    funding: tuple[FundingRates, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    start: datetime | None = None


def recorded(paths: Sequence[Path]) -> Data | None:
    """The market of a recorded run: an archive's folder, `run:NAME`, `kafka:HOST:PORT`. None for
    files."""
    name = str(paths[0])
    archive = (paths[0] / MANIFEST).is_file()
    if not archive and not name.startswith(RECORDED):
        return None
    if len(paths) > 1:
        raise ValueError(f"{name} is a recorded run: give it alone")
    try:
        with _opened(paths[0], archive=archive) as log:
            found = recorded_market(log)
    except RunError as error:
        raise ValueError(str(error)) from None
    return Data(
        names=(name,),
        candles=found.candles,
        funding=found.funding,
        instruments=found.instruments,
        start=found.start,
    )


@contextmanager
def _opened(path: Path, *, archive: bool) -> Iterator[EventLog]:
    from commands.logs import opened

    kind, _, name = str(path).partition(":")
    if not archive and kind == "kafka":
        yield open_log(kafka=name)
        return
    with opened(archive=path if archive else None, run=None if archive else name) as log:
        yield log


def read_files(paths: Sequence[Path], given: Sequence[Instrument]) -> Data:
    """Trades or candles of files: all of one kind."""
    files = market_files(paths)
    names = tuple(str(file) for file in files)
    trades = [file for file in files if holds_trades(file)]
    if not trades:
        return Data(names=names, candles=read_market(files, ticks=_known_ticks(given)))
    if len(trades) < len(files):
        other = next(file for file in files if file not in trades)
        raise ValueError(
            f"{trades[0]} holds trades, {other} candles: give files of one kind, the candles of "
            "trades are built from them"
        )
    parts: dict[str, list[Ticks]] = {}
    for file in trades:
        read = read_ticks(file)
        parts.setdefault(read.symbol, []).append(read)
    joined = tuple(joined_ticks(parts[symbol]) for symbol in sorted(parts))
    return Data(names=names, candles=tuple(each.candles for each in joined), ticks=joined)


def _known_ticks(given: Sequence[Instrument]) -> dict[str, Decimal]:
    """Tick of every symbol a table is known for."""
    shipped = {symbol: dec(shipped_instrument(symbol).tick) for symbol in shipped_symbols()}
    return {**shipped, **{each.symbol: dec(each.tick) for each in given}}
