"""One execution decision in the making: what the slices say of an account, and the parts so far.

A later part sees the earlier ones: what was cancelled or closed a moment ago in the same record is
not cancelled or closed again. Nothing here changes a slice.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal, cast

from domain.clock_state import now
from domain.decider import OWN, Decision, Slices
from domain.execution_results import OpenPosition, ResultAccount
from domain.execution_state import (
    CLOSING,
    PROTECTIVE,
    REDUCING,
    Approved,
    Care,
    OwnAccount,
    OwnOrder,
)
from domain.market_state import MarketState
from domain.policy_state import AccountPolicy
from schemas.envelope import Envelope
from schemas.ids import client_order_id, part_id
from schemas.scalars import micros, text
from schemas.topics import EXECUTION_RES, SIGNAL_SAFE
from schemas.trade import (
    Cancel,
    CancelWhy,
    Declined,
    DeclineWhy,
    Dropped,
    DropWhy,
    EmergencyStep,
    Flat,
    Order,
    OrderData,
    OrderDecided,
    OrderItem,
    Purpose,
    Side,
)
from schemas.trusted import trusted

StepName = Literal["block", "cancel_entries", "close", "confirm", "cancel_protection"]
STEPS: dict[StepName, int] = {
    "block": 1,
    "cancel_entries": 2,
    "close": 3,
    "confirm": 4,
    "cancel_protection": 5,
}


class Desk:
    """What is open in one account, as of one cause, and the items decided on it."""

    __slots__ = (
        "_stops",
        "account",
        "approvals",
        "cancelled",
        "cause",
        "closed",
        "items",
        "market",
        "now",
        "own",
        "policy",
        "record_id",
        "results",
        "time",
    )

    def __init__(
        self, slices: Slices, cause: Envelope, account: str, record_id: str, policy: AccountPolicy
    ) -> None:
        self.account = account
        self.cause = cause
        self.record_id = record_id
        self.policy = policy
        self.own: OwnAccount = slices[OWN].accounts.get(account) or OwnAccount()
        self.results: ResultAccount = (
            slices[EXECUTION_RES.name].accounts.get(account) or ResultAccount()
        )
        self.approvals: dict[str, Approved] = slices[SIGNAL_SAFE.name].accounts.get(account) or {}
        self.market: MarketState = slices["market"]
        self.time = now(slices, cause)
        self.now = micros(self.time)
        self.items: list[OrderItem] = []
        self.cancelled: set[str] = set()
        self.closed: set[str] = set()
        """Symbols closed in this record."""
        self._stops: dict[str, list[OwnOrder]] | None = None

    # ------------------------------------------------------------------ what is

    @property
    def positions(self) -> list[OpenPosition]:
        return list(self.results.positions.values())

    def open_orders(self) -> Iterator[OwnOrder]:
        """Own orders without an end, in the order in which they were decided."""
        ended = self.results.ended
        return (order for order in self.own.orders.values() if order.id not in ended)

    def stops(self, position: OpenPosition) -> list[OwnOrder]:
        """Stops of a trade that have no end yet, oldest first."""
        if self._stops is None:  # looked for once: every rule asks, for every position
            self._stops, ended = {}, self.results.ended
            for order in self.own.orders.values():
                if order.purpose == "stop" and order.owner_id and order.id not in ended:
                    self._stops.setdefault(order.owner_id, []).append(order)
        return self._stops.get(position.trade_id, [])

    def care(self, position: OpenPosition) -> Care | None:
        """What was decided for this very trade; None if nothing was."""
        care = self.own.care.get(position.symbol)
        return care if care is not None and care.trade_id == position.trade_id else None

    def approved(self, position: OpenPosition) -> Approved | None:
        """The plan of the entry that opened the position; None for a foreign position."""
        entry = self.own.orders.get(position.orders[0]) if position.orders else None
        if entry is None or entry.request_id is None:
            return None
        return self.approvals.get(entry.request_id)

    def closes(self, symbol: str) -> list[OwnOrder]:
        """Closing MARKET orders of a symbol that have no end yet."""
        return [o for o in self.open_orders() if o.symbol == symbol and o.purpose in CLOSING]

    def is_closing(self, position: OpenPosition) -> bool:
        """Whether a close was decided for this trade, even if its order ended without a fill."""
        care = self.care(position)
        return position.symbol in self.closed or (care is not None and care.closing is not None)

    def equity(self) -> Decimal | None:
        """Equity at the marks as this decider knows it; None without a mark of a position."""
        total = self.results.cash
        for position in self.positions:
            mark = self.market.mark(position.symbol)
            if mark is None:
                return None
            total += position.quantity * mark
        return total

    # ------------------------------------------------------------------ what is decided

    def next_id(self) -> str:
        return part_id(self.record_id, len(self.items))

    def place(
        self, symbol: str, side: Side, purpose: Purpose, quantity: Decimal, **more: Any
    ) -> None:
        """Add an order. `more`: the fields of `Order` that are not the usual ones."""
        identity = self.next_id()
        fields: dict[str, Any] = {
            "order_type": "MARKET",
            "time_in_force": "GTC",
            "reduce_only": True,
            "approved_at": self.time,
            **more,
        }
        self.items.append(
            Order(
                id=identity,
                client_order_id=client_order_id(identity),
                symbol=symbol,
                side=side,
                purpose=purpose,
                quantity=text(abs(quantity)),
                approval_stale_s=self.policy.value("approval_stale_s"),
                policy_version=self.policy.version,
                **fields,
            )
        )

    def protect(
        self,
        position: OpenPosition,
        purpose: Literal["stop", "target"],
        trigger: Decimal,
        **more: Any,
    ) -> None:
        """Add a stop or a target for whatever of the position is open when it triggers."""
        self.place(
            position.symbol,
            exit_side(position),
            purpose,
            position.quantity,
            order_type="STOP_MARKET" if purpose == "stop" else "TAKE_PROFIT_MARKET",
            trigger_price=text(trigger),
            close_position=True,
            owner_id=position.trade_id,
            **more,
        )

    def close(self, position: OpenPosition, purpose: str, **more: Any) -> None:
        """Add a reduce-only MARKET order over the open quantity, or as much of it as the venue
        takes in one order; the next one follows when this one has its end."""
        self.closed.add(position.symbol)
        quantity = abs(position.quantity)
        terms = self.market.terms(position.symbol)
        if terms is not None:
            quantity = min(quantity, terms.market_quantity_max)
        self.place(
            position.symbol,
            exit_side(position),
            cast("Purpose", purpose),
            quantity,
            owner_id=position.trade_id,
            time_in_force="IOC",
            **more,
        )

    def cancel(
        self,
        order: OwnOrder,
        why: CancelWhy,
        instruction_id: str | None = None,
        *,
        again: bool = False,
    ) -> None:
        """Add a cancel, once an order: until its end the gateway repeats it. `again`: also where
        one was decided before, for another reason."""
        if (order.cancelled and not again) or order.id in self.cancelled:
            return
        self.cancelled.add(order.id)
        self.items.append(
            trusted(
                Cancel,
                id=self.next_id(),
                order_id=order.id,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                why=why,
                instruction_id=instruction_id,
            )
        )

    def cancel_entries(
        self, why: CancelWhy, symbol: str | None = None, instruction_id: str | None = None
    ) -> None:
        """Cancel entries and other orders that are neither protection nor a close at market."""
        for order in self.open_orders():
            if order.purpose in PROTECTIVE:
                continue
            if order.purpose in REDUCING and order.order_type != "LIMIT":
                continue
            if symbol is None or order.symbol == symbol:
                self.cancel(order, why, instruction_id)

    def drop(self, request_id: str, symbol: str, why: DropWhy) -> None:
        self.items.append(Dropped(id=self.next_id(), request_id=request_id, symbol=symbol, why=why))

    def decline(self, instruction_id: str, symbol: str, why: DeclineWhy) -> None:
        self.items.append(
            Declined(id=self.next_id(), instruction_id=instruction_id, symbol=symbol, why=why)
        )

    def step(self, emergency_id: str, name: StepName, attempt: int) -> None:
        self.items.append(
            EmergencyStep(
                id=self.next_id(),
                emergency_id=emergency_id,
                step=STEPS[name],
                name=name,
                attempt=attempt,
            )
        )

    def flat(self, emergency_id: str) -> None:
        self.items.append(Flat(id=self.next_id(), emergency_id=emergency_id))

    def decision(self) -> Decision:
        """The record's content. Its subject names the symbol if all parts share one."""
        symbols = {getattr(item, "symbol", None) for item in self.items}
        return Decision(
            OrderDecided,
            self.account,
            trusted(OrderData, items=tuple(self.items)),
            symbols.pop() if len(symbols) == 1 else None,
        )


def entry_side(position: OpenPosition) -> Side:
    """The side that opened a position."""
    return "BUY" if position.quantity > 0 else "SELL"


def exit_side(position: OpenPosition) -> Side:
    """The side that reduces a position."""
    return "SELL" if position.quantity > 0 else "BUY"
