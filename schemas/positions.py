"""Position updates: positions, ends of orders, closed trades and equity, told after each result."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Envelope, Model
from schemas.scalars import DecimalText, Id, Positive, Symbol, Time, Unsigned
from schemas.trade import EndStatus, Side


class PositionItem(Model):
    """A symbol's position after the cause. `trade_id`: id of the flat-to-flat trade it belongs to
    (the part id of the first fill). `cost` is the signed cost of the open quantity (sum q p)."""

    kind: Literal["position"] = "position"
    id: Id
    symbol: Symbol
    trade_id: Id
    quantity: DecimalText
    cost: DecimalText
    average_entry: Positive | None = None
    realised: DecimalText
    fees: DecimalText
    funding: DecimalText
    opened_at: Time
    entry_at: Time
    """Time of the last entry fill."""


class OrderEndItem(Model):
    """The order's end and, in the same record, what it left of the position."""

    kind: Literal["order_end"] = "order_end"
    id: Id
    order_id: Id
    symbol: Symbol
    status: EndStatus
    filled_quantity: Unsigned


class TradeClosedItem(Model):
    """A trade, flat to flat (DEFINITIONS 3). `exit_order_id`: order whose fill closed it."""

    kind: Literal["trade_closed"] = "trade_closed"
    id: Id
    trade_id: Id
    symbol: Symbol
    side: Side
    quantity_max: Positive
    entry_average: Positive
    exit_average: Positive
    realised: DecimalText
    fees: DecimalText
    funding: DecimalText
    net: DecimalText
    opened_at: Time
    closed_at: Time
    exit_order_id: Id | None = None


class EquityItem(Model):
    """E = transfers + realised - fees + funding + unrealised, exactly (DEFINITIONS 3)."""

    kind: Literal["equity"] = "equity"
    id: Id
    transfers: DecimalText
    realised: DecimalText
    fees: DecimalText
    funding: DecimalText
    unrealised: DecimalText
    equity: DecimalText
    gross: Unsigned
    marks: dict[Symbol, Positive]


PositionUpdateItem = Annotated[
    PositionItem | OrderEndItem | TradeClosedItem | EquityItem, Field(discriminator="kind")
]


class PositionData(Model):
    items: tuple[PositionUpdateItem, ...]


class PositionUpdated(Envelope):
    type: Literal["trade.position.updated.v1"] = "trade.position.updated.v1"
    data: PositionData
