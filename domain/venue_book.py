"""The venue's own slice: accounts with balance, positions, resting orders and what is known of ids.

Everything here is a fold of the venue's own reports, item by item; `Account.apply` is that fold. A
decision works on `Account.scratch()` with the same function, so that a later item of a report sees
the earlier ones, and folding the report afterwards leads to the same account.
"""

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

from domain.average_cost import CENT, EXACT, after_fill, close_share
from schemas.scalars import dec
from schemas.trade import OrderType, Side, TimeInForce
from schemas.venue import (
    Place,
    VenueAccepted,
    VenueEnded,
    VenueFilled,
    VenueFunded,
    VenueItem,
    VenueTransferred,
)

ZERO = Decimal(0)
SETTLEMENT_ASSET = "USDT"


@dataclass(slots=True)
class Position:
    """An open position, isolated margin, one-way. `quantity` and `cost` (sum q p) are signed."""

    quantity: Decimal
    cost: Decimal
    isolated: Decimal
    leverage: int
    opened_at: str
    """`filled_at` of the fill that opened it: a funding settled before is not its own."""

    def copied(self) -> "Position":
        """Another one of the same figures."""
        return Position(self.quantity, self.cost, self.isolated, self.leverage, self.opened_at)

    @property
    def entry(self) -> Decimal:
        """Average entry price."""
        return EXACT.divide(self.cost, self.quantity)

    @property
    def side(self) -> Side:
        return "BUY" if self.quantity > 0 else "SELL"


@dataclass(slots=True)
class Resting:
    """An order that is open at the venue. Orders are kept in order of arrival."""

    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal
    limit: Decimal
    """Limit price; 0 where the type has none."""
    trigger: Decimal
    """Trigger price; 0 where the type has none."""
    reducing: bool
    """Reduce-only or close-position: clipped to what is open when it matches."""
    closing: bool
    """Close-position: its quantity is whatever is open when it triggers."""
    leverage: int
    """0: not given."""
    queue: Decimal | None = None
    """Ticks: count of what traded at its limit at which its turn comes (`domain.venue_ticks`)."""
    filled: Decimal = ZERO
    fills: int = 0

    @classmethod
    def of(cls, order: Place) -> "Resting":
        return cls(
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            order_type=order.order_type,
            time_in_force=order.time_in_force,
            quantity=dec(order.quantity),
            limit=dec(order.limit_price) if order.limit_price else ZERO,
            trigger=dec(order.trigger_price) if order.trigger_price else ZERO,
            reducing=order.reduce_only or order.close_position,
            closing=order.close_position,
            leverage=order.leverage or 0,
        )

    def copied(self) -> "Resting":
        """What `dataclasses.replace` makes, at a tenth of its price: every answer copies them."""
        return Resting(
            self.client_order_id, self.symbol, self.side, self.order_type, self.time_in_force,
            self.quantity, self.limit, self.trigger, self.reducing, self.closing, self.leverage,
            self.queue, self.filled, self.fills,
        )  # fmt: skip

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def falls(self) -> bool:
        """True if a trigger order waits for a falling price."""
        return (self.order_type == "STOP_MARKET") == (self.side == "SELL")

    def triggered(self, mark: Decimal) -> bool:
        return mark <= self.trigger if self.falls else mark >= self.trigger

    def through(self, last: Decimal, tick: Decimal) -> bool:
        """True if price traded through a limit by a tick."""
        return last <= self.limit - tick if self.side == "BUY" else last >= self.limit + tick


@dataclass(slots=True)
class Known:
    """What became of a client order id. Fills as they were reported; status "" while it rests."""

    symbol: str
    fills: list[dict[str, str]] = field(default_factory=list)
    status: str = ""
    filled: Decimal = ZERO
    why: str = ""


@dataclass(slots=True)
class Used:
    """Volume an account has traded in one candle of a symbol; `candle` is its minute."""

    candle: str
    quantity: Decimal


@dataclass(slots=True)
class Account:
    """One account. `balance` is the wallet: transfers + realised - fees + funding; isolated margins
    are part of it. Unknown to the venue until its first transfer."""

    balance: Decimal = ZERO
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[str, Resting] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    funded: dict[str, str] = field(default_factory=dict)
    """Last funding settlement of each symbol."""
    transfers: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Amount and asset of each transfer id."""
    known: dict[str, Known] = field(default_factory=dict)

    def scratch(self) -> "Account":
        """A copy to work a decision out on. It knows no closed orders."""
        return Account(
            balance=self.balance,
            positions={symbol: held.copied() for symbol, held in self.positions.items()},
            orders={key: order.copied() for key, order in self.orders.items()},
            used={symbol: Used(u.candle, u.quantity) for symbol, u in self.used.items()},
            funded=dict(self.funded),
            transfers=self.transfers.copy(),
        )

    def available(self) -> Decimal:
        """Balance that is no position's isolated margin and not reserved by an open entry order."""
        free = self.balance
        for held in self.positions.values():
            free -= held.isolated
        for order in self.orders.values():
            if not order.reducing:
                price = order.limit or order.trigger
                free -= EXACT.divide(EXACT.multiply(price, order.remaining), order.leverage or 1)
        return free

    def used_in(self, symbol: str, now: str) -> Decimal:
        used = self.used.get(symbol)
        return used.quantity if used and used.candle == now[:16] else ZERO

    def open_against(self, symbol: str, side: Side) -> Decimal:
        """Unsigned open quantity that an order of `side` would reduce."""
        held = self.positions.get(symbol)
        return abs(held.quantity) if held and held.side != side else ZERO

    # ------------------------------------------------------------------ fold

    def apply(self, item: VenueItem, now: str) -> None:
        """Fold one item of an own report of time `now`."""
        if isinstance(item, VenueAccepted):
            self.known[item.client_order_id] = Known(item.symbol)
            if item.order:
                order = self.orders[item.client_order_id] = Resting.of(item.order)
                order.queue = None if item.queue is None else dec(item.queue)
        elif isinstance(item, VenueFilled):
            self._filled(item, now)
        elif isinstance(item, VenueEnded):
            self.orders.pop(item.client_order_id, None)
            known = self.known.setdefault(item.client_order_id, Known(item.symbol))
            known.status, known.why = item.status, item.why or ""
            known.filled = dec(item.filled_quantity)
        elif isinstance(item, VenueTransferred):
            if item.transfer_id not in self.transfers:
                self.transfers[item.transfer_id] = (item.amount, item.asset)
                self.balance += dec(item.amount)
        elif isinstance(item, VenueFunded):
            self.balance += dec(item.amount)
            self.funded[item.symbol] = item.settled_at
            held = self.positions.get(item.symbol)
            if held:
                held.isolated += dec(item.amount)

    def _filled(self, item: VenueFilled, now: str) -> None:
        quantity, price = dec(item.quantity), dec(item.price)
        order = self.orders.get(item.client_order_id) if item.client_order_id else None
        if order:
            order.filled += quantity
            order.fills += 1
        if item.client_order_id:
            known = self.known.setdefault(item.client_order_id, Known(item.symbol))
            known.fills.append({k: v for k, v in item.__dict__.items() if v is not None})
            known.filled += quantity
        self.used[item.symbol] = Used(now[:16], self.used_in(item.symbol, now) + quantity)
        held = self.positions.get(item.symbol) or Position(ZERO, ZERO, ZERO, 1, item.filled_at)
        signed = quantity if item.side == "BUY" else -quantity
        after = after_fill(held.quantity, held.cost, signed, price)
        if after.closed:
            held.isolated -= close_share(held.isolated, held.quantity, after.closed)
        if after.opened:
            held.leverage = (order and order.leverage) or held.leverage
            margin = EXACT.divide(EXACT.multiply(after.opened, price), held.leverage)
            held.isolated += margin.quantize(CENT, context=EXACT)
            if held.quantity == 0 or after.closed:
                held.opened_at = item.filled_at
        held.quantity, held.cost = after.quantity, after.cost
        self.balance += after.realised - dec(item.fee)
        if held.quantity:
            self.positions[item.symbol] = held
        else:
            self.positions.pop(item.symbol, None)


@dataclass(slots=True)
class VenueBook:
    """Own slice. `watches` is the venue's cache (a `Watch` a symbol), no part of the state."""

    accounts: dict[str, Account] = field(default_factory=dict)
    watches: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def account(self, name: str) -> Account:
        """The account, empty where it is not known."""
        return self.accounts.get(name) or Account()

    def fold(self, name: str, items: tuple[VenueItem, ...], now: str) -> None:
        account = self.accounts.setdefault(name, Account())
        with localcontext(EXACT):
            for item in items:
                account.apply(item, now)
        for item in items:
            symbol = getattr(item, "symbol", None)
            if symbol:
                self.watches.pop(symbol, None)
