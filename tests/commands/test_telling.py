"""Goal: what people tell the system is answered, or refused with a reason.

Method: the real command line on a real broker; the real deciders of control and risk answer.
"""

import json

import pytest

from commands.publish import Publisher
from schemas.ids import natural_id
from schemas.topics import ORDER, partition_of
from schemas.trade import Flat, OrderData, OrderDecided
from tests.commands.conftest import Answering, Quantum
from tests.crash_hours import crash_log

pytestmark = pytest.mark.usefixtures("answering")
WHO = ("--operator", "ann", "--reason", "test")


def test_a_signal_is_answered_by_its_verdict(quantum: Quantum) -> None:
    done = quantum(
        "send", "signal", "symbol=BTCUSDT", "side=BUY", "confidence=0.42", "--wait", "--json"
    )
    data = json.loads(done.stdout)
    assert data["type"] == "trade.signal.judged.v1"
    assert data["refused"].startswith("LOW_CONFIDENCE: Confidence 0.42")
    assert done.exit_code == 4


def test_a_record_that_is_wrong_is_not_sent_and_the_field_is_named(quantum: Quantum) -> None:
    for fields, word in (
        (("symbol=BTCUSDT", "side=BUY"), "confidence"),
        (("symbol=BTCUSDT", "side=UP", "confidence=0.5"), "side"),
        (("symbol=BTCUSDT", "colour=red"), "no field colour"),
        (("symbol",), "key=value"),
    ):
        done = quantum("send", "signal", *fields)
        assert done.exit_code == 2
        assert word in done.stderr.replace("\n", " ")
    assert quantum("send", "nonsense").exit_code == 2


def test_policy_set_shows_what_it_changed_and_a_stale_version_is_refused(quantum: Quantum) -> None:
    before = json.loads(quantum("policy", "show", "--json").stdout)["probe"]["version"]
    arguments = ("policy", "set", "--account", "probe", *WHO)
    done = quantum(*arguments, "cooldown_s=77", "max_size_pct=12", "--json")
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["version"] == before + 1
    assert data["after"]["cooldown_s"] == 77
    stale = quantum(*arguments, "cooldown_s=78", "--expect", str(before))
    assert stale.exit_code == 4
    assert "STALE_VERSION" in stale.stderr
    after = json.loads(quantum("policy", "show", "--json").stdout)["probe"]
    assert after["policy"]["cooldown_s"] == 77
    assert after["origins"]["cooldown_s"] == before + 1


def test_policy_set_refuses_values_out_of_range_and_unknown_fields(quantum: Quantum) -> None:
    arguments = ("policy", "set", "--account", "probe", *WHO)
    assert quantum(*arguments, "no_such_limit=1").exit_code == 2
    done = quantum(*arguments, "max_leverage=500")
    assert done.exit_code == 4
    assert "max_leverage" in done.stderr


def test_an_emergency_is_activated_shown_and_not_reset_before_it_is_flat(quantum: Quantum) -> None:
    done = quantum("emergency", "stop", "--account", "hot", *WHO, "--json")
    assert done.exit_code == 0, done.stderr
    emergency = json.loads(done.stdout)["emergency_id"]
    data = json.loads(quantum("emergency", "status", "--json").stdout)
    assert data["accounts"]["hot"] == {"trading_state": "HALTED", "emergency": True}
    assert [(e["id"], e["flat_at"]) for e in data["emergencies"]] == [(emergency, None)]
    reset = quantum("emergency", "reset", "--account", "hot", *WHO)
    assert reset.exit_code == 4
    assert "NOT_FLAT" in reset.stderr


def flat(emergency: str) -> OrderDecided:
    """The record by which execution, whose part nobody plays here, calls `probe` flat."""
    source = f"/execution/{partition_of('probe', 8)}"
    (*_, last) = (s.event for s in crash_log() if s.event.source == source and s.event.sequence)
    item = Flat(
        kind="flat", id=natural_id("test", "flat", emergency), emergency_id=emergency
    )  # fmt: skip
    return OrderDecided(
        id=natural_id("test", emergency), source=source, subject="probe", time=last.time,
        partitionkey="probe", sequence=(last.sequence or 0) + 1, epoch=last.epoch, basis=last.basis,
        causationid=last.id, correlationid=last.id, data=OrderData(items=(item,)),
    )  # fmt: skip


def test_a_reset_right_after_flat_is_asked_again_until_control_has_read_it(
    quantum: Quantum, answering: Answering, crash_kafka: str
) -> None:
    who = ("--account", "probe", *WHO)
    emergency = json.loads(quantum("emergency", "stop", *who, "--json").stdout)["emergency_id"]
    answering.deaf = ORDER.name
    with Publisher(crash_kafka) as publisher:
        publisher.send(flat(emergency), ORDER.name)
    done = quantum("emergency", "reset", *who, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["emergency_id"] == emergency
    assert "refused: NOT_FLAT" in done.stderr
    assert "control has not read it yet: asking again" in done.stderr


def test_a_trade_is_deleted_by_a_command_and_an_unknown_account_is_refused(
    quantum: Quantum,
) -> None:
    trade = "0f0a6f3c-8d5e-5a55-9d5e-0c6b1f6a7b10"
    fields = (f"trade_id={trade}", "operator=ann", "reason=a drill", "--wait", "--json")
    done = quantum("send", "trade.delete", *fields, "--account", "main")
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["type"] == "trade.deleted.v1"
    assert data["record"]["data"]["items"][0]["trade_id"] == trade
    assert data["line"].startswith(f"trade {trade} deleted from the default view by ann (a drill)")
    chain = json.loads(quantum("why", data["answer"], "--json").stdout)["chain"]
    assert [link["type"] for link in chain] == ["command.trade.delete.v1", "trade.deleted.v1"]
    assert f"trade {trade}" in chain[0]["line"]
    refused = quantum("send", "trade.delete", *fields, "--account", "nobody")
    assert refused.exit_code == 4
    assert json.loads(refused.stdout)["refused"].startswith("UNKNOWN_ACCOUNT")
    assert quantum("send", "trade.delete", "trade_id=x", *fields[1:]).exit_code == 2


def test_the_loop_check_opens_its_account_and_follows_a_probe_to_its_verdict(
    quantum: Quantum,
) -> None:
    for _ in range(2):
        data = json.loads(quantum("doctor", "--loop", "--json").stdout)
        checks = {check["name"]: check for check in data["checks"]}
        assert checks["loop: account"]["outcome"] == "ok", checks["loop: account"]
        assert checks["loop: probe"]["outcome"] == "ok", checks["loop: probe"]
        assert "signal to verdict in" in checks["loop: probe"]["detail"]
