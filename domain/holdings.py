"""What accounts hold, as their position updates say: cash and open positions, nothing else.

The slice of `trade.position.update` for deciders that only need exposure and equity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from schemas.envelope import Envelope
from schemas.positions import EquityItem, PositionItem, PositionUpdated

ZERO = Decimal(0)


@dataclass(slots=True)
class Holding:
    """One account. `cash`: transfers + realised - fees + funding, of the last record; `positions`:
    signed quantity and signed cost (sum q p) by symbol."""

    cash: Decimal = ZERO
    positions: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    def quantity(self, symbol: str) -> Decimal:
        return self.positions[symbol][0] if symbol in self.positions else ZERO

    def equity(self, prices: Mapping[str, Decimal]) -> Decimal | None:
        """Equity at `prices`; None where one of a held symbol is missing."""
        total = self.cash
        for symbol, (quantity, cost) in self.positions.items():
            if symbol not in prices:
                return None
            total += quantity * prices[symbol] - cost
        return total


@dataclass(slots=True)
class Holdings:
    """Slice of `trade.position.update`."""

    accounts: dict[str, Holding] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, PositionUpdated):
            return False
        known = self.accounts.get(event.partitionkey)
        if known is None:
            known = self.accounts[event.partitionkey] = Holding()
        for item in event.data.items:
            if isinstance(item, PositionItem):
                if Decimal(item.quantity):
                    known.positions[item.symbol] = (Decimal(item.quantity), Decimal(item.cost))
                else:
                    known.positions.pop(item.symbol, None)
            elif isinstance(item, EquityItem):
                known.cash = (
                    Decimal(item.transfers) + Decimal(item.realised)
                    - Decimal(item.fees) + Decimal(item.funding)
                )  # fmt: skip
        return False  # A fact on which nothing is decided: bars alone cause signals.
