"""The simulated venue as a separate party: `venue.request` and `venue.report`.

Requests are the gateway's; natural key client order id and attempt, no epoch. Reports are the venue
source's own records. `sent_at` (t0) is wall time: the venue's shell refuses a request that arrives
later than `window_ms` after it, its decider never looks at it.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Count, Envelope, Model
from schemas.scalars import ClientOrderId, DecimalText, Line, Name, Positive, Symbol, Time, Unsigned
from schemas.trade import EndStatus, OpenQuantity, OrderType, Side, TimeInForce


class Place(Model):
    kind: Literal["place"] = "place"
    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Positive
    limit_price: Positive | None = None
    trigger_price: Positive | None = None
    reduce_only: bool
    close_position: bool
    leverage: Annotated[int, Field(ge=1, le=125)] | None = None


class CancelRequest(Model):
    kind: Literal["cancel"] = "cancel"
    client_order_id: ClientOrderId
    symbol: Symbol


class Query(Model):
    """What became of a client order id."""

    kind: Literal["query"] = "query"
    client_order_id: ClientOrderId
    symbol: Symbol


class Deposit(Model):
    """Opens an account with its first deposit, or adds one. Once a transfer id."""

    kind: Literal["deposit"] = "deposit"
    transfer_id: str
    amount: Positive
    asset: Name


class ReadAccount(Model):
    """Positions and open orders as the venue has them."""

    kind: Literal["read_account"] = "read_account"
    step_id: str


VenueRequest = Annotated[
    Place | CancelRequest | Query | Deposit | ReadAccount, Field(discriminator="kind")
]


class VenueRequestData(Model):
    request: VenueRequest
    attempt: Count
    sent_at: Time
    window_ms: Annotated[int, Field(ge=1, le=60_000)]


class VenueRequested(Envelope):
    type: Literal["venue.requested.v1"] = "venue.requested.v1"
    data: VenueRequestData


class VenueAccepted(Model):
    """`order` repeats what was accepted, so that the venue's book is a fold of its own records.
    `queue`: a LIMIT on ticks; its turn at its price comes when so much has traded there, counted
    as the venue counts the symbol's trades at that price."""

    kind: Literal["accepted"] = "accepted"
    client_order_id: ClientOrderId
    symbol: Symbol
    order: Place | None = None
    queue: Unsigned | None = None


class VenueFilled(Model):
    """A fill; `client_order_id` none for a liquidation. Fields as in `trade.Filled`."""

    kind: Literal["filled"] = "filled"
    client_order_id: ClientOrderId | None = None
    symbol: Symbol
    side: Side
    trade_id: str
    quantity: Positive
    price: Positive
    fee: DecimalText
    fee_asset: Name
    liquidity: Literal["maker", "taker"]
    reference: Positive
    filled_at: Time
    rule: Line


class VenueEnded(Model):
    kind: Literal["ended"] = "ended"
    client_order_id: ClientOrderId
    symbol: Symbol
    status: EndStatus
    filled_quantity: Unsigned
    why: Line | None = None


class VenueFound(Model):
    """Answer to a query: what the venue knows, with every fill it ever reported for that id."""

    kind: Literal["found"] = "found"
    client_order_id: ClientOrderId
    symbol: Symbol
    known: bool
    resting: bool
    fills: tuple[VenueFilled, ...]
    status: EndStatus | None = None
    filled_quantity: Unsigned
    why: Line | None = None


class CancelRefused(Model):
    """A cancel for an order that is not open."""

    kind: Literal["cancel_refused"] = "cancel_refused"
    client_order_id: ClientOrderId
    symbol: Symbol
    why: Line


class VenueTransferred(Model):
    kind: Literal["transferred"] = "transferred"
    transfer_id: str
    amount: DecimalText
    asset: Name


class VenueFunded(Model):
    kind: Literal["funded"] = "funded"
    symbol: Symbol
    amount: DecimalText
    quantity: DecimalText
    mark: Positive
    rate: DecimalText
    settled_at: Time


class VenueReadBack(Model):
    kind: Literal["read_back"] = "read_back"
    step_id: str
    positions: tuple[OpenQuantity, ...]
    open_orders: tuple[ClientOrderId, ...]


VenueItem = Annotated[
    VenueAccepted
    | VenueFilled
    | VenueEnded
    | VenueFound
    | CancelRefused
    | VenueTransferred
    | VenueFunded
    | VenueReadBack,
    Field(discriminator="kind"),
]


class VenueReportData(Model):
    """`delivered` false: the answer was lost on the way to the gateway, by the venue's fault plan.
    The gateway never looks at such a record; it finds out by a query, as from a real exchange."""

    delivered: bool
    items: tuple[VenueItem, ...]


class VenueReported(Envelope):
    type: Literal["venue.reported.v1"] = "venue.reported.v1"
    data: VenueReportData
