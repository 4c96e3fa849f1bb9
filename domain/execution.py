"""The execution decider: approvals become orders, fills become protection, everything ends.

Requests are verdicts and judged commands, each answered by exactly one record. On results, control
and clock its rules look at what is, not at what just happened: a rule that was satisfied decides
nothing, so a decision taken again after a crash is the same.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from domain import emergency, exits
from domain.clock_state import ClockState
from domain.decider import OWN, Decision, Read, Slices
from domain.execution_desk import Desk
from domain.execution_results import Results
from domain.execution_state import Approvals, ExecutionMarket, OwnRecords, tidy
from domain.execution_waits import execution_waits
from domain.instructions import carry_out
from domain.policy_state import AccountPolicy, ControlState
from domain.waits import Waits
from schemas.control import EmergencyActivated, EmergencyWasReset, PolicyChanged
from schemas.envelope import Envelope
from schemas.ids import part_id
from schemas.market import ClockTicked
from schemas.safety import FlashCrashDetected, GovernorLevelChanged, HfosModeChanged
from schemas.scalars import micros
from schemas.topics import CLOCK, CONTROL, EXECUTION_RES, MARKET, ORDER, SIGNAL_SAFE, partition_of
from schemas.trade import (
    Declined,
    DeclineWhy,
    Dropped,
    DropWhy,
    ExecutionReported,
    OrderData,
    OrderDecided,
    SignalJudged,
    Verdict,
)
from schemas.trade_commands import CommandJudged
from schemas.trusted import trusted

_MICROS_A_SECOND = 1_000_000


class Execution:
    """Decider `execution`: writes `trade.order`. Owns the accounts of its partition."""

    name = "execution"
    output = ORDER
    reads: tuple[Read, ...] = (
        Read(SIGNAL_SAFE, request=True),
        Read(CONTROL),
        Read(EXECUTION_RES),
        Read(MARKET),
        Read(CLOCK),
    )
    waits_on = frozenset({OWN, SIGNAL_SAFE.name, CONTROL.name, EXECUTION_RES.name, MARKET.name})
    asks_about: tuple[type[Envelope], ...] = (
        ClockTicked, ExecutionReported, PolicyChanged, EmergencyActivated, EmergencyWasReset,
        GovernorLevelChanged, FlashCrashDetected, HfosModeChanged,
    )  # fmt: skip

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition = partition
        self.partitions = partitions

    def begin(self, topic: str) -> Any:
        """The empty slice of a topic."""
        makers: dict[str, Any] = {
            OWN: OwnRecords,
            SIGNAL_SAFE.name: Approvals,
            CONTROL.name: ControlState,
            EXECUTION_RES.name: Results,
            MARKET.name: ExecutionMarket,
            CLOCK.name: ClockState,
        }
        return makers[topic]()

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        """Fold an event into the slice of its topic."""
        return bool(state.fold(event))

    def tidy(self, slices: Slices) -> None:
        """Closed orders leave memory."""
        tidy(slices[OWN], slices[EXECUTION_RES.name], slices[SIGNAL_SAFE.name])

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        """Accounts that may need something: of a result its own, of control those it names, of a
        tick those with an open order, an open position or an emergency that is not flat."""
        if isinstance(fact, ClockTicked):
            names = {
                name
                for name, own in slices[OWN].accounts.items()
                if own.orders or (own.emergency is not None and not own.emergency.flat)
            }
            for name, results in slices[EXECUTION_RES.name].accounts.items():
                if results.positions:
                    names.add(name)
            return sorted(names)
        if isinstance(fact, ExecutionReported):
            return (fact.partitionkey,)
        if isinstance(fact, GovernorLevelChanged | FlashCrashDetected | HfosModeChanged):
            here = partition_of(fact.partitionkey, self.partitions) == self.partition
            return (fact.partitionkey,) if here else ()
        if isinstance(fact, PolicyChanged | EmergencyActivated | EmergencyWasReset):
            named = {change.account for change in fact.data.items}
            return sorted(a for a in named if partition_of(a, self.partitions) == self.partition)
        return ()

    def waits(self, slices: Slices) -> Waits:
        """Timers of what is open; every tick while something is not as it must be."""
        return execution_waits(slices)

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        """The orders, cancels and steps that a cause leads to; None for a fact without any."""
        policy = slices[CONTROL.name].accounts.get(account)
        if policy is None:
            return _refused(cause, account, record_id)
        desk = Desk(slices, cause, account, record_id, policy)
        if isinstance(cause, SignalJudged):
            for verdict in cause.data.items:
                if verdict.verdict == "approved":
                    _answer(desk, verdict, account in slices.halted)
            return desk.decision()
        if isinstance(cause, CommandJudged):
            carry_out(desk, cause.data)
            return desk.decision()
        if policy.is_emergency_mode():
            emergency.advance(desk)
        else:
            exits.advance(desk)
        return desk.decision() if desk.items else None


def _refused(cause: Envelope, account: str, record_id: str) -> Decision | None:
    """Nothing is known of the account's policy: no order, but every request is answered."""
    if isinstance(cause, CommandJudged):
        why: DeclineWhy = "NO_POLICY"
        declined = tuple(
            Declined(id=part_id(record_id, i), instruction_id=item.id, symbol=item.symbol, why=why)
            for i, item in enumerate(cause.data.items)
        )
        return Decision(OrderDecided, account, trusted(OrderData, items=declined))
    if not isinstance(cause, SignalJudged):
        return None
    approved = [v for v in cause.data.items if v.verdict == "approved"]
    items = tuple(
        Dropped(id=part_id(record_id, i), request_id=v.id, symbol=v.symbol, why="HALTED")
        for i, v in enumerate(approved)
    )
    return Decision(OrderDecided, account, trusted(OrderData, items=items))


def _answer(desk: Desk, verdict: Verdict, halted: bool) -> None:
    """One approved verdict: an order, or why there is none."""
    if verdict.kind == "exit":
        why = _why_no_exit(desk, verdict)
    else:
        why = _why_no_entry(desk, verdict, halted)
    if why is not None:
        desk.drop(verdict.id, verdict.symbol, why)
    elif verdict.kind == "exit":
        position = desk.results.positions[verdict.symbol]
        desk.close(position, "exit_signal", request_id=verdict.id)
        desk.cancel_entries("position_closed", verdict.symbol)
    else:
        _enter(desk, verdict)


def _enter(desk: Desk, verdict: Verdict) -> None:
    plan = verdict.plan
    assert plan is not None, f"approval {verdict.id} has no plan"
    limit = plan.order_type == "LIMIT"
    desk.place(
        verdict.symbol,
        verdict.side,
        "entry",
        Decimal(plan.quantity),
        order_type=plan.order_type,
        time_in_force="GTC" if limit else "IOC",
        limit_price=plan.limit_price if limit else None,
        reduce_only=False,
        leverage=plan.leverage,
        request_id=verdict.id,
        approved_at=desk.cause.time,
    )


def _why_no_entry(desk: Desk, verdict: Verdict, halted: bool) -> DropWhy | None:
    """What forbids an entry although it was approved: control may have changed since."""
    policy: AccountPolicy = desk.policy
    if halted or policy.is_emergency_mode():
        return "HALTED"
    if not policy.can_open_new_trades():
        return "REDUCING"
    if verdict.symbol in policy.policy.paused_symbols:
        return "PAUSED"
    stale_s = policy.value("approval_stale_s")
    if desk.now - micros(desk.cause.time) > stale_s * _MICROS_A_SECOND:
        return "STALE"
    position = desk.results.positions.get(verdict.symbol)
    if position is None:
        return None
    if desk.is_closing(position):
        return "ALREADY_CLOSING"
    if (position.quantity > 0) != (verdict.side == "BUY"):
        return "REJECTED"
    return None


def _why_no_exit(desk: Desk, verdict: Verdict) -> DropWhy | None:
    """An exit is never refused by policy; only when there is nothing left to do (RISK-7)."""
    position = desk.results.positions.get(verdict.symbol)
    if position is None or (position.quantity > 0) != (verdict.side == "SELL"):
        return "NOTHING_OPEN"
    return "ALREADY_CLOSING" if desk.is_closing(position) else None
