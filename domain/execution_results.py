"""Slice of `trade.execution.res`: positions and the fates of orders, from results alone."""

from dataclasses import dataclass, field
from decimal import Decimal

from domain.average_cost import EXACT, after_fill
from schemas.envelope import Envelope
from schemas.scalars import micros
from schemas.trade import (
    Accepted,
    Ended,
    ExecutionReported,
    Filled,
    Funded,
    ReadBack,
    Transferred,
    Unknown,
)

ZERO = Decimal(0)


@dataclass(slots=True)
class OpenPosition:
    """A position from results alone. `trade_id`: part id of the fill that opened it ."""

    symbol: str
    trade_id: str
    quantity: Decimal
    """Signed: long positive."""
    cost: Decimal
    """Signed cost of the open quantity at average entry."""
    opened_at: int
    entry_at: int
    """Times of the first and the last entry fill, in microseconds."""
    orders: list[str] = field(default_factory=list)
    """Own orders whose fills made it larger, the one that opened it first."""

    @property
    def average(self) -> Decimal:
        """Average entry price."""
        return EXACT.divide(self.cost, self.quantity)


@dataclass(slots=True)
class ResultAccount:
    """One account in the results."""

    positions: dict[str, OpenPosition] = field(default_factory=dict)
    """Open positions only."""
    cash: Decimal = ZERO
    """Transfers - fills' signed q p - fees + funding; with what is open at marks it is equity."""
    accepted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    """Orders with an end, until own records show them too."""
    read_step: str | None = None
    """The emergency step that the last read-back answered."""
    read_flat: bool = False
    items: int = 0
    seen: set[str] = field(default_factory=set, repr=False)
    """Ids of all items folded; `items` stands for it in the digest. Kept for good: a gateway that
    was fenced while it wrote to its buffer may offer the same fill again at any time."""


@dataclass(slots=True)
class Results:
    """Slice of `trade.execution.res`."""

    accounts: dict[str, ResultAccount] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set, repr=False)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, ExecutionReported):
            return False
        account = self.accounts.get(event.partitionkey)
        if account is None:
            account = self.accounts[event.partitionkey] = ResultAccount()
        for item in event.data.items:
            if item.id in account.seen:
                continue
            account.seen.add(item.id)
            account.items += 1
            if isinstance(item, Filled):
                _fill(account, item)
            elif isinstance(item, Accepted):
                account.accepted.add(item.order_id)
                account.unknown.discard(item.order_id)
            elif isinstance(item, Ended):
                account.accepted.discard(item.order_id)
                account.unknown.discard(item.order_id)
                account.ended.add(item.order_id)
            elif isinstance(item, Unknown):
                account.unknown.add(item.order_id)
            elif isinstance(item, Transferred | Funded):
                account.cash += Decimal(item.amount)
            elif isinstance(item, ReadBack):
                account.read_step = item.step_id
                account.read_flat = all(not Decimal(p.quantity) for p in item.positions)
        self.dirty.add(event.partitionkey)
        return True


def _fill(account: ResultAccount, item: Filled) -> None:
    price = Decimal(item.price)
    signed = Decimal(item.quantity) if item.side == "BUY" else -Decimal(item.quantity)
    account.cash -= signed * price + Decimal(item.fee)
    at = micros(item.filled_at)
    position = account.positions.get(item.symbol)
    if position is None:
        after = after_fill(ZERO, ZERO, signed, price)
    else:
        after = after_fill(position.quantity, position.cost, signed, price)
        if position.quantity * after.quantity <= 0:
            del account.positions[item.symbol]
            position = None
        if not after.quantity:
            return
    if position is None:
        position = OpenPosition(item.symbol, item.id, ZERO, ZERO, at, at)
        account.positions[item.symbol] = position
    position.quantity, position.cost = after.quantity, after.cost
    if after.opened:
        position.entry_at = at
        if item.order_id is not None and item.order_id not in position.orders:
            position.orders.append(item.order_id)
