"""Control: a person's commands on `commands.control`, what they led to on `control`."""

from typing import Any, Literal

from schemas.envelope import Count, Envelope, Model
from schemas.policy import Policy, Profile
from schemas.scalars import Id, Line, Name, Symbol, Time

Operator = Name
JsonValue = Any
Version = Count


class PolicySetData(Model):
    """Set fields of one account's policy. `expected_version` is the version the sender saw (0: the
    account does not exist yet and is opened with `profile`). Values are as in the policy."""

    expected_version: Version
    operator: Operator
    reason: Line
    profile: Profile | None = None
    changes: dict[str, JsonValue]


class PolicySet(Envelope):
    type: Literal["command.policy.set.v1"] = "command.policy.set.v1"
    data: PolicySetData


class EmergencyStopData(Model):
    operator: Operator
    reason: Line


class EmergencyStop(Envelope):
    type: Literal["command.emergency.stop.v1"] = "command.emergency.stop.v1"
    data: EmergencyStopData


class EmergencyResetData(Model):
    operator: Operator
    reason: Line


class EmergencyReset(Envelope):
    type: Literal["command.emergency.reset.v1"] = "command.emergency.reset.v1"
    data: EmergencyResetData


class AccountResumeData(Model):
    """Let entries of an account through again after a processor halted it (`source.halted`)."""

    processor: Name
    operator: Operator
    reason: Line


class AccountResume(Envelope):
    type: Literal["command.account.resume.v1"] = "command.account.resume.v1"
    data: AccountResumeData


class SymbolPauseData(Model):
    """Let no entry in a symbol through until it is resumed. Positions in it stay protected."""

    symbol: Symbol
    operator: Operator
    reason: Line


class SymbolPause(Envelope):
    type: Literal["command.symbol.pause.v1"] = "command.symbol.pause.v1"
    data: SymbolPauseData


class SymbolResume(Envelope):
    type: Literal["command.symbol.resume.v1"] = "command.symbol.resume.v1"
    data: SymbolPauseData


class LetterSettleData(Model):
    """What a person did about a dead letter (LOG-2): discarded it, or published it anew at
    `replayed_as` (topic/partition/offset). The letter itself stays where it is. `place`: where the
    original stands; `digest`: SHA-256 of its bytes."""

    processor: Name
    offset: Count
    outcome: Literal["discarded", "replayed"]
    place: Line
    digest: str
    replayed_as: Line | None = None
    operator: Operator
    reason: Line


class LetterSettle(Envelope):
    type: Literal["command.letter.settle.v1"] = "command.letter.settle.v1"
    data: LetterSettleData


class LetterSettled(Envelope):
    """A label on a dead letter: no decider reads it, no figure changes by it."""

    type: Literal["letter.settled.v1"] = "letter.settled.v1"
    data: LetterSettleData


class TradeDeleteData(Model):
    """Take a closed trade out of the default view (CORE-6). Nothing is removed: the log keeps it,
    and so does every query for all trades. An open trade stays listed as open."""

    trade_id: Id
    operator: Operator
    reason: Line


class TradeDelete(Envelope):
    type: Literal["command.trade.delete.v1"] = "command.trade.delete.v1"
    data: TradeDeleteData


TradingState = Literal["ACTIVE", "REDUCING", "HALTED"]


class PolicyChange(Model):
    """One change: who, why, before, after, version (POL-3), and the whole policy it left."""

    id: Id
    account: Name
    version: Version
    operator: Operator
    reason: Line
    before: dict[str, JsonValue]
    after: dict[str, JsonValue]
    policy: Policy
    origins: dict[str, Version]
    trading_state: TradingState


class PolicyChangedData(Model):
    items: tuple[PolicyChange, ...]


class PolicyChanged(Envelope):
    type: Literal["policy.changed.v2"] = "policy.changed.v2"
    data: PolicyChangedData


class EmergencyActivatedData(Model):
    """`items`: the policy change that came with it. `emergency_id` is the record's id."""

    emergency_id: Id
    activated_at: Time
    items: tuple[PolicyChange, ...]


class EmergencyActivated(Envelope):
    type: Literal["emergency.activated.v2"] = "emergency.activated.v2"
    data: EmergencyActivatedData


class EmergencyWasResetData(Model):
    """`flat_id`: the part of `trade.order` that showed the account flat."""

    emergency_id: Id
    flat_id: Id
    drawdown_epoch: Count
    items: tuple[PolicyChange, ...]


class EmergencyWasReset(Envelope):
    type: Literal["emergency.reset.v2"] = "emergency.reset.v2"
    data: EmergencyWasResetData


class AccountResumedData(Model):
    processor: Name
    operator: Operator
    reason: Line


class AccountResumed(Envelope):
    type: Literal["account.resumed.v1"] = "account.resumed.v1"
    data: AccountResumedData


class TradeDeletion(Model):
    """One trade that a person wants out of the default view: which, who, why."""

    id: Id
    trade_id: Id
    operator: Operator
    reason: Line


class TradeDeletedData(Model):
    items: tuple[TradeDeletion, ...]


class TradeDeleted(Envelope):
    """A label, not a removal: no decider reads it, no figure changes by it."""

    type: Literal["trade.deleted.v1"] = "trade.deleted.v1"
    data: TradeDeletedData


CommandRejection = Literal[
    "STALE_VERSION",
    "UNKNOWN_ACCOUNT",
    "ACCOUNT_EXISTS",
    "UNKNOWN_FIELD",
    "OUT_OF_RANGE",
    "FIELD_NOT_SETTABLE",
    "OPEN_POSITIONS",
    "ALREADY_ACTIVE",
    "NO_EMERGENCY",
    "NOT_FLAT",
    "NOTHING_HALTED",
    "NO_CHANGE",
    "UNKNOWN_COMMAND",
    "UNKNOWN_OPERATOR",
    "UNKNOWN_SYMBOL",
    "NOTHING_OPEN",
    "BELOW_STEP",
    "UNKNOWN_ORDER",
    "PROTECTIVE_ORDER",
    "CLOSING_ORDER",
]


class CommandRejectedData(Model):
    """Why a command was refused. `value` and `limit` name what was given and what is allowed."""

    command_id: Id
    command_type: str
    operator: Operator
    code: CommandRejection
    sentence: str
    value: str | None = None
    limit: str | None = None


class CommandRejected(Envelope):
    type: Literal["command.rejected.v1"] = "command.rejected.v1"
    data: CommandRejectedData


class WorkerStartedData(Model):
    """Information for people: which build and configuration took over which sources."""

    worker: str
    build: str
    configuration: str
    epoch: dict[str, Count]


class WorkerStarted(Envelope):
    type: Literal["worker.started.v1"] = "worker.started.v1"
    data: WorkerStartedData


class WorkerNoticeData(Model):
    """Notice of a failure in a processor: the account's entries are refused until resumed."""

    worker: str
    account: Name
    cause_id: Id
    error: Line


class WorkerNotice(Envelope):
    type: Literal["worker.failed.v1"] = "worker.failed.v1"
    data: WorkerNoticeData
