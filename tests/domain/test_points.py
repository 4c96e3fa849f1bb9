"""The path inside a candle, by hand-made candles."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.points import path, points

TICK = Decimal("0.01")


def decimals(*prices: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(price) for price in prices)


def in_candle(opening: str, high: str, low: str, close: str) -> tuple[Decimal, ...]:
    a, b, c, d = decimals(opening, high, low, close)
    return points(a, b, c, d, TICK)


def test_the_extreme_nearer_to_the_open_comes_first() -> None:
    up_first = in_candle("100", "101", "97", "98")
    assert up_first == decimals("100", "100.5", "101", "99", "97", "97.5")
    down_first = in_candle("100", "104", "99", "103")
    assert down_first == decimals("100", "99.5", "99", "101.5", "104", "103.5")


def test_on_a_tie_the_low_comes_first() -> None:
    assert path(100, 110, 90, 100)[2] == 90


def test_a_mid_between_two_ticks_goes_to_the_even_one() -> None:
    assert in_candle("1.00", "1.05", "0.99", "1.04") == (
        Decimal("1.00"),
        Decimal("1.00"),  # 0.995 lies between 0.99 and 1.00: 100 ticks is even
        Decimal("0.99"),
        Decimal("1.02"),
        Decimal("1.05"),
        Decimal("1.04"),  # 1.045: 104 ticks is even
    )


def test_a_candle_that_did_not_move_stands_still() -> None:
    assert path(7, 7, 7, 7) == (7, 7, 7, 7, 7, 7)


def test_a_coarse_tick_rounds_to_its_multiples() -> None:
    assert points(Decimal("10.5"), Decimal("11.5"), Decimal("10.5"), Decimal(11), Decimal("0.5"))[
        3
    ] == Decimal(11)


def test_a_price_off_the_tick_is_refused_with_value_and_tick() -> None:
    with pytest.raises(ValueError, match=r"100\.005 is not a multiple of the tick 0\.01"):
        points(Decimal("100.005"), Decimal(101), Decimal(99), Decimal(100), TICK)


@given(st.lists(st.integers(1, 10**9), min_size=4, max_size=4))
def test_the_path_stays_in_the_candle_and_meets_both_extremes(prices: list[int]) -> None:
    low, *middle, high = sorted(prices)
    out = path(middle[0], high, low, middle[1])
    assert {low, high} <= set(out)
    assert all(low <= price <= high for price in out)
    assert out[0] == middle[0]
