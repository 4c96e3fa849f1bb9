"""Goal: another policy changes what it must and nothing else, and the part before it is exact.

Method: runs of the in-process engine are taken as recorded logs; their inputs run again.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from replay.compare import first_field
from replay.inputs import Rerun, accounts_in, is_decided, is_outside
from replay.other_policy import PolicyFileError, read_policy
from replay.sources import RecordedLog
from replay.summary import Summary
from replay.whatif import WhatIf, whatif
from schemas.scalars import text
from schemas.topics import PARTITIONS_EMBEDDED
from tests.replay.recorded_runs import crash, night, records, steered

AFTER = "2021-05-19T12:40:00.000000Z"


def same_policy(log: RecordedLog) -> WhatIf:
    return whatif(log, {"max_size_pct": "15", "max_trades_per_hour": 10}, account="main")


def pnl(log: RecordedLog) -> str:
    """Equity less transfers of all accounts, from the log alone."""
    summary = Summary.of(r.event for r in records(log) if r.valid and r.event is not None)
    marks = summary.marks
    total = sum(a.equity(marks) - a.booked("transfers") for a in summary.accounts.values())
    assert not isinstance(total, int)
    return text(total)


@pytest.mark.parametrize("log", [crash, night, steered], ids=["crash", "night", "steered"])
def test_the_recorded_policy_changes_nothing_to_the_last_digit(log: Any) -> None:
    result = same_policy(log()).as_json(10)
    assert result["decisions_changed"] == 0
    assert result["decisions"]["identical"] == result["decisions"]["recorded"] > 40
    assert result["pnl_before"] == result["pnl_after"] == pnl(log())
    assert result["pnl_before"] != "0"
    assert result["unchanged_policy_differences"] == 0
    assert result["first_change"] is None
    assert result["identical_prefix"]["until"] is None


def test_what_comes_before_the_first_difference_is_the_same_bytes() -> None:
    """A change made in the middle: the rerun's records are compared anew, one by one, in order."""
    log = crash()
    result = whatif(log, {"cooldown_s": 0, "max_size_pct": "30"}, start=AFTER)
    prefix = result.comparison.prefix
    recorded = [
        r.event for r in records(log)
        if r.valid and r.event is not None and is_decided(r.topic, r.event)
    ]  # fmt: skip
    assert 20 < prefix < len(recorded)
    rerun = Rerun(accounts_in(log), partitions=PARTITIONS_EMBEDDED)
    again = [
        stored.event
        for record in records(log)
        if is_outside(record) and record.event is not None
        for stored in rerun.feed(record.topic, record.event)
        if is_decided(stored.key.rpartition("/")[0], stored.event)
    ]
    assert recorded == again
    changed = result.first_change
    assert changed is not None
    assert changed.time >= AFTER
    first = [e.id for e in recorded].index(changed.record_id)
    assert prefix <= first
    kept = {"type", "subject", "time", "data"}
    for one, other in zip(recorded[:prefix], again[:prefix], strict=True):
        assert one.model_dump_json(include=kept) == other.model_dump_json(include=kept)
    assert all(event.time < AFTER for event in recorded[:prefix])


def test_a_wider_limit_lets_a_refused_proposal_through_and_says_so() -> None:
    result = whatif(crash(), {"max_size_pct": "20"}, account="probe").as_json(100)
    first = result["first_change"]
    assert first["field"] == "verdict"
    assert (first["before"], first["after"]) == ("rejected", "approved")
    assert "GUARD_B_SIZE_PCT" in first["line_before"]
    assert result["orders"]["appeared"] > 0
    appeared = [d for d in result["differences"] if d["kind"] == "appeared"]
    assert any("for entry" in d["line_after"] for d in appeared)
    for account in ("main", "hot"):
        figures = result["by_account"][account]
        assert figures["pnl_before"] == figures["pnl_after"]
    assert result["by_account"]["probe"]["pnl_before"] != result["by_account"]["probe"]["pnl_after"]


def test_a_tighter_limit_makes_orders_vanish_with_their_results() -> None:
    result = whatif(crash(), {"min_confidence": "0.99"})
    plain = result.as_json(0)
    assert plain["differences"] == []
    assert plain["orders"]["vanished"] > 5
    assert plain["orders"]["appeared"] == 0
    assert all(f["orders_after"] == f["fills_after"] == 0 for f in plain["by_account"].values())
    assert plain["pnl_after"] == "0"


def test_a_limit_that_decides_nothing_changes_figures_only() -> None:
    result = whatif(crash(), {"max_gross_pct": "149"}, account="main")
    assert result.decisions_changed == 0
    assert result.counts["figures_only"] > 0
    assert result.pnl(result.before) == result.pnl(result.after)


def test_start_equity_is_deposited_as_the_policy_says() -> None:
    result = whatif(crash(), {"start_equity_usdt": "5000"}, account="main")
    assert result.after.accounts["main"].booked("transfers") == 5000
    assert result.before.accounts["main"].booked("transfers") == 10000


def test_a_recorded_change_of_the_same_field_does_not_undo_the_override() -> None:
    """`main` set cooldown_s to 0 by hand; under the override it keeps 600, and later commands
    are still taken although the version is another."""
    result = whatif(steered(), {"cooldown_s": 600})
    policies = {n: a.policy for n, a in result.after.accounts.items()}
    assert all(policy is not None and policy.cooldown_s == 600 for policy in policies.values())
    assert result.after.accounts["hot"].emergencies == 1
    assert result.after.accounts["main"].policy_version == 1
    assert result.after.commands_rejected == {"STALE_VERSION": 1, "NO_CHANGE": 1}


def test_an_account_that_lists_its_operators_is_asked_about_like_any_other() -> None:
    log = steered()
    result = whatif(log, {"cooldown_s": 5, "operators": ["demo", "ann"]}, start=AFTER)
    policy = result.after.accounts["probe"].policy
    assert policy is not None
    assert policy.cooldown_s == 5
    assert result.after.accounts["probe"].policy_version == 2


def test_an_override_that_never_begins_is_refused() -> None:
    with pytest.raises(PolicyFileError, match="ended before 2022"):
        whatif(crash(), {"cooldown_s": 0}, start="2022-01-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_sise_pct": "20"}, "did you mean rl_v3_live.max_size_pct"),
        ({"max_leverage": 500}, "a whole number from 1 to 125"),
        ({"profile": "testnet"}, "cannot be replaced"),
        ({"emergency_mode": True}, "set by emergency commands only"),
    ],
)
def test_a_policy_file_is_refused_with_field_and_remedy(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(PolicyFileError, match=words) as refused:
        read_policy(path)
    assert next(iter(fields)) in str(refused.value)
    assert str(path) in str(refused.value)


def test_an_unknown_account_is_refused_with_those_there_are() -> None:
    with pytest.raises(PolicyFileError, match="there are: hot, main, probe"):
        whatif(crash(), {"cooldown_s": 0}, account="mian")


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("cooldown_s = 60\n[rl_v3_live]\nmax_size_pct = 20\n")
    (tmp_path / "a.json").write_text('{"cooldown_s": 60, "rl_v3_live": {"max_size_pct": 20}}')
    assert read_policy(tmp_path / "a.toml") == read_policy(tmp_path / "a.json")
    for name, content in (("b.json", "{"), ("b.toml", "a="), ("c.json", "[]"), ("d.json", "{}")):
        (tmp_path / name).write_text(content)
        with pytest.raises(PolicyFileError, match=name):
            read_policy(tmp_path / name)


def test_the_first_field_that_differs_is_named_by_its_path() -> None:
    one: dict[str, Any] = {"plan": {"risk": "1", "legs": [{"q": "1"}, {"q": "2"}]}, "limits": [1]}
    other: dict[str, Any] = {"plan": {"risk": "1", "legs": [{"q": "1"}, {"q": "3"}]}, "limits": []}
    assert first_field(one, other) == ("plan.legs[1].q", "2", "3")
    assert first_field({"limits": [1]}, {"limits": []}, outcome=True) is None
    assert first_field({"a": None}, {}) is None
