"""Policies: the table of FEATURES (POL-5), ranges, and names of fields."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.json_schemas import json_schema
from schemas.policy import Policy, RlV3Live, field_path, profile_policy

TABLE: dict[str, tuple[Any, Any]] = {
    "max_position_usd": ("1500", "2000"),
    "max_leverage": (20, 30),
    "max_concurrent_trades": (10, 20),
    "max_risk_trade_pct": ("4", "5"),
    "risk_target_pct": ("0.5", "1"),
    "max_risk_open_pct": ("6", "8"),
    "max_gross_pct": ("150", "200"),
    "confidence_threshold": ("0.55", "0.45"),
    "min_confidence": ("0.65", "0.65"),
    "cooldown_s": (180, 120),
    "retrain_interval_h": (48, 24),
    "retrain_samples_min": (100, 50),
    "exploration_pct": ("20", "50"),
    "max_symbols": (30, 50),
    "margin_mode": ("isolated", "isolated"),
    "position_mode": ("one_way", "one_way"),
    "start_equity_usdt": ("10000", "10000"),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_profile_has_the_value_of_the_table(name: str) -> None:
    assert getattr(profile_policy("production"), name) == TABLE[name][0]
    assert getattr(profile_policy("testnet"), name) == TABLE[name][1]


def test_the_section_of_the_orchestrator_has_its_defaults() -> None:
    assert RlV3Live() == RlV3Live(
        enabled=True, mode="SHADOW", min_confidence="0.6", max_size_pct="15", liq_buffer_pct="20",
        promotion_requires_ack=True, max_trades_per_hour=10, symbols=("BTCUSDT",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("max_leverage", (1, 125), (0, 126)),
        ("max_risk_trade_pct", ("0.0001", "100"), ("0", "100.1", "-1")),
        ("slippage_pct", ("0", "100"), ("100.01", "-0.1")),
        ("min_confidence", ("0", "1"), ("1.01", "-0.1")),
        ("max_gross_pct", ("0.1", "100000"), ("0", "100000.1")),
        ("cooldown_s", (0, 31_536_000), (-1, 31_536_001)),
        ("max_position_usd", ("0.01", "1000000000"), ("0", "-5", "NaN", "1e3")),
        ("margin_mode", ("isolated", "cross"), ("both",)),
        ("stops_required", (True, False), ("yes", 1)),
        ("restricted_symbols", (("BTCUSDT",),), (("btc",),)),
    ],
)
def test_values_inside_the_range_are_taken_and_others_refused(
    name: str, inside: tuple[Any, ...], outside: tuple[Any, ...]
) -> None:
    for value in inside:
        assert getattr(Policy(**{name: value}), name) == value
    for value in outside:
        with pytest.raises(ValidationError, match=name):
            Policy(**{name: value})


def test_a_number_out_of_range_is_refused_with_its_range() -> None:
    with pytest.raises(ValidationError, match="0 is outside above 0 to 100"):
        Policy(collar_pct="0")


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_leverge"):
        Policy.model_validate({"max_leverge": 20})


def test_ranges_of_decimals_stand_in_the_json_schema() -> None:
    assert '"maximum_text": "100000"' in json_schema("policy.changed.v2")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("max_leverage", ("max_leverage",)),
        ("max_size_pct", ("rl_v3_live", "max_size_pct")),
        ("rl_v3_live.max_size_pct", ("rl_v3_live", "max_size_pct")),
        ("min_confidence", ("min_confidence",)),
        ("rl_v3_live.min_confidence", ("rl_v3_live", "min_confidence")),
        ("rl_v3_live", None),
        ("max_leverge", None),
        ("rl_v3_live.max_leverage", None),
    ],
)
def test_a_name_leads_to_one_field(name: str, path: tuple[str, ...] | None) -> None:
    assert field_path(name) == path
