"""The risk gate: answers every signal and intent with a verdict (RISK-1..7, CORE-3, POL-7), and a
person's commands on positions and orders (CORE-9, `domain.risk_commands`).

A request record is answered by one `trade.signal.judged`, its parts in order; a later part sees the
approvals of the earlier ones. An opposite request while a position is open is an exit.
"""

from collections.abc import Iterable
from typing import Any

from domain.clock_state import ClockState, now
from domain.decider import OWN, Decision, Read, Slices
from domain.market_state import MarketState, SymbolMarket
from domain.policy_state import AccountPolicy, ControlState
from domain.risk_book import Book, build_book
from domain.risk_case import Case
from domain.risk_checks import failures
from domain.risk_commands import CommandView, judge_command
from domain.risk_figures import figures
from domain.risk_request_checks import shown
from domain.risk_state import (
    OrdersState,
    OwnState,
    PositionsState,
    RequestsState,
    ResultsState,
    content_key,
)
from domain.risk_tidy import tidy
from domain.waits import NOTHING, Waits
from schemas.envelope import Envelope
from schemas.ids import part_id
from schemas.reasons import SENTENCES, EntryReason
from schemas.scalars import micros
from schemas.topics import (
    CLOCK,
    COMMANDS_TRADE,
    CONTROL,
    EXECUTION_RES,
    INTENT,
    MARKET,
    ORDER,
    POSITION_UPDATE,
    SIGNAL,
    SIGNAL_SAFE,
)
from schemas.trade import (
    Failure,
    Intent,
    IntentPublished,
    Limit,
    Plan,
    Signal,
    SignalJudged,
    SignalPublished,
    Verdict,
    VerdictData,
)
from schemas.trade_commands import CommandJudged
from schemas.trusted import trusted

PRICE_STALE_LIVE_S = 5
PRICE_STALE_CANDLES = 2
"""DEFINITIONS 1: a last price is stale after 5 s live, after 2 candle intervals in replay."""
EXIT_LIMITS = ("min_confidence", "signal_stale_s")
ENTRY_LIMITS = (
    "emergency_mode", "allow_new_trades", "min_confidence", "signal_stale_s", "guard_release_s",
    "max_entries_per_position", "cooldown_s", "max_trades_per_hour", "max_concurrent_trades",
    "max_size_pct", "collar_pct", "stops_required", "stop_atr_multiple", "high_vol_multiplier",
    "extreme_vol_multiplier", "stop_min_pct", "stop_max_pct", "target_r", "risk_target_pct",
    "max_risk_trade_pct", "max_position_usd", "max_gross_pct", "max_risk_open_pct",
    "participation_pct", "slippage_pct", "max_leverage", "liq_buffer_pct", "margin_mode",
)  # fmt: skip


class Risk:
    """The decider on one account partition."""

    name = "risk"
    output = SIGNAL_SAFE
    reads: tuple[Read, ...] = (
        Read(SIGNAL, request=True),
        Read(INTENT, request=True),
        Read(COMMANDS_TRADE, request=True),
        Read(CONTROL),
        Read(ORDER),
        Read(EXECUTION_RES),
        Read(POSITION_UPDATE),
        Read(MARKET),
        Read(CLOCK),
    )
    waits_on = frozenset[str]()
    equity_last = True
    asks_about: tuple[type[Envelope], ...] = ()

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition = partition
        self.partitions = partitions
        self._limits: dict[str, tuple[AccountPolicy, tuple[Limit, ...], tuple[Limit, ...]]] = {}

    def begin(self, topic: str) -> Any:
        slices: dict[str, Any] = {
            CONTROL.name: ControlState,
            ORDER.name: OrdersState,
            EXECUTION_RES.name: ResultsState,
            POSITION_UPDATE.name: PositionsState,
            MARKET.name: MarketState,
            CLOCK.name: ClockState,
            OWN: OwnState,
        }
        return slices.get(topic, RequestsState)()

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        return bool(state.fold(event))

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        """No fact asks risk for a decision: it has no timers, releases are computed when asked."""
        return ()

    def waits(self, slices: Slices) -> Waits:
        """Nothing: see `asks`."""
        return NOTHING

    def tidy(self, slices: Slices) -> None:
        tidy(slices[OWN], slices[ORDER.name], slices[POSITION_UPDATE.name])

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        if cause.type.startswith("command."):
            return self._command(slices, cause, account, record_id)
        if not isinstance(cause, SignalPublished | IntentPublished):
            return None
        requests: tuple[Signal | Intent, ...] = cause.data.items
        policy = slices[CONTROL.name].accounts.get(account)
        if policy is None:
            verdicts = [
                _without_policy(request, part_id(record_id, i), cause.time)
                for i, request in enumerate(requests)
            ]
        else:
            verdicts = self._judge(slices, cause, requests, policy, record_id)
        symbols = {request.symbol for request in requests}
        symbol = requests[0].symbol if len(symbols) == 1 else None
        return Decision(SignalJudged, account, trusted(VerdictData, items=tuple(verdicts)), symbol)

    def _command(self, slices: Slices, cause: Envelope, account: str, record_id: str) -> Decision:
        """The answer to a person's command (CORE-9)."""
        view = CommandView(
            account=account,
            policy=slices[CONTROL.name].accounts.get(account),
            market=slices[MARKET.name],
            own=slices[OWN].accounts.get(account),
            orders=slices[ORDER.name].accounts.get(account),
            held=slices[POSITION_UPDATE.name].accounts.get(account),
        )
        data = judge_command(cause, view, record_id)
        symbols = {item.symbol for item in data.items}
        symbol = symbols.pop() if len(symbols) == 1 else None
        return Decision(CommandJudged, account, data, symbol)

    def _judge(
        self,
        slices: Slices,
        cause: Envelope,
        requests: tuple[Signal | Intent, ...],
        policy: AccountPolicy,
        record_id: str,
    ) -> list[Verdict]:
        account, time = policy.account, cause.time
        now_us = micros(now(slices, cause))
        market, own, held = slices[MARKET.name], slices[OWN], slices[POSITION_UPDATE.name]
        book = build_book(
            account=account,
            policy=policy,
            now_us=now_us,
            own=own,
            orders=slices[ORDER.name],
            positions=held,
            market=market,
        )
        clock: ClockState = slices[CLOCK.name]
        price_limit_s = (
            PRICE_STALE_LIVE_S if clock.candle_s == 1 else PRICE_STALE_CANDLES * clock.candle_s
        )
        mine, theirs = own.accounts.get(account), held.accounts.get(account)
        decided: dict[str, None] = mine.decided.get(time[:16], {}) if mine else {}
        entered = theirs.last_us if theirs else {}
        unknown = set(slices[EXECUTION_RES.name].unknown.values())
        earlier: set[str] = set()
        verdicts = []
        for ordinal, request in enumerate(requests):
            key = content_key(request.origin, request.symbol, request.side, time)
            verdict = evaluate_trade_intent(
                request,
                verdict_id=part_id(record_id, ordinal),
                policy=policy,
                book=book,
                known=market.symbols.get(request.symbol),
                now_us=now_us,
                signal_time=time,
                price_limit_s=price_limit_s,
                entered_us=entered.get(request.symbol),
                duplicate=key in decided or key in earlier,
                stopped=account in slices.halted,
                unknown_order=f"{account}/{request.symbol}" in unknown,
                limits=self._limits_of(policy),
            )
            earlier.add(key)
            verdicts.append(verdict)
        return verdicts

    def _limits_of(self, policy: AccountPolicy) -> tuple[tuple[Limit, ...], tuple[Limit, ...]]:
        """Limits of an entry and of an exit, made once a policy version: a cache, no state."""
        known = self._limits.get(policy.account)
        if known is None or known[0] is not policy:
            cautious = ("hfos_cautious_pct",) if policy.brakes.hfos == "CAUTIOUS" else ()
            known = (
                policy,
                tuple(policy.limit(name) for name in (*ENTRY_LIMITS, *cautious)),
                tuple(policy.limit(name) for name in EXIT_LIMITS),
            )
            self._limits[policy.account] = known
        return known[1], known[2]


def _without_policy(request: Signal | Intent, verdict_id: str, signal_time: str) -> Verdict:
    code = EntryReason.REDUCING
    return Verdict(
        id=verdict_id,
        request_id=request.id,
        symbol=request.symbol,
        side=request.side,
        kind="entry",
        verdict="rejected",
        reason=code,
        failures=(Failure(code=code, sentence=SENTENCES[code]),),
        figures={"signal_time": signal_time, "note": "account unknown"},
        origin=request.origin,
        confidence=request.confidence,
        label=request.label,
        policy_version=0,
    )


def evaluate_trade_intent(
    request: Signal | Intent,
    *,
    verdict_id: str,
    policy: AccountPolicy,
    book: Book,
    known: SymbolMarket | None,
    now_us: int,
    signal_time: str,
    price_limit_s: int,
    entered_us: int | None,
    duplicate: bool,
    stopped: bool,
    unknown_order: bool,
    limits: tuple[tuple[Limit, ...], tuple[Limit, ...]],
) -> Verdict:
    """Judge one signal or intent: size, stop, leverage, margin, every check (RISK-1, RISK-6).

    An approved entry is added to `book`. `known`: the symbol's market, None if never heard of;
    `now_us`: event time in microseconds; `signal_time`: event time of the request's record;
    `entered_us`: later of last entry fill and last close; `limits`: for an entry and for an exit.
    """
    case = Case(
        request=request,
        policy=policy,
        book=book,
        here=book.of(request.symbol),
        known=known,
        now_us=now_us,
        signal_us=micros(signal_time),
        price_us=micros(known.at) if known and known.last is not None else None,
        price_limit_s=price_limit_s,
        entered_us=entered_us,
        duplicate=duplicate,
        stopped=stopped,
        unknown_order=unknown_order,
    )
    closes = case.closes
    if not closes:
        case.price()
    failing = failures(case)
    plan = None
    if not failing:
        plan = _exit_plan(case) if closes else _entry_plan(case)
    verdict = Verdict(
        id=verdict_id,
        request_id=request.id,
        symbol=request.symbol,
        side=request.side,
        kind="exit" if closes else "entry",
        verdict="approved" if plan else "rejected",
        reason=failing[0].code if failing else None,
        failures=failing,
        limits=limits[1] if closes else limits[0],
        figures=figures(case, signal_time),
        plan=plan,
        origin=request.origin,
        confidence=request.confidence,
        label=request.label,
        policy_version=policy.version,
    )
    if plan is not None and not closes:
        _count(case)
    return verdict


def _exit_plan(case: Case) -> Plan:
    return Plan(
        quantity=shown(abs(case.here.quantity)),
        order_type="MARKET",
        leverage=1,
        risk_usdt="0",
        regime=case.regime,
    )


def _entry_plan(case: Case) -> Plan:
    """Raises AssertionError when a check let through what cannot be carried out."""
    assert case.entry is not None, "approved without a price"
    assert case.margin is not None, "approved without a size"
    assert case.margin.leverage >= 1, "approved without leverage"
    limit = case.limit_price
    return Plan(
        quantity=shown(case.quantity),
        order_type="MARKET" if limit is None else "LIMIT",
        limit_price=None if limit is None else shown(limit),
        stop_price=None if case.stop is None else shown(case.stop),
        target_price=None if case.target is None else shown(case.target),
        leverage=case.margin.leverage,
        stop_distance=None if case.stop is None else shown(abs(case.entry - case.stop)),
        risk_usdt=shown(case.risk),
        regime=case.regime,
    )


def _count(case: Case) -> None:
    assert case.mark is not None
    assert case.margin is not None
    case.book.approve(
        symbol=case.request.symbol,
        quantity=case.quantity,
        notional=case.quantity * case.mark,
        risk=case.risk,
        margin=case.margin.initial_margin,
    )
