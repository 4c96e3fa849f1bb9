"""Goal: money is conserved to the last digit. Method: worked figures, random fills."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.average_cost import after_fill, close_share

ZERO = Decimal(0)


def test_a_full_close_takes_the_whole_cost_and_a_partial_one_its_share() -> None:
    assert close_share(Decimal("100.1"), Decimal(3), Decimal(3)) == Decimal("100.1")
    assert close_share(Decimal(100), Decimal(3), Decimal(1)) == Decimal("33.333333333333")
    assert close_share(Decimal(-100), Decimal(-3), Decimal(1)) == Decimal("-33.333333333333")


def test_closing_more_than_is_open_is_refused_with_both_figures() -> None:
    with pytest.raises(ValueError, match="2 cannot be closed: only 1 are open"):
        close_share(Decimal(100), Decimal(1), Decimal(2))


def test_a_fill_on_the_other_side_realises_first_and_opens_the_rest() -> None:
    after = after_fill(Decimal(2), Decimal(200), Decimal(-3), Decimal(110))
    assert after == (Decimal(-1), Decimal(-110), Decimal(20), Decimal(2), Decimal(1))


Path = list[tuple[Decimal, Decimal]]
fills = st.lists(
    st.tuples(
        st.decimals("-5", "5", places=3).filter(bool), st.decimals("0.01", "90000", places=2)
    ),
    max_size=30,
)


@given(fills)
def test_realised_less_cost_is_the_exact_sum_of_all_fills(path: Path) -> None:
    quantity = cost = realised = ZERO
    for fill, price in path:
        after = after_fill(quantity, cost, fill, price)
        quantity, cost, realised = after.quantity, after.cost, realised + after.realised
    assert quantity == sum((fill for fill, _ in path), ZERO)
    assert realised - cost == -sum((fill * price for fill, price in path), ZERO)
    assert cost == 0 or quantity != 0
