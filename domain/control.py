"""The control decider: commands on policy and emergencies in, what came of them out (POL, SAFE).

Every command is answered by exactly one record on `control`, if only by a refusal that says why;
the governor's STOP, which safety writes there, by the emergency stop.
The policy is what these records say and nothing else; no decider keeps limits or flags of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from domain.clock_state import ClockState, now
from domain.control_emergency import reset, stop, trip
from domain.control_verbs import (
    locked_out,
    pause,
    policy_change,
    settle,
    unknown_operator,
)
from domain.decider import OWN, Decision, Read, Slices
from domain.market_state import MarketState
from domain.policy_changes import Change, Refusal, change_policy, fixed_field
from domain.policy_state import RELEASED, AccountPolicy, Brakes, ControlState
from domain.waits import NOTHING, Waits
from schemas.control import (
    AccountResume,
    AccountResumed,
    AccountResumedData,
    CommandRejected,
    CommandRejectedData,
    EmergencyReset,
    EmergencyStop,
    LetterSettle,
    LetterSettled,
    PolicyChanged,
    PolicyChangedData,
    PolicySet,
    SymbolPause,
    SymbolResume,
    TradeDelete,
    TradeDeleted,
    TradeDeletedData,
    TradeDeletion,
)
from schemas.envelope import Envelope
from schemas.ids import part_id
from schemas.policy import PROFILES, profile_policy
from schemas.safety import (
    FlashCrashDetected,
    GovernorLevelChanged,
    HfosModeChanged,
    HfosModeChangedData,
    HfosSet,
)
from schemas.topics import (
    CLOCK,
    COMMANDS_CONTROL,
    CONTROL,
    MARKET,
    ORDER,
    WORKERS,
    partition_of,
)
from schemas.trade import EmergencyStep, Flat, Order, OrderDecided

COMMANDS = (
    PolicySet, EmergencyStop, EmergencyReset, AccountResume, TradeDelete, SymbolPause, SymbolResume,
    LetterSettle, HfosSet,
)  # fmt: skip
"""What is decided here; every other type on the topic is refused."""
NOBODY = "unknown"
"""Operator of an answer to a record that names none."""


@dataclass(slots=True)
class CommandsRead:
    """Slice of `commands.control`: nothing is remembered of a command but its answer."""


@dataclass(slots=True)
class BrakesSeen:
    """Slice of `control`, where safety writes too: what it said last of each account."""

    brakes: dict[str, Brakes] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, GovernorLevelChanged | FlashCrashDetected):
            return False
        told = event.data
        self.brakes[event.partitionkey] = Brakes(told.level, told.holds, told.drawdown_epoch)
        return True


@dataclass(slots=True)
class FlatSeen:
    """Slice of one partition of `trade.order`: an account's last `flat`, (emergency id, own id).
    A step or an order after it takes it back: something was open again, and is being closed."""

    flat: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class ControlOwn:
    """Own records: the policies they made, the dead letters that were settled (by processor/offset,
    how and by whom), and how many commands were answered."""

    policies: ControlState = field(default_factory=ControlState)
    letters: dict[str, str] = field(default_factory=dict)
    answered: int = 0


class Control:
    """One source for all accounts: `control` has a single partition."""

    name = "control"
    output = CONTROL
    reads: tuple[Read, ...] = (
        Read(COMMANDS_CONTROL, request=True),
        Read(CONTROL),
        Read(ORDER, full=True),
        Read(MARKET),
        Read(CLOCK),
    )
    waits_on = frozenset[str]()
    asks_about: tuple[type[Envelope], ...] = (GovernorLevelChanged, FlashCrashDetected)

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition, self.partitions = partition, partitions

    def begin(self, topic: str) -> Any:
        if topic == OWN:
            return ControlOwn()
        states = {
            CONTROL.name: BrakesSeen,
            ORDER.name: FlatSeen,
            MARKET.name: MarketState,
            CLOCK.name: ClockState,
        }
        return states.get(topic, CommandsRead)()

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        if topic == OWN:
            state.policies.fold(event)
            if isinstance(event, LetterSettled):
                data = event.data
                state.letters[f"{data.processor}/{data.offset}"] = (
                    f"{data.outcome} by {data.operator}"
                )
            state.answered += 1
            return True
        if topic == ORDER.name:
            for item in event.data.items if isinstance(event, OrderDecided) else ():
                if isinstance(item, Flat):
                    state.flat[event.partitionkey] = (item.emergency_id, item.id)
                elif isinstance(item, EmergencyStep | Order):
                    state.flat.pop(event.partitionkey, None)  # something was open again
            return True
        if topic == COMMANDS_CONTROL.name:
            return True
        return bool(state.fold(event))

    def waits(self, slices: Slices) -> Waits:
        """Nothing: commands alone are decided on."""
        return NOTHING

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        """The account that the governor stops."""
        if isinstance(fact, GovernorLevelChanged | FlashCrashDetected):
            return (fact.partitionkey,) if fact.data.level == "STOP" else ()
        return ()

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        answer = self._answer(slices, cause, account, record_id)
        return _refused(cause, account, answer) if isinstance(answer, Refusal) else answer

    def _answer(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | Refusal | None:
        current = slices[OWN].policies.accounts.get(account)
        if current is not None:
            held = slices[CONTROL.name].brakes.get(account, RELEASED)
            brakes = replace(held, hfos=current.brakes.hfos)
            current = replace(current, brakes=brakes)
        if isinstance(cause, GovernorLevelChanged | FlashCrashDetected):
            told = cause.data
            return current and trip(
                current, sentence=told.sentence, epoch=told.drawdown_epoch, record_id=record_id,
                at=now(slices, cause),
            )  # fmt: skip
        if not isinstance(cause, COMMANDS):
            return Refusal(
                "UNKNOWN_COMMAND",
                f"{cause.type} is no command of {COMMANDS_CONTROL.name}; send it to its own topic",
                cause.type,
            )
        stranger = unknown_operator(current, cause.data.operator)
        if stranger is not None:
            return stranger
        if isinstance(cause, PolicySet):
            return _set_policy(current, cause, account, record_id)
        if isinstance(cause, LetterSettle):
            return settle(cause, account, slices[OWN].letters)
        if current is None:
            return _no_account(account)
        if isinstance(cause, EmergencyStop):
            given = cause.data
            return stop(current, operator=given.operator, reason=given.reason,
                        record_id=record_id, at=now(slices, cause))  # fmt: skip
        if isinstance(cause, EmergencyReset):
            flats: tuple[FlatSeen, ...] = slices[ORDER.name]
            seen = flats[partition_of(account, len(flats))].flat.get(account)
            return reset(current, cause, record_id, seen)
        if isinstance(cause, TradeDelete):
            return _delete(cause, account, record_id)
        if isinstance(cause, HfosSet):
            return _hfos(current, cause)
        if isinstance(cause, SymbolPause | SymbolResume):
            return pause(current, cause, record_id, slices[MARKET.name])
        return _resume(cause, account)

    def tidy(self, slices: Slices) -> None:
        """Nothing to take out: one flat an account is all that is kept of orders."""


def _no_account(account: str) -> Refusal:
    return Refusal(
        "UNKNOWN_ACCOUNT",
        f"No account {account} is open; open it with command.policy.set.v1 and expected_version 0",
        account,
    )


def _set_policy(
    current: AccountPolicy | None, command: PolicySet, account: str, record_id: str
) -> Decision | Refusal:
    data = command.data
    if current is None:
        if data.expected_version != 0:
            return _no_account(account)
        return _open(command, account, record_id)
    if data.expected_version == 0:
        return Refusal(
            "ACCOUNT_EXISTS",
            f"Account {account} is open already, at version {current.version}; "
            f"send the change again with expected_version {current.version}",
            "0",
            str(current.version),
        )
    if data.expected_version != current.version:
        return Refusal(
            "STALE_VERSION",
            f"The command expects version {data.expected_version} of {account}, the policy is at "
            f"version {current.version}; see what changed (`quantum policy history`), then send it "
            f"again with expected_version {current.version}",
            str(data.expected_version),
            str(current.version),
        )
    if data.profile is not None and data.profile != current.policy.profile:
        return fixed_field("profile", data.profile, current.policy.profile)
    change = change_policy(current.policy, data.changes, opening=False)
    if isinstance(change, Refusal):
        return change
    if not change.after:
        return Refusal(
            "NO_CHANGE",
            f"Nothing to change: {account} has these values at version {current.version} already",
            str(current.version),
        )
    excluded = locked_out(change, data.operator)
    if excluded is not None:
        return excluded
    item = policy_change(record_id, account, current, change,
                         operator=data.operator, reason=data.reason)  # fmt: skip
    return Decision(PolicyChanged, account, PolicyChangedData(items=(item,)))


def _open(command: PolicySet, account: str, record_id: str) -> Decision | Refusal:
    """The first version of an account: a profile and what differs from it."""
    data, changes = command.data, dict(command.data.changes)
    given = changes.pop("profile", data.profile or "production")
    if given not in PROFILES or (data.profile is not None and given != data.profile):
        allowed = data.profile or "one of " + ", ".join(PROFILES)
        return Refusal("OUT_OF_RANGE", f"profile: {given!r:.100} is not allowed; give {allowed}",
                       str(given)[:100], allowed)  # fmt: skip
    change = change_policy(profile_policy(given), changes, opening=True)
    if isinstance(change, Refusal):
        return change
    excluded = locked_out(change, data.operator)
    if excluded is not None:
        return excluded
    opened = Change(change.policy, change.before, {"profile": given, **change.after})
    item = policy_change(
        record_id, account, None, opened, operator=data.operator, reason=data.reason
    )
    return Decision(PolicyChanged, account, PolicyChangedData(items=(item,)))


def _hfos(current: AccountPolicy, command: HfosSet) -> Decision | Refusal:
    """SAFE-9: the mode that an AI-HFOS asks risk to obey."""
    data, before = command.data, current.brakes.hfos
    if data.mode == before:
        return Refusal(
            "NO_CHANGE",
            f"The AI-HFOS mode of {current.account} is {before} already; nothing is to be done",
            data.mode,
            before,
        )
    told = HfosModeChangedData(
        mode=data.mode, before=before, operator=data.operator, reason=data.reason
    )
    return Decision(HfosModeChanged, current.account, told)


def _resume(command: AccountResume, account: str) -> Decision | Refusal:
    data = command.data
    if data.processor not in WORKERS:
        return Refusal(
            "NOTHING_HALTED",
            f"No processor is called {data.processor}; it is one of {', '.join(WORKERS)}",
            data.processor,
            ", ".join(WORKERS),
        )
    return Decision(
        AccountResumed,
        account,
        AccountResumedData(processor=data.processor, operator=data.operator, reason=data.reason),
    )


def _delete(command: TradeDelete, account: str, record_id: str) -> Decision:
    """CORE-6: a label on a trade, which the projections leave out of the default view once the
    trade is closed. Trades are not read here: what was said of an unknown or open one is kept, and
    whatever was said, no trade is lost."""
    data = command.data
    item = TradeDeletion(
        id=part_id(record_id, 0),
        trade_id=data.trade_id,
        operator=data.operator,
        reason=data.reason,
    )
    return Decision(TradeDeleted, account, TradeDeletedData(items=(item,)))


def _refused(command: Envelope, account: str, refusal: Refusal) -> Decision:
    operator = getattr(getattr(command, "data", None), "operator", NOBODY)
    return Decision(
        CommandRejected,
        account,
        CommandRejectedData(
            command_id=command.id,
            command_type=command.type,
            operator=operator,
            code=refusal.code,
            sentence=refusal.sentence,
            value=refusal.value,
            limit=refusal.limit,
        ),
    )
