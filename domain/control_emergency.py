"""What control decides of emergencies: the stop by a person or by safety, and the reset.

POL-2, SAFE-1, SAFE-2, SAFE-3. An emergency is a policy change like any other, with one writer; what
then has to be done is execution's (:mod:`domain.emergency`).
"""

from domain.control_verbs import policy_change
from domain.decider import Decision
from domain.policy_changes import Refusal, difference
from domain.policy_state import AccountPolicy
from schemas.control import (
    EmergencyActivated,
    EmergencyActivatedData,
    EmergencyReset,
    EmergencyWasReset,
    EmergencyWasResetData,
)
from schemas.policy import Policy
from schemas.safety import DrawdownEpochOpened, DrawdownEpochOpenedData

BREAKER = "safety"
"""Operator of a stop that no person asked for."""


def set_emergency_mode(
    policy: Policy,
    *,
    active: bool,
    reason: str | None = None,
    at: str | None = None,
    emergency_id: str | None = None,
) -> Policy:
    """The policy with the emergency on (new trades blocked) or off (fields cleared) (POL-2)."""
    return policy.model_copy(
        update={
            "emergency_mode": active,
            "allow_new_trades": not active,
            "emergency_reason": reason if active else None,
            "emergency_activated_at": at if active else None,
            "emergency_id": emergency_id if active else None,
        }
    )


def is_emergency_mode(policy: Policy) -> bool:
    """True from an emergency stop to its reset (POL-2)."""
    return policy.emergency_mode


def can_open_new_trades(policy: Policy) -> bool:
    """True when risk may be increased: new trades allowed and no emergency (POL-2)."""
    return policy.allow_new_trades and not policy.emergency_mode


def stop(
    current: AccountPolicy, *, operator: str, reason: str, record_id: str, at: str
) -> Decision | Refusal:
    """The emergency stop of an account; refused where one is active."""
    if is_emergency_mode(current.policy):
        return Refusal(
            "ALREADY_ACTIVE",
            f"The emergency stop of {current.account} is active since "
            f"{current.policy.emergency_activated_at} ({current.policy.emergency_reason}); "
            "nothing more is to be done",
            current.policy.emergency_id,
        )
    stopped = set_emergency_mode(
        current.policy, active=True, reason=reason, at=at, emergency_id=record_id
    )
    change = difference(current.policy, stopped)
    item = policy_change(
        record_id, current.account, current, change, operator=operator, reason=reason
    )
    return Decision(
        EmergencyActivated,
        current.account,
        EmergencyActivatedData(emergency_id=record_id, activated_at=at, items=(item,)),
    )


def trip(
    current: AccountPolicy, *, sentence: str, epoch: int, record_id: str, at: str
) -> Decision | None:
    """The stop that the governor asks for; nothing where one is active already, or where a reset
    opened another drawdown epoch than the one it was found in."""
    if is_emergency_mode(current.policy) or epoch != current.drawdown_epoch:
        return None
    decision = stop(current, operator=BREAKER, reason=sentence, record_id=record_id, at=at)
    assert isinstance(decision, Decision)
    return decision


def reset(
    current: AccountPolicy, command: EmergencyReset, record_id: str, seen: tuple[str, str] | None
) -> Decision | Refusal:
    """SAFE-2: once this very emergency was recorded as flat, by a named operator with a reason.
    Without an emergency it ends a REDUCING of the governor by drawdown: both open a new epoch."""
    data, emergency = command.data, current.policy.emergency_id
    standing = is_emergency_mode(current.policy) and emergency is not None
    if not standing and "drawdown" not in current.governor()[1]:
        return Refusal(
            "NO_EMERGENCY",
            f"No emergency stop of {current.account} is active, and no drawdown holds it; nothing "
            "to reset",
        )
    if not data.reason.strip():
        return Refusal(
            "OUT_OF_RANGE",
            "reason: a reset needs one; say in words why it is safe to go on",
            data.reason,
            "1 to 500 characters",
        )
    if not standing:
        opened = DrawdownEpochOpenedData(
            drawdown_epoch=current.drawdown_epoch + 1, operator=data.operator, reason=data.reason
        )
        return Decision(DrawdownEpochOpened, current.account, opened)
    assert emergency is not None
    if seen is None or seen[0] != emergency:
        return Refusal(
            "NOT_FLAT",
            f"{current.account} was not reported flat since emergency stop {emergency}; wait for "
            "its `flat` on trade.order (`quantum emergency status`), then send the reset again",
            emergency,
            "flat of this emergency",
        )
    after = set_emergency_mode(current.policy, active=False)
    change = difference(current.policy, after)
    item = policy_change(
        record_id, current.account, current, change, operator=data.operator, reason=data.reason
    )
    return Decision(
        EmergencyWasReset,
        current.account,
        EmergencyWasResetData(
            emergency_id=emergency,
            flat_id=seen[1],
            drawdown_epoch=current.drawdown_epoch + 1,
            items=(item,),
        ),
    )
