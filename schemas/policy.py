"""The policy of one account: the single source of truth for every limit (POL-1, POL-5, POL-6).

Every field has a default, a range and a unit (last in its name). `PROFILES` is FEATURES' table.
A policy is stored whole in each event that changes it; `origins` says for a field which policy
version set it (absent: the profile's default), so that a verdict can name where a limit came from.

A new field goes into :class:`Policy`, and into `schemas.upcasters.POLICY_ADDED_IN_V2` with the
value that makes an old policy do what it did (docs/decisions/0013).
"""

from typing import Annotated, Any

from pydantic import Field

from schemas.policy_v1 import PercentAbove, PolicyV1, Profile, RlV3Live
from schemas.scalars import Name, Symbol

__all__ = [
    "EMERGENCY_FIELDS", "PROFILES", "Policy", "Profile", "RlV3Live", "field_path", "profile_policy",
]  # fmt: skip


class Policy(PolicyV1):
    """All values of one account's policy. Money in USDT, percentages 0-100, times in seconds."""

    paused_symbols: Annotated[tuple[Symbol, ...], Field(max_length=1000)] = ()
    operators: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    governor_warn_pct: PercentAbove = "5"
    governor_reducing_pct: PercentAbove = "7"
    drawdown_stop_pct: PercentAbove = "10"
    daily_loss_pct: PercentAbove = "3"
    flash_fall_pct: PercentAbove = "3"
    flash_move_pct: PercentAbove = "2"
    flash_rearm_pct: PercentAbove = "1.5"
    hfos_cautious_pct: PercentAbove = "50"


PROFILES: dict[str, dict[str, Any]] = {
    "production": {},
    "testnet": {
        "max_position_usd": "2000",
        "max_leverage": 30,
        "max_concurrent_trades": 20,
        "max_risk_trade_pct": "5",
        "risk_target_pct": "1",
        "max_risk_open_pct": "8",
        "max_gross_pct": "200",
        "confidence_threshold": "0.45",
        "cooldown_s": 120,
        "retrain_interval_h": 24,
        "retrain_samples_min": 50,
        "exploration_pct": "50",
        "max_symbols": 50,
    },
}

EMERGENCY_FIELDS = ("emergency_mode", "emergency_reason", "emergency_activated_at", "emergency_id")
"""Only the emergency commands change these; `command.policy.set` is refused for them."""


def profile_policy(profile: Profile) -> Policy:
    """The policy of a profile, without overrides."""
    return Policy(profile=profile, **PROFILES[profile])


def field_path(name: str) -> tuple[str, ...] | None:
    """Where `name` stands: a field, `rl_v3_live.field`, or a section's field by its bare name.

    None for a name that no policy has. A bare name that stands at top level means that one.
    """
    if name in Policy.model_fields and name != "rl_v3_live":
        return (name,)
    bare = name.removeprefix("rl_v3_live.")
    if bare in RlV3Live.model_fields and (bare == name or name.startswith("rl_v3_live.")):
        return ("rl_v3_live", bare)
    return None
