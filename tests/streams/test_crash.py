"""The shell is killed at every micro-step, and nothing valid changes (DESIGN, Tests)."""

from typing import Any

import pytest

from replay.simulator.found import Found
from schemas.venue import VenueReported
from tests.streams.crash_checks import valid
from tests.streams.crash_runs import crash, crash_and_stop, reference, turns
from tests.streams.crash_scenario import ALPHA, HOT, MAIN
from tests.streams.crash_world import KINDS, NAMES, World

LONG = 4
"""One crash in so many is followed to the end of the scenario, with `--full` every one."""
SOME = 40
"""One crash in so many of the other scenarios is in the suite."""
REPORTS = "venue.report/0"


def of_type(name: str, found: list[Found]) -> list[Any]:
    """Items of all records of a type."""
    records: list[Any] = [f.event for f in found if f.event.type == name]
    return [item for record in records for item in record.data.items]


def test_the_scenario_shows_what_crash_tests_are_about() -> None:
    ref = reference()
    world = World.thawed(ref.frozen[-1])
    found = valid(world)
    types = {f.event.type for f in found}
    assert {"emergency.activated.v2", "emergency.reset.v2", "command.rejected.v1"} <= types
    orders = of_type("trade.order.decided.v1", found)
    purposes = {item.purpose for item in orders if item.kind == "order"}
    assert {"entry", "stop", "target", "exit_signal", "emergency_close"} <= purposes
    assert any(item.kind == "flat" for item in orders)
    reasons = {str(item.reason) for item in of_type("trade.signal.judged.v1", found)}
    assert {"None", "LOW_CONFIDENCE", "HALTED"} <= reasons
    lost = [f.event.data for f in found if isinstance(f.event, VenueReported)]
    lost = [data for data in lost if not data.delivered]
    assert any(data.items for data in lost), "an answer is lost"
    assert not all(data.items for data in lost), "a request is lost"
    several = [
        {f.event.partitionkey for f in found if f.event.causationid == c and f.key == REPORTS}
        for c in {f.event.causationid for f in found}
    ]
    assert {ALPHA, HOT} in several, "one price is answered for two accounts of a source"
    assert MAIN in {f.event.partitionkey for f in found if f.key == "trade.position.update/1"}
    assert ref.decisions > 100
    assert ref.last_step > 1_000


def test_the_storm_trips_a_breaker_and_refuses_what_safety_and_an_hfos_forbid() -> None:
    found = valid(World.thawed(reference("storm").frozen[-1]))
    stops = of_type("emergency.activated.v2", found)
    assert sorted((item.account, item.operator) for item in stops) == [
        (ALPHA, "anna"), (HOT, "anna"), (MAIN, "safety"),
    ]  # fmt: skip
    types = {f.event.type for f in found}
    assert {"safety.governor.level_changed.v1", "ai.hfos.mode_changed.v1"} <= types
    flats = [item for item in of_type("trade.order.decided.v1", found) if item.kind == "flat"]
    assert len(flats) == 3
    reasons = {str(item.reason) for item in of_type("trade.signal.judged.v1", found)}
    assert "REDUCING" in reasons


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_crash_at_any_micro_step_changes_nothing_valid(name: str, kind: str, full: bool) -> None:
    steps = list(turns(name, kind, KINDS, every=full))
    assert steps
    for step in steps:
        crash(step, kind, to_the_end=full or step % LONG == 0)


@pytest.mark.parametrize("scenario", ["hands", "storm"])
@pytest.mark.parametrize("name", NAMES)
def test_other_scenarios_at_some_micro_steps_and_in_full_at_all(
    scenario: str, name: str, full: bool
) -> None:
    """Every micro-step of three scenarios; the suite takes a few of the second and third."""
    steps = reference(scenario).steps(name)
    assert steps
    for turn, step in enumerate(steps if full else steps[7::SOME]):
        for kind in KINDS if full else (KINDS[turn % len(KINDS)],):
            crash(step, kind, scenario=scenario)


def test_an_emergency_stop_during_a_crash_of_the_gateway_keeps_every_promise() -> None:
    """Its requests on the wire land while the new process waits; every micro-step of an entry."""
    steps = reference().steps_of_entry("gateway")
    assert len(steps) > 10
    for step in steps:
        crash_and_stop(step, late_ms=600)
