"""Where stops and targets stand, and when an open position's stop may move (DEFINITIONS 5).

Prices and distances in USDT, percentages 0-100. "Away" is always away from the entry, so that no
rounding brings a stop nearer than its distance.
"""

from decimal import Decimal

from domain.futures import sign
from domain.policy_state import AccountPolicy
from domain.sizing import ceiled, floored
from schemas.trade import Regime, Side

ZERO = Decimal(0)
ONE = Decimal(1)
HUNDRED = Decimal(100)


def regime_multiplier(regime: Regime, policy: AccountPolicy) -> Decimal:
    """Factor of the stop distance: 1, `high_vol_multiplier` or `extreme_vol_multiplier`."""
    if regime == "NORMAL":
        return ONE
    if regime == "HIGH_VOL":
        return policy.number("high_vol_multiplier")
    return policy.number("extreme_vol_multiplier")


def stop_distance(
    *, entry: Decimal, atr: Decimal, regime: Regime, policy: AccountPolicy
) -> Decimal:
    """stop_atr_multiple x ATR (1 h) x regime multiplier, within stop_min..max_pct of the entry."""
    wanted = policy.number("stop_atr_multiple") * atr * regime_multiplier(regime, policy)
    low = entry * policy.number("stop_min_pct") / HUNDRED
    high = entry * policy.number("stop_max_pct") / HUNDRED
    return min(max(wanted, low), high)


def stop_price(*, side: Side, entry: Decimal, distance: Decimal, tick: Decimal) -> Decimal:
    """Trigger of the stop of a position opened by `side`, rounded away from the entry; at least one
    tick (a trigger of 0 is no order)."""
    price = entry - sign(side) * distance
    return max(tick, floored(price, tick)) if side == "BUY" else ceiled(price, tick)


def target_price(
    *, side: Side, entry: Decimal, stop: Decimal, target_r: Decimal, tick: Decimal
) -> Decimal | None:
    """Target at `target_r` times the way from entry to stop (R), rounded away from the entry.

    None where a short's target would not be above 0.
    """
    price = entry + sign(side) * target_r * abs(entry - stop)
    rounded = ceiled(price, tick) if side == "BUY" else floored(price, tick)
    return rounded if rounded > ZERO else None


def risk_budget(
    *, equity: Decimal, cap_pct: Decimal, open_risk: Decimal, own_risk: Decimal, open_pct: Decimal
) -> Decimal:
    """Most a position may lose at its stop, USDT: the cap of a trade, and no more than its own risk
    plus the free open-risk room. `open_risk`: sum over the account, `own_risk` of it included."""
    room = equity * open_pct / HUNDRED - open_risk
    return max(ZERO, min(equity * cap_pct / HUNDRED, own_risk + max(ZERO, room)))


def widened_stop(
    *,
    side: Side,
    entry: Decimal,
    quantity: Decimal,
    current: Decimal,
    distance: Decimal,
    budget: Decimal | None,
    costs: Decimal,
    liquidation: Decimal | None,
    buffer_pct: Decimal,
    mark: Decimal,
    tick: Decimal,
) -> Decimal | None:
    """New trigger for an open position's stop when the regime has changed, None: leave it.

    side: side that opened the position; entry: its average entry; quantity > 0; current: trigger of
    the resting stop; distance: what :func:`stop_distance` gives now; budget: :func:`risk_budget`,
    USDT (None: not bounded by it); costs: of one unit in and out; liquidation: the position's
    liquidation price (None: it has none).

    Widening goes to the smallest of the new distance, the distance at which the loss equals the
    budget, and (1 - buffer) of the way to liquidation; it never narrows because the budget is small
    and never cuts the quantity. Narrowing (smaller new distance) only if mark has not crossed the
    new trigger already.
    """
    s = sign(side)
    here = s * (entry - current)
    if distance < here:
        narrowed = stop_price(side=side, entry=entry, distance=distance, tick=tick)
        nearer = s * (narrowed - current) > ZERO
        return narrowed if nearer and s * (mark - narrowed) > ZERO else None
    moved = stop_price(side=side, entry=entry, distance=distance, tick=tick)
    bounds = []
    if budget is not None:
        bounds.append(budget / quantity - costs)
    if liquidation is not None:
        bounds.append(s * (entry - liquidation) * (ONE - buffer_pct / HUNDRED))
    if bounds and s * (entry - moved) > min(bounds):
        # Rounding away from the entry would step over the bound, so here it goes towards it.
        price = entry - s * min(bounds)
        moved = ceiled(price, tick) if s > 0 else floored(price, tick)
    return moved if s * (current - moved) > ZERO else None
