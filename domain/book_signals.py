"""Signals of a forced book: what an account is short of, at the close of a bar."""

from collections.abc import Collection, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Protocol

from domain.holdings import Holding
from domain.strategies.book import Book, shortfalls
from domain.strategy import BAR_MINUTES, Bar
from schemas.ids import part_id
from schemas.scalars import text
from schemas.trade import Signal

_PLACES = Decimal("0.0001")


class Bars(Protocol):
    """One symbol's bars: the last closed ones, the forming one, when the last one ended."""

    @property
    def bars(self) -> Sequence[Bar]: ...

    @property
    def forming(self) -> Bar | None: ...

    @property
    def ends(self) -> str: ...


def book_signals(
    book: Book,
    held: Holding | None,
    symbols: Mapping[str, Bars],
    listed: Collection[str],
    *,
    time: str,
    record_id: str,
) -> list[Signal]:
    """One for each symbol whose bar closed at `time` and that is short of its share; symbols in
    order. `listed`: symbols the book is split over; nothing for an account not heard of yet."""
    if held is None:
        return []
    closed = [
        symbol
        for symbol in sorted(symbols)
        if symbol in listed and not symbols[symbol].forming and symbols[symbol].ends == time
    ]
    missing = shortfalls(
        book,
        held,
        prices={s: Decimal(repr(one.bars[-1].close)) for s, one in symbols.items() if one.bars},
        symbols=closed,
        shares=len(listed),
    )
    return [
        Signal(
            id=part_id(record_id, ordinal),
            symbol=short.symbol,
            side=short.side,
            confidence="1",
            origin=book.strategy,
            position_size_pct=text(short.size_pct.quantize(_PLACES, ROUND_DOWN)),
            interval=f"{BAR_MINUTES}m",
        )
        for ordinal, short in enumerate(missing)
    ]
