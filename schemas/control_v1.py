"""Version 1 of the events that carry a policy: read, never written again (LOG-3).

:mod:`schemas.upcasters` turns them into what :mod:`schemas.control` has now.
"""

from typing import Any, Literal

from schemas.envelope import Count, Envelope, Model
from schemas.policy_v1 import PolicyV1
from schemas.scalars import Id, Line, Name, Time


class PolicyChangeV1(Model):
    id: Id
    account: Name
    version: Count
    operator: Name
    reason: Line
    before: dict[str, Any]
    after: dict[str, Any]
    policy: PolicyV1
    origins: dict[str, Count]
    trading_state: Literal["ACTIVE", "REDUCING", "HALTED"]


class PolicyChangedDataV1(Model):
    items: tuple[PolicyChangeV1, ...]


class PolicyChangedV1(Envelope):
    type: Literal["policy.changed.v1"] = "policy.changed.v1"
    data: PolicyChangedDataV1


class EmergencyActivatedDataV1(Model):
    emergency_id: Id
    activated_at: Time
    items: tuple[PolicyChangeV1, ...]


class EmergencyActivatedV1(Envelope):
    type: Literal["emergency.activated.v1"] = "emergency.activated.v1"
    data: EmergencyActivatedDataV1


class EmergencyWasResetDataV1(Model):
    emergency_id: Id
    flat_id: Id
    drawdown_epoch: Count
    items: tuple[PolicyChangeV1, ...]


class EmergencyWasResetV1(Envelope):
    type: Literal["emergency.reset.v1"] = "emergency.reset.v1"
    data: EmergencyWasResetDataV1
