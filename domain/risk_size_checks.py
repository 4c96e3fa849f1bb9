"""Checks of size, prices, the venue's filters, leverage and margin, in the order of `EntryReason`.

All look at what :class:`Case` has computed; a missing figure (no price, no equity) gives None.
"""

from decimal import ROUND_HALF_UP, Decimal

from domain.risk_case import Case
from domain.risk_request_checks import above, fail, shown
from domain.sizing import HUNDRED, ZERO, on_grid
from schemas.reasons import SENTENCES, EntryReason
from schemas.trade import Failure, Intent

CENT = Decimal("0.01")


def _after(case: Case, cap: str) -> Decimal:
    """The quantity a limit is looked at with: the sized one; where this limit leaves no room at
    all, the smallest order there is, so that the figures show why even that does not fit."""
    assert case.size is not None
    return case.least if case.size.caps[cap] <= ZERO else case.quantity


def _notional_after(case: Case, cap: str) -> Decimal:
    assert case.mark is not None
    return case.here.notional + _after(case, cap) * case.mark


def guard_b(case: Case) -> Failure | None:
    """Looks twice: at the proposal as it stands, then at the sized order."""
    limit = case.policy.number("max_size_pct")
    value = case.proposal
    if value is None or value <= limit:
        if case.size is None or not case.book.equity:
            return None
        value = HUNDRED * _notional_after(case, "max_size_pct") / case.book.equity
    if value <= limit:
        return None
    return fail(
        EntryReason.GUARD_B_SIZE_PCT,
        case,
        value=f"{value.quantize(CENT, ROUND_HALF_UP):f}",
        limit=shown(limit),
        shortfall=value - limit,
    )


def price_collar(case: Case) -> Failure | None:
    """A LIMIT near the mark, also within the venue's own band; last near mark for a MARKET."""
    if case.mark is None or case.terms is None or case.entry is None:
        return None
    limit = case.policy.number("collar_pct")
    if case.limit_price is not None:
        limit = min(limit, case.terms.price_band_pct)
    off = HUNDRED * abs(case.entry - case.mark) / case.mark
    return above(EntryReason.PRICE_COLLAR, case, off, limit)


def filter_tick(case: Case) -> Failure | None:
    request = case.request
    if case.terms is None or not isinstance(request, Intent):
        return None
    for price in (request.limit_price, request.stop_price, request.target_price):
        if price is not None and not on_grid(Decimal(price), case.terms.tick):
            tick = shown(case.terms.tick)
            return fail(
                EntryReason.FILTER_TICK,
                case,
                value=price,
                limit=tick,
                shortfall=Decimal(price) % case.terms.tick,
            )
    return None


def stop_missing(case: Case) -> Failure | None:
    if case.stop_fault is None:
        return None
    note = case.stop_fault
    if case.stop is None and case.target is None:
        note = f"{SENTENCES[EntryReason.STOP_MISSING]} ({note})"
    return fail(EntryReason.STOP_MISSING, case, sentence=note)


def max_position(case: Case) -> Failure | None:
    if case.size is None:
        return None
    notional = _notional_after(case, "max_position")
    limit = case.policy.number("max_position_usd")
    return above(EntryReason.MAX_POSITION, case, notional, limit)


def max_gross(case: Case) -> Failure | None:
    if case.size is None or not case.book.equity or case.mark is None:
        return None
    gross = case.book.gross + _after(case, "max_gross") * case.mark
    limit = case.policy.number("max_gross_pct")
    return above(EntryReason.MAX_GROSS, case, HUNDRED * gross / case.book.equity, limit)


def _unit_risk(case: Case) -> Decimal:
    assert case.entry is not None
    return case.costs + (case.entry if case.stop is None else abs(case.entry - case.stop))


def max_risk_trade(case: Case) -> Failure | None:
    """Without a stop nothing measures the risk of one trade; the sum of open risk still counts."""
    if case.size is None or not case.book.equity or case.stop is None:
        return None
    risk = case.here.risk + _after(case, "max_risk_trade") * _unit_risk(case)
    limit = case.policy.number("max_risk_trade_pct")
    return above(EntryReason.MAX_RISK_TRADE, case, HUNDRED * risk / case.book.equity, limit)


def max_risk_open(case: Case) -> Failure | None:
    if case.size is None or not case.book.equity:
        return None
    risk = case.book.risk + _after(case, "max_risk_open") * _unit_risk(case)
    limit = case.policy.number("max_risk_open_pct")
    return above(EntryReason.MAX_RISK_OPEN, case, HUNDRED * risk / case.book.equity, limit)


# ---------------------------------------------------------------- the venue's filters

ROOMS = ("max_risk_trade", "max_position", "max_size_pct", "max_gross", "max_risk_open")


def _no_room(case: Case) -> bool:
    """A limit without any room has its own code; the filters then have nothing to look at."""
    return case.size is None or any(case.size.caps.get(room, HUNDRED) <= ZERO for room in ROOMS)


def filter_step(case: Case) -> Failure | None:
    if case.size is None or case.terms is None or _no_room(case):
        return None
    least = case.terms.step if not case.quantity else case.terms.quantity_min
    quantity = case.quantity or case.size.unrounded
    if case.quantity >= case.terms.quantity_min and case.quantity:
        return None
    note = None
    if case.quantity:
        note = f"Quantity {shown(quantity)} is below the venue's minimum of {shown(least)}"
    return fail(
        EntryReason.FILTER_STEP,
        case,
        value=shown(quantity),
        limit=shown(least),
        shortfall=least - quantity,
        sentence=note,
    )


def filter_min_notional(case: Case) -> Failure | None:
    price = case.limit_price or case.mark
    if case.size is None or case.terms is None or price is None or _no_room(case):
        return None
    notional, limit = case.quantity * price, case.terms.notional_min
    if notional >= limit:
        return None
    return fail(
        EntryReason.FILTER_MIN_NOTIONAL,
        case,
        value=shown(notional),
        limit=shown(limit),
        shortfall=limit - notional,
    )


def filter_max_qty(case: Case) -> Failure | None:
    if case.terms is None or not case.quantity:
        return None
    limit = case.terms.quantity_max
    if case.limit_price is None:
        limit = min(limit, case.terms.market_quantity_max)
    return above(EntryReason.FILTER_MAX_QTY, case, case.quantity, limit)


# ---------------------------------------------------------------- leverage and margin


def max_leverage(case: Case) -> Failure | None:
    plan = case.margin
    if plan is None or plan.needed is None or plan.needed <= plan.cap:
        return None
    return fail(
        EntryReason.MAX_LEVERAGE,
        case,
        value=str(plan.needed),
        limit=str(plan.cap),
        shortfall=plan.needed - plan.cap,
    )


def margin_use(case: Case) -> Failure | None:
    equity = case.book.equity
    if equity is not None and equity <= ZERO:
        limit = shown(HUNDRED - case.policy.number("liq_buffer_pct"))
        note = f"Equity is {shown(equity)} USDT: there is no margin for new risk"
        return fail(
            EntryReason.MARGIN_USE,
            case,
            value=shown(equity),
            limit=limit,
            shortfall=-equity,
            sentence=note,
        )
    plan = case.margin
    if plan is None or plan.use_pct is None:
        return None
    return above(EntryReason.MARGIN_USE, case, plan.use_pct, plan.use_limit_pct)


def liquidation_buffer(case: Case) -> Failure | None:
    plan = case.margin
    if plan is None or plan.leverage:
        return None
    value = plan.stop_share_pct
    return fail(
        EntryReason.LIQUIDATION_BUFFER,
        case,
        value=None if value is None else shown(value),
        limit=shown(plan.use_limit_pct),
        shortfall=None if value is None else value - plan.use_limit_pct,
    )
