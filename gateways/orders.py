"""What the gateway core remembers of one order that is not ended, and what it wants done.

An order is READY (no request for it can be on the wire), SENT (a request left at `t0_us` and may
still be accepted) or UNKNOWN (nobody knows; asked about). It is `accepted` once the venue has it.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum

from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.scalars import micros, time_text
from schemas.trade import Cancel, ExecutionItem, Order
from schemas.trusted import trusted
from schemas.venue import (
    CancelRequest,
    Deposit,
    Place,
    Query,
    ReadAccount,
    VenueRequest,
    VenueRequestData,
    VenueRequested,
)

LONG_AGO = -(10**18)
RESTING = ("LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET")
"""Types that may rest at the venue; the others have an end as soon as they are matched."""


class Fate(Enum):
    READY = "ready"
    SENT = "sent"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class LiveOrder:
    """An order without an end. Wall times in microseconds."""

    order: Order
    account: str
    cause: Envelope
    """The record that decided it."""
    ordinal: int
    """Place in the log, over orders, cancels and steps of this partition."""
    fate: Fate = Fate.READY
    accepted: bool = False
    attempt: int = 0
    t0_us: int = LONG_AGO
    """When the last request for it left, or the own fence for one that an earlier process may have
    sent: no request can be accepted later than the window after it."""
    told_unknown: int = -1
    """Latest attempt that was reported as unknown."""
    asked: int = 0
    asked_us: int = LONG_AGO
    query_id: str = ""
    """Id of the query whose answer may say that the venue has no such order; empty: none asked."""
    ask_now: bool = False
    """Ask without waiting: the venue showed that it knows more than it told."""
    cancel: Cancel | None = None
    cancel_ordinal: int = 0
    cancels: int = 0
    cancelled_us: int = LONG_AGO
    fills: dict[str, Decimal] = field(default_factory=dict)
    """Quantity of each fill that was told, by the fill's id."""

    @property
    def rank(self) -> int:
        """Who gets room on the wire first: what is about an order that left, then protections and
        closes, entries last (:meth:`gateways.ledger.Ledger.queue`). Entries that a barrier holds
        back must not keep a question waiting."""
        return 0 if self.accepted or self.fate is not Fate.READY else 1

    def filled(self) -> Decimal:
        """How much of it is known to be filled."""
        return sum(self.fills.values(), Decimal(0))

    def cancelled_again(self, wall_us: int, window_us: int, skew_us: int) -> bool:
        """Whether a cancel is due again because its answer may be lost. Not where only a question
        helps: a venue that does not have the order refuses every cancel of it."""
        if self.ask_now or wall_us < self.cancelled_us + window_us:
            return False
        return self.accepted or wall_us < self.t0_us + window_us + skew_us

    def rests(self, *, cancelled: bool = False) -> bool:
        """True if nothing is left to be done about it: it is accepted, may rest, and is to stay.
        cancelled: or is to be cancelled."""
        stays = cancelled or self.cancel is None
        return self.accepted and self.rests_by_type() and stays and not self.ask_now

    def rests_by_type(self) -> bool:
        """True for an order that may stay at the venue until something happens there."""
        order = self.order
        return order.order_type in RESTING and order.time_in_force in ("GTC", "GTX")


@dataclass(slots=True)
class Errand:
    """A deposit or a read-back: repeated every window until it was reported."""

    account: str
    request: Deposit | ReadAccount
    ordinal: int
    attempt: int = 0
    sent_us: int = LONG_AGO
    rank: int = 0


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A request to send now. `request.sent_at` is t0: it is taken before the barrier and the last
    look at `due`, never after them. `request_id` is the id of its record."""

    request: VenueRequestData
    account: str
    order_id: str | None
    risk_increasing: bool
    attempt: int
    request_id: str
    symbol: str | None = None
    causationid: str | None = None
    correlationid: str | None = None

    def stamped(self, wall_us: int) -> "SendRequest":
        """The same with t0 = `wall_us`."""
        data = self.request.model_copy(update={"sent_at": time_text(wall_us)})
        return replace(self, request=data)

    def record(self, time: str, source: str) -> VenueRequested:
        """The record for `venue.request`. `time` is event time, `source` the gateway's name."""
        return trusted(
            VenueRequested,
            id=self.request_id,
            source=source,
            subject=f"{self.account}/{self.symbol}" if self.symbol else self.account,
            time=time,
            partitionkey=self.account,
            causationid=self.causationid,
            correlationid=self.correlationid,
            data=self.request,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """Items to record without sending anything. `cause`: the record that decided their order."""

    account: str
    items: tuple[ExecutionItem, ...]
    cause: Envelope


Action = SendRequest | Report


def place(order: Order) -> Place:
    """The request for an order."""
    return trusted(
        Place,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        quantity=order.quantity,
        limit_price=order.limit_price,
        trigger_price=order.trigger_price,
        reduce_only=order.reduce_only,
        close_position=order.close_position,
        leverage=order.leverage,
    )


def request_key(request: VenueRequest) -> str:
    """What a request is about: a client order id, a transfer or a step."""
    if isinstance(request, Deposit):
        return request.transfer_id
    if isinstance(request, ReadAccount):
        return request.step_id
    return request.client_order_id


@dataclass(frozen=True, slots=True)
class Sender:
    """Makes requests. The epoch is part of a request's natural key: a restarted gateway counts its
    attempts from the start, and the venue answers a request it has seen before with silence."""

    name: str
    epoch: int
    window_ms: int

    def send(
        self,
        request: VenueRequest,
        account: str,
        attempt: int,
        wall_us: int,
        live: LiveOrder | None,
    ) -> SendRequest:
        symbol = request.symbol if isinstance(request, Place | CancelRequest | Query) else None
        entry = isinstance(request, Place) and not request.reduce_only
        natural = (account, request.kind, request_key(request), str(self.epoch), str(attempt))
        key = ("request", self.name, *natural)
        return SendRequest(
            request=trusted(
                VenueRequestData,
                request=request,
                attempt=attempt,
                sent_at=time_text(wall_us),
                window_ms=self.window_ms,
            ),
            account=account,
            order_id=live.order.id if live else None,
            risk_increasing=entry,
            attempt=attempt,
            request_id=natural_id(*key),
            symbol=symbol,
            causationid=live.cause.id if live else None,
            correlationid=(live.cause.correlationid or live.cause.id) if live else None,
        )


def sent_at_us(action: SendRequest) -> int:
    return micros(action.request.sent_at)


@dataclass(slots=True)
class Early:
    """What own records said of an order that was not read yet (restart reads them first)."""

    accepted: bool = False
    attempt: int = -1
    ask_now: bool = False
    fills: dict[str, Decimal] = field(default_factory=dict)
