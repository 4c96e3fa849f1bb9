"""`state --at`: the running system as of an event or an instant, as a person asks."""

import json

from tests.commands.conftest import Quantum


def test_at_an_event_it_says_what_the_event_was_decided_on(quantum: Quantum) -> None:
    told = quantum("events", "--topic", "trade.position.update", "--account", "main", "--json")
    lines = told.stdout.splitlines()
    update = next(u for u in map(json.loads, lines[10:]) if '"equity"' in json.dumps(u["data"]))
    item = next(i for i in update["data"]["items"] if i["kind"] == "equity")
    done = quantum("state", "--at", update["id"], "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["by"], found["id"]) == ("basis", update["id"])
    account = found["accounts"][update["partitionkey"]]
    assert account["equity"] == item["equity"]
    assert account["policy"]["profile"] == "production"


def test_at_the_end_it_is_what_status_says(quantum: Quantum) -> None:
    status = json.loads(quantum("status", "--json").stdout)
    now = json.loads(quantum("state", "--at", "2999-01-01", "--json").stdout)
    assert now["by"] == "append time"
    for name, account in status["accounts"].items():
        for field in ("equity", "trading_state", "positions", "drawdown_pct"):
            assert now["accounts"][name][field] == account[field], (name, field)


def test_a_market_time_and_one_account_are_shown_to_people(quantum: Quantum) -> None:
    done = quantum("state", "--at", "2021-05-19T13:10", "--event-time", "--account", "main")
    assert done.exit_code == 0, done.stderr
    assert "event time 2021-05-19T13:10:00" in done.stdout
    assert "main" in done.stdout
    assert "hot" not in done.stdout


def test_a_time_with_a_zone_is_that_instant(quantum: Quantum) -> None:
    """13:10 in UTC, told in three ways."""
    told = []
    for at in ("2021-05-19T13:10", "2021-05-19T15:10+02:00", "2021-05-19T13:10:00Z"):
        done = quantum("state", "--at", at, "--event-time", "--json")
        told.append(json.loads(done.stdout) | {"at": ""})
    assert told[0]["time"] == "2021-05-19T13:10:00.000000Z"
    assert told[0] == told[1] == told[2]


def test_an_account_that_was_not_there_is_named(quantum: Quantum) -> None:
    done = quantum("state", "--at", "2021-05-19T13:10", "--event-time", "--account", "nobody")
    assert done.exit_code == 2
    assert "no account nobody" in done.stderr


def test_a_time_before_the_log_and_an_unknown_id_are_refused(quantum: Quantum) -> None:
    early = quantum("state", "--at", "2021-05-19T13:10")
    assert early.exit_code == 1
    assert "--event-time" in early.stderr
    for more in ((), ("--json",), ("--account", "main")):
        early = quantum("state", "--at", "2019-01-01", "--event-time", *more)
        assert early.exit_code == 1
        assert "by event time the log begins at 2021-05-" in " ".join(early.stderr.split())
    assert quantum("state", "--at", "00000000-1111").exit_code == 1
    assert quantum("state", "--at", "00000000-1111", "--event-time").exit_code == 2
