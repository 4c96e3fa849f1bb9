"""One short backtest of the crash for the tests of reports, and a way to make smaller ones."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from domain.strategies.book import book_policy, parse_book
from gateways.candle_sets import read_market, read_rates
from gateways.candles import Candles
from replay.backtest import Backtest, Result, run

ROOT = Path(__file__).parents[2]
MARKET = ROOT / "data" / "market"
FILES = tuple(
    MARKET / f"{symbol}-1m-20210516-20210522.parquet" for symbol in ("BTCUSDT", "ETHUSDT")
)
FUNDING = MARKET / "BTCUSDT_PERP-funding-20210501-20210531.parquet"
BOLD: Mapping[str, Any] = {
    "max_size_pct": "100",
    "risk_target_pct": "2",
    "max_position_usd": "20000",
}


@cache
def crash_candles() -> tuple[Candles, ...]:
    return read_market(FILES)


def crash_plan(**changes: Any) -> Backtest:
    """Five hours around the crash, both symbols, larger positions than the profile allows."""
    settings: dict[str, Any] = {
        "candles": crash_candles(),
        "funding": read_rates([FUNDING]),
        "start": datetime(2021, 5, 19, 12, tzinfo=UTC),
        "end": datetime(2021, 5, 19, 17, tzinfo=UTC),
        "warm_up_h": 16,
        "policy": BOLD,
        **changes,
    }
    return Backtest(**settings)


@cache
def crash_result() -> Result:
    return run(crash_plan())


@cache
def stopped_result() -> Result:
    """Three times equity, held into the crash: the breaker trips."""
    book = parse_book("long:3")
    policy = dict(book_policy(book, Decimal(10_000)))
    end = datetime(2021, 5, 19, 14, tzinfo=UTC)
    return run(crash_plan(end=end, strategy=book.strategy, policy=policy))
