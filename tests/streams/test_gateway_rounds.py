"""An emergency is obeyed in the middle of a gateway's round (SAFE-8).

Goal: an entry whose barrier was passed does not leave while a control record waits to be folded.
Method: the in-memory system up to two accepted entries of one round; the emergency arrives, as a
follower brings it, when the first of them leaves.
"""

import threading
import time
from collections.abc import Callable, Sequence

from replay.simulator.script import Script
from schemas.trade import Ended, ExecutionReported
from schemas.venue import Place, VenueRequested
from streams.gateway import GatewayShell
from tests.streams.crash_checks import valid
from tests.streams.crash_scenario import ALPHA, HOT
from tests.streams.crash_world import World

BEFORE_ORDERS = ("control", "signals", "risk", "execution")


def with_entries(accounts: Sequence[str] = (ALPHA, HOT)) -> tuple[World, Script]:
    """A world whose gateway is about to send an entry of each account in one round."""
    world, script = World(), Script()
    opening = [script.instruments(), script.warm_up("40000", "1"), script.price("40000")]
    for topic, event in [*opening, script.tick()]:
        world.feed(topic, event)
    for account in accounts:
        world.feed(*script.policy(account, 0, cooldown_s=0))
    for account in accounts:
        world.publish(*script.signal(account, "BUY"))
    moved = True
    while moved:
        moved = any(world.live[name][0].turn() for name in BEFORE_ORDERS)
    gateway = world.live["gateway"][0]
    while gateway._take():
        pass
    return world, script


def entries(world: World) -> list[str]:
    """Accounts of the entries that left for the venue, in order; each once."""
    sent = [
        found.event.partitionkey
        for found in valid(world)
        if isinstance(found.event, VenueRequested)
        and isinstance(found.event.data.request, Place)
        and not found.event.data.request.reduce_only
    ]
    return list(dict.fromkeys(sent))


def stop_at_the_first_request(world: World, script: Script, account: str) -> list[str]:
    """Send a round; the emergency of `account` arrives when its first request leaves."""
    gateway, control = world.live["gateway"][0], world.live["control"][0]
    shell = gateway.shell
    assert isinstance(shell, GatewayShell)
    arriving: list[threading.Thread] = []

    def step() -> int:
        if gateway.log.flight or arriving:
            return 0
        world.publish(*script.stop(account))
        while control.turn():
            pass
        record = world.broker.partitions["control/0"][-1]
        thread = threading.Thread(target=shell.receive, args=(record,))
        arriving.append(thread)
        before = shell._arrived
        thread.start()
        while shell._arrived == before:
            time.sleep(0.001)
        return 0

    own, gateway.log.step = gateway.log.step, _at_appends(gateway.log.step, step)
    shell.pump()
    gateway.log.step = own
    for thread in arriving:
        thread.join(10)
    while gateway.log.deliver():
        pass
    assert arriving, "a request left"
    return entries(world)


def _at_appends(step: Callable[[], int], also: Callable[[], int]) -> Callable[[], int]:
    """`also` before the steps of whoever sends, which holds the lock; not at the barrier's."""
    asked = iter(range(1_000))

    def both() -> int:
        if next(asked) >= BARRIER_STEPS:
            also()
        return step()

    return both


BARRIER_STEPS = 2
"""Ends asked for at the barrier: control and the own partition."""


def test_an_emergency_that_arrives_in_a_round_stops_the_entries_that_did_not_leave() -> None:
    world, script = with_entries()
    assert stop_at_the_first_request(world, script, HOT) == [ALPHA]
    world.settle()
    assert entries(world) == [ALPHA]
    reports = [f.event for f in valid(world) if isinstance(f.event, ExecutionReported)]
    ended = [
        item.status
        for event in reports
        for item in event.data.items
        if event.partitionkey == HOT and isinstance(item, Ended)
    ]
    assert ended == ["NEVER_SENT"]


def test_without_an_emergency_both_leave_in_one_round() -> None:
    world, _ = with_entries()
    world.live["gateway"][0].turn()
    assert entries(world) == [ALPHA, HOT]


def test_an_emergency_of_another_account_delays_an_entry_by_a_round_only() -> None:
    world, script = with_entries()
    assert stop_at_the_first_request(world, script, ALPHA) == [ALPHA]
    world.settle()
    assert entries(world) == [ALPHA, HOT]
