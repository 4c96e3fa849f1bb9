"""The forced book (DEFINITIONS 6): holds a gross exposure, without stops, for drills, crash tests.

A policy names it by its strategy, `book-long-1.5` or `book-short-3`; a person by `long:1.5`. The
gross is split equally over the symbols listed. At the close of each bar every symbol that is short
of its share by more than :data:`BAND_PCT` of it gets a signal for what is missing, and the risk
gate sizes it: at most `participation_pct` of the last candle's volume, so a large book is built
over several bars. It never sells what it has too much of: a book that loses grows in gross, which
is what a crash test wants to see.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal, NamedTuple

from domain.holdings import Holding
from schemas.trade import Side

ZERO = Decimal(0)
HUNDRED = Decimal(100)
BAND_PCT = Decimal(5)
"""Share of a symbol's target below which a shortfall is left alone, in percent."""
GROSS_MAX = Decimal(20)
USE_MAX = Decimal("0.8")
"""Margin use of a full book at most, as a fraction: 100 - `liq_buffer_pct` of the profiles."""
FOREVER_S = 31_536_000
_NUMBER = r"(?:0|[1-9][0-9]*)(?:\.[0-9]{1,4})?"
_ASKED = re.compile(rf"(long|short):({_NUMBER})")
_NAMED = re.compile(rf"book-(long|short)-({_NUMBER})")


class Book(NamedTuple):
    """Which exposure is held: `gross` times equity, long or short."""

    direction: Literal["long", "short"]
    gross: Decimal

    @property
    def side(self) -> Side:
        return "BUY" if self.direction == "long" else "SELL"

    @property
    def strategy(self) -> str:
        """What the policy's `strategy` says for it."""
        return f"book-{self.direction}-{self.gross.normalize():f}"

    @property
    def leverage(self) -> int:
        """ceil(gross / 0.8): liquidation lies beyond any breaker, margin use stays inside the
        buffer."""
        return int((self.gross / USE_MAX).to_integral_value(ROUND_CEILING))


class Shortfall(NamedTuple):
    """What a symbol is short of, in percent of equity."""

    symbol: str
    side: Side
    size_pct: Decimal


def parse_book(asked: str) -> Book:
    """`long:1.5`, `short:3`. Raises ValueError for anything else, and for a gross outside
    (0, 20]."""
    match = _ASKED.fullmatch(asked)
    if match is None:
        raise ValueError(
            f"--book {asked}: write long:GROSS or short:GROSS, for example long:1.5 for a book of "
            "1.5 times equity"
        )
    gross = Decimal(match[2])
    if not ZERO < gross <= GROSS_MAX:
        raise ValueError(f"--book {asked}: gross {match[2]} is outside above 0 to {GROSS_MAX}")
    return Book("long" if match[1] == "long" else "short", gross.normalize())


def book_named(strategy: str | None) -> Book | None:
    """The book that a policy's `strategy` names; None where it names none."""
    match = _NAMED.fullmatch(strategy) if strategy else None
    if match is None or not ZERO < Decimal(match[2]) <= GROSS_MAX:
        return None
    return Book("long" if match[1] == "long" else "short", Decimal(match[2]).normalize())


def book_policy(book: Book, equity: Decimal) -> Mapping[str, Any]:
    """What a book's policy changes in its profile, as `policy set` takes it. `equity`: at the
    start, USDT; it bounds the notional of a symbol at ten times the book.

    Every check still runs. Without a stop nothing bounds a trade's loss, so its whole value counts
    as open risk, and `max_leverage` is the leverage itself (DEFINITIONS 2: rule (b) needs a stop).
    The governor's REDUCING and the daily loss are off, so that a drill shows the breaker itself.
    """
    gross_pct = book.gross * HUNDRED
    return {
        "strategy": book.strategy,
        "stops_required": False,
        "max_leverage": book.leverage,
        "max_position_usd": _text(equity * book.gross * 10),
        "max_size_pct": _text(gross_pct * Decimal("1.1")),
        "max_gross_pct": _text(gross_pct * Decimal("1.1")),
        "max_risk_open_pct": _text(gross_pct * 2),
        "max_concurrent_trades": 1000,
        "max_entries_per_position": 1_000_000,
        "max_trades_per_hour": 10_000,
        "cooldown_s": 0,
        "max_time_in_trade_s": FOREVER_S,
        "governor_reducing_pct": "100",
        "daily_loss_pct": "100",
    }


def shortfalls(
    book: Book,
    held: Holding,
    *,
    prices: Mapping[str, Decimal],
    symbols: Sequence[str],
    shares: int,
) -> list[Shortfall]:
    """What the book is short of in `symbols` (those to look at now), each 1 / `shares` of it.

    `prices`: last close of every symbol. Nothing without equity, or without a price of all that
    is held or looked at.
    """
    equity = held.equity(prices)
    if equity is None or equity <= ZERO or not shares:
        return []
    target = equity * book.gross / shares
    sign = 1 if book.direction == "long" else -1
    out = []
    for symbol in symbols:
        missing = target - sign * held.quantity(symbol) * prices[symbol]
        if missing * HUNDRED > target * BAND_PCT:
            out.append(Shortfall(symbol, book.side, missing * HUNDRED / equity))
    return out


def _text(value: Decimal) -> str:
    return f"{value.normalize():f}"
