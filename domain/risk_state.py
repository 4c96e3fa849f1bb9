"""Slices of the risk decider: own approvals, orders, unknown orders, positions.

Each slice is a fold of one topic. An approval leaves memory when three topics agree: the own record
that gave it, the order that carries it out and the position update with that order's end
(`domain.risk_tidy`). `touched` lists are what tidying has yet to look at, no state.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import ClassVar, Literal

from schemas.envelope import Envelope
from schemas.positions import (
    EquityItem,
    OrderEndItem,
    PositionItem,
    PositionUpdated,
    TradeClosedItem,
)
from schemas.scalars import micros, time_text
from schemas.trade import (
    Accepted,
    Dropped,
    Ended,
    ExecutionReported,
    Filled,
    IntentPublished,
    Order,
    OrderDecided,
    Side,
    SignalJudged,
    SignalPublished,
    Unknown,
    Verdict,
)

ZERO = Decimal(0)
HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
CARRIED_OUT = ("entry", "exit_signal")
"""Purposes of the orders that answer a verdict."""


# ---------------------------------------------------------------- requests


@dataclass(slots=True)
class RequestsState:
    """Slice of a topic of requests: nothing is kept. True only for what is to be answered; a
    source's checkpoints and skips on the same topic are not. A command that stands on the wrong
    topic is answered too: with why."""

    folds: ClassVar[tuple[type[Envelope], ...]] = ()

    def fold(self, event: Envelope) -> bool:
        known = isinstance(event, SignalPublished | IntentPublished)
        return known or event.type.startswith("command.")


# ---------------------------------------------------------------- own records


@dataclass(slots=True)
class Approval:
    """An approved request whose order has no end yet (or that has no order yet)."""

    symbol: str
    side: Side
    kind: Literal["entry", "exit"]
    approved_us: int
    quantity: Decimal
    entry: Decimal
    """Price it was sized at."""
    stop: Decimal | None
    leverage: int
    position_before: Decimal
    """Signed quantity of the symbol when it was approved."""


@dataclass(slots=True)
class LastPlan:
    """Stop and leverage of the last approved entry in a symbol."""

    stop: Decimal | None
    leverage: int


@dataclass(slots=True)
class OwnAccount:
    """Own decisions of one account. `slots`: approved entries of the last hour, in order, without
    those that ended without a fill. `decided`: requests judged, by minute of their event time."""

    approvals: dict[str, Approval] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    plans: dict[str, LastPlan] = field(default_factory=dict)
    decided: dict[str, dict[str, None]] = field(default_factory=dict)


@dataclass(slots=True)
class OwnState:
    """Slice of own records. `touched`: (account, verdict part id) since the last tidying."""

    accounts: dict[str, OwnAccount] = field(default_factory=dict)
    touched: list[tuple[str, str]] = field(default_factory=list, repr=False)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, SignalJudged):
            return False
        account = event.partitionkey
        own = self.accounts.get(account)
        if own is None:
            own = self.accounts[account] = OwnAccount()
        now_us = micros(event.time)
        _forget(own, now_us)
        for verdict in event.data.items:
            self._remember(own, verdict, now_us)
            if verdict.plan is not None:
                self._approve(own, verdict, now_us)
                self.touched.append((account, verdict.id))
        return True

    @staticmethod
    def _remember(own: OwnAccount, verdict: Verdict, now_us: int) -> None:
        time = verdict.figures.get("signal_time")
        if time is None or abs(now_us - micros(time)) > HOUR_US:
            return
        minute = own.decided.setdefault(time[:16], {})
        minute[content_key(verdict.origin, verdict.symbol, verdict.side, time)] = None

    @staticmethod
    def _approve(own: OwnAccount, verdict: Verdict, now_us: int) -> None:
        plan = verdict.plan
        assert plan is not None
        stop = Decimal(plan.stop_price) if plan.stop_price else None
        own.approvals[verdict.id] = Approval(
            symbol=verdict.symbol,
            side=verdict.side,
            kind=verdict.kind,
            approved_us=now_us,
            quantity=Decimal(plan.quantity),
            entry=Decimal(verdict.figures.get("entry", "0")),
            stop=stop,
            leverage=plan.leverage,
            position_before=Decimal(verdict.figures.get("position_quantity", "0")),
        )
        if verdict.kind == "entry":
            own.slots[verdict.id] = now_us
            own.plans[verdict.symbol] = LastPlan(stop, plan.leverage)


def content_key(origin: str, symbol: str, side: str, time: str) -> str:
    """What makes two requests of an account the same one under different ids."""
    return f"{origin} {symbol} {side} {time}"


def _forget(own: OwnAccount, now_us: int) -> None:
    """Drop slots and judged requests older than an hour; older requests are refused as stale."""
    since = now_us - HOUR_US
    while own.slots:
        first = next(iter(own.slots))
        if own.slots[first] > since:
            break
        del own.slots[first]
    oldest = _minute(since // MINUTE_US)
    for minute in [m for m in own.decided if m < oldest]:
        del own.decided[minute]


@lru_cache(maxsize=1024)
def _minute(minute: int) -> str:
    """The beginning of a canonical time, up to its minute; `minute` since 1970."""
    return time_text(minute * MINUTE_US)[:16]


# ---------------------------------------------------------------- trade.order


@dataclass(slots=True)
class OpenOrder:
    """An order without an end in the position updates folded so far."""

    symbol: str
    purpose: str
    request_id: str | None
    stop_of: str | None
    """Trade id it protects, if it is a stop."""
    trigger: Decimal | None


@dataclass(slots=True)
class OrdersAccount:
    orders: dict[str, OpenOrder] = field(default_factory=dict)
    by_request: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, None] = field(default_factory=dict)
    stops: dict[str, dict[str, None]] = field(default_factory=dict)
    """Order ids of the open stops by symbol, oldest first."""


@dataclass(slots=True)
class OrdersState:
    """Slice of `trade.order`. `touched`: (account, order id), (account, request id) of drops."""

    accounts: dict[str, OrdersAccount] = field(default_factory=dict)
    touched: list[tuple[str, str]] = field(default_factory=list, repr=False)
    touched_drops: list[tuple[str, str]] = field(default_factory=list, repr=False)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, OrderDecided):
            return False
        name = event.partitionkey
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = OrdersAccount()
        for item in event.data.items:
            if isinstance(item, Order):
                self._ordered(account, item)
                self.touched.append((name, item.id))
            elif isinstance(item, Dropped):
                account.dropped[item.request_id] = None
                self.touched_drops.append((name, item.request_id))
        return True

    @staticmethod
    def _ordered(account: OrdersAccount, order: Order) -> None:
        request = order.request_id if order.purpose in CARRIED_OUT else None
        account.orders[order.id] = OpenOrder(
            symbol=order.symbol,
            purpose=order.purpose,
            request_id=request,
            stop_of=order.owner_id if order.purpose == "stop" else None,
            trigger=Decimal(order.trigger_price) if order.trigger_price else None,
        )
        if request is not None:
            account.by_request[request] = order.id
        if order.purpose == "stop":
            account.stops.setdefault(order.symbol, {})[order.id] = None

    def stop_of(self, account: str, symbol: str, trade_id: str) -> Decimal | None:
        """Trigger of the latest open stop that protects a trade; None: none is known."""
        known = self.accounts.get(account)
        if known is None:
            return None
        for order_id in reversed(known.stops.get(symbol, {})):
            order = known.orders[order_id]
            if order.stop_of == trade_id:
                return order.trigger
        return None


# ---------------------------------------------------------------- trade.execution.res


@dataclass(slots=True)
class ResultsState:
    """Slice of `trade.execution.res`: orders whose fate is unknown, as order id: account/symbol."""

    unknown: dict[str, str] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, ExecutionReported):
            return False
        for item in event.data.items:
            if isinstance(item, Unknown):
                self.unknown[item.order_id] = f"{event.partitionkey}/{item.symbol}"
            elif isinstance(item, Accepted | Filled | Ended) and item.order_id is not None:
                self.unknown.pop(item.order_id, None)
        return True


# ---------------------------------------------------------------- trade.position.update


@dataclass(slots=True)
class OpenPosition:
    """An open position. `cost` is the signed cost of the open quantity (sum q p)."""

    trade_id: str
    quantity: Decimal
    cost: Decimal
    entries: int = 0
    """Entry orders that ended with a fill and belong to it."""


@dataclass(slots=True)
class OrderEnd:
    filled: Decimal
    trade_id: str | None
    """Trade open in the order's symbol after the record that reported its end."""


@dataclass(slots=True)
class PositionsAccount:
    cash: Decimal = ZERO
    """Transfers + realised - fees + funding, of the last record."""
    positions: dict[str, OpenPosition] = field(default_factory=dict)
    last_us: dict[str, int] = field(default_factory=dict)
    """Later of last entry fill and last close, by symbol."""
    ended: dict[str, OrderEnd] = field(default_factory=dict)


@dataclass(slots=True)
class PositionsState:
    """Slice of `trade.position.update`. `touched`: (account, order id) of ends."""

    accounts: dict[str, PositionsAccount] = field(default_factory=dict)
    touched: list[tuple[str, str]] = field(default_factory=list, repr=False)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, PositionUpdated):
            return False
        name = event.partitionkey
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = PositionsAccount()
        for item in event.data.items:
            if isinstance(item, PositionItem):
                _position(account, item)
            elif isinstance(item, TradeClosedItem):
                _latest(account, item.symbol, item.closed_at)
            elif isinstance(item, EquityItem):
                account.cash = (
                    Decimal(item.transfers) + Decimal(item.realised)
                    - Decimal(item.fees) + Decimal(item.funding)
                )  # fmt: skip
        for item in event.data.items:
            if isinstance(item, OrderEndItem):
                known = account.positions.get(item.symbol)
                account.ended[item.order_id] = OrderEnd(
                    Decimal(item.filled_quantity), known.trade_id if known else None
                )
                self.touched.append((name, item.order_id))
        return True


def _position(account: PositionsAccount, item: PositionItem) -> None:
    quantity, cost = Decimal(item.quantity), Decimal(item.cost)
    known = account.positions.get(item.symbol)
    if not quantity:
        account.positions.pop(item.symbol, None)
    elif known is not None and known.trade_id == item.trade_id:
        known.quantity, known.cost = quantity, cost
    else:
        account.positions[item.symbol] = OpenPosition(item.trade_id, quantity, cost)
    _latest(account, item.symbol, item.entry_at)


def _latest(account: PositionsAccount, symbol: str, time: str) -> None:
    account.last_us[symbol] = max(account.last_us.get(symbol, 0), micros(time))
