"""Checks of the request itself and of what is open already, in the order of `EntryReason`.

A check looks at a :class:`Case` and returns the failure, or None if it passes or a figure it needs
is not known.
"""

from decimal import Decimal

from domain.risk_book import SECOND_US
from domain.risk_case import Case
from schemas.reasons import SENTENCES, EntryReason
from schemas.safety import Hold
from schemas.scalars import text
from schemas.trade import Failure, Signal

WHY_HELD: dict[Hold, str] = {
    "drawdown": "drawdown past the governor's limit",
    "daily_loss": "loss of the day past its limit",
    "flash_crash": "a flash crash",
}


def shown(value: Decimal) -> str:
    """A number for a record: at most eight decimals."""
    return text(round(value, 8))


def fail(
    code: EntryReason,
    case: Case,
    *,
    value: str | None = None,
    limit: str | None = None,
    shortfall: Decimal | int | None = None,
    sentence: str | None = None,
) -> Failure:
    words = SENTENCES[code].format(value=value, limit=limit, symbol=case.request.symbol)
    return Failure(
        code=code,
        sentence=sentence or words,
        value=value,
        limit=limit,
        shortfall=None if shortfall is None else shown(Decimal(shortfall)),
    )


def above(code: EntryReason, case: Case, value: Decimal, limit: Decimal) -> Failure | None:
    if value <= limit:
        return None
    return fail(code, case, value=shown(value), limit=shown(limit), shortfall=value - limit)


# ---------------------------------------------------------------- the request itself


def duplicate_signal(case: Case) -> Failure | None:
    return fail(EntryReason.DUPLICATE_SIGNAL, case) if case.duplicate else None


def symbol_unknown(case: Case) -> Failure | None:
    return fail(EntryReason.SYMBOL_UNKNOWN, case) if case.terms is None else None


def halted(case: Case) -> Failure | None:
    if case.stopped:
        note = "A decision of risk failed for this account: entries wait until it is resumed"
        return fail(EntryReason.HALTED, case, sentence=note)
    return fail(EntryReason.HALTED, case) if case.policy.trading_state() == "HALTED" else None


def reducing(case: Case) -> Failure | None:
    if case.policy.trading_state() != "REDUCING":
        return None
    held = case.policy.governor()[1]
    why = [WHY_HELD[hold] for hold in held]
    if case.policy.brakes.hfos == "REDUCING":
        why.append("AI-HFOS mode REDUCING")
    if not why:
        return fail(EntryReason.REDUCING, case)
    note = f"Only reductions are allowed: {', '.join(why)}"
    return fail(EntryReason.REDUCING, case, sentence=note)


def stale_signal(case: Case) -> Failure | None:
    """Too old, or dated further ahead than it may be old: such a time cannot be trusted."""
    age = Decimal(case.now_us - case.signal_us) / SECOND_US
    limit = case.policy.number("signal_stale_s")
    if abs(age) <= limit:
        return None
    return fail(
        EntryReason.STALE_SIGNAL,
        case,
        value=shown(age),
        limit=shown(limit),
        shortfall=abs(age) - limit,
    )


def stale_price(case: Case) -> Failure | None:
    if case.book.unpriced is not None:
        note = f"No price of {case.book.unpriced} is known: equity cannot be computed"
        return fail(EntryReason.STALE_PRICE, case, sentence=note)
    if case.price_us is None:
        if case.terms is None:
            return None
        note = f"No price of {case.request.symbol} is known"
        return fail(EntryReason.STALE_PRICE, case, sentence=note)
    age = Decimal(case.now_us - case.price_us) / SECOND_US
    return above(EntryReason.STALE_PRICE, case, age, Decimal(case.price_limit_s))


def governor_veto(case: Case) -> Failure | None:
    vetoed = isinstance(case.request, Signal) and not case.request.governor_approved
    return fail(EntryReason.GOVERNOR_VETO, case) if vetoed else None


def low_confidence(case: Case) -> Failure | None:
    confidence = Decimal(case.request.confidence)
    limit = case.policy.number("min_confidence")
    if confidence >= limit:
        return None
    return fail(
        EntryReason.LOW_CONFIDENCE,
        case,
        value=case.request.confidence,
        limit=shown(limit),
        shortfall=limit - confidence,
    )


def symbol_restricted(case: Case) -> Failure | None:
    listed = case.request.symbol in case.policy.policy.restricted_symbols
    return fail(EntryReason.SYMBOL_RESTRICTED, case) if listed else None


def symbol_paused(case: Case) -> Failure | None:
    symbol, since = case.request.symbol, case.policy.origins.get("paused_symbols")
    if symbol not in case.policy.policy.paused_symbols:
        return None
    note = SENTENCES[EntryReason.SYMBOL_PAUSED].format(symbol=symbol)
    return fail(EntryReason.SYMBOL_PAUSED, case, sentence=f"{note} (policy version {since})")


# ---------------------------------------------------------------- what is open already


def unknown_order(case: Case) -> Failure | None:
    return fail(EntryReason.UNKNOWN_ORDER, case) if case.unknown_order else None


def guard_a(case: Case) -> Failure | None:
    if not case.here.open_intent:
        return None
    return fail(EntryReason.GUARD_A_OPEN_INTENT, case, value="1", limit="1", shortfall=1)


def position_open(case: Case) -> Failure | None:
    limit = case.policy.policy.max_entries_per_position
    if not case.here.quantity or case.here.entries < limit:
        return None
    return fail(
        EntryReason.POSITION_OPEN,
        case,
        value=shown(case.here.quantity),
        limit=str(limit),
        shortfall=case.here.entries + 1 - limit,
    )


def cooldown(case: Case) -> Failure | None:
    if case.entered_us is None:
        return None
    since = Decimal(case.now_us - case.entered_us) / SECOND_US
    limit = case.policy.number("cooldown_s")
    # a fill is dated by its latency after the decision, so a moment later `since` may be below 0
    if not limit or since >= limit:
        return None
    return fail(
        EntryReason.COOLDOWN, case, value=shown(since), limit=shown(limit), shortfall=limit - since
    )


def guard_c(case: Case) -> Failure | None:
    """A roll-out to more trades an hour is a policy change; a slot is an approved entry."""
    limit = int(case.policy.number("max_trades_per_hour"))
    if case.book.slots < limit:
        return None
    return fail(
        EntryReason.GUARD_C_RATE_LIMIT,
        case,
        value=str(case.book.slots),
        limit=str(limit),
        shortfall=case.book.slots + 1 - limit,
    )


def max_concurrent(case: Case) -> Failure | None:
    limit = case.policy.policy.max_concurrent_trades
    count = len(case.book.symbols)
    if case.request.symbol in case.book.symbols or count < limit:
        return None
    return fail(
        EntryReason.MAX_CONCURRENT,
        case,
        value=str(count),
        limit=str(limit),
        shortfall=count + 1 - limit,
    )
