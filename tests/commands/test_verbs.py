"""Goal: a person's verbs, policy versions and dead letters, from the command line to the log.

Method: the real command line on a real broker; the real deciders of control, risk and execution
answer. What the orders do at a venue is shown in tests/replay/test_verbs.py.
"""

import base64
import json
from typing import Any

import pytest
from confluent_kafka import Producer

from replay.log import ends
from schemas.ids import natural_id
from tests.commands.conftest import Quantum

pytestmark = pytest.mark.usefixtures("answering")
WHO = ("--operator", "ann", "--reason", "test")


def told(quantum: Quantum, *arguments: str, code: int = 0) -> Any:
    done = quantum(*arguments, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


# ---------------------------------------------------------------- verbs


def test_pause_and_resume_are_policy_changes_shown_by_status_and_positions(
    quantum: Quantum,
) -> None:
    symbol = told(quantum, "positions", "--account", "main")[0]["symbol"]
    row = told(quantum, "pause", symbol, "--account", "main", *WHO)[0]
    assert row["paused"] == [symbol]
    assert told(quantum, "status")["accounts"]["main"]["paused"] == [symbol]
    positions = told(quantum, "positions", "--account", "main")
    assert [p["paused"] for p in positions if p["symbol"] == symbol] == [True]
    assert f"{symbol} paused" in quantum("status").stdout
    again = quantum("pause", symbol, "--account", "main", *WHO)
    assert again.exit_code == 4
    assert "NO_CHANGE" in again.stderr
    assert told(quantum, "resume", symbol, "--account", "main", *WHO)[0]["paused"] == []
    history = told(quantum, "policy", "history", "--account", "main")
    assert [row["after"] for row in history[-2:]] == [
        {"paused_symbols": [symbol]}, {"paused_symbols": []},
    ]  # fmt: skip


def test_a_symbol_that_is_not_listed_is_not_paused(quantum: Quantum) -> None:
    done = quantum("pause", "BTCUSD", "--account", "hot", *WHO)
    assert done.exit_code == 4
    assert "did you mean BTCUSDT?" in done.stderr.replace("\n", " ")
    assert quantum("pause", "btc-usdt", *WHO).exit_code == 2


def test_reduce_and_flatten_lead_to_reduce_only_orders_and_why_explains_them(
    quantum: Quantum,
) -> None:
    side = told(quantum, "positions", "--account", "main")[0]["side"]
    row = told(quantum, "reduce", "50", "--account", "main", *WHO)[0]
    order = row["done"][0]
    assert (order["purpose"], order["quantity"]) == ("reduce_command", "0.008")
    assert (side, order["side"]) in (("LONG", "SELL"), ("SHORT", "BUY"))
    row = told(quantum, "flatten", "--account", "main", *WHO)[0]
    assert [(o["kind"], o["purpose"]) for o in row["done"]] == [("order", "exit_command")]
    chain = told(quantum, "why", row["done"][0]["client_order_id"])["chain"]
    assert [link["type"] for link in chain][-3:] == [
        "command.account.flatten.v1", "trade.command.judged.v1", "trade.order.decided.v1",
    ]  # fmt: skip
    again = told(quantum, "close", "BTCUSDT", "--account", "main", *WHO)[0]
    assert again["done"][0]["why"] == "ALREADY_CLOSING"


def test_what_a_verb_has_nothing_to_do_for_is_refused_and_says_so(quantum: Quantum) -> None:
    done = quantum("close", "ETHUSDT", "--account", "main", *WHO)
    assert done.exit_code == 4
    assert "NOTHING_OPEN" in done.stderr
    assert quantum("reduce", "0", "--account", "main", *WHO).exit_code == 2
    done = quantum("cancel", "qt0000000000000000000000", "--account", "main", *WHO)
    assert "UNKNOWN_ORDER" in done.stderr
    assert quantum("cancel", "BTCUSDT", "--force", *WHO).exit_code == 2


def test_a_stop_is_not_cancelled_without_consent(quantum: Quantum) -> None:
    lines = quantum("events", "--topic", "trade.order", "--account", "main", "--json").stdout
    orders = [
        item
        for line in lines.splitlines()
        for item in json.loads(line)["data"].get("items", ())
        if item.get("purpose") == "stop"
    ]
    done = quantum("cancel", orders[-1]["client_order_id"], "--account", "main", *WHO)
    assert done.exit_code == 4
    assert "PROTECTIVE_ORDER" in done.stderr
    assert "--force" in done.stderr.replace("\n", " ")


def test_a_policy_command_on_the_topic_of_trade_commands_is_answered(
    quantum: Quantum, crash_kafka: str
) -> None:
    body = {
        "type": "command.emergency.stop.v1", "subject": "main",
        "data": {"operator": "ann", "reason": "wrong topic"},
    }  # fmt: skip
    producer = Producer({"bootstrap.servers": crash_kafka, "partitioner": "murmur2_random"})
    producer.produce("commands.trade", json.dumps(body), b"main")
    producer.flush(10)
    for _ in range(50):
        shown = quantum("events", "--type", "command.judged", "--json").stdout
        if "UNKNOWN_COMMAND" in shown:
            break
    assert "send it to its own topic" in shown


# ---------------------------------------------------------------- policy versions


def test_policy_diff_and_rollback_by_version(quantum: Quantum) -> None:
    first = told(quantum, "policy", "show", "--account", "probe")["probe"]["version"]
    told(quantum, "policy", "set", "cooldown_s=91", "max_leverage=7", "--account", "probe", *WHO)
    found = told(quantum, "policy", "diff", "--account", "probe")
    assert (found["from"], found["to"]) == (str(first), first + 1)
    assert found["after"] == {"cooldown_s": 91, "max_leverage": 7}
    back = told(quantum, "policy", "rollback", str(first), "--account", "probe", *WHO)
    assert (back["version"], back["rolled_back_to"]) == (first + 2, first)
    assert set(back["after"]) == {"cooldown_s", "max_leverage"}
    same = ("--account", "probe", "--from", str(first), "--to", str(first + 2))
    assert told(quantum, "policy", "diff", *same)["after"] == {}
    assert "no difference" in quantum("policy", "diff", *same).stdout
    profile = told(quantum, "policy", "diff", "--account", "probe", "--profile")
    assert profile["from"] == "profile production"
    assert profile["after"]["max_time_in_trade_s"] == 300


def test_a_stale_rollback_is_refused_with_both_versions(quantum: Quantum) -> None:
    now = told(quantum, "policy", "show", "--account", "probe")["probe"]["version"]
    told(quantum, "policy", "set", "cooldown_s=33", "--account", "probe", *WHO)
    done = quantum("policy", "rollback", "1", "--account", "probe", "--expect", str(now), *WHO)
    assert done.exit_code == 4
    said = done.stderr.replace("\n", " ")
    assert f"expects version {now}" in said
    assert f"at version {now + 1}" in said
    assert quantum("policy", "rollback", "999", "--account", "probe", *WHO).exit_code == 2
    same = quantum("policy", "rollback", str(now + 1), "--account", "probe", *WHO)
    assert "NO_CHANGE" in same.stderr
    assert quantum("policy", "diff", "--account", "nobody").exit_code == 1


# ---------------------------------------------------------------- dead letters


def letter(
    bootstrap: str, raw: bytes, *, reason: str, topic: str = "trade.signal.v5", offset: int,
    key: bytes = b"main",
) -> str:  # fmt: skip
    """Put a dead letter of risk; its place."""
    producer = Producer({"bootstrap.servers": bootstrap})
    headers: list[tuple[str, str | bytes | None]] = [
        ("topic", topic.encode()), ("partition", b"7"), ("offset", str(offset).encode()),
        ("reason", reason.encode()),
    ]  # fmt: skip
    producer.produce("dlq.risk", raw, key, 0, headers=headers)
    producer.flush(10)
    return f"{topic}/7/{offset}"


SIGNAL = {
    "type": "trade.signal.published.v1", "subject": "main", "id": natural_id("letter", "1"),
    "data": {"items": [
        {"symbol": "BTCUSDT", "side": "BUY", "confidence": "0.3", "origin": "hand"},
    ]},
}  # fmt: skip


def test_a_letter_that_failed_in_a_decision_is_replayed_under_a_new_id(
    quantum: Quantum, crash_kafka: str
) -> None:
    place = letter(
        crash_kafka, json.dumps(SIGNAL).encode(), reason="KeyError: 'BTCUSDT'", offset=1_000_001
    )
    shown = told(quantum, "dlq", "show", place)
    assert shown["now"] == "would be taken: trade.signal.published.v1"
    assert shown["state"] == "open"
    done = told(quantum, "dlq", "replay", place, *WHO)
    assert done["new_id"]
    assert done["id"] == natural_id("replayed", place)
    answers = [
        json.loads(line)
        for line in quantum("events", "--topic", "trade.signal.safe", "--json").stdout.splitlines()
    ]
    assert [a for a in answers if a.get("causationid") == done["id"]], "it was decided on"
    row = next(r for r in told(quantum, "dlq", "list") if r["place"] == place)
    assert (row["state"], row["settled"]["operator"]) == ("replayed", "ann")
    assert row["settled"]["replayed_as"] == done["place"]
    assert json.loads(base64.b64decode(row["base64"])) == SIGNAL, "kept as it was"
    again = quantum("dlq", "replay", place, *WHO)
    assert again.exit_code == 4
    assert "replayed by ann already" in again.stderr.replace("\n", " ")


def test_a_letter_with_the_wrong_key_is_replayed_byte_for_byte_under_the_right_one(
    quantum: Quantum, crash_kafka: str
) -> None:
    raw = json.dumps({**SIGNAL, "id": natural_id("letter", "2")}).encode()
    place = letter(crash_kafka, raw, reason="WRONG_KEY: key", offset=1_000_002, key=b"other")
    done = told(quantum, "dlq", "replay", place, *WHO)
    assert not done["new_id"]
    assert done["id"] == natural_id("letter", "2")


def test_a_letter_without_an_id_gets_one_of_its_first_place(
    quantum: Quantum, crash_kafka: str
) -> None:
    """Its readers would make another from each place that it stands at, and act on each."""
    nameless = {name: value for name, value in SIGNAL.items() if name != "id"}
    place = letter(
        crash_kafka, json.dumps(nameless).encode(), reason="WRONG_KEY: key", offset=1_000_005,
        key=b"other",
    )  # fmt: skip
    before = ends(crash_kafka, ["trade.signal.v5"])
    refused = quantum("dlq", "replay", place, "--operator", "ann smith", "--reason", "x")
    assert refused.exit_code == 2
    assert "operator" in refused.stderr
    assert ends(crash_kafka, ["trade.signal.v5"]) == before, "nothing is published then"
    done = told(quantum, "dlq", "replay", place, *WHO)
    assert (done["new_id"], done["id"]) == (True, natural_id("replayed", place))


def test_what_cannot_be_taken_is_not_replayed_but_can_be_discarded(
    quantum: Quantum, crash_kafka: str
) -> None:
    place = letter(crash_kafka, b"\xff", reason="NOT_JSON: not JSON", offset=1_000_003)
    assert "still refused: NOT_JSON" in told(quantum, "dlq", "show", place)["now"]
    refused = quantum("dlq", "replay", place, *WHO)
    assert refused.exit_code == 4
    assert "NOT_JSON" in refused.stderr
    done = told(quantum, "dlq", "discard", place, *WHO)
    assert done["operator"] == "ann"
    line = next(x for x in quantum("dlq", "list").stdout.splitlines() if place in x)
    assert "discarded" in line
    assert "discarded by ann: test" in quantum("dlq", "show", place).stdout
    assert quantum("dlq", "discard", place, *WHO).exit_code == 4
    rows = told(quantum, "dlq", "list")
    left = sum(row["state"] == "open" for row in rows)
    checks = json.loads(quantum("doctor", "--json").stdout)["checks"]
    said = next(check for check in checks if check["name"] == "dead letters")
    assert said["outcome"] == ("warning" if left else "ok"), "settled ones are no warning"


def test_records_of_workers_and_of_the_feed_are_not_replayed(
    quantum: Quantum, crash_kafka: str
) -> None:
    lines = quantum("events", "--topic", "trade.signal.safe", "--json").stdout.splitlines()
    place = letter(
        crash_kafka, lines[0].encode(), reason="KeyError: 'x'", topic="trade.signal.safe",
        offset=1_000_004,
    )  # fmt: skip
    done = quantum("dlq", "replay", place, *WHO)
    assert done.exit_code == 4
    assert "its place in that source's order is gone" in done.stderr.replace("\n", " ")
    assert quantum("dlq", "show", "risk/99999").exit_code == 2
