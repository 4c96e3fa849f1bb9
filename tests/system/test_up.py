"""A system that runs in the background, commanded from the command line and by foreign clients."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from runtime import runs
from runtime.settings import ROOT
from runtime.supervisor import read_state
from tests.system.running import LIMIT_S, Checkout, console_tool, scratch, wait_until

pytestmark = pytest.mark.timeout(LIMIT_S)
WHO = ("--operator", "ann", "--reason", "test")


def opened(running: Checkout, account: str, *changes: str) -> None:
    """An account of the testnet profile with its deposit."""
    wanted = ("start_equity_usdt=10000", *changes)
    running.run("policy", "set", *wanted, "--profile", "testnet", "--account", account, *WHO)
    wait_until(lambda: _account(running, account)["equity"] == "10000", f"{account} has money")


def _account(running: Checkout, name: str) -> dict[str, Any]:
    account: dict[str, Any] = running.json("status")["accounts"][name]
    return account


def _signal(account: str, *fields: str) -> tuple[str, ...]:
    return ("send", "signal", *fields, "--account", account, "--wait")


def test_status_shows_addresses_workers_and_lag(running: Checkout) -> None:
    status = running.json("status")
    assert status["kafka"].startswith("127.0.0.1:")
    assert status["postgres"].startswith("postgresql://")
    assert set(status["workers"].values()) == {"running"}
    assert status["lag"].keys() >= {"risk", "execution", "gateway", "positions", "projector"}


def test_a_policy_is_in_force_when_its_command_has_returned(running: Checkout) -> None:
    opened(running, "calm")
    fields = ("symbol=BTCUSDT", "side=BUY", "confidence=0.8")
    change = running.json("policy", "set", "min_confidence=0.95", "--account", "calm", *WHO)
    assert change["version"] == 2
    refused = running.json(*_signal("calm", *fields), code=4)
    assert refused["refused"].startswith("LOW_CONFIDENCE")
    why = running.json("why", refused["record"]["data"]["items"][0]["id"])
    assert [link["type"] for link in why["chain"]][-1] == "trade.signal.judged.v1"
    assert why["chain"][0]["type"].startswith(("trade.signal.published", "market", "clock"))


def test_a_stale_policy_version_is_refused_naming_both(running: Checkout) -> None:
    opened(running, "stale")
    running.run("policy", "set", "cooldown_s=60", "--expect", "1", "--account", "stale", *WHO)
    late = ("policy", "set", "cooldown_s=90", "--expect", "1", "--account", "stale", *WHO)
    _, err = running.run(*late, code=4)
    assert re.search(r"\b1\b.*\b2\b|\b2\b.*\b1\b", err), err
    assert "version" in err.lower()
    history = running.json("policy", "history", "--account", "stale")
    assert [row["version"] for row in history] == [1, 2]


def test_an_emergency_closes_everything_and_is_reset_only_when_flat(running: Checkout) -> None:
    opened(running, "desk")
    approved = running.json(*_signal("desk", "symbol=BTCUSDT", "side=BUY", "confidence=0.9"))
    assert approved["refused"] is None
    wait_until(lambda: len(running.json("positions", "--account", "desk")) == 1, "it is filled")
    lines = running.run("events", "--topic", "trade.order", "--account", "desk", "--json")[0]
    order = json.loads(lines.splitlines()[0])["data"]["items"][0]
    why = running.json("why", order["client_order_id"])
    types = [link["type"] for link in why["chain"]]
    assert types[-1] == "trade.order.decided.v1"
    assert "trade.signal.judged.v1" in types

    venue = read_state(_run(running).state_file)["venue"]["pid"]
    assert venue is not None
    os.kill(venue, signal.SIGSTOP)
    try:
        running.run("emergency", "stop", "--account", "desk", *WHO)
        _, err = running.run("emergency", "reset", "--account", "desk", *WHO, code=4)
        assert "flat" in err
    finally:
        os.kill(venue, signal.SIGCONT)

    def flat() -> bool:
        state = running.json("emergency", "status", "--account", "desk")
        return state["emergencies"][0]["flat_at"] is not None

    wait_until(flat, "desk is flat", seconds=60)
    assert running.json("positions", "--account", "desk") == []
    assert _account(running, "desk")["trading_state"] != "ACTIVE"
    running.run("emergency", "reset", "--account", "desk", *WHO)
    assert _account(running, "desk")["trading_state"] == "ACTIVE"


def test_the_doctor_finds_every_link_whole(running: Checkout) -> None:
    checks = running.json("doctor", "--loop")
    assert checks["failed"] == []
    assert "loop: probe" in [check["name"] for check in checks["checks"]]


def test_topics_agree_and_tables_are_rebuilt_while_it_runs(running: Checkout) -> None:
    assert running.json("topics", "diff") == []
    assert running.json("rebuild", "--verify", timeout_s=120)["equal"] is True


def test_a_second_system_of_one_checkout_is_refused(running: Checkout) -> None:
    _, err = running.run("up", code=1)
    assert "running already" in err
    assert "./quantum down" in err


def test_another_folder_runs_side_by_side_and_ctrl_c_leaves_nothing(running: Checkout) -> None:
    with scratch() as data:
        beside = Checkout(data)
        process = beside.start("up", "--json")
        wait_until(lambda: runs.running(data) is not None, "it begins", seconds=60)
        run = runs.running(data)
        assert run is not None
        wait_until(lambda: run.record.state == "running", "it runs", seconds=150)
        assert running.json("status")["kafka"] != run.record.kafka
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "Traceback" not in out + err
        assert json.loads(out)["kafka"] == run.record.kafka
        assert beside.left() == []
        beside.run("down", code=3)


def test_a_taken_port_is_named(running: Checkout) -> None:
    with scratch() as data, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        _, err = Checkout(data, QUANTUM_KAFKA_PORT=port).run("up", code=1, timeout_s=120)
        assert port in err
        assert "QUANTUM_KAFKA_PORT" in err
        assert left_nothing(data)


def test_an_interrupted_start_in_the_background_leaves_nothing() -> None:
    with scratch() as data:
        away = Checkout(data)
        process = away.start("up", "--detach")
        wait_until(lambda: runs.running(data) is not None, "it begins", seconds=60)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=150)
        assert process.returncode == 130, err
        assert "Traceback" not in out + err
        assert "interrupted; nothing runs" in err
        assert left_nothing(data)


@pytest.mark.parametrize("options", [(), ("--detach",)], ids=["up", "detached"])
def test_a_data_folder_that_cannot_be_one_is_named(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "file"
    place.touch()
    _, err = Checkout(place).run("up", *options, code=1, timeout_s=60)
    said = " ".join(err.split())
    assert f"{place} cannot be written to" in said
    assert "set QUANTUM_DATA" in said
    assert "details:" not in said


@pytest.mark.parametrize("command", ["status", "up"])
def test_a_broker_that_does_not_answer_is_named(command: str) -> None:
    with scratch() as data:
        away = Checkout(data, QUANTUM_KAFKA="127.0.0.1:9")
        _, err = away.run(command, code=3, timeout_s=120)
        assert "127.0.0.1:9" in err
        assert "QUANTUM_KAFKA" in err
        assert left_nothing(data)


def test_a_database_that_does_not_answer_is_named() -> None:
    with scratch() as data:
        uri = "postgresql://nobody@127.0.0.1:9/none"
        _, err = Checkout(data, QUANTUM_POSTGRES=uri).run("up", code=1, timeout_s=120)
        assert "127.0.0.1:9" in err
        assert "QUANTUM_POSTGRES" in err
        assert left_nothing(data)


def left_nothing(data: Any) -> bool:
    """Whether no process works in a data folder."""
    return Checkout(data).left() == []


def _run(running: Checkout) -> runs.Run:
    run = runs.running(running.data)
    assert run is not None
    return run


# ---------------------------------------------------------------------- third-party clients


def test_a_command_pasted_into_a_third_partys_producer_takes_effect(running: Checkout) -> None:
    command = {
        "type": "command.policy.set.v1",
        "subject": "pasted",
        "data": {
            "expected_version": 0,
            "operator": "ann",
            "reason": "by hand",
            "profile": "testnet",
            "changes": {"cooldown_s": 45},
        },
    }
    console_tool(
        "org.apache.kafka.tools.ConsoleProducer",
        *("--bootstrap-server", running.json("status")["kafka"], "--topic", "commands.control"),
        *("--reader-property", "parse.key=true", "--reader-property", "key.separator=|"),
        given=f"pasted|{json.dumps(command)}\n",
    )
    began = time.monotonic()
    wait_until(lambda: "pasted" in running.json("status")["accounts"], "the account is open")
    assert time.monotonic() - began < 30
    policy = running.json("policy", "show", "--account", "pasted")["pasted"]
    assert (policy["version"], policy["policy"]["cooldown_s"]) == (1, 45)


def test_files_of_the_checkout_are_not_touched(running: Checkout) -> None:
    assert running.data != ROOT / "var"
    assert _run(running).folder.is_relative_to(running.data)
