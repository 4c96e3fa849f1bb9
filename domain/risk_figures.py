"""The figures of a verdict: every number it was made with, as canonical text (RISK-6).

Money in USDT, percentages 0-100, ages in seconds of event time; `signal_time` and
`position_quantity` are read back when the verdict is folded.
"""

from decimal import Decimal

from domain.risk_case import Case
from domain.risk_request_checks import shown
from domain.sizing import HUNDRED


def figures(case: Case, signal_time: str) -> dict[str, str]:
    """Every number the decision was made with, by name; what is not known is left out."""
    book, here, known = case.book, case.here, case.known
    numbers: dict[str, Decimal | None] = {
        "signal_age_s": Decimal(case.now_us - case.signal_us) / 1_000_000,
        "position_quantity": here.quantity,
    }
    if case.price_us is not None and known is not None:
        numbers["price_age_s"] = Decimal(case.now_us - case.price_us) / 1_000_000
        numbers["last"], numbers["mark"] = known.last, known.mark
    if not case.closes:
        numbers |= {
            "equity": book.equity,
            "gross_before": book.gross,
            "open_risk_before": book.risk,
            "margin_before": book.margin,
            "open_trades": Decimal(len(book.symbols)),
            "entries_last_hour": Decimal(book.slots),
            "proposal_size_pct": case.proposal,
            "entry": case.entry,
            "stop": case.stop,
            "target": case.target,
        }
        if case.policy.brakes.hfos == "CAUTIOUS":
            numbers["sizing_multiplier"] = case.multiplier
        if known is not None:
            numbers["atr"], numbers["atr_pct"] = known.hourly.atr, known.hourly.atr_pct
            numbers["candle_volume"] = known.candle.volume if known.candle else None
        if case.entry is not None and case.stop is not None:
            numbers["stop_distance"] = abs(case.entry - case.stop)
        if case.size is not None and case.mark is not None and book.equity:
            numbers |= _size_figures(case, book.equity, case.mark)
        if case.margin is not None:
            numbers |= _margin_figures(case)
    out = {name: shown(value) for name, value in numbers.items() if value is not None}
    out["signal_time"] = signal_time
    out["regime"] = case.regime
    if case.size is not None:
        out["size_cap"] = case.size.binding
    return out


def _size_figures(case: Case, equity: Decimal, mark: Decimal) -> dict[str, Decimal | None]:
    assert case.size is not None
    notional = case.quantity * mark
    gross, risk = case.book.gross, case.book.risk
    return {
        "unit_costs": case.costs,
        "quantity_unrounded": case.size.unrounded,
        "quantity": case.quantity,
        "notional": notional,
        "size_pct": HUNDRED * (case.here.notional + notional) / equity,
        "risk_usdt": case.risk,
        "risk_pct": HUNDRED * case.risk / equity,
        "open_risk_after": risk + case.risk,
        "open_risk_pct_after": HUNDRED * (risk + case.risk) / equity,
        "gross_after": gross + notional,
        "gross_pct_before": HUNDRED * gross / equity,
        "gross_pct_after": HUNDRED * (gross + notional) / equity,
    }


def _margin_figures(case: Case) -> dict[str, Decimal | None]:
    plan = case.margin
    assert plan is not None
    return {
        "leverage": Decimal(plan.leverage),
        "initial_margin": plan.initial_margin,
        "cost_to_open": plan.cost_to_open,
        "maintenance_margin": case.maintenance(),
        "margin_use_pct": plan.use_pct,
        "liquidation_price": case.liquidation,
        "stop_to_liquidation_pct": plan.stop_share_pct,
    }
