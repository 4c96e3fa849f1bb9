"""The policy as it was in version 1 of the events that carry it. Never edited again: bytes of old
logs are held against it. :mod:`schemas.policy` is the policy of today, on top of this one.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from schemas.envelope import Model
from schemas.scalars import DecimalText, Id, Line, Name, Positive, Symbol, Time

Profile = Literal["production", "testnet"]


def _within(low: str, high: str, *, above: bool = False) -> AfterValidator:
    """Check of a decimal text's range; `above`: the lower end itself is outside."""
    bottom, top = Decimal(low), Decimal(high)

    def check(value: str) -> str:
        number = Decimal(value)
        if number > top or number < bottom or (above and number == bottom):
            raise ValueError(f"{value} is outside {'above ' if above else ''}{low} to {high}")
        return value

    return AfterValidator(check)


def _shown(low: str, high: str, *, above: bool = False) -> Any:
    """The same range for the JSON Schema, where decimals are text."""
    return Field(
        json_schema_extra={"minimum_text": low, "maximum_text": high, "exclusive_minimum": above}
    )


Percent = Annotated[DecimalText, _within("0", "100"), _shown("0", "100")]
PercentAbove = Annotated[
    DecimalText, _within("0", "100", above=True), _shown("0", "100", above=True)
]
Wide = Annotated[DecimalText, _within("0", "100000", above=True), _shown("0", "100000", above=True)]
Probability = Annotated[DecimalText, _within("0", "1"), _shown("0", "1")]
Seconds = Annotated[int, Field(ge=0, le=31_536_000)]


class RlV3Live(Model):
    """Section `rl_v3_live` (POL-6). The gate's guards B, C and the liquidation buffer live here."""

    enabled: bool = True
    mode: Literal["OFF", "SHADOW", "HYBRID", "PRIMARY"] = "SHADOW"
    min_confidence: Probability = "0.6"
    max_size_pct: Wide = "15"
    liq_buffer_pct: Percent = "20"
    promotion_requires_ack: bool = True
    max_trades_per_hour: Annotated[int, Field(ge=0, le=10_000_000)] = 10
    symbols: Annotated[tuple[Symbol, ...], Field(max_length=10)] = ("BTCUSDT",)


class PolicyV1(Model):
    """All values of one account's policy. Money in USDT, percentages 0-100, times in seconds."""

    profile: Profile = "production"
    strategy: Name | None = None
    emergency_mode: bool = False
    allow_new_trades: bool = True
    emergency_reason: Line | None = None
    emergency_activated_at: Time | None = None
    emergency_id: Id | None = None
    margin_mode: Literal["isolated", "cross"] = "isolated"
    position_mode: Literal["one_way"] = "one_way"
    start_equity_usdt: Positive = "10000"
    max_position_usd: Positive = "1500"
    max_leverage: Annotated[int, Field(ge=1, le=125)] = 20
    max_concurrent_trades: Annotated[int, Field(ge=0, le=1000)] = 10
    max_entries_per_position: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    max_risk_trade_pct: PercentAbove = "4"
    risk_target_pct: PercentAbove = "0.5"
    max_risk_open_pct: Wide = "6"
    max_gross_pct: Wide = "150"
    confidence_threshold: Probability = "0.55"
    min_confidence: Probability = "0.65"
    cooldown_s: Seconds = 180
    guard_release_s: Seconds = 60
    signal_stale_s: Seconds = 30
    approval_stale_s: Seconds = 30
    limit_expiry_s: Seconds = 60
    max_time_in_trade_s: Seconds = 86_400
    collar_pct: PercentAbove = "1"
    slippage_pct: Percent = "0.02"
    participation_pct: PercentAbove = "10"
    stops_required: bool = True
    stop_atr_multiple: Wide = "1"
    stop_min_pct: PercentAbove = "0.3"
    stop_max_pct: PercentAbove = "8"
    target_r: Wide = "2"
    high_vol_multiplier: Wide = "1.5"
    extreme_vol_multiplier: Wide = "2.5"
    stop_failed_pct: Percent = "0.1"
    stop_failed_s: Seconds = 2
    unprotected_s: Seconds = 2
    restricted_symbols: Annotated[tuple[Symbol, ...], Field(max_length=1000)] = ()
    max_symbols: Annotated[int, Field(ge=1, le=1000)] = 30
    retrain_interval_h: Annotated[int, Field(ge=1, le=8760)] = 48
    retrain_samples_min: Annotated[int, Field(ge=1)] = 100
    exploration_pct: Percent = "20"
    rl_v3_live: RlV3Live = RlV3Live()
