"""A stop of an open position follows the volatility regime (DEFINITIONS 5, EXEC-6).

Only when the regime is not the one the stop was set in: small changes of the ATR are left alone.
Wider when the regime rose, to the smaller of the new distance and the one whose loss equals the
risk budget, never past the liquidation buffer; tighter when it fell and the new trigger is not
crossed. Equity and open risk are those this decider knows: results, its own stops, marks.
"""

from decimal import Decimal

from domain.execution_desk import Desk, entry_side
from domain.execution_results import OpenPosition
from domain.execution_state import OwnOrder
from domain.futures import liquidation_price
from domain.market_state import InstrumentTerms, SymbolMarket
from domain.sizing import trade_risk, unit_costs
from domain.stops import regime_multiplier, risk_budget, stop_distance, widened_stop
from schemas.trade import Regime

ZERO = Decimal(0)


def move_stop(desk: Desk, position: OpenPosition, stop: OwnOrder | None) -> None:
    """Replace the standing stop of a position if the regime changed: the new one first, then the
    cancel of the old one, in one record. Nothing where a price or the filters are unknown."""
    if stop is None or stop.trigger is None or stop.regime is None or stop.cancelled:
        return
    known = desk.market.symbols.get(position.symbol)
    if known is None or known.hourly.regime == stop.regime:
        return
    trigger = _new_trigger(desk, position, stop.trigger, known, stop.regime)
    if trigger is None or known.terms is None or abs(trigger - stop.trigger) < known.terms.tick:
        return
    desk.protect(position, "stop", trigger, regime=known.hourly.regime, replaces=stop.id)
    desk.cancel(stop, "replaced")


def _new_trigger(
    desk: Desk, position: OpenPosition, current: Decimal, known: SymbolMarket, regime: Regime
) -> Decimal | None:
    policy, terms, mark, atr = desk.policy, known.terms, known.mark, known.hourly.atr
    equity = desk.equity()
    if terms is None or mark is None or atr is None or equity is None:
        return None
    rise = regime_multiplier(known.hourly.regime, policy) - regime_multiplier(regime, policy)
    entry, side = position.average, entry_side(position)
    trigger = widened_stop(
        side=side,
        entry=entry,
        quantity=abs(position.quantity),
        current=current,
        distance=stop_distance(entry=entry, atr=atr, regime=known.hourly.regime, policy=policy),
        budget=_budget(desk, position, equity),
        costs=_costs(desk, position, terms),
        liquidation=_liquidation(desk, position, terms),
        buffer_pct=policy.number("liq_buffer_pct"),
        mark=mark,
        tick=terms.tick,
    )
    if trigger is None:
        return None
    wider = (trigger < current) == (side == "BUY")
    return trigger if (rise > 0 if wider else rise < 0) else None


def _costs(desk: Desk, position: OpenPosition, terms: InstrumentTerms | None) -> Decimal:
    if terms is None:
        return ZERO
    slippage_pct = desk.policy.number("slippage_pct")
    return unit_costs(entry=position.average, taker=terms.taker, slippage_pct=slippage_pct)


def _risk(desk: Desk, position: OpenPosition) -> Decimal:
    """Loss of a position at its standing stop, costs included, USDT."""
    stops = desk.stops(position)
    return trade_risk(
        side=entry_side(position),
        quantity=abs(position.quantity),
        entry=position.average,
        stop=stops[-1].trigger if stops else None,
        costs=_costs(desk, position, desk.market.terms(position.symbol)),
    )


def _budget(desk: Desk, position: OpenPosition, equity: Decimal) -> Decimal:
    """Most this position may lose: the cap of a trade and the free room of all, working entries
    counted with the whole of their approved risk."""
    open_risk = sum((_risk(desk, other) for other in desk.positions), ZERO)
    for order in desk.open_orders():
        approved = desk.approvals.get(order.request_id or "")
        if order.purpose == "entry" and approved is not None:
            open_risk += approved.risk
    return risk_budget(
        equity=equity,
        cap_pct=desk.policy.number("max_risk_trade_pct"),
        open_risk=open_risk,
        own_risk=_risk(desk, position),
        open_pct=desk.policy.number("max_risk_open_pct"),
    )


def _liquidation(desk: Desk, position: OpenPosition, terms: InstrumentTerms) -> Decimal | None:
    """Liquidation price with the margin of the leverage it was opened with. In cross margin more
    stands behind the position, so this is the nearer, safer one."""
    approved = desk.approved(position)
    if approved is None:
        return None
    quantity = abs(position.quantity)
    return liquidation_price(
        side=entry_side(position),
        quantity=quantity,
        entry=position.average,
        isolated_margin=quantity * position.average / approved.leverage,
        terms=terms,
    )
