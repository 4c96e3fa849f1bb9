"""Goal: a sweep tries what was asked for, and shows the best one only with its other half."""

from datetime import timedelta

import pytest

from replay.sweep import figures_of, parse_sweep, sweep, with_fields
from tests.replay.backtests import crash_candles, crash_plan


def test_a_sweep_is_read_with_and_without_its_prefix() -> None:
    assert parse_sweep(["policy.risk_target_pct=0.5, 1", "strategy=baseline,donchian"]) == {
        "risk_target_pct": ["0.5", "1"],
        "strategy": ["baseline", "donchian"],
    }


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["risk_target_pct"], "write field=a,b,c"),
        (["risk_target_pct=1,,2"], "write field=a,b,c"),
        (["target_r=1,1"], "a value is given twice"),
        (["target_r=1", "policy.target_r=2"], "is given twice"),
        ([f"f{n}=" + ",".join(map(str, range(11))) for n in range(3)], "at most 1000"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_with_the_reason(texts: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_sweep(texts)


def test_each_half_is_the_backtest_of_its_days_and_two_processes_give_the_same() -> None:
    plan = crash_plan(candles=crash_candles()[:1], funding=(), warm_up_h=15)
    fields = {"risk_target_pct": ["0.5", "2"]}
    here = sweep(plan, fields, in_sample_pct=60, workers=1)
    assert plan.start is not None
    assert here.split == plan.start + timedelta(hours=3)
    assert [variant.fields["risk_target_pct"] for variant in here.variants] == ["0.5", "2"]
    second = with_fields(plan, {"risk_target_pct": "2"})
    assert here.variants[1].in_sample == figures_of(crash_plan(
        candles=crash_candles()[:1], funding=(), warm_up_h=15, policy=second.policy, end=here.split
    ))  # fmt: skip
    assert sorted(variant.rank_out for variant in here.variants) == [1, 2]
    assert sweep(plan, fields, in_sample_pct=60, workers=2).json() == here.json()


def test_the_best_stands_beside_its_figure_out_of_sample() -> None:
    plan = crash_plan(candles=crash_candles()[:1], funding=(), warm_up_h=15)
    told = sweep(plan, {"target_r": ["1", "2", "3"]}, workers=1).json()
    assert told["variants_tried"] == 3
    assert len(told["variants"]) == 3
    assert told["best_in_sample"]["rank_in"] == 1
    assert "return_pct" in told["best_in_sample"]["out_of_sample"]


def test_a_value_no_policy_takes_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=r"target_r: x is not allowed"):
        sweep(crash_plan(), {"target_r": ["1", "x"]}, workers=1)
    with pytest.raises(ValueError, match="no field of a policy"):
        sweep(crash_plan(), {"nothing": ["1"]}, workers=1)
    with pytest.raises(ValueError, match="no strategy is called"):
        sweep(crash_plan(), {"strategy": ["nothing", "baseline"]}, workers=1)
