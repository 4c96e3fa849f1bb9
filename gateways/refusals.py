"""Why an order that is not on the wire is not sent: the gateway's last look before it leaves."""

from typing import Literal

from domain.policy_state import AccountPolicy
from gateways import reports
from schemas.scalars import micros
from schemas.trade import Cancel, Ended, EndStatus, Order

HaltsOrders = Literal["", "entries", "all"]
"""What a halt stops: nothing, orders that increase risk, every order."""


def refused(
    order: Order,
    account: str,
    *,
    cancel: Cancel | None,
    policy: AccountPolicy | None,
    halt: HaltsOrders,
    halt_why: str,
    now: str,
) -> Ended | None:
    """The end of an order that is not on the wire and is not to be sent; None: send it."""
    if cancel is not None:
        return _never(order, f"cancelled before it was sent: {cancel.why}")
    if halt == "all":
        return _never(order, f"no order is allowed: {halt_why}")
    if order.reduce_only:
        return None
    if policy is None:
        return _never(order, f"no policy of {account} is known")
    if not policy.can_open_new_trades():
        state = f"{policy.trading_state()} at version {policy.version}"
        return _never(order, f"no new risk is allowed: {state}")
    if order.symbol in policy.policy.paused_symbols:
        return _never(order, f"{order.symbol} is paused in {account}")
    if halt:
        return _never(order, f"no new risk is allowed: {halt_why}")
    age_us = micros(now) - micros(order.approved_at)
    if age_us > order.approval_stale_s * 1_000_000:
        return _end(
            order,
            "EXPIRED",
            f"the approval is {age_us / 1_000_000:.3f} s old, "
            f"at most {order.approval_stale_s} s are allowed",
        )
    return None


def _never(order: Order, why: str) -> Ended:
    return _end(order, "NEVER_SENT", why)


def _end(order: Order, status: EndStatus, why: str) -> Ended:
    return Ended(
        id=reports.ended_id(order.client_order_id),
        order_id=order.id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        status=status,
        filled_quantity="0",
        why=why,
    )
