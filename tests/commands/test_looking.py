"""Goal: what people and scripts look at: status, positions, events, why, policy, emergency, dlq.

Method: the real command line on a real broker that holds three hours of the crash.
"""

import json
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from replay.summary import Summary
from schemas.trade import Order, Verdict
from tests.commands.conftest import Quantum
from tests.crash_hours import crash_events


def _events() -> tuple[Any, ...]:
    return crash_events()


def test_status_has_the_figures_of_every_account(quantum: Quantum) -> None:
    done = quantum("status", "--json")
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    summary = Summary.of(crash_events())
    assert data["events"] == summary.events
    assert data["signals"] == summary.signals
    assert {"lag", "kafka", "postgres", "workers"} <= set(data)
    for name, account in summary.accounts.items():
        found = data["accounts"][name]
        assert found["approved"] == account.approved
        assert found["rejected"] == dict(account.rejected)
        assert found["equity"] == format(account.equity(summary.marks).normalize(), "f")
        assert found["open_positions"] == len(account.positions)


def test_status_for_people_names_accounts_and_states(quantum: Quantum) -> None:
    done = quantum("status")
    assert done.exit_code == 0
    assert "main" in done.stdout
    assert "ACTIVE" in done.stdout


def test_lag_is_what_a_worker_has_not_folded(quantum: Quantum, crash_kafka: str) -> None:
    from replay.log import ends

    until = ends(crash_kafka, ["market", "clock"])
    positions = {"market/0": until["market/0"] - 3, "clock/0": until["clock/0"]}
    report = {
        "worker": "signals", "incarnation": "1", "full": True, "positions": positions,
        "epochs": {str(number): 1 for number in range(8)},
        "ends": {}, "unresolved": 0, "time": "2021-05-19T14:00:00.000000Z",
    }  # fmt: skip
    producer = Producer({"bootstrap.servers": crash_kafka})
    producer.produce("progress", orjson.dumps(report), b"signals", 0)
    partial = report | {"full": False, "positions": {"market/0": until["market/0"] - 2}}
    producer.produce("progress", orjson.dumps(partial), b"signals", 0)
    producer.flush(10)
    data = json.loads(quantum("status", "--json").stdout)
    assert data["lag"]["signals"] == 2
    assert data["workers"]["signals"] == "running"


def test_positions_can_be_asked_for_one_account(quantum: Quantum) -> None:
    rows = json.loads(quantum("positions", "--json", "--account", "main").stdout)
    assert {row["account"] for row in rows} <= {"main"}
    assert all(row["stop"] for row in rows)


def test_events_are_given_as_they_stand_in_the_log(quantum: Quantum) -> None:
    done = quantum("events", "--json", "--type", "judged", "--account", "probe")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [
        e.id for e in _events() if e.type == "trade.signal.judged.v1" and e.partitionkey == "probe"
    ]
    assert sorted(line["id"] for line in lines) == sorted(expected)


def test_events_since_an_event_time_leave_out_what_is_older(quantum: Quantum) -> None:
    zoned = quantum("events", "--json", "--topic", "clock", "--since", "2021-05-19T15:59+02:00")
    done = quantum("events", "--json", "--topic", "clock", "--since", "2021-05-19T13:59")
    assert zoned.stdout == done.stdout
    times = [json.loads(line)["time"] for line in done.stdout.splitlines()]
    assert times == ["2021-05-19T13:59:00.000000Z", "2021-05-19T14:00:00.000000Z"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--since", "yesterday"), "neither a time"), (("--topic", "nope"), "is no topic")],
)
def test_events_refuses_what_it_cannot_understand(
    quantum: Quantum, arguments: tuple[str, ...], words: str
) -> None:
    done = quantum("events", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr.replace("\n", " ")


def test_why_explains_a_refusal(quantum: Quantum) -> None:
    verdict = next(
        v
        for e in _events()
        if e.type == "trade.signal.judged.v1"
        for v in e.data.items
        if isinstance(v, Verdict) and v.reason == "PRICE_COLLAR"
    )
    done = quantum("why", verdict.id, "--json")
    chain = json.loads(done.stdout)["chain"]
    assert chain[-1]["type"] == "trade.signal.judged.v1"
    assert "PRICE_COLLAR" in chain[-1]["line"]
    people = quantum("why", verdict.id)
    assert "PRICE_COLLAR" in people.stdout


def test_why_takes_a_client_order_id(quantum: Quantum) -> None:
    order = next(o for e in _events() for o in getattr(e.data, "items", ()) if isinstance(o, Order))
    done = quantum("why", order.client_order_id, "--json")
    assert order.id in json.loads(done.stdout)["chain"][-1]["parts"]


def test_why_of_an_unknown_id_is_one_line_and_exit_code_1(quantum: Quantum) -> None:
    done = quantum("why", "nothing-of-ours")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "no id of a record" in done.stderr.replace("\n", " ")


def test_policy_show_says_where_a_value_came_from(quantum: Quantum) -> None:
    data = json.loads(quantum("policy", "show", "--json").stdout)
    assert data["hot"]["policy"]["rl_v3_live"]["max_size_pct"] == "100"
    assert data["hot"]["origins"]["rl_v3_live.max_size_pct"] == 1
    assert "max_leverage" not in data["hot"]["origins"]
    assert "policy 1" in quantum("policy", "show", "--account", "hot").stdout


def test_policy_history_names_who_and_why(quantum: Quantum) -> None:
    rows = json.loads(quantum("policy", "history", "--json", "--account", "probe").stdout)
    assert [(row["version"], row["operator"]) for row in rows] == [(1, "demo")]
    assert rows[0]["after"]["max_time_in_trade_s"] == 300


@pytest.mark.parametrize("what", ["show", "history"])
def test_policy_of_an_unknown_account_names_those_there_are(quantum: Quantum, what: str) -> None:
    done = quantum("policy", what, "--account", "nobody")
    assert done.exit_code == 1
    assert "hot, main, probe" in done.stderr


def test_emergency_status_lists_states(quantum: Quantum) -> None:
    data = json.loads(quantum("emergency", "status", "--json").stdout)
    assert data["accounts"]["main"] == {
        "trading_state": "ACTIVE", "emergency": False, "governor": "NORMAL", "holds": [],
        "hfos": "NORMAL",
    }  # fmt: skip
    assert {each["account"] for each in data["emergencies"]} <= {"hot"}
    assert all(each["flat_at"] for each in data["emergencies"])


def test_dead_letters_keep_bytes_and_place(quantum: Quantum, crash_kafka: str) -> None:
    producer = Producer({"bootstrap.servers": crash_kafka})
    headers = [("topic", b"trade.signal.v5"), ("partition", b"3"), ("offset", b"17")]
    reason = ("reason", b"NOT_JSON: not JSON")
    producer.produce("dlq.risk", b"\xff\x00", b"main", 0, headers=[*headers, reason])
    producer.flush(10)
    rows = json.loads(quantum("dlq", "list", "--json", "--processor", "risk").stdout)
    assert rows[-1]["base64"] == "/wA="
    assert (rows[-1]["topic"], rows[-1]["original_offset"]) == ("trade.signal.v5", "17")
    assert "NOT_JSON" in quantum("dlq", "list").stdout
    assert quantum("dlq", "list", "--processor", "nobody").exit_code == 2


def test_doctor_names_the_links_that_do_not_hold(quantum: Quantum) -> None:
    done = quantum("doctor", "--json")
    data = json.loads(done.stdout)
    assert done.exit_code == 1
    assert not data["ok"]
    outcomes = {check["name"]: check["outcome"] for check in data["checks"]}
    assert outcomes["broker"] == "ok"
    assert outcomes["topics"] == "ok"
    assert outcomes["postgres"] == "failed"
    assert outcomes["workers"] == "failed"
    assert {"postgres", "workers"} <= set(data["failed"])
