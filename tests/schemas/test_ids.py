"""Identifiers: functions of what they name, the same in every build."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import client_order_id, command_id, natural_id, part_id, record_id

NAMES = st.text(st.characters(categories=("L", "N", "P")), max_size=12)


def test_ids_are_what_they_were_in_the_first_build() -> None:
    assert record_id("/risk/3", "main", "c") == "4701a6cc-b718-5e11-b46b-dbf2f4caa03e"
    assert part_id("r", 0) == "afab0f95-7560-588d-9483-efa2990e8ca6"
    assert natural_id("a", "b") == "37e5d7a5-39c0-5f3d-a13e-7502a695d769"
    assert client_order_id("x") == "qt2d711642b726b04401627c"


@given(NAMES, NAMES, NAMES)
def test_decided_and_natural_ids_are_version_5(source: str, key: str, cause: str) -> None:
    for value in (record_id(source, key, cause), part_id(source, 3), natural_id(key, cause)):
        assert str(UUID(value)) == value
        assert UUID(value).version == 5


@given(NAMES, NAMES, NAMES, NAMES)
def test_names_are_kept_apart(a: str, b: str, c: str, d: str) -> None:
    assert (natural_id(a, b) == natural_id(c, d)) == ((a, b) == (c, d))


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_parts_of_a_record_differ_by_their_ordinal(first: int, second: int) -> None:
    assert (part_id("r", first) == part_id("r", second)) == (first == second)


def test_a_person_s_command_gets_a_new_version_7() -> None:
    first, second = command_id(), command_id()
    assert UUID(first).version == UUID(second).version == 7
    assert first != second
    assert first[:8] <= second[:8], "they begin with the time"


@given(NAMES)
def test_client_order_ids_fit_the_exchange(order: str) -> None:
    value = client_order_id(order)
    assert len(value) == 24
    assert value.isascii()
    assert value.isalnum()
