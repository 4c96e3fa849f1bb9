"""The sizer against the example of DEFINITIONS 4, and rounding that never passes a limit."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.sizing import (
    ceiled,
    floored,
    least_quantity,
    on_grid,
    risk_pct,
    risk_quantity,
    size_order,
    trade_risk,
    unit_costs,
)

STEP = Decimal("0.001")


def test_the_example_of_the_definitions_comes_out_exactly() -> None:
    entry, stop, equity = Decimal(40_000), Decimal(39_200), Decimal(10_000)
    costs = unit_costs(entry=entry, taker=Decimal("0.0005"), slippage_pct=Decimal("0.02"))
    assert costs == 56
    unbounded = risk_quantity(equity=equity, pct=Decimal("0.5"), unit_risk=entry - stop + costs)
    assert round(unbounded, 4) == Decimal("0.0584")
    size = size_order({"risk": unbounded, "max_position": Decimal(1500) / entry}, step=STEP)
    assert size.unrounded == Decimal("0.0375")
    assert size.quantity == Decimal("0.037")
    assert size.binding == "max_position"
    risk = trade_risk(side="BUY", quantity=size.quantity, entry=entry, stop=stop, costs=costs)
    assert round(risk, 2) == Decimal("31.67")
    assert round(100 * risk / equity, 3) == Decimal("0.317")


def test_the_target_is_never_above_the_cap() -> None:
    cap = Decimal(4)
    assert risk_pct(target_pct=Decimal("0.5"), multiplier=Decimal(2), cap_pct=cap) == 1
    assert risk_pct(target_pct=Decimal("0.5"), multiplier=Decimal(9), cap_pct=cap) == 4


def test_risk_is_never_negative_and_a_stop_in_profit_gives_no_credit() -> None:
    def risk(side: str, stop: str) -> Decimal:
        return trade_risk(
            side=side,  # type: ignore[arg-type]
            quantity=Decimal(2),
            entry=Decimal(100),
            stop=Decimal(stop),
            costs=Decimal(1),
        )

    assert risk("BUY", "90") == risk("SELL", "110") == 22
    assert risk("BUY", "105") == risk("SELL", "95") == 2


def test_without_a_stop_the_whole_value_is_at_risk() -> None:
    risk = trade_risk(
        side="SELL", quantity=Decimal(2), entry=Decimal(100), stop=None, costs=Decimal(1)
    )
    assert risk == 202


def test_a_room_that_is_used_up_gives_no_quantity() -> None:
    size = size_order({"a": Decimal(1), "room": Decimal("-0.5")}, step=STEP)
    assert size.quantity == size.unrounded == 0
    assert size.binding == "room"


@pytest.mark.parametrize(
    ("price", "least"), [("40000", "0.001"), ("2500", "0.002"), ("2499.99", "0.003")]
)
def test_the_least_quantity_satisfies_every_minimum(price: str, least: str) -> None:
    found = least_quantity(
        price=Decimal(price), step=STEP, quantity_min=STEP, notional_min=Decimal(5)
    )
    assert found == Decimal(least)


@given(
    value=st.decimals("0", "100000", places=9),
    grid=st.sampled_from([Decimal(g) for g in ("0.001", "0.01", "0.5", "1", "25")]),
)
@settings(max_examples=200, deadline=None)
def test_rounding_stays_on_the_grid_and_on_its_side(value: Decimal, grid: Decimal) -> None:
    low, high = floored(value, grid), ceiled(value, grid)
    assert on_grid(low, grid)
    assert on_grid(high, grid)
    assert low <= value <= high
    assert high - low in (0, grid)


@given(caps=st.lists(st.decimals("-1", "5", places=6), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_sized_quantity_is_never_above_any_cap(caps: list[Decimal]) -> None:
    named = {f"cap{i}": cap for i, cap in enumerate(caps)}
    size = size_order(named, step=STEP)
    assert all(size.quantity <= max(cap, Decimal(0)) for cap in caps)
    assert named[size.binding] == min(caps)
