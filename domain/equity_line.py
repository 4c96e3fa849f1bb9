"""Equity as it is told: the one formula, for answers to results and for the hours between them."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from domain.average_cost import ZERO
from domain.positions_state import AccountBook
from schemas.ids import part_id
from schemas.positions import EquityItem
from schemas.scalars import text
from schemas.trusted import shaped

NEW_ID = part_id("", 0)
"""Stands for an item's id until its place in the record is known."""

Mark = tuple[Decimal, str]
"""A mark and its canonical text."""


class EquityLine:
    """Equity of an account from one record of results to the next: only marks move it.

    E = transfers + realised - fees + funding + sum q (m - average entry), exactly: made and asked
    in the context :data:`EXACT`.
    """

    __slots__ = ("cash", "fees", "funding", "realised", "trades", "transfers")

    def __init__(self, book: AccountBook, fees: Decimal) -> None:
        self.cash = book.transfers + book.realised - fees + book.funding
        self.transfers, self.realised = text(book.transfers), text(book.realised)
        self.fees, self.funding = text(fees), text(book.funding)
        self.trades = [(t.symbol, t.quantity, t.cost) for t in book.open.values()]

    def at(self, identity: str, marks: Iterable[Mark]) -> EquityItem:
        """What is told at these marks: one for each open trade, in the order of `trades`."""
        unrealised = gross = ZERO
        told: dict[str, str] = {}
        for (symbol, quantity, cost), (mark, as_text) in zip(self.trades, marks, strict=True):
            value = quantity * mark
            unrealised += value - cost
            gross += abs(value)
            told[symbol] = as_text
        return shaped(
            EquityItem,
            {
                "kind": "equity",
                "id": identity,
                "transfers": self.transfers,
                "realised": self.realised,
                "fees": self.fees,
                "funding": self.funding,
                "unrealised": text(unrealised),
                "equity": text(self.cash + unrealised),
                "gross": text(gross),
                "marks": told,
            },
        )


def marks_of(book: AccountBook, mark_of: Callable[[str], Decimal | None]) -> list[Mark]:
    """Marks of an account's open trades; the price of the last fill stands in for an unknown
    one."""
    marks = (mark_of(trade.symbol) or trade.price for trade in book.open.values())
    return [(mark, text(mark)) for mark in marks]
