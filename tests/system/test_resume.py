"""A run whose supervisor is killed, and with it every process at once, as when a machine goes down.

`up --resume` goes on where its log ends; in the end it is the run that nobody disturbed.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands.up import tell_cut_off
from projections.digest import equals_replay
from replay.log import LogRecord
from replay.sources import KafkaLog
from replay.verify import verify
from replay.verify_findings import Verified
from tests.system.running import (
    DECISIONS,
    LIMIT_S,
    Checkout,
    Minutes,
    Told,
    assert_same,
    checked,
    checked_engine,
    ends_of_orders,
    engine_log,
    fills,
    scratch,
    told_by,
    told_by_engine,
    valid_records,
    wait_until,
)

pytestmark = pytest.mark.timeout(LIMIT_S)
HOURS = "2021-05-19T12:30", "2021-05-19T13:15"
KILLED_AT = 25
"""Minute of the feed at which it is killed: the crash is under way, positions are open."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run once its feed has published everything; `said`: what commands told about it."""

    said: dict[str, str]
    records: list[LogRecord]
    equity: dict[str, str]
    verified: Verified
    projections: tuple[bool, list[str]]


@pytest.fixture(scope="module")
def resumed() -> Iterator[Resumed]:
    with scratch() as data:
        checkout = Checkout(data)
        cut_off(checkout)
        said = {"status": checkout.run("status", code=3)[1]}
        said |= {"look": checkout.run("up", "--feed", "x", "--run", "last", code=2)[1]}
        again = checkout.json("up", "--resume", "--detach", timeout_s=150)
        try:
            run = data / "runs" / again["run"]
            wait_until((run / "logs" / "feed.json").exists, "the feed has ended", seconds=200)
            yield Resumed(
                said,
                valid_records(again["kafka"]),
                {n: a["equity"] for n, a in checked(again["kafka"])["accounts"].items()},
                verify(KafkaLog(again["kafka"])),
                equals_replay(again["kafka"], again["postgres"], timeout_s=60),
            )
        finally:
            checkout.run("down", timeout_s=90)
        for path, text in checkout.outputs():
            assert "Traceback" not in text, path
        assert checkout.left() == []


def cut_off(checkout: Checkout) -> None:
    """Run the demo of these hours, and kill its supervisor in the middle of it."""
    demo = checkout.start("demo", "--json", "--from", HOURS[0], "--to", HOURS[1])
    try:
        run: dict[str, Any] = {}

        def is_running() -> bool:
            for path in checkout.data.glob("runs/2*/run.json"):
                run.update(json.loads(path.read_text()))
            return run.get("state") == "running"

        wait_until(is_running, "the demo runs", seconds=150)
        with closing(Minutes(run["kafka"])) as minutes:
            wait_until(lambda: minutes() >= KILLED_AT, "the crash has begun", seconds=150)
        assert demo.poll() is None
    finally:
        demo.kill()
        demo.communicate()
    wait_until(lambda: checkout.left() == [], "no process outlives its supervisor")


def test_it_is_fed_to_its_end(resumed: Resumed) -> None:
    last = max(r.event.time for r in resumed.records if r.event and r.topic == "clock")
    assert last == "2021-05-19T13:15:00.000000Z"
    assert "was cut off: go on with it by ./quantum up --resume" in resumed.said["status"]
    assert "--resume goes on with the feed it had" in resumed.said["look"]


def test_it_decided_what_a_run_that_nobody_disturbed_decides(resumed: Resumed) -> None:
    found, expected = told_by(resumed.records), told_by_engine(*HOURS)
    assert_same(of_decisions(found), of_decisions(expected))


def test_no_fill_is_lost_or_doubled_and_the_equity_is_the_same(resumed: Resumed) -> None:
    unharmed = engine_log(*HOURS)
    assert fills(resumed.records) == fills(unharmed)
    assert len(fills(unharmed)) > 10
    ends_of_orders(resumed.records)
    right = checked_engine(unharmed)["accounts"]
    assert resumed.equity == {name: account["equity"] for name, account in right.items()}


def test_every_decision_and_every_table_is_what_the_log_says(resumed: Resumed) -> None:
    assert resumed.verified.different == 0, resumed.verified.details
    assert resumed.verified.identical == resumed.verified.decisions > 50
    equal, differences = resumed.projections
    assert equal, differences


def a_run(data: Path, **details: Any) -> Path:
    """A run whose supervisor is gone without having said so."""
    run = data / "runs" / "20210519T130000.000Z"
    run.mkdir(parents=True, exist_ok=True)
    record = {"state": "running", "pid": 2**22 + 1, "details": details}
    (run / "run.json").write_text(json.dumps(record))
    return run


def test_a_run_that_cannot_go_on_is_refused_with_the_reason() -> None:
    with scratch() as data:
        checkout = Checkout(data)
        run = a_run(data, feed=["gone.parquet", "--from", "2021-05-19"])
        error = checkout.run("up", "--resume", code=2)[1]
        assert f"run {run.name} was fed with gone.parquet, which is not there" in error
        a_run(data)
        error = checkout.run("up", "--run", run.name, "--resume", "--detach", code=2)[1]
        assert f"run {run.name} does not say what it was fed with" in error


def test_a_new_run_says_which_one_it_leaves_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scratch() as data:
        monkeypatch.setenv("QUANTUM_DATA", str(data))
        run = a_run(data)
        tell_cut_off()
        said = " ".join(capsys.readouterr().err.split())
        assert f"run {run.name} was cut off" in said
        assert f"./quantum up --run {run.name} --resume goes on with it" in said


def of_decisions(told: Told) -> Told:
    """What pure sources decided."""
    return {key: said for key, said in told.items() if key[0] in DECISIONS}
