"""Values people give: taken gently, stored canonically, refused with field, value and range."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.policy_changes import (
    Change,
    Refusal,
    allowed_values,
    change_policy,
    rollback,
    value_at,
)
from schemas.policy import EMERGENCY_FIELDS, Policy, RlV3Live

POLICY = Policy()
WORDS = st.text("019.-+eE_ ,truefalsBTCUSD", max_size=12)


def changed(**changes: Any) -> Policy:
    result = change_policy(POLICY, changes, opening=False)
    assert isinstance(result, Change), result
    return result.policy


def refused(changes: dict[str, Any]) -> Refusal:
    result = change_policy(POLICY, changes, opening=False)
    assert isinstance(result, Refusal), result
    return result


@pytest.mark.parametrize("value", ["2000", 2000, 2000.0, "2000.00", "2E3", " 2000 "])
def test_a_decimal_is_taken_however_it_is_written(value: Any) -> None:
    assert changed(max_position_usd=value).max_position_usd == "2000"


@pytest.mark.parametrize("value", [7, "7", 7.0, "7.0"])
def test_a_whole_number_is_taken_however_it_is_written(value: Any) -> None:
    assert changed(cooldown_s=value).cooldown_s == 7


@pytest.mark.parametrize(("value", "stored"), [("no", False), ("FALSE", False), (False, False)])
def test_words_are_taken_for_yes_and_no(value: Any, stored: bool) -> None:
    assert changed(stops_required=value).stops_required is stored


@pytest.mark.parametrize("value", ["BTCUSDT,ETHUSDT", "BTCUSDT, ETHUSDT", ["BTCUSDT", "ETHUSDT"]])
def test_a_list_is_taken_as_words_or_as_a_list(value: Any) -> None:
    assert changed(restricted_symbols=value).restricted_symbols == ("BTCUSDT", "ETHUSDT")


def test_a_float_is_taken_by_its_shortest_form() -> None:
    assert changed(risk_target_pct=0.1).risk_target_pct == "0.1"


def test_a_section_is_reached_by_bare_name_by_path_and_as_an_object() -> None:
    for name, value in (
        ("max_size_pct", 9),
        ("rl_v3_live.max_size_pct", 9),
        ("rl_v3_live", {"max_size_pct": 9}),
    ):
        assert changed(**{name: value}).rl_v3_live.max_size_pct == "9"


def test_a_bare_name_at_top_level_means_that_one() -> None:
    policy = changed(min_confidence="0.7")
    assert (policy.min_confidence, policy.rl_v3_live.min_confidence) == ("0.7", "0.6")


def test_an_optional_field_is_cleared_by_nothing() -> None:
    named = changed(strategy="momentum")
    result = change_policy(named, {"strategy": None}, opening=False)
    assert isinstance(result, Change)
    assert result.policy.strategy is None
    assert (result.before, result.after) == ({"strategy": "momentum"}, {"strategy": None})


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    said = refused({"max_levrage": 5})
    assert said.code == "UNKNOWN_FIELD"
    assert "max_levrage" in said.sentence
    assert said.limit == "max_leverage"
    assert refused({"max_trades_hour": 5}).limit == "rl_v3_live.max_trades_per_hour"
    assert refused({"qqqqqqqq": 5}).limit is None


@pytest.mark.parametrize("name", EMERGENCY_FIELDS)
def test_emergency_fields_are_set_by_emergency_commands_only(name: str) -> None:
    said = refused({name: None})
    assert said.code == "FIELD_NOT_SETTABLE"
    assert "emergency" in said.sentence


@pytest.mark.parametrize(
    ("name", "value", "range_"),
    [
        ("max_leverage", 126, "1 to 125"),
        ("max_leverage", 0, "1 to 125"),
        ("max_leverage", 2.5, "1 to 125"),
        ("max_leverage", True, "1 to 125"),
        ("max_position_usd", "0", "above 0"),
        ("max_position_usd", "-1", "above 0"),
        ("max_risk_trade_pct", "0", "above 0 to 100"),
        ("max_risk_trade_pct", "100.1", "above 0 to 100"),
        ("confidence_threshold", "1.01", "from 0 to 1"),
        ("confidence_threshold", "high", "from 0 to 1"),
        ("confidence_threshold", "NaN", "from 0 to 1"),
        ("confidence_threshold", float("inf"), "from 0 to 1"),
        ("confidence_threshold", "1E-999999", "from 0 to 1"),
        ("cooldown_s", "1E+999999", "0 to 31536000"),
        ("rl_v3_live.mode", "FULL", "OFF, SHADOW, HYBRID, PRIMARY"),
        ("stops_required", 1, "true or false"),
        ("symbols", "btc", "symbols"),
        ("symbols", ",".join(f"S{i}USDT" for i in range(11)), "at most 10"),
        ("symbols", {"a": 1}, "symbols"),
        ("strategy", "no such name!", "letters"),
        ("position_mode", "hedge", "one_way"),
    ],
)
def test_a_value_out_of_range_is_refused_with_field_value_and_range(
    name: str, value: Any, range_: str
) -> None:
    said = refused({name: value})
    assert said.code == "OUT_OF_RANGE"
    assert name in said.sentence or f"rl_v3_live.{name}" in said.sentence
    assert said.limit is not None
    assert range_ in said.limit
    assert said.value
    assert said.limit in said.sentence


def test_every_field_says_what_it_takes() -> None:
    for model in (Policy, RlV3Live):
        for name, schema in model.model_json_schema()["properties"].items():
            if name != "rl_v3_live":
                assert "None" not in allowed_values(schema), name


@given(
    st.dictionaries(
        st.sampled_from([*Policy.model_fields, *RlV3Live.model_fields, "nonsense"]),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), WORDS,
            st.lists(WORDS, max_size=3), st.dictionaries(WORDS, st.none(), max_size=2),
        ),
        max_size=3,
    )
)  # fmt: skip
def test_whatever_is_given_the_answer_is_a_valid_policy_or_a_refusal(
    changes: dict[str, Any],
) -> None:
    result = change_policy(POLICY, changes, opening=False)
    if isinstance(result, Change):
        assert Policy.model_validate(result.policy.model_dump()) == result.policy
        for path, value in result.after.items():
            stored = value_at(result.policy, path)
            assert (list(stored) if isinstance(stored, tuple) else stored) == value
    else:
        assert result.sentence


# ---------------------------------------------------------------- rollback


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cooldown_s": st.integers(0, 1000),
            "max_size_pct": st.integers(1, 100),
            "strategy": st.sampled_from([None, "baseline"]),
            "restricted_symbols": st.lists(st.sampled_from(["BTCUSDT", "ETHUSDT"]), unique=True),
            "allow_new_trades": st.booleans(),
        },
    )
)
def test_a_rollback_gives_every_value_back(changes: dict[str, Any]) -> None:
    later = changed(**changes)
    back, left = rollback(later, POLICY)
    assert left == []
    result = change_policy(later, back, opening=False)
    assert isinstance(result, Change), result
    assert result.policy == POLICY


def test_a_rollback_across_an_emergency_leaves_what_the_emergency_holds() -> None:
    stopped = POLICY.model_copy(
        update={"emergency_mode": True, "allow_new_trades": False, "emergency_reason": "smoke"}
    )
    back, left = rollback(stopped.model_copy(update={"cooldown_s": 1}), POLICY)
    assert back == {"cooldown_s": 180}
    assert left == ["emergency_mode", "allow_new_trades", "emergency_reason"]
    back, left = rollback(POLICY, stopped)
    assert back == {}, "no rollback brings an emergency back"
