"""Candles, funding and instruments of a recorded run, as the input of a backtest.

Only `market` is read: what the feed published. Prices inside a candle are made again by the path
rule, which is how the feed made them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gateways.candles import CandleFileError, Candles, FundingRates
from replay.sources import EventLog
from schemas.market import CandlesClosed, FundingSettled, Instrument, InstrumentsListed
from schemas.scalars import micros
from schemas.topics import MARKET

CANDLE_S = 60


@dataclass(frozen=True, slots=True)
class RecordedMarket:
    """What a log holds of the market. `start`: where trading began, after the warm-up."""

    candles: tuple[Candles, ...]
    funding: tuple[FundingRates, ...]
    instruments: tuple[Instrument, ...]
    start: datetime


def recorded_market(log: EventLog) -> RecordedMarket:
    """The market of a log. A candle that came again counts once. Raises CandleFileError where it
    holds no closed candle to trade on, KafkaUnreachableError, DamagedLogError, ArchiveError."""
    columns: dict[str, dict[int, tuple[float, ...]]] = {}
    rates: dict[str, dict[int, float]] = {}
    instruments: dict[str, Instrument] = {}
    began: int | None = None
    for record in log.read((MARKET,)):
        event = record.event
        if isinstance(event, CandlesClosed):
            for item in event.data.items:
                opened = micros(item.opened_at) // 1000
                values = (item.open, item.high, item.low, item.close, item.volume)
                columns.setdefault(item.symbol, {})[opened] = tuple(map(float, values))
                if not event.data.warm_up:
                    began = opened if began is None else min(began, opened)
        elif isinstance(event, FundingSettled):
            for rate in event.data.items:
                rates.setdefault(rate.symbol, {})[micros(event.time) // 1000] = float(rate.rate)
        elif isinstance(event, InstrumentsListed):
            instruments.update((each.symbol, each) for each in event.data.items)
    if began is None:
        raise CandleFileError(f"{log.name}: no closed candle of the market to trade on is in it")
    path = Path(log.name)
    return RecordedMarket(
        tuple(_candles(path, symbol, columns[symbol]) for symbol in sorted(columns)),
        tuple(_rates(path, symbol, rates[symbol]) for symbol in sorted(rates)),
        tuple(instruments[symbol] for symbol in sorted(instruments) if symbol in columns),
        datetime.fromtimestamp(began / 1000, UTC),
    )


def _candles(path: Path, symbol: str, rows: dict[int, tuple[float, ...]]) -> Candles:
    stamps = sorted(rows)
    table = np.array([rows[ts] for ts in stamps], dtype=np.float64)
    stamped = np.array(stamps, dtype=np.int64)
    return Candles(path, symbol, CANDLE_S, stamped, *(table[:, n].copy() for n in range(5)))


def _rates(path: Path, symbol: str, rates: dict[int, float]) -> FundingRates:
    stamps = sorted(rates)
    return FundingRates(
        path, symbol, np.array(stamps, dtype=np.int64), np.array([rates[ts] for ts in stamps])
    )
