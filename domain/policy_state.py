"""The policy as every decider sees it: a slice of `control`, limits as numbers with origins."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar

from schemas.control import (
    AccountResumed,
    EmergencyActivated,
    EmergencyWasReset,
    PolicyChange,
    PolicyChanged,
    TradingState,
)
from schemas.envelope import Envelope
from schemas.policy import Policy
from schemas.safety import (
    DrawdownEpochOpened,
    FlashCrashDetected,
    GovernorLevelChanged,
    HfosMode,
    HfosModeChanged,
    Hold,
    Level,
)
from schemas.trade import Limit

_FIELDS = frozenset(Policy.model_fields)
SETTLED: tuple[Hold, ...] = ("daily_loss", "flash_crash")
"""Holds that a new drawdown epoch leaves in place."""


@dataclass(frozen=True, slots=True)
class Brakes:
    """What safety and an AI-HFOS say of an account beside its policy, as `control` told last.

    `epoch`: the drawdown epoch that `level` and the hold by drawdown were found in; in a later one
    they are void."""

    level: Level = "NORMAL"
    holds: tuple[Hold, ...] = ()
    epoch: int = 0
    hfos: HfosMode = "NORMAL"

    def standing(self, epoch: int) -> tuple[Level, tuple[Hold, ...]]:
        """Level and holds as they count in a drawdown epoch."""
        if epoch == self.epoch:
            return self.level, self.holds
        left = tuple(hold for hold in self.holds if hold in SETTLED)
        return ("REDUCING" if left else "NORMAL"), left


RELEASED = Brakes()
"""Of an account that nothing was said of. Never changed."""


@dataclass(slots=True)
class AccountPolicy:
    """One account's policy at a version. Not part of any record; rebuilt from `control`."""

    account: str
    version: int
    policy: Policy
    origins: dict[str, int]
    opened_at: str
    drawdown_epoch: int = 0
    numbers: dict[str, Decimal] = field(default_factory=dict, repr=False)
    brakes: Brakes = RELEASED
    """Replaced, never changed in place."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> "AccountPolicy":
        """The same: a change makes another one, and `numbers` only remembers what it says. Sources
        that part take a copy of the whole slice, with thousands of accounts."""
        return self

    def number(self, name: str) -> Decimal:
        """A limit as Decimal, by field name; section fields by their bare name."""
        known = self.numbers.get(name)
        if known is None:
            known = self.numbers[name] = Decimal(str(self.value(name)))
        return known

    def value(self, name: str) -> Any:
        section = self.policy if name in _FIELDS else self.policy.rl_v3_live
        return getattr(section, name)

    def limit(self, name: str) -> Limit:
        """The limit with where its value came from, for the record of a decision (POL-7)."""
        path = name if name in _FIELDS else f"rl_v3_live.{name}"
        return Limit(name=path, value=str(self.value(name)), policy_version=self.origins.get(path))

    def is_emergency_mode(self) -> bool:
        return self.policy.emergency_mode

    def can_open_new_trades(self) -> bool:
        """Whether risk may be increased: asked by every worker before it does."""
        return self.trading_state() == "ACTIVE"

    def governor(self) -> tuple[Level, tuple[Hold, ...]]:
        """The governor's level and what it rests on, as it counts now."""
        return self.brakes.standing(self.drawdown_epoch)

    def trading_state(self) -> TradingState:
        return trading_state(self.policy, self.brakes, self.drawdown_epoch)


def trading_state(policy: Policy, brakes: Brakes = RELEASED, epoch: int = 0) -> TradingState:
    """SAFE-5: HALTED in an emergency and from the governor's STOP on; REDUCING when no new trades
    are allowed by the policy, the governor or an AI-HFOS; else ACTIVE."""
    level, holds = brakes.standing(epoch)
    if policy.emergency_mode or level == "STOP":
        return "HALTED"
    free = policy.allow_new_trades and not holds and brakes.hfos != "REDUCING"
    return "ACTIVE" if free else "REDUCING"


@dataclass(slots=True)
class ControlState:
    """Slice of `control`: the policy of every account."""

    folds: ClassVar[tuple[type[Envelope], ...]] = (
        PolicyChanged, EmergencyActivated, EmergencyWasReset, AccountResumed,
        GovernorLevelChanged, FlashCrashDetected, HfosModeChanged, DrawdownEpochOpened,
    )  # fmt: skip
    accounts: dict[str, AccountPolicy] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        if isinstance(event, PolicyChanged | EmergencyActivated | EmergencyWasReset):
            for change in event.data.items:
                self._apply(change, event)
            return True
        known = self.accounts.get(event.partitionkey)
        if known is not None and isinstance(event, BRAKED):
            self.accounts[event.partitionkey] = _braked(known, event)
            return True
        return isinstance(event, AccountResumed)

    def _apply(self, change: PolicyChange, event: Envelope) -> None:
        before = self.accounts.get(change.account)
        epoch = before.drawdown_epoch if before else 0
        if isinstance(event, EmergencyWasReset):
            epoch = event.data.drawdown_epoch
        self.accounts[change.account] = AccountPolicy(
            account=change.account,
            version=change.version,
            policy=change.policy,
            origins=dict(change.origins),
            opened_at=before.opened_at if before else event.time,
            drawdown_epoch=epoch,
            brakes=before.brakes if before else RELEASED,
        )


BRAKED = (GovernorLevelChanged, FlashCrashDetected, HfosModeChanged, DrawdownEpochOpened)


def _braked(known: AccountPolicy, event: Envelope) -> AccountPolicy:
    """The account after a record that allows or forbids new risk beside the policy."""
    if isinstance(event, DrawdownEpochOpened):
        return replace(known, drawdown_epoch=event.data.drawdown_epoch)
    if isinstance(event, HfosModeChanged):
        return replace(known, brakes=replace(known.brakes, hfos=event.data.mode))
    assert isinstance(event, GovernorLevelChanged | FlashCrashDetected)
    told = event.data
    brakes = Brakes(told.level, told.holds, told.drawdown_epoch, known.brakes.hfos)
    return replace(known, brakes=brakes)
