"""Goal: what people tell the system is answered, or refused with a reason.

Method: the real command line on a real broker; the real deciders of control and risk answer.
"""

import json

import pytest

from tests.commands.conftest import Quantum

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
        (("symbol=BTCUSDT", "side=BUY", "confidence=NaN"), "signal was not sent"),
        (("symbol=", "side=BUY", "confidence=0.5"), "signal was not sent"),
        ((), "signal was not sent"),
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
    done = quantum("emergency", "stop", "--account", "probe", *WHO, "--json")
    assert done.exit_code == 0, done.stderr
    emergency = json.loads(done.stdout)["emergency_id"]
    data = json.loads(quantum("emergency", "status", "--json").stdout)
    probe = data["accounts"]["probe"]
    assert (probe["trading_state"], probe["emergency"]) == ("HALTED", True)
    found = [(e["id"], e["flat_at"]) for e in data["emergencies"] if e["account"] == "probe"]
    assert found == [(emergency, None)]
    reset = quantum("emergency", "reset", "--account", "probe", *WHO)
    assert reset.exit_code == 4
    assert "NOT_FLAT" in reset.stderr


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
