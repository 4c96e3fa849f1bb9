"""The scenario without a crash, and with a crash at one micro-step, from a copy of the world."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from replay.simulator.found import Found, items_of
from replay.simulator.script import Fed, Script
from schemas.codec import shared_decoding
from schemas.trade import SignalPublished
from tests.streams import crash_checks as checks
from tests.streams.crash_scenario import HOT, SCENARIOS
from tests.streams.crash_world import ALL_PURE, World

WHOLE = "whole"
"""The scenario that most tests use."""


@dataclass(slots=True)
class Reference:
    """The run nothing happened to: what it wrote, and the world as it was before each event."""

    events: list[Fed]
    world: World
    starts: list[int] = field(default_factory=list)
    frozen: list[bytes] = field(default_factory=list)
    last_step: int = 0
    names: dict[int, str] = field(default_factory=dict)
    """Which worker makes which micro-step."""
    found: list[list[Found]] = field(default_factory=list)
    """Valid records up to the end of each event."""
    outcomes: list[tuple[Any, ...]] = field(default_factory=list)
    decisions: int = 0

    def event_at(self, step: int) -> int:
        """Which outside event is being answered at a micro-step."""
        return bisect.bisect_left(self.starts, step) - 1

    def steps_of_entry(self, name: str) -> list[int]:
        """Micro-steps of a worker while the second signal (hot, an entry) is answered."""
        signals = [n for n, (_, e) in enumerate(self.events) if isinstance(e, SignalPublished)]
        return [step for step in self.steps(name) if self.event_at(step) == signals[1]]

    def steps(self, name: str) -> list[int]:
        """Micro-steps of a worker from the first outside event on."""
        first = self.starts[0]
        return [step for step, who in self.names.items() if who == name and step > first]


@cache
def reference(name: str = WHOLE) -> Reference:
    """A scenario without a crash; made once a process, it takes a tenth of a second."""
    world = World()
    ref = Reference(list(SCENARIOS[name]()), world)
    for topic, event in ref.events:
        ref.starts.append(world.tick)
        ref.frozen.append(world.frozen())
        world.feed(topic, event)
        found = checks.valid(world)
        ref.found.append(found)
        ref.outcomes.append(checks.outcome(found))
    ref.starts.append(world.tick)
    ref.frozen.append(world.frozen())
    ref.names = dict(world.names_at)
    ref.last_step = world.tick
    checks.check(world, found)
    ref.decisions = checks.verify(world, found)
    return ref


@cache
def states(event: int, name: str, scenario: str = WHOLE) -> list[Any]:
    """States of a worker's sources in the reference after an event."""
    world = World.thawed(reference(scenario).frozen[event + 1])
    return _states(world, name)


def _states(world: World, name: str) -> list[Any]:
    return [checks.state(source) for source in world.live[name][0].shell.sources.values()]


@shared_decoding()
def crash(step: int, kind: str, *, to_the_end: bool = True, scenario: str = WHOLE) -> None:
    """Run the scenario with a crash of that kind at that micro-step; AssertionError, naming both,
    where anything valid changed. Not `to_the_end`: up to the end of the next event, where states
    must be what they are without the crash, so that what follows is."""
    ref = reference(scenario)
    at = ref.event_at(step)
    last = len(ref.events) if to_the_end else min(at + 2, len(ref.events))
    world = World.thawed(ref.frozen[at])
    world.plan = {step: kind}
    try:
        for topic, event in ref.events[at:last]:
            world.feed(topic, event)
        assert world.struck, "no process makes this step"
        _compare(ref, world, last - 1, scenario)
    except Exception as error:
        who = world.struck[0][0] if world.struck else "nobody"
        where = f"{kind} at micro-step {step} of {who} ({ref.events[at][1].type}): "
        raise AssertionError(where + (str(error) or repr(error))) from error


@shared_decoding()
def crash_and_stop(step: int, *, late_ms: int) -> None:
    """The process that makes this step dies, an emergency stop of hot comes at once, and what the
    process had in flight lands `late_ms` of wall time later. AssertionError if a promise breaks."""
    ref = reference()
    at = ref.event_at(step)
    world = World.thawed(ref.frozen[at])
    world.plan, world.late_us = {step: "late"}, late_ms * 1000
    world.meanwhile = Script().stop(HOT)
    try:
        world.feed(*ref.events[at])
        found = checks.valid(world)
        checks.check(world, found)
        checks.verify(world, found)
        steps = [
            i
            for f in found
            if f.key == "trade.order/0"
            for i in items_of(f.event)
            if i.kind == "flat"
        ]
        assert len(steps) == 1, f"{len(steps)} times flat"
    except Exception as error:
        raise AssertionError(f"late at micro-step {step}: {error!r}") from error


def _compare(ref: Reference, world: World, event: int, scenario: str) -> None:
    found = checks.valid(world)
    checks.check(world, found)
    name = world.struck[0][0]
    if name != "gateway":
        raced, there = checks.raced(found), checks.raced(ref.found[event])
        without = raced | there
        wrote = checks.written(world, found, without)
        wanted = checks.written(ref.world, ref.found[event], without)
        assert wrote.keys() == wanted.keys(), f"sources {wrote.keys() ^ wanted.keys()}"
        for source, records in wanted.items():
            for number, pair in enumerate(zip(records, wrote[source], strict=False)):
                assert pair[0] == pair[1], f"{source} wrote record {number} otherwise: {pair}"
            assert len(records) == len(wrote[source]), (
                f"{source} wrote {len(wrote[source])} records, {len(records)} without the kill"
            )
        if raced == there:  # else what became of the close is known in one run alone
            assert _states(world, name) == states(event, name, scenario), "its state differs"
    got = checks.outcome(found)
    assert got == ref.outcomes[event], f"fills or equity differ: {got}, not {ref.outcomes[event]}"
    checks.verify(world, found, {name} if name in ALL_PURE else ("venue",))


def turns(name: str, kind: str, kinds: tuple[str, ...], *, every: bool) -> Iterator[int]:
    """Micro-steps of a worker that are struck by this kind: all, or each kind in its turn."""
    steps = reference().steps(name)
    yield from steps if every else steps[kinds.index(kind) :: len(kinds)]
