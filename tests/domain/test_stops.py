"""Stops, targets and the widening rule at their boundaries (DEFINITIONS 5)."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.policy_state import AccountPolicy
from domain.stops import risk_budget, stop_distance, stop_price, target_price, widened_stop
from schemas.policy import Policy
from schemas.trade import Regime, Side

TICK = Decimal("0.01")
ENTRY = Decimal(40_000)


def policy(**changes: Any) -> AccountPolicy:
    return AccountPolicy("main", 1, Policy(**changes), {}, "2021-05-19T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("atr", "regime", "distance"),
    [
        ("800", "NORMAL", "800"),
        ("1600", "HIGH_VOL", "2400"),
        ("1200", "EXTREME_VOL", "3000"),
        ("1300", "EXTREME_VOL", "3200"),
        ("100", "NORMAL", "120"),
        ("120", "NORMAL", "120"),
        ("121", "NORMAL", "121"),
    ],
)
def test_the_distance_follows_range_and_regime_within_its_bounds(
    atr: str, regime: Regime, distance: str
) -> None:
    found = stop_distance(entry=ENTRY, atr=Decimal(atr), regime=regime, policy=policy())
    assert found == Decimal(distance)


def test_multipliers_are_policy_values() -> None:
    found = stop_distance(
        entry=ENTRY, atr=Decimal(400), regime="HIGH_VOL",
        policy=policy(stop_atr_multiple="2", high_vol_multiplier="3"),
    )  # fmt: skip
    assert found == 2400


@pytest.mark.parametrize(
    ("side", "distance", "price"),
    [
        ("BUY", "800", "39200"),
        ("BUY", "800.001", "39199.99"),
        ("SELL", "800.001", "40800.01"),
        ("BUY", "39999.999", "0.01"),
    ],
)
def test_a_stop_is_rounded_away_from_the_entry(side: Side, distance: str, price: str) -> None:
    found = stop_price(side=side, entry=ENTRY, distance=Decimal(distance), tick=TICK)
    assert found == Decimal(price)


def test_a_target_is_two_r_away() -> None:
    def target(side: Side, stop: str, r: str = "2") -> Decimal | None:
        return target_price(
            side=side, entry=ENTRY, stop=Decimal(stop), target_r=Decimal(r), tick=TICK
        )

    assert target("BUY", "39200") == 41_600
    assert target("SELL", "40800") == 38_400
    assert target("BUY", "39999.99", "1.5") == Decimal("40000.02")
    assert target("SELL", "60000", "2") is None


def move(**changes: Any) -> Decimal | None:
    """A long of 0.037 at 40,000 with its stop at 39,200, EXTREME_VOL doing what `changes` say."""
    given: dict[str, Any] = {
        "side": "BUY", "entry": ENTRY, "quantity": Decimal("0.037"), "current": Decimal(39_200),
        "distance": Decimal(2000), "budget": Decimal(400), "costs": Decimal(56),
        "liquidation": Decimal("38152.61"), "buffer_pct": Decimal(20), "mark": Decimal(39_500),
        "tick": TICK,
    }  # fmt: skip
    return widened_stop(**given | changes)


def test_a_stop_widens_to_the_new_distance() -> None:
    assert move(liquidation=None) == 38_000
    assert move(side="SELL", current=Decimal(40_800), liquidation=None) == 42_000


def test_a_stop_never_widens_past_the_liquidation_buffer() -> None:
    # 80 % of the way to 38,152.61 is 1,477.912; rounded towards the entry.
    assert move() == Decimal("38522.09")
    assert move(liquidation=Decimal(37_000)) == 38_000


def test_a_stop_never_widens_past_its_risk_budget() -> None:
    assert move(liquidation=None, budget=Decimal("0.037") * 1056) == 39_000
    assert move(liquidation=None, budget=Decimal("0.037") * 2056) == 38_000
    assert move(liquidation=None, budget=Decimal("76.071")) == Decimal("38000.03")


def test_a_budget_that_is_used_up_leaves_the_stop_where_it_is() -> None:
    assert move(budget=Decimal("31.672")) is None
    assert move(budget=Decimal(0)) is None


def test_a_stop_narrows_only_if_mark_has_not_crossed_the_new_trigger() -> None:
    nearer = {"distance": Decimal(400), "current": Decimal(39_200)}
    assert move(**nearer, mark=Decimal("39600.01")) == 39_600
    assert move(**nearer, mark=Decimal(39_600)) is None
    short = {"side": "SELL", "distance": Decimal(400), "current": Decimal(40_800)}
    assert move(**short, mark=Decimal("40399.99")) == 40_400
    assert move(**short, mark=Decimal(40_400)) is None


def test_an_unchanged_distance_leaves_the_stop() -> None:
    assert move(distance=Decimal(800)) is None


def test_the_budget_is_the_cap_or_the_room_that_is_left() -> None:
    def budget(open_risk: str) -> Decimal:
        return risk_budget(
            equity=Decimal(10_000), cap_pct=Decimal(4), open_risk=Decimal(open_risk),
            own_risk=Decimal(100), open_pct=Decimal(6),
        )  # fmt: skip

    assert budget("100") == 400
    assert budget("500") == 200
    assert budget("700") == 100


@given(
    side=st.sampled_from(["BUY", "SELL"]),
    quantity=st.decimals("0.001", "1", places=3),
    current=st.decimals("100", "1000", places=2),
    distance=st.decimals("100", "3200", places=3),
    budget=st.decimals("0", "2000", places=2),
    way=st.decimals("500", "8000", places=2),
)
@settings(max_examples=300, deadline=None)
def test_a_widened_stop_keeps_budget_and_buffer_and_lies_on_the_tick(
    side: Side,
    quantity: Decimal,
    current: Decimal,
    distance: Decimal,
    budget: Decimal,
    way: Decimal,
) -> None:
    s = 1 if side == "BUY" else -1
    before = ENTRY - s * current
    moved = widened_stop(
        side=side, entry=ENTRY, quantity=quantity, current=before, distance=distance,
        budget=budget, costs=Decimal(56), liquidation=ENTRY - s * way, buffer_pct=Decimal(20),
        mark=ENTRY, tick=TICK,
    )  # fmt: skip
    if moved is None:
        return
    after = s * (ENTRY - moved)
    assert moved % TICK == 0
    if after > current:
        assert quantity * (after + 56) <= budget
        assert after <= way * Decimal("0.8")
        assert after < distance + TICK
    else:
        assert distance <= after < distance + TICK
