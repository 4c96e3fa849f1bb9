"""kill -9 of every process of a running system, one after the other, in one run.

What may change is nothing that was valid (DESIGN, protocol): the fills and the equity are those of
the run that nobody disturbed, every order has one end or rests, and the system goes on by itself.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from commands.demo import demo_plan
from commands.live import LiveSystem
from projections.digest import equals_replay
from replay.log import LogRecord
from replay.sources import KafkaLog
from replay.verify import verify
from replay.verify_findings import Verified
from schemas.topics import WORKERS
from tests.system.conftest import Finished
from tests.system.running import (
    DECISIONS,
    LIMIT_S,
    Told,
    assert_same,
    checked,
    ends_of_orders,
    fills,
    live,
    moment,
    run_to_end,
    told_by,
    valid_records,
)

pytestmark = pytest.mark.timeout(LIMIT_S)
FORKS = "fork server"
VICTIMS = (FORKS, *WORKERS, "kafka", "postgres", "feed")


class Killer:
    """Kills one victim after the other, evenly over the run."""

    def __init__(self, system: LiveSystem, every: int) -> None:
        self.system = system
        self.every = every
        self.killed: dict[str, int] = {}

    def __call__(self, minute: int) -> None:
        if len(self.killed) == len(VICTIMS) or minute < self.every * (len(self.killed) + 1):
            return
        victim = VICTIMS[len(self.killed)]
        pid = self._pid(victim)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.killed[victim] = pid

    def _pid(self, victim: str) -> int | None:
        """Process id of a victim that works."""
        if victim == FORKS:
            return self.system.forks.pid
        state = self.system.supervisor.state()[victim]
        return state["pid"] if state["state"] == "running" else None


@dataclass(frozen=True, slots=True)
class Killed:
    """A run in which everything was killed once."""

    killed: dict[str, int]
    restarts: dict[str, int]
    forks: int | None
    """The fork server at the end."""
    records: list[LogRecord]
    figures: dict[str, dict[str, str]]
    projections: tuple[bool, list[str]]
    verified: Verified


@pytest.fixture(scope="module")
def disturbed(hours: tuple[str, str]) -> Iterator[Killed]:
    """The run, with all kills in turn."""
    start, end = moment(hours[0]), moment(hours[1])
    minutes = int((end - start).total_seconds()) // 60
    with live(LiveSystem) as system:
        system.start(demo_plan(start, end, "max"))
        killer = Killer(system, minutes // (len(VICTIMS) + 1))
        run_to_end(system, killer)
        restarts = {name: each["restarts"] for name, each in system.supervisor.state().items()}
        yield Killed(
            killer.killed,
            restarts,
            system.forks.pid,
            valid_records(system.kafka),
            checked(system.kafka)["accounts"],
            equals_replay(system.kafka, system.postgres, timeout_s=60),
            verify(KafkaLog(system.kafka)),
        )


def test_everything_was_killed_and_came_back_by_itself(disturbed: Killed) -> None:
    assert tuple(disturbed.killed) == VICTIMS
    supervised = set(VICTIMS) - {FORKS}
    assert all(disturbed.restarts[name] >= 1 for name in supervised), disturbed.restarts
    assert disturbed.forks not in (None, disturbed.killed[FORKS])


def test_the_same_orders_are_filled_at_the_same_prices(
    disturbed: Killed, finished: Finished
) -> None:
    assert fills(disturbed.records) == fills(finished.records)
    assert len(fills(finished.records)) > 20


def test_the_final_equity_is_the_same(disturbed: Killed, finished: Finished) -> None:
    equity = {name: account["equity"] for name, account in disturbed.figures.items()}
    assert equity == {n: a["equity"] for n, a in finished.report["accounts"].items()}


def test_every_order_has_one_end_or_rests(disturbed: Killed) -> None:
    ends_of_orders(disturbed.records)


def test_no_decision_is_another(disturbed: Killed, by_engine: Told) -> None:
    found = told_by(disturbed.records)
    assert_same(
        {key: said for key, said in found.items() if key[0] in DECISIONS},
        {key: said for key, said in by_engine.items() if key[0] in DECISIONS},
    )


def test_the_projections_equal_a_replay_of_the_log(disturbed: Killed) -> None:
    equal, differences = disturbed.projections
    assert equal, differences


def test_every_decision_is_the_same_when_it_is_taken_again(disturbed: Killed) -> None:
    assert disturbed.verified.different == 0, disturbed.verified.details
    assert disturbed.verified.identical == disturbed.verified.decisions > 200
