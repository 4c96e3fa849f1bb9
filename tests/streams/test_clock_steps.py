"""The host's clock is set while the system trades: event time never goes back, no order is lost.

Method: the in-memory system with a wall time of its own for the gateway and the venue; the feed's
ticks with a clock that is set; one real process for what ends it.
"""

import subprocess
import sys

import pytest

from replay.simulator.script import Script
from runtime.settings import ROOT
from schemas.market import ClockTicked
from schemas.scalars import micros, time_text
from schemas.sources import SourceSkipped
from schemas.trade import Ended, ExecutionReported
from schemas.venue import Place, VenueReported, VenueRequested
from streams.feed import ticking
from streams.gateway import EXIT_CLOCK
from streams.venue_window import outside_window
from tests.streams.crash_checks import valid
from tests.streams.crash_scenario import ALPHA
from tests.streams.crash_world import World

HOUR_US = 3_600_000_000
PROCESS = """
import time
from streams.gateway import GatewayShell
from streams.recovery import Identity
from streams.simulated.broker import Broker, MemoryLog

began = time.monotonic()
def wall():
    step = -3600 if time.monotonic() - began > 0.5 else 0
    return int((time.time() + step) * 1e6)
shell = GatewayShell(2, MemoryLog(Broker()), Identity("t", "t"), wall=wall)
shell._sending = None
import threading
threading.Thread(target=shell._pump_forever).start()
"""


def with_an_order_on_the_wire() -> World:
    """A world whose gateway has sent an entry that the venue has not read."""
    world, script = World(), Script()
    opening = [script.instruments(), script.warm_up("40000", "1"), script.price("40000")]
    for topic, event in [*opening, script.tick(), script.policy(ALPHA, 0, cooldown_s=0)]:
        world.feed(topic, event)
    world.publish(*script.signal(ALPHA, "BUY"))
    for name in ("control", "signals", "risk", "execution", "gateway"):
        while world.live[name][0].turn() and not sent(world):
            pass
    return world


def sent(world: World) -> list[VenueRequested]:
    """Requests of entries."""
    requests = [f.event for f in valid(world) if isinstance(f.event, VenueRequested)]
    return [r for r in requests if isinstance(r.data.request, Place)]


@pytest.mark.parametrize("step_us", [-HOUR_US, HOUR_US])
def test_a_gateway_that_starts_anew_after_a_step_settles_what_was_on_the_wire(
    step_us: int,
) -> None:
    world = with_an_order_on_the_wire()
    assert len(sent(world)) == 1
    gateway = world.live["gateway"][0]
    world.wall_us += step_us
    world._die(gateway, "lost", 0)
    world.settle()
    first, *again = [r for r in sent(world) if not r.data.request.reduce_only]  # type: ignore[union-attr]
    filled = [
        item
        for found in valid(world)
        if isinstance(found.event, VenueReported)
        for item in found.event.data.items
        if item.kind == "filled"
    ]
    assert len(filled) == 1, "one effect"
    ends = [
        item.client_order_id
        for found in valid(world)
        if isinstance(found.event, ExecutionReported)
        for item in found.event.data.items
        if isinstance(item, Ended)
    ]
    assert ends.count(first.data.request.client_order_id) == 1, "one end"  # type: ignore[union-attr]
    assert len(again) == 1, "signed by the other clock it was refused, asked about and sent again"


def test_a_request_signed_in_the_future_is_refused_as_one_that_is_late_is() -> None:
    (request,) = sent(with_an_order_on_the_wire())
    signed = micros(request.data.sent_at)
    assert outside_window(request, signed) is None
    assert outside_window(request, signed - 900_000) is None
    assert "in the future" in (outside_window(request, signed - HOUR_US) or "")
    assert "outside the receive window" in (outside_window(request, signed + HOUR_US) or "")


def test_a_gateway_whose_clock_is_set_ends_to_start_anew() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROCESS], cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == EXIT_CLOCK, done.stderr
    assert "clock was set by -3600" in done.stderr


def test_ticks_never_go_back_and_go_on_when_the_clock_is_set_back() -> None:
    wall = [1_800_000_000_500_000_000]
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        wall[0] += int(seconds * 1e9)

    ticks = ticking(0, lambda: wall[0], wait)
    first = next(ticks)[1]
    wall[0] -= HOUR_US * 1000
    more = [next(ticks)[1] for _ in range(3)]
    assert isinstance(first, ClockTicked)
    times = [micros(event.time) for event in (first, *more)]
    assert times == [times[0] + n * 1_000_000 for n in range(4)]
    assert max(waited) <= 1.0, "it does not wait until the clock has caught up"
    wall[0] += 2 * HOUR_US * 1000
    assert micros(next(ticks)[1].time) > times[-1] + HOUR_US // 2


def test_ticks_go_on_after_the_last_one_in_the_log() -> None:
    wall = 1_800_000_000_500_000_000
    after_us = wall // 1000 + HOUR_US
    tick = next(ticking(after_us, lambda: wall, lambda _seconds: None))[1]
    assert tick.time == time_text(after_us + 1_000_000)


def test_a_request_that_waits_at_the_venue_past_its_window_is_refused() -> None:
    """It came in time and waited for a price that it was based on: it would have been accepted more
    than a window after an emergency."""
    world, script = World(), Script()
    opening = [script.instruments(), script.warm_up("40000", "1"), script.price("40000")]
    for topic, event in [*opening, script.tick(), script.policy(ALPHA, 0, cooldown_s=0)]:
        world.feed(topic, event)
    world.publish(*script.price("40010"))
    world.publish(*script.signal(ALPHA, "BUY"))
    while not sent(world):
        for name in ("signals", "risk", "execution", "gateway"):
            world.live[name][0].turn()
    venue = world.live["venue"][0]
    venue.take("venue.request/0")
    assert not venue.log.flight, "it waits"
    world.wall_us += 1_100_000
    venue.take("market/0")
    while venue.log.deliver():
        pass
    said = [f.event for f in valid(world) if f.event.source == "/venue/0"]
    assert isinstance(said[-1], SourceSkipped)
    assert "outside the receive window" in said[-1].data.reason
    accepted = [i for e in said if isinstance(e, VenueReported) for i in e.data.items]
    assert [item.kind for item in accepted] == ["transferred"]
