"""Rules of a living position: protection, exits, and what rests without an owner.

Sources: DEFINITIONS 5 and 8, FEATURES EXEC-6 and EXEC-8. Each rule looks at what is, and decides
nothing once that is as it must be. No limit and no trading state keeps a position from being closed
(RISK-7).
"""

from decimal import Decimal

from domain.execution_desk import Desk, entry_side
from domain.execution_results import OpenPosition
from domain.execution_state import MARKS_KEPT_US, PROTECTIVE, ExecutionMarket, OwnOrder
from domain.instructions import is_unwanted
from domain.stop_widening import move_stop
from domain.stops import stop_distance, stop_price
from schemas.market import ClockTicked
from schemas.trade import CancelWhy, ExecutionReported, Filled

_MICROS_A_SECOND = 1_000_000
_HUNDRED = Decimal(100)


def advance(desk: Desk) -> None:
    """All rules of an account that is not in an emergency, in their order."""
    ticked = isinstance(desk.cause, ClockTicked)
    if not desk.policy.can_open_new_trades():
        desk.cancel_entries("reducing")
    for symbol in desk.policy.policy.paused_symbols:
        desk.cancel_entries("paused", symbol)
    for position in desk.positions:
        if desk.is_closing(position):
            if ticked:
                _close_again(desk, position)
            continue
        if is_unwanted(desk, position):
            desk.close(position, "exit_command", note="filled after its symbol was closed")
            continue
        if _protect(desk, position):
            continue
        why = _why_close(desk, position, ticked)
        if why is not None:
            desk.close(position, why)
        elif ticked:
            move_stop(desk, position, standing_stop(desk, position))
    if ticked:
        _expire(desk)
    sweep(desk)


# ---------------------------------------------------------------------- protection


def _protect(desk: Desk, position: OpenPosition) -> bool:
    """Stop and target of the plan at the first fill; `close_position` covers every later one. True
    if something was placed."""
    if desk.care(position) is not None:
        return False
    plan = desk.approved(position)
    if plan is None:
        return _adopt(desk, position)
    if plan.stop is not None:
        desk.protect(position, "stop", plan.stop, regime=plan.regime)
    if plan.target is not None:
        desk.protect(position, "target", plan.target)
    return plan.stop is not None or plan.target is not None


def _adopt(desk: Desk, position: OpenPosition) -> bool:
    """A position that no order of ours opened (a manual trade) gets the stop that an entry of ours
    would have. Where no range is known yet there is none, and it is closed as unprotected."""
    known = desk.market.symbols.get(position.symbol)
    if not desk.policy.value("stops_required") or known is None or known.terms is None:
        return False
    entry, atr, regime = position.average, known.hourly.atr, known.hourly.regime
    if atr is None:
        return False
    distance = stop_distance(entry=entry, atr=atr, regime=regime, policy=desk.policy)
    side = entry_side(position)
    trigger = stop_price(side=side, entry=entry, distance=distance, tick=known.terms.tick)
    desk.protect(position, "stop", trigger, regime=regime)
    return True


def standing_stop(desk: Desk, position: OpenPosition) -> OwnOrder | None:
    """The newest stop of a trade that has no end yet."""
    stops = desk.stops(position)
    return stops[-1] if stops else None


def _why_close(desk: Desk, position: OpenPosition, ticked: bool) -> str | None:
    """Purpose of the close that a position needs now, or None."""
    if _is_unprotected(desk, position, ticked):
        return "exit_unprotected"
    if not ticked:
        return None
    if _has_failed_stop(desk, position):
        return "exit_stop_failed"
    age_s_max: int = desk.policy.value("max_time_in_trade_s")
    if desk.now - position.opened_at > age_s_max * _MICROS_A_SECOND:
        return "exit_time"
    return None


def _is_unprotected(desk: Desk, position: OpenPosition, ticked: bool) -> bool:
    """Whether a position that must have a stop has none, or none that the venue took in time.

    A stop that ended while the position is open was refused or used up: at once. One that was not
    accepted within `unprotected_s` of the first fill (a widened one: of its decision): at a tick. A
    foreign position that could not be given a stop has as long.
    """
    care = desk.care(position)
    if care is None or care.stop_id is None:
        if not desk.policy.value("stops_required") or desk.approved(position) is not None:
            return False
        return ticked and desk.now - position.opened_at > _unprotected_us(desk)
    stops = desk.stops(position)
    if not stops:
        return True
    if not ticked or any(stop.id in desk.results.accepted for stop in stops):
        return False
    newest = stops[-1]
    since = newest.at if newest.replaces is not None else position.opened_at
    return desk.now - since > _unprotected_us(desk)


def _unprotected_us(desk: Desk) -> int:
    """How long a position may be without a stop, in microseconds."""
    return int(desk.policy.value("unprotected_s")) * _MICROS_A_SECOND


def _has_failed_stop(desk: Desk, position: OpenPosition) -> bool:
    """Whether mark has stood beyond the stop by `stop_failed_pct` for `stop_failed_s` (at most a
    minute) without closing the position. Between two prices mark is that of the earlier one."""
    stop = standing_stop(desk, position)
    if stop is None or stop.trigger is None:
        return False
    market = desk.market
    assert isinstance(market, ExecutionMarket)
    margin = stop.trigger * desk.policy.number("stop_failed_pct") / _HUNDRED
    long = position.quantity > 0
    level = stop.trigger - margin if long else stop.trigger + margin
    known = market.symbols.get(position.symbol)
    if known is None or known.mark is None or not _beyond(known.mark, level, long=long):
        return False
    market.settle()
    since: int | None = None
    for at, mark in reversed(market.marks.get(position.symbol, ())):
        if not _beyond(mark, level, long=long):
            break
        since = at
    if since is None:
        return False
    allowed = min(int(desk.policy.value("stop_failed_s")) * _MICROS_A_SECOND, MARKS_KEPT_US)
    return desk.now - max(since, stop.at) >= allowed


def _beyond(mark: Decimal, level: Decimal, *, long: bool) -> bool:
    """Whether a mark stands at or past a level that is bad for the position."""
    return mark <= level if long else mark >= level


# ---------------------------------------------------------------------- closing


def _close_again(desk: Desk, position: OpenPosition) -> None:
    """A close that ended and left something open is decided again, a tick later."""
    care = desk.care(position)
    if care is None or care.closing is None or desk.closes(position.symbol):
        return
    desk.close(position, care.closing, note=f"attempt {care.closes + 1}")


def _expire(desk: Desk) -> None:
    """A LIMIT entry that has not been filled in `limit_expiry_s` is cancelled."""
    expiry = int(desk.policy.value("limit_expiry_s")) * _MICROS_A_SECOND
    for order in desk.open_orders():
        working = order.purpose == "entry" and order.order_type == "LIMIT"
        if working and desk.now - order.at >= expiry:
            desk.cancel(order, "expired")


def sweep(desk: Desk) -> None:
    """Cancel stops and targets whose trade is no longer open, once each."""
    positions = desk.results.positions
    for order in desk.open_orders():
        if order.purpose not in PROTECTIVE or order.cancelled:
            continue
        owner = positions.get(order.symbol)
        if owner is None or owner.trade_id != order.owner_id:
            desk.cancel(order, _why_swept(desk, order))


def _why_swept(desk: Desk, order: OwnOrder) -> CancelWhy:
    cause = desk.cause
    if not isinstance(cause, ExecutionReported):
        return "orphan"
    fills = [i for i in cause.data.items if isinstance(i, Filled) and i.symbol == order.symbol]
    if not fills:
        return "orphan"
    care = desk.own.care.get(order.symbol)
    others = {care.stop_id, care.target_id} if care is not None else set()
    return "filled_other" if any(f.order_id in others for f in fills) else "position_closed"
