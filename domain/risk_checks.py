"""The checks of the risk gate: one small function each, all of them in the order of `EntryReason`.

All run and all failing ones are listed; the first is the verdict's `reason`. An exit answers to
`EXIT_CHECKS` alone (RISK-7).
"""

from collections.abc import Callable

from domain.risk_case import Case
from domain.risk_request_checks import (
    cooldown,
    duplicate_signal,
    governor_veto,
    guard_a,
    guard_c,
    halted,
    low_confidence,
    max_concurrent,
    position_open,
    reducing,
    stale_price,
    stale_signal,
    symbol_paused,
    symbol_restricted,
    symbol_unknown,
    unknown_order,
)
from domain.risk_size_checks import (
    filter_max_qty,
    filter_min_notional,
    filter_step,
    filter_tick,
    guard_b,
    liquidation_buffer,
    margin_use,
    max_gross,
    max_leverage,
    max_position,
    max_risk_open,
    max_risk_trade,
    price_collar,
    stop_missing,
)
from schemas.reasons import EntryReason
from schemas.trade import Failure

Check = Callable[[Case], Failure | None]

ENTRY_CHECKS: dict[EntryReason, Check] = {
    EntryReason.DUPLICATE_SIGNAL: duplicate_signal,
    EntryReason.SYMBOL_UNKNOWN: symbol_unknown,
    EntryReason.HALTED: halted,
    EntryReason.REDUCING: reducing,
    EntryReason.STALE_SIGNAL: stale_signal,
    EntryReason.STALE_PRICE: stale_price,
    EntryReason.GOVERNOR_VETO: governor_veto,
    EntryReason.LOW_CONFIDENCE: low_confidence,
    EntryReason.SYMBOL_RESTRICTED: symbol_restricted,
    EntryReason.SYMBOL_PAUSED: symbol_paused,
    EntryReason.UNKNOWN_ORDER: unknown_order,
    EntryReason.GUARD_A_OPEN_INTENT: guard_a,
    EntryReason.POSITION_OPEN: position_open,
    EntryReason.COOLDOWN: cooldown,
    EntryReason.GUARD_C_RATE_LIMIT: guard_c,
    EntryReason.MAX_CONCURRENT: max_concurrent,
    EntryReason.GUARD_B_SIZE_PCT: guard_b,
    EntryReason.PRICE_COLLAR: price_collar,
    EntryReason.FILTER_TICK: filter_tick,
    EntryReason.STOP_MISSING: stop_missing,
    EntryReason.MAX_POSITION: max_position,
    EntryReason.MAX_GROSS: max_gross,
    EntryReason.MAX_RISK_TRADE: max_risk_trade,
    EntryReason.MAX_RISK_OPEN: max_risk_open,
    EntryReason.FILTER_STEP: filter_step,
    EntryReason.FILTER_MIN_NOTIONAL: filter_min_notional,
    EntryReason.FILTER_MAX_QTY: filter_max_qty,
    EntryReason.MAX_LEVERAGE: max_leverage,
    EntryReason.MARGIN_USE: margin_use,
    EntryReason.LIQUIDATION_BUFFER: liquidation_buffer,
}
"""All checks of an entry, in the order of reasons. NOT_RECONCILED has none: the reconciler's
verdict is no event yet, and the simulated venue cannot disagree with the log."""

EXIT_CHECKS: dict[EntryReason, Check] = {
    code: ENTRY_CHECKS[code]
    for code in (
        EntryReason.DUPLICATE_SIGNAL,
        EntryReason.SYMBOL_UNKNOWN,
        EntryReason.STALE_SIGNAL,
        EntryReason.GOVERNOR_VETO,
        EntryReason.LOW_CONFIDENCE,
    )
}
"""What a request that closes a position answers to; no limit, breaker or filter traps it."""


def failures(case: Case) -> tuple[Failure, ...]:
    """All failing checks in order; () approves."""
    checks = EXIT_CHECKS if case.closes else ENTRY_CHECKS
    return tuple(f for check in checks.values() if (f := check(case)) is not None)
