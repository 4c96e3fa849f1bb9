"""What the control decider does beside policies and emergencies: pause and resume a symbol, note
what was done about a dead letter, and who may command an account at all.
"""

from difflib import get_close_matches

from domain.decider import Decision
from domain.market_state import MarketState
from domain.policy_changes import Change, Refusal, difference
from domain.policy_state import RELEASED, AccountPolicy, trading_state
from schemas.control import (
    LetterSettle,
    LetterSettled,
    PolicyChange,
    PolicyChanged,
    PolicyChangedData,
    SymbolPause,
    SymbolResume,
)
from schemas.ids import part_id

PAUSED_MAX = 1000


def unknown_operator(current: AccountPolicy | None, operator: str) -> Refusal | None:
    """Why `operator` may not command the account; None: the policy lists them, or lists nobody.

    The name is what the sender says of itself: this is a guard against mistakes. Who may write to
    the command topics at all is the broker's to enforce (docs/decisions/0014).
    """
    listed = current.policy.operators if current else ()
    if current is None or not listed or operator in listed:
        return None
    names = ", ".join(listed)
    return Refusal(
        "UNKNOWN_OPERATOR",
        f"{operator} may not command {current.account}: its policy lists {names} as operators "
        f"(version {current.version}); one of them can send it, or add you with "
        "`quantum policy set operators=...`",
        operator,
        names,
    )


def locked_out(change: Change, operator: str) -> Refusal | None:
    """Why a change of `operators` is refused: whoever makes it must stay in, so that nobody locks
    everybody out with a slip of the finger."""
    listed = change.policy.operators
    if "operators" not in change.after or not listed or operator in listed:
        return None
    return Refusal(
        "OUT_OF_RANGE",
        f"operators: {', '.join(listed)} leaves out {operator}, who sends it; add {operator}, and "
        "let another operator take you out",
        ", ".join(listed)[:500],
        operator,
    )


def policy_change(
    record_id: str,
    account: str,
    current: AccountPolicy | None,
    change: Change,
    *,
    operator: str,
    reason: str,
) -> PolicyChange:
    """The part that says a change: the next version, who, why, and where each value came from."""
    version = current.version + 1 if current else 1
    origins = dict(current.origins) if current else {}
    origins.update({path: version for path in change.after if path != "profile"})
    return PolicyChange(
        id=part_id(record_id, 0),
        account=account,
        version=version,
        operator=operator,
        reason=reason,
        before=change.before,
        after=change.after,
        policy=change.policy,
        origins=origins,
        trading_state=trading_state(
            change.policy,
            current.brakes if current else RELEASED,
            current.drawdown_epoch if current else 0,
        ),
    )


def pause(
    current: AccountPolicy,
    command: SymbolPause | SymbolResume,
    record_id: str,
    market: MarketState,
) -> Decision | Refusal:
    """`paused_symbols` with the symbol, or without it. Needs no expected version: two people who
    pause two symbols do not stand in each other's way."""
    symbol, paused = command.data.symbol, current.policy.paused_symbols
    pausing = isinstance(command, SymbolPause)
    if pausing == (symbol in paused):
        standing = f"{symbol} is {'' if pausing else 'not '}paused in {current.account}"
        return Refusal(
            "NO_CHANGE",
            f"{standing} already, at version {current.version}; nothing is to be done",
            symbol,
            ", ".join(paused)[:500] or "none paused",
        )
    listed = [name for name, known in market.symbols.items() if known.terms is not None]
    if pausing and listed and symbol not in listed:
        return _no_symbol(symbol, listed)
    if pausing and len(paused) >= PAUSED_MAX:
        return Refusal(
            "OUT_OF_RANGE",
            f"paused_symbols: {PAUSED_MAX} symbols are paused, that is the most; stop new trades "
            "with `quantum policy set allow_new_trades=false`",
            str(len(paused) + 1),
            str(PAUSED_MAX),
        )
    after = (*paused, symbol) if pausing else tuple(name for name in paused if name != symbol)
    changed = current.policy.model_copy(update={"paused_symbols": after})
    change = difference(current.policy, changed)
    item = policy_change(record_id, current.account, current, change,
                         operator=command.data.operator, reason=command.data.reason)  # fmt: skip
    return Decision(PolicyChanged, current.account, PolicyChangedData(items=(item,)), symbol)


def _no_symbol(symbol: str, listed: list[str]) -> Refusal:
    near = get_close_matches(symbol, sorted(listed), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "`quantum status` shows the symbols with prices"
    shown = ", ".join(sorted(listed)[:20])
    return Refusal("UNKNOWN_SYMBOL", f"{symbol} is not listed: {hint}", symbol, shown)


def settle(command: LetterSettle, account: str, settled: dict[str, str]) -> Decision | Refusal:
    """Note who did what about a dead letter, once: `settled` are those noted before."""
    data = command.data
    name = f"{data.processor}/{data.offset}"
    if name in settled:
        return Refusal(
            "NO_CHANGE", f"dead letter {name} was {settled[name]} already; nothing is to be done",
            name, settled[name],
        )  # fmt: skip
    return Decision(LetterSettled, account, data)
