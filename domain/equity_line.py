"""Equity as it is told: the one formula, for answers to results and for the hours between them."""

from collections.abc import Callable
from decimal import Decimal

from domain.average_cost import ZERO
from domain.positions_state import AccountBook
from schemas.ids import part_id
from schemas.positions import EquityItem
from schemas.scalars import text
from schemas.trusted import trusted

NEW_ID = part_id("", 0)
"""Stands for an item's id until its place in the record is known."""


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
        self.trades = list(book.open.values())

    def at(self, identity: str, mark_of: Callable[[str], Decimal | None]) -> EquityItem:
        """What is told at these marks; the price of the last fill stands in for an unknown one."""
        unrealised = gross = ZERO
        marks: dict[str, str] = {}
        for trade in self.trades:
            mark = mark_of(trade.symbol) or trade.price
            value = trade.quantity * mark
            unrealised += value - trade.cost
            gross += abs(value)
            marks[trade.symbol] = text(mark)
        return trusted(
            EquityItem,
            id=identity,
            transfers=self.transfers,
            realised=self.realised,
            fees=self.fees,
            funding=self.funding,
            unrealised=text(unrealised),
            equity=text(self.cash + unrealised),
            gross=text(gross),
            marks=marks,
        )
