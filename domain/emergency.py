"""The emergency stop, in the order of DEFINITIONS 7; each step an item of `trade.order`.

1 block, 2 cancel entries, 3 close every position, 4 read the venue back, 5 only then cancel
protection. Steps 1 to 3 are one record. What follows looks at what is: it goes on from wherever a
crash left it, and a second activation finds nothing to do. `flat` is recorded only when every order
ever decided has its end, all quantities from results are zero, and a read-back asked after the last
order says the same.
"""

from domain.execution_desk import Desk
from domain.execution_results import OpenPosition
from domain.execution_state import CLOSING, PROTECTIVE, Emergency
from schemas.market import ClockTicked
from schemas.trade import Ended, ExecutionReported, Filled, Unknown

PAUSE_MAX_S = 30


def advance(desk: Desk) -> None:
    """What the emergency of this account needs now; nothing if it waits for an answer."""
    identity = desk.policy.policy.emergency_id
    if identity is None:
        return
    known = desk.own.emergency
    if known is None or known.id != identity:
        _begin(desk, identity)
        return
    desk.cancel_entries("emergency")
    waiting = _close_what_is_left(desk, known)
    if not waiting and not desk.items and not known.flat:
        _finish(desk, known)


def _begin(desk: Desk, identity: str) -> None:
    """Steps 1 to 3. A position that a MARKET order is closing already is left to it."""
    desk.step(identity, "block", 1)
    desk.step(identity, "cancel_entries", 1)
    desk.cancel_entries("emergency")
    desk.step(identity, "close", 1)
    for position in desk.positions:
        if not _is_being_closed(desk, position):
            desk.close(position, "emergency_close")
    if not desk.positions and not _has_unfinished(desk):
        desk.step(identity, "confirm", 1)


def _has_unfinished(desk: Desk) -> bool:
    """Whether an order other than protection has no end yet."""
    return any(order.purpose not in PROTECTIVE for order in desk.open_orders())


def _is_being_closed(desk: Desk, position: OpenPosition) -> bool:
    """Whether a close of this symbol is open whose fate is known: an UNKNOWN one is not waited for,
    as a second reduce-only order cannot flip."""
    return any(o.id not in desk.results.unknown for o in desk.closes(position.symbol))


def _close_what_is_left(desk: Desk, known: Emergency) -> bool:
    """Close again what is open and not being closed; True while anything but protection is open.

    At once if this cause filled something or left a close unknown, else at a tick, after
    :func:`pause_us`, so that a venue which refuses is not asked in a loop.
    """
    left = [p for p in desk.positions if not _is_being_closed(desk, p)]
    rested = desk.now - known.closed_at >= pause_us(known.closes)
    due = [p for p in left if _is_due(desk, p, rested)]
    if due:
        desk.step(known.id, "close", known.closes + 1)
        for position in due:
            desk.close(position, "emergency_close", note=f"attempt {known.closes + 1}")
    return bool(desk.results.positions) or _has_unfinished(desk)


def pause_us(attempts: int) -> int:
    """Event time from an attempt to close that was refused to the next, microseconds: 1 s, then
    twice as long each time, at most 30 s (ours)."""
    return min(1 << max(attempts - 1, 0), PAUSE_MAX_S) * 1_000_000


def _is_due(desk: Desk, position: OpenPosition, rested: bool) -> bool:
    if isinstance(desk.cause, ClockTicked):
        return rested
    if not isinstance(desk.cause, ExecutionReported):
        return False
    for item in desk.cause.data.items:
        if getattr(item, "symbol", None) != position.symbol:
            continue
        if isinstance(item, Filled) or (isinstance(item, Ended) and item.filled_quantity != "0"):
            return True
        if isinstance(item, Unknown):
            known = desk.own.orders.get(item.order_id)
            if known is not None and known.purpose in CLOSING:
                return True
    return False


def _finish(desk: Desk, known: Emergency) -> None:
    """Steps 4 and 5 and `flat`: quantities are zero and every order but protection has its end."""
    if known.confirm_id is None:
        desk.step(known.id, "confirm", known.confirms + 1)
        return
    if desk.results.read_step != known.confirm_id:
        return
    if not desk.results.read_flat:
        if isinstance(desk.cause, ClockTicked):
            desk.step(known.id, "confirm", known.confirms + 1)
        return
    resting = list(desk.open_orders())
    if known.swept != known.confirm_id:
        desk.step(known.id, "cancel_protection", known.sweeps + 1)
        for order in resting:
            desk.cancel(order, "emergency")
    if not resting:
        desk.flat(known.id)
