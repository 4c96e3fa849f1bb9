"""Texts of numbers and times: one form each, and back without loss."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.scalars import dec, is_decimal, latest, micros, text, time_text

NUMBERS = st.decimals(
    allow_nan=False, allow_infinity=False, places=12, min_value=-(10**20), max_value=10**20
)
MOMENTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


@given(NUMBERS)
def test_a_number_comes_back_from_its_text(number: Decimal) -> None:
    assert dec(text(number)) == number
    assert is_decimal(text(number))


@given(NUMBERS)
def test_equal_numbers_have_one_text(number: Decimal) -> None:
    longer = Decimal(f"{number:f}000")
    assert longer == number
    assert text(number) == text(longer) == text(dec(text(number)))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (Decimal("-0"), "0"), (Decimal("-0.00"), "0"), (Decimal("1E+3"), "1000"), (7, "7"),
        (Decimal("1.500"), "1.5"), (Decimal("1E-9"), "0.000000001"), (Decimal(100), "100"),
    ],
)  # fmt: skip
def test_text_has_no_exponent_no_trailing_zero_and_no_negative_zero(
    number: Decimal | int, expected: str
) -> None:
    assert text(number) == expected


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_what_is_no_finite_number_has_no_text(number: str) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        text(Decimal(number))


@pytest.mark.parametrize("value", ["", "-0", "1.", ".5", "1e3", "01", "+1", "1\n", "٣", "1_0"])
def test_other_forms_are_no_decimals(value: str) -> None:
    assert not is_decimal(value)


@given(MOMENTS)
def test_a_time_comes_back_from_its_text(us: int) -> None:
    assert micros(time_text(us)) == us


@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_times_sort_as_their_texts(moments: list[int]) -> None:
    assert micros(latest(time_text(us) for us in moments)) == max(moments)


def test_a_known_time() -> None:
    us = int(datetime(2021, 5, 19, 12, 58, tzinfo=UTC).timestamp()) * 1_000_000 + 250_000
    assert time_text(us) == "2021-05-19T12:58:00.250000Z"
    assert micros("2021-05-19T12:58:00.250000Z") == us
