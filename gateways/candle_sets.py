"""Several files made into one series a symbol: joined in order of time, never overlapping.

Files that follow one another are joined, whatever order they are named in; where one ends and the
next begins later, candles are missing there as anywhere. Symbols stay apart: a run aligns them by
time. A candle that two files hold is refused, even if both say the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gateways.candles import (
    PRICES,
    CandleFileError,
    Candles,
    FundingRates,
    read_candles,
    read_funding,
)

SUFFIXES = (".parquet", ".csv")


def read_market(
    paths: Iterable[Path | str], *, ticks: Mapping[str, Decimal] | None = None
) -> tuple[Candles, ...]:
    """Candles of all files, one series a symbol, symbols sorted. A folder stands for the files in
    it. `ticks`: of symbols whose prices are to be checked, while file and row are known.

    Raises CandleFileError as :func:`read_candles`, for files that overlap, for prices off the tick.
    """
    found: dict[str, list[Candles]] = {}
    for path in market_files(paths):
        read = read_candles(path)
        if ticks and read.symbol in ticks:
            read.in_ticks(ticks[read.symbol])
        found.setdefault(read.symbol, []).append(read)
    return tuple(joined(found[symbol]) for symbol in sorted(found))


def read_rates(paths: Iterable[Path | str]) -> tuple[FundingRates, ...]:
    """Funding of all files, one a symbol, symbols sorted. Raises CandleFileError."""
    found: dict[str, list[FundingRates]] = {}
    for path in market_files(paths):
        read = read_funding(path)
        found.setdefault(read.symbol, []).append(read)
    return tuple(_joined_rates(found[symbol]) for symbol in sorted(found))


def joined(parts: Sequence[Candles]) -> Candles:
    """One series of one symbol's files; `path` is the first one's. Raises CandleFileError where
    two hold the same time."""
    ordered = sorted(parts, key=lambda part: (int(part.ts_ms[0]), str(part.path)))
    for before, after in pairwise(ordered):
        _refuse_overlap(before, after)
    if len(ordered) == 1:
        return ordered[0]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in ordered])
        for name in ("ts_ms", *PRICES, "volume")
    }
    return replace(ordered[0], **columns)


def market_files(paths: Iterable[Path | str]) -> list[Path]:
    """The files that paths stand for: themselves, or all Parquet and CSV files of a folder."""
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES and f.is_file())
        if not inside:
            raise CandleFileError(f"{path}: no Parquet or CSV file in this folder; name one")
        files += inside
    return files


def _refuse_overlap(before: Candles | FundingRates, after: Candles | FundingRates) -> None:
    last = int(before.ts_ms[-1])
    if int(after.ts_ms[0]) > last:
        return
    row = int(np.searchsorted(before.ts_ms, after.ts_ms[0]))
    raise CandleFileError(
        f"{after.path}: row 1: ts {int(after.ts_ms[0])} of {after.symbol} lies within "
        f"{before.path}, which has it or a later one from row {row + 1} on (its last is {last}): "
        "files of a symbol must not overlap, cut one of them"
    )


def _joined_rates(parts: Sequence[FundingRates]) -> FundingRates:
    ordered = sorted(parts, key=lambda part: (int(part.ts_ms[0]), str(part.path)))
    for before, after in pairwise(ordered):
        _refuse_overlap(before, after)
    stamps = np.concatenate([part.ts_ms for part in ordered])
    return replace(ordered[0], ts_ms=stamps, rate=np.concatenate([p.rate for p in ordered]))
