"""A person's verbs on the whole system: from the command line to the venue and back (CORE-9)."""

from typing import Any

import pytest

from tests.system.running import LIMIT_S, Checkout, wait_until

pytestmark = pytest.mark.timeout(LIMIT_S)
WHO = ("--account", "verbs", "--operator", "ann", "--reason", "test")


def positions(running: Checkout) -> list[Any]:
    found: list[Any] = running.json("positions", "--account", "verbs")
    return found


def test_verbs_reach_the_venue_and_leave_entries_allowed(running: Checkout) -> None:
    running.run(
        "policy", "set", "start_equity_usdt=10000", "cooldown_s=0", "operators=ann,bob",
        "--profile", "testnet", *WHO,
    )  # fmt: skip
    money = ("status",)
    wait_until(
        lambda: running.json(*money)["accounts"]["verbs"]["equity"] == "10000", "verbs has money"
    )
    ask = ("send", "signal", "symbol=BTCUSDT", "side=BUY", "confidence=0.9", "--account", "verbs")
    assert running.json(*ask, "--wait")["refused"] is None
    wait_until(lambda: len(positions(running)) == 1, "it is filled")
    before = float(positions(running)[0]["quantity"])

    assert running.json("pause", "BTCUSDT", *WHO)[0]["paused"] == ["BTCUSDT"]
    refused = running.json(*ask, "origin=again", "--wait", code=4)
    assert "SYMBOL_PAUSED" in [f["code"] for f in refused["record"]["data"]["items"][0]["failures"]]
    assert positions(running)[0]["paused"] is True

    running.json("reduce", "50", *WHO)
    wait_until(lambda: float(positions(running)[0]["quantity"]) < before, "it is smaller")
    assert positions(running)[0]["stop"] is not None

    stranger = ("--account", "verbs", "--operator", "eve", "--reason", "test")
    _, err = running.run("flatten", *stranger, code=4)
    assert "UNKNOWN_OPERATOR" in err
    order = running.json("flatten", *WHO)[0]["done"][0]
    wait_until(lambda: positions(running) == [], "it is flat")
    chain = running.json("why", order["client_order_id"])["chain"]
    assert "command.account.flatten.v1" in [link["type"] for link in chain]
    state = running.json("status")["accounts"]["verbs"]
    assert (state["trading_state"], state["exits"]) == ("ACTIVE", {"exit_command": 1})
    assert running.json("resume", "BTCUSDT", *WHO)[0]["paused"] == []
