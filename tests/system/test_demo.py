"""The demo on 19 May 2021 through the real broker and the real database.

Run as a person runs it, looked at afterwards by reopening it; and once more at another speed under
another hash seed. What it must show is in the issue of the spine.
"""

import json
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from commands.demo import demo_plan
from commands.live import LiveSystem
from projections.digest import equals_replay
from replay.log import ends, read_kafka
from schemas.topics import EVENT_TOPICS
from tests.system.conftest import Finished
from tests.system.running import (
    LIMIT_S,
    Told,
    assert_same,
    checked,
    console_tool,
    live,
    moment,
    run_to_end,
    told_by,
    valid_records,
)

pytestmark = pytest.mark.timeout(LIMIT_S)
SHOWN = {
    "LOW_CONFIDENCE",
    "GUARD_A_OPEN_INTENT",
    "GUARD_B_SIZE_PCT",
    "GUARD_C_RATE_LIMIT",
    "POSITION_OPEN",
    "COOLDOWN",
    "SYMBOL_UNKNOWN",
    "STALE_SIGNAL",
    "DUPLICATE_SIGNAL",
    "PRICE_COLLAR",
}


def test_the_demo_writes_what_the_engine_writes(finished: Finished, by_engine: Told) -> None:
    assert_same(told_by(finished.records), by_engine)


def test_another_speed_and_another_hash_seed_change_nothing(
    hours: tuple[str, str], by_engine: Told, full: bool
) -> None:
    with live(LiveSystem, PYTHONHASHSEED="1") as system:
        system.start(demo_plan(moment(hours[0]), moment(hours[1]), "5000" if full else "2000"))
        run_to_end(system)
        assert_same(told_by(valid_records(system.kafka)), by_engine)


def test_every_kind_of_refusal_is_shown(finished: Finished) -> None:
    shown: Counter[str] = Counter()
    for account in finished.report["accounts"].values():
        shown.update(account["rejected"])
    assert shown.keys() >= SHOWN


def test_trades_close_on_both_sides_by_stop_by_target_and_by_an_opposite_signal(
    finished: Finished,
) -> None:
    exits: Counter[str] = Counter()
    for account in finished.report["accounts"].values():
        exits.update(account["exits"])
    assert exits.keys() >= {"stop", "target", "exit_signal"}
    with psycopg.connect(finished.reopened["postgres"]) as connection:
        rows = connection.execute(
            "SELECT side, count(*) FROM live.trades WHERE closed_at IS NOT NULL GROUP BY side"
        ).fetchall()
    assert len(dict(rows)) == 2, rows


def test_the_projections_equal_a_replay_before_and_after_the_restart(finished: Finished) -> None:
    assert finished.report["projections_equal_replay"] is True
    assert finished.report["differences"] == []
    equal, differences = equals_replay(finished.kafka, finished.reopened["postgres"], timeout_s=60)
    assert equal, differences


def test_the_independent_checker_finds_nothing_and_the_same_figures(finished: Finished) -> None:
    figures = checked(finished.kafka)
    assert figures["signals"] == finished.report["signals"]
    assert figures["accounts"].keys() == finished.report["accounts"].keys()
    for name, account in figures["accounts"].items():
        reported = finished.report["accounts"][name]
        assert {key: reported[key] for key in account} == account, name


def test_a_reopened_run_says_what_the_demo_said(finished: Finished) -> None:
    status = finished.checkout.json("status")
    for name, account in finished.report["accounts"].items():
        again = status["accounts"][name]
        assert {key: again[key] for key in account} == account | {"max_drawdown_pct": None}
        assert account["max_drawdown_pct"] >= account["drawdown_pct"]
    assert finished.reopened["run"] == finished.report["run"]


def test_the_reopened_run_is_rebuilt_to_equal_tables(finished: Finished) -> None:
    rebuilt = finished.checkout.json("rebuild", "--verify", timeout_s=120)
    assert rebuilt["equal"] is True
    assert rebuilt["events"] > len(finished.records)


def test_every_decision_is_the_same_when_it_is_taken_again(finished: Finished) -> None:
    assert finished.report["verify_different"] == 0
    again = finished.checkout.json("verify")
    assert again["different"] == 0
    assert again["identical"] == again["decisions"] > 200


def test_a_backtest_of_its_input_decides_the_same(finished: Finished, full: bool) -> None:
    """All three days hold what no backtest knows: a person lifts the emergency of one account."""
    parity = finished.checkout.json("parity", timeout_s=300)
    by_hand = parity["classes"].get("emergency_by_hand", 0) if full else 0
    assert parity["unexplained"] == 0, parity["classes"]
    assert parity["identical"] == parity["decisions"] - by_hand > 200, parity["classes"]


def test_another_policy_that_is_the_same_changes_nothing(
    finished: Finished, tmp_path: Path
) -> None:
    same = tmp_path / "same.json"
    same.write_text(json.dumps({"rl_v3_live.liq_buffer_pct": "20"}))
    found = finished.checkout.json("whatif", "--policy", str(same), timeout_s=300)
    assert found["decisions_changed"] == 0
    assert found["pnl_before"] == found["pnl_after"]


def test_its_state_at_the_end_is_what_it_reported(finished: Finished) -> None:
    last = max(record.offset for record in finished.records if record.topic == "clock")
    end = next(r for r in finished.records if r.topic == "clock" and r.offset == last)
    assert end.event is not None
    state = finished.checkout.json("state", "--at", end.event.time, "--event-time", timeout_s=120)
    for name, account in finished.report["accounts"].items():
        assert state["accounts"][name]["equity"] == account["equity"], name


def test_nothing_printed_a_traceback(finished: Finished) -> None:
    for path, text in finished.checkout.outputs():
        assert "Traceback" not in text, path


def test_a_third_partys_consumer_reads_every_topic(finished: Finished) -> None:
    counts: dict[str, int] = {}
    for key, end in ends(finished.kafka, EVENT_TOPICS).items():
        topic = key.rpartition("/")[0]
        counts[topic] = counts.get(topic, 0) + end
    topics = [topic for topic, count in counts.items() if count]
    assert len(topics) >= 12
    output = console_tool(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *("--bootstrap-server", finished.kafka, "--from-beginning"),
        *("--include", "|".join(topic.replace(".", "[.]") for topic in topics)),
        *("--max-messages", str(sum(counts.values())), "--timeout-ms", "30000"),
    )
    lines = set(output.splitlines())
    for topic in topics:
        first = next(iter(read_kafka(finished.kafka, (topic,))))
        assert (first.raw or b"").decode() in lines, topic
