"""The policy as every decider sees it: a slice of `control`, limits as numbers with origins."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

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
from schemas.trade import Limit


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

    def number(self, name: str) -> Decimal:
        """A limit as Decimal, by field name; section fields by their bare name."""
        known = self.numbers.get(name)
        if known is None:
            known = self.numbers[name] = Decimal(str(self.value(name)))
        return known

    def value(self, name: str) -> Any:
        section = self.policy if name in Policy.model_fields else self.policy.rl_v3_live
        return getattr(section, name)

    def limit(self, name: str) -> Limit:
        """The limit with where its value came from, for the record of a decision (POL-7)."""
        path = name if name in Policy.model_fields else f"rl_v3_live.{name}"
        return Limit(name=path, value=str(self.value(name)), policy_version=self.origins.get(path))

    def is_emergency_mode(self) -> bool:
        return self.policy.emergency_mode

    def can_open_new_trades(self) -> bool:
        return self.policy.allow_new_trades and not self.policy.emergency_mode

    def trading_state(self) -> TradingState:
        return trading_state(self.policy)


def trading_state(policy: Policy) -> TradingState:
    """SAFE-5: HALTED in an emergency, REDUCING when no new trades are allowed, else ACTIVE."""
    if policy.emergency_mode:
        return "HALTED"
    return "ACTIVE" if policy.allow_new_trades else "REDUCING"


@dataclass(slots=True)
class ControlState:
    """Slice of `control`: the policy of every account."""

    accounts: dict[str, AccountPolicy] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        if isinstance(event, PolicyChanged | EmergencyActivated | EmergencyWasReset):
            for change in event.data.items:
                self._apply(change, event)
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
        )
