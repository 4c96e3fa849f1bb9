"""Crashes at three boundaries of each processor, two starts of a worker at once, a paused one.

One run on the real broker for all of it: each processor ends itself at its first own records, once
at each boundary (crashing_worker.py). Later a worker is started twice at once, and others are
paused until their successor is live. What is written is what the in-process engine writes.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from commands.demo import demo_plan
from commands.live import LiveSystem, health
from projections.digest import equals_replay
from replay.log import LogRecord
from replay.sources import KafkaLog
from replay.verify import verify
from replay.verify_findings import Verified
from runtime import processes
from runtime.supervisor import ProcessSpec
from streams.processors import AGENTS
from tests.system.crashing_worker import BOUNDARIES, crashes
from tests.system.running import (
    LIMIT_S,
    assert_same,
    checked,
    fills,
    live,
    moment,
    run_to_end,
    told_by,
    told_by_engine,
    valid_records,
    wait_until,
)

pytestmark = pytest.mark.timeout(LIMIT_S)
HOURS = ("2021-05-19T11:00", "2021-05-19T15:00")
SPEED = "600"
"""Event seconds a second: so that the run is not over before all of it has happened."""
TWICE, TWICE_AT = "risk", 70
PAUSED = {110: "execution", 160: "gateway"}


class CrashingSystem(LiveSystem):
    """A system whose processors crash at their boundaries."""

    def _worker(self, name: str) -> ProcessSpec:
        spec = super()._worker(name)
        if name not in AGENTS:
            return spec
        argv = [
            str(part).replace("streams.worker", "tests.system.crashing_worker")
            for part in spec.argv
        ]
        return replace(spec, argv=argv)


class Doubles:
    """Starts second processes of workers by hand, beside the supervisor's."""

    def __init__(self, system: LiveSystem) -> None:
        self.system = system
        self.done: list[str] = []
        self.others: dict[str, subprocess.Popen[bytes]] = {}
        self.codes: dict[str, int | None] = {}

    def __call__(self, minute: int) -> None:
        if minute >= TWICE_AT and TWICE not in self.done:
            self.done.append(TWICE)
            self._twice(TWICE)
        for at, name in PAUSED.items():
            if minute >= at and name not in self.done:
                self.done.append(name)
                self._pause(name)

    def _twice(self, name: str) -> None:
        """Kill the supervised one: the supervisor and we start a new one at the same moment."""
        os.kill(self._pid(name), signal.SIGKILL)
        self._start(name)

    def _pause(self, name: str) -> None:
        """Stop the supervised one in its tracks, let a successor take over, let it go on."""
        paused = self._pid(name)
        os.kill(paused, signal.SIGSTOP)
        self._start(name)
        port = self._folder(name) / f"{name}.port"
        self._wait(lambda: health(port).get("healthy") is True, f"the successor of {name} is live")
        os.kill(paused, signal.SIGCONT)
        self._wait(lambda: not processes.alive(paused), f"the paused {name} ends when it goes on")

    def finish(self) -> None:
        """Wait until the supervisor's have taken over and every one started by hand has ended."""
        for name, other in self.others.items():
            self._wait(partial(_ended, other), f"the second {name} ends")
            self.codes[name] = other.returncode

    def _start(self, name: str) -> None:
        spec = LiveSystem._worker(self.system, name)
        folder = self._folder(name)
        folder.mkdir(exist_ok=True)
        argv = [str(folder) if part == str(self.system.run.logs) else part for part in spec.argv]
        with (folder / f"{name}.out").open("wb") as output:
            self.others[name] = processes.spawn(argv, env=spec.env, output=output)

    def _folder(self, name: str) -> Path:
        return self.system.run.folder / f"second-{name}"

    def _pid(self, name: str) -> int:
        self._wait(
            lambda: self.system.supervisor.state()[name]["state"] == "running", f"{name} runs"
        )
        return self.system.supervisor.pids()[name]

    def _wait(self, true: Callable[[], bool], what: str) -> None:
        def supervised() -> bool:
            self.system.check()
            return true()

        wait_until(supervised, what, seconds=60)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


@dataclass(frozen=True, slots=True)
class Crashed:
    """What came of the run."""

    crashes: dict[str, int]
    doubles: Doubles
    records: list[LogRecord]
    outputs: str
    projections: tuple[bool, list[str]]
    verified: Verified


@pytest.fixture(scope="module")
def crashed() -> Iterator[Crashed]:
    """The run with all crashes, doubles and pauses."""
    with live(CrashingSystem) as system:
        system.start(demo_plan(moment(HOURS[0]), moment(HOURS[1]), SPEED))
        doubles = Doubles(system)
        run_to_end(system, doubles)
        doubles.finish()
        checked(system.kafka)
        yield Crashed(
            {name: crashes(system.run.logs, name) for name in AGENTS},
            doubles,
            valid_records(system.kafka),
            "".join(
                p.read_text(errors="replace") for p in system.run.folder.glob("second-*/*.out")
            ),
            equals_replay(system.kafka, system.postgres, timeout_s=60),
            verify(KafkaLog(system.kafka)),
        )


def test_each_processor_crashed_at_each_boundary(crashed: Crashed) -> None:
    assert crashed.crashes == dict.fromkeys(AGENTS, len(BOUNDARIES))


def test_of_two_workers_only_one_stays(crashed: Crashed) -> None:
    assert crashed.doubles.codes.keys() == {TWICE, *PAUSED.values()}
    assert all(crashed.doubles.codes.values()), crashed.doubles.codes
    assert "Traceback" not in crashed.outputs


def test_the_log_says_what_an_undisturbed_run_says(crashed: Crashed) -> None:
    expected = told_by_engine(*HOURS)
    decided = {key: said for key, said in expected.items() if key[0] != "trade.execution.res"}
    found = told_by(crashed.records)
    assert_same({k: v for k, v in found.items() if k[0] != "trade.execution.res"}, decided)


def test_every_fill_is_there_once(crashed: Crashed) -> None:
    listed = [
        item.id
        for record in crashed.records
        if record.topic == "trade.execution.res"
        for item in getattr(getattr(record.event, "data", None), "items", ())
        if item.kind == "filled"
    ]
    assert len(listed) == len(set(listed)) == len(fills(crashed.records)) > 10


def test_the_projections_equal_a_replay_of_the_log(crashed: Crashed) -> None:
    equal, differences = crashed.projections
    assert equal, differences


def test_every_decision_is_the_same_when_it_is_taken_again(crashed: Crashed) -> None:
    assert crashed.verified.different == 0, crashed.verified.details
    assert crashed.verified.identical == crashed.verified.decisions > 200
