"""Verify on logs with crashes: every process dies at many of its micro-steps, and comes back.

Epochs change, a zombie writes, a decision for two accounts is cut in half, appends land late; what
is valid is decided again all the same, byte for byte.
"""

import pytest

from domain.source import Source
from replay.sources import RawRecord, RecordedLog
from replay.verify import verify
from replay.verify_findings import Verified
from tests.streams.crash_runs import reference
from tests.streams.crash_scenario import PARTITIONS
from tests.streams.crash_world import ALL_PURE, KINDS, World, rebuilt

EVERY = 23
"""One micro-step in so many is struck."""


def decided_again(world: World) -> Verified:
    """Verify the world's log with the world's sources."""
    records = []
    for record in world.broker.appends:
        topic, _, number = record.key.rpartition("/")
        place = (topic, int(number), record.offset, record.timestamp_ms)
        records.append(RawRecord(*place, record.message_key, record.raw))
    log = RecordedLog(records, partitions=PARTITIONS)
    return verify(log, make=make)


def make(name: str, number: int, _partitions: int) -> Source:
    return rebuilt(name, number)


def struck(step: int, kind: str) -> World:
    """The world after the whole scenario with a crash of that kind at that micro-step."""
    ref = reference()
    at = ref.event_at(step)
    world = World.thawed(ref.frozen[at])
    world.plan = {step: kind}
    for topic, event in ref.events[at:]:
        world.feed(topic, event)
    assert world.struck
    return world


def test_the_scenario_without_a_crash_is_decided_again() -> None:
    found = decided_again(World.thawed(reference().frozen[-1]))
    assert (found.different, found.identical) == (0, found.decisions)
    assert found.decisions > 100
    assert found.nothing > 20


@pytest.mark.parametrize("name", ALL_PURE)
def test_after_a_crash_at_any_micro_step_everything_is_decided_again(name: str, full: bool) -> None:
    steps = reference().steps(name)[:: 1 if full else EVERY]
    for turn, step in enumerate(steps):
        kind = KINDS[turn % len(KINDS)]
        found = decided_again(struck(step, kind))
        assert found.different == 0, (kind, step, found.details[0])
        assert found.identical == found.decisions > 100
