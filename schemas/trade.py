"""The trading loop: signals, intents, verdicts, orders, execution results, position updates.

Every `trade.*` record lists its parts in `data.items`; each part has an id of its own.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Count, Envelope, Model
from schemas.reasons import EntryReason
from schemas.scalars import (
    ClientOrderId,
    DecimalText,
    Id,
    Line,
    Name,
    Positive,
    Symbol,
    Time,
    Unsigned,
)

Side = Literal["BUY", "SELL"]
Confidence = Annotated[str, Field(pattern=r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$")]
Regime = Literal["NORMAL", "HIGH_VOL", "EXTREME_VOL"]


class Vote(Model):
    """One voter's opinion: HOLD or a side, with its confidence."""

    voter: Name
    side: Literal["BUY", "SELL", "HOLD"]
    confidence: Confidence


class Signal(Model):
    """CORE-2. HOLD is never published. The sizer may only lower `position_size_pct`."""

    id: Id
    symbol: Symbol
    side: Side
    confidence: Confidence
    origin: Name
    """What made it: `baseline`, a strategy's name, `probe`."""
    votes: tuple[Vote, ...] = ()
    consensus: Confidence | None = None
    meta_override: bool = False
    meta_confidence: Confidence | None = None
    governor_approved: bool = True
    position_size_pct: Positive | None = None
    interval: str | None = None
    label: Line | None = None


class SignalData(Model):
    items: Annotated[tuple[Signal, ...], Field(min_length=1, max_length=1000)]


class SignalPublished(Envelope):
    type: Literal["trade.signal.published.v1"] = "trade.signal.published.v1"
    data: SignalData


class Intent(Model):
    """An entry proposal with prices of its own (CORE-2). `limit_price`: LIMIT GTC, else MARKET."""

    id: Id
    symbol: Symbol
    side: Side
    confidence: Confidence
    origin: Name
    limit_price: Positive | None = None
    stop_price: Positive | None = None
    target_price: Positive | None = None
    position_size_pct: Positive | None = None
    quantity: Positive | None = None
    """Most that is to be traded, base asset; the sizer may only lower it."""
    label: Line | None = None


class IntentData(Model):
    items: Annotated[tuple[Intent, ...], Field(min_length=1, max_length=1000)]


class IntentPublished(Envelope):
    type: Literal["trade.intent.published.v1"] = "trade.intent.published.v1"
    data: IntentData


class Limit(Model):
    """A limit a decision used and where it came from (POL-7): policy version, or None: default."""

    name: str
    value: str
    policy_version: Count | None = None


class Failure(Model):
    """One failing check: code, sentence, what was seen, what is allowed, by how much short."""

    code: EntryReason
    sentence: str
    value: str | None = None
    limit: str | None = None
    shortfall: str | None = None


class Plan(Model):
    """What risk approved: a complete entry, or a reduce-only exit (`kind` exit)."""

    quantity: Positive
    order_type: Literal["MARKET", "LIMIT"]
    limit_price: Positive | None = None
    stop_price: Positive | None = None
    target_price: Positive | None = None
    leverage: Annotated[int, Field(ge=1, le=125)]
    stop_distance: Positive | None = None
    risk_usdt: Unsigned
    regime: Regime


class Verdict(Model):
    """The answer to one signal or intent. `figures`: every number the decision was made with."""

    id: Id
    request_id: Id
    """Id of the signal's or intent's part."""
    symbol: Symbol
    side: Side
    kind: Literal["entry", "exit"]
    verdict: Literal["approved", "rejected"]
    reason: EntryReason | None = None
    failures: tuple[Failure, ...] = ()
    limits: tuple[Limit, ...] = ()
    figures: Annotated[dict[str, str], Field(default_factory=dict)]
    plan: Plan | None = None
    origin: Name
    confidence: Confidence
    label: Line | None = None
    policy_version: Count


class VerdictData(Model):
    items: tuple[Verdict, ...]


class SignalJudged(Envelope):
    type: Literal["trade.signal.judged.v1"] = "trade.signal.judged.v1"
    data: VerdictData


Purpose = Literal[
    "entry",
    "stop",
    "target",
    "exit_signal",
    "exit_time",
    "exit_unprotected",
    "exit_stop_failed",
    "emergency_close",
    "exit_command",
    "reduce_command",
]
OrderType = Literal["MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"]
TimeInForce = Literal["GTC", "IOC", "FOK", "GTX"]


class Order(Model):
    """An order as decided. The client order id is a short hash of `id`. GTX is post-only.

    `close_position`: the quantity is whatever is open when it triggers (stops and targets).
    `approved_at`: event time of the approval; an entry older than the policy's limit is not sent.
    """

    kind: Literal["order"] = "order"
    id: Id
    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Positive
    limit_price: Positive | None = None
    trigger_price: Positive | None = None
    reduce_only: bool
    close_position: bool = False
    leverage: Annotated[int, Field(ge=1, le=125)] | None = None
    purpose: Purpose
    owner_id: Id | None = None
    """The position's trade id for everything that protects or closes it; none for an entry."""
    request_id: Id | None = None
    """The verdict part that this order carries out."""
    instruction_id: Id | None = None
    """The part of a judged command that this order carries out."""
    approved_at: Time
    approval_stale_s: Count
    replaces: Id | None = None
    regime: Regime | None = None
    """Of a stop: the volatility regime its distance was set in."""
    policy_version: Count
    note: Line | None = None


CancelWhy = Literal[
    "filled_other", "expired", "emergency", "orphan", "replaced", "position_closed", "reducing",
    "paused", "closed_by_command", "command",
]  # fmt: skip


class Cancel(Model):
    """Cancel an order of ours."""

    kind: Literal["cancel"] = "cancel"
    id: Id
    order_id: Id
    client_order_id: ClientOrderId
    symbol: Symbol
    why: CancelWhy
    instruction_id: Id | None = None
    """The part of a judged command that asked for it."""


DropWhy = Literal[
    "HALTED", "REDUCING", "NOTHING_OPEN", "STALE", "REJECTED", "ALREADY_CLOSING", "PAUSED"
]


class Dropped(Model):
    """An approval that leads to no order, and why: every request is answered."""

    kind: Literal["dropped"] = "dropped"
    id: Id
    request_id: Id
    symbol: Symbol
    why: DropWhy


DeclineWhy = Literal["NOTHING_OPEN", "ALREADY_CLOSING", "ALREADY_ENDED", "NO_POLICY"]


class Declined(Model):
    """An instruction of a judged command that leads to no order, and why."""

    kind: Literal["declined"] = "declined"
    id: Id
    instruction_id: Id
    symbol: Symbol
    why: DeclineWhy


class EmergencyStep(Model):
    """A step of DEFINITIONS 7, recorded when it begins; `confirm` asks the venue what is open."""

    kind: Literal["step"] = "step"
    id: Id
    emergency_id: Id
    step: Annotated[int, Field(ge=1, le=5)]
    name: Literal["block", "cancel_entries", "close", "confirm", "cancel_protection"]
    attempt: Count


class Flat(Model):
    """The account is flat: every order ever decided has an end, all quantities are zero, the venue
    was read back and agrees."""

    kind: Literal["flat"] = "flat"
    id: Id
    emergency_id: Id


OrderItem = Annotated[
    Order | Cancel | Dropped | Declined | EmergencyStep | Flat, Field(discriminator="kind")
]


class OrderData(Model):
    items: tuple[OrderItem, ...]


class OrderDecided(Envelope):
    type: Literal["trade.order.decided.v1"] = "trade.order.decided.v1"
    data: OrderData


class Accepted(Model):
    kind: Literal["accepted"] = "accepted"
    id: Id
    order_id: Id
    client_order_id: ClientOrderId
    symbol: Symbol


class Filled(Model):
    """A fill. `order_id` is none for a fill no order of ours made (liquidation, manual trade).

    `reference`: mid (else last) at arrival, for slippage. `rule` says which rule priced it.
    """

    kind: Literal["filled"] = "filled"
    id: Id
    order_id: Id | None = None
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


EndStatus = Literal["FILLED", "CANCELED", "REJECTED", "EXPIRED", "NEVER_SENT"]


class Ended(Model):
    """The one end of an order. `why`: the venue's or the gateway's reason if it was not filled."""

    kind: Literal["ended"] = "ended"
    id: Id
    order_id: Id
    client_order_id: ClientOrderId
    symbol: Symbol
    status: EndStatus
    filled_quantity: Unsigned
    why: Line | None = None


class Unknown(Model):
    """The fate of an order is not known: no answer within the window, or older than the fence."""

    kind: Literal["unknown"] = "unknown"
    id: Id
    order_id: Id
    client_order_id: ClientOrderId
    symbol: Symbol
    attempt: Count


class Transferred(Model):
    """A deposit (positive) or withdrawal of the settlement asset."""

    kind: Literal["transferred"] = "transferred"
    id: Id
    transfer_id: str
    amount: DecimalText
    asset: Name


class Funded(Model):
    """A funding payment: -q m(T) rate; positive is received."""

    kind: Literal["funded"] = "funded"
    id: Id
    symbol: Symbol
    amount: DecimalText
    quantity: DecimalText
    mark: Positive
    rate: DecimalText


class OpenQuantity(Model):
    symbol: Symbol
    quantity: DecimalText


class ReadBack(Model):
    """What the venue said is open, asked by emergency step `confirm`."""

    kind: Literal["read_back"] = "read_back"
    id: Id
    step_id: Id
    positions: tuple[OpenQuantity, ...]
    open_orders: tuple[ClientOrderId, ...]


ExecutionItem = Annotated[
    Accepted | Filled | Ended | Unknown | Transferred | Funded | ReadBack,
    Field(discriminator="kind"),
]


class ExecutionData(Model):
    items: tuple[ExecutionItem, ...]


class ExecutionReported(Envelope):
    type: Literal["trade.execution.reported.v1"] = "trade.execution.reported.v1"
    data: ExecutionData
