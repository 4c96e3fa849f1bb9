"""How many entries may be on their way at once, by how long the last ones took (SAFE-8).

Goal: on a quiet machine nobody waits; on a crowded one an entry leaves when the one before it has
arrived, so that an emergency finds one on its way and not a queue. Method: a clock by hand; then
the in-memory system with a log that does not acknowledge.
"""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Envelope
from schemas.topics import partition_of
from schemas.venue import Place, VenueRequested
from streams import entry_way
from streams.entry_way import AT_FIRST, IDLE_S, LEAST, MOST, TARGET_S, EntryWay
from streams.gateway import GatewayShell
from streams.log import Delivered
from tests.streams.crash_scenario import ALPHA, HOT, PARTITIONS
from tests.streams.crash_world import World
from tests.streams.test_gateway_rounds import entries, with_entries


class Way:
    """An entry way with a clock, and what is on it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.calls = 0
        self.way = EntryWay(lambda: self.now_s, self._called)
        self.under_way: list[Delivered] = []

    def _called(self) -> None:
        self.calls += 1

    def leave_all(self, most: int = MOST + 1) -> int:
        """Let as many leave as there is room for, `most` at the most."""
        count = 0
        while count < most and self.way.room():
            self.under_way.append(self.way.left())
            count += 1
        return count

    def arrive_all(self, took_s: float) -> None:
        """Everything arrives after so long."""
        self.now_s += took_s
        while self.under_way:
            self.under_way.pop(0)(0)


def test_a_quick_way_nearly_doubles_each_round_up_to_its_most() -> None:
    world = Way()
    rounds = []
    for _ in range(6):
        rounds.append(world.leave_all())
        world.arrive_all(TARGET_S / 2)
    assert rounds == [AT_FIRST, 8, 16, 31, 58, MOST]


def test_a_way_that_takes_long_is_used_by_one_after_the_other() -> None:
    world = Way()
    for _ in range(4):
        world.leave_all()
        world.arrive_all(TARGET_S * 2)
    assert world.way.limit == LEAST == world.leave_all()


def test_what_left_before_it_shrank_does_not_shrink_it_again() -> None:
    world = Way()
    for _ in range(2):
        world.leave_all()
        world.arrive_all(0.001)
    assert world.leave_all() == world.way.limit == 16
    world.arrive_all(TARGET_S * 2)
    assert world.way.limit == 8


def test_after_it_shrank_it_grows_by_one_a_round() -> None:
    world = Way()
    world.leave_all()
    world.arrive_all(TARGET_S * 2)
    limits = []
    for _ in range(4):
        world.leave_all()
        world.arrive_all(0.001)
        limits.append(world.way.limit)
    assert limits == [2, 3, 4, 5]


def test_lone_entries_that_are_quick_say_nothing_about_many_at_once() -> None:
    world = Way()
    for _ in range(60):
        world.leave_all(1)
        world.arrive_all(0.005)
    assert world.way.limit == AT_FIRST


def test_after_a_rest_it_begins_as_at_first() -> None:
    world = Way()
    for _ in range(5):
        world.leave_all()
        world.arrive_all(0.005)
    assert world.way.limit == MOST
    world.now_s += IDLE_S * 2
    assert world.leave_all() == AT_FIRST
    world.arrive_all(0.005)
    assert world.leave_all() == 2 * AT_FIRST


def test_one_that_was_lost_is_no_quick_arrival() -> None:
    world = Way()
    world.leave_all()
    for arrived in world.under_way:
        arrived(-1)
    assert (world.way.limit, world.way.under_way) == (AT_FIRST, 0)


def test_who_was_turned_away_is_called_once_when_there_is_room() -> None:
    world = Way()
    assert world.leave_all() == AT_FIRST  # asked once more than there was room for
    world.under_way.pop()(0)
    world.under_way.pop()(0)
    assert world.calls == 1


def test_nobody_is_called_where_nobody_was_turned_away() -> None:
    world = Way()
    world.leave_all(AT_FIRST)
    world.arrive_all(0.001)
    assert world.calls == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.001, 0.02, 0.03, 0.5]))))
def test_never_more_than_the_limit_and_never_stuck(steps: list[tuple[int, float]]) -> None:
    world = Way()
    for arrivals, took_s in steps:
        world.leave_all()
        assert len(world.under_way) >= world.way.limit
        world.now_s += took_s
        for _ in range(min(arrivals, len(world.under_way))):
            world.under_way.pop(0)(0)
        assert LEAST <= world.way.limit <= MOST
    world.arrive_all(0.0)
    assert world.leave_all() == world.way.limit


def test_an_entry_leaves_once_the_one_before_it_has_arrived() -> None:
    world, _ = with_entries()
    gateway = world.live["gateway"][0]
    assert isinstance(gateway.shell, GatewayShell)
    gateway.shell._way._limit = float(LEAST)
    gateway.shell.pump()
    assert len(gateway.log.flight) == 1, "the other one waits for it"
    gateway.shell._wake.clear()
    gateway.shell.pump()
    assert len(gateway.log.flight) == 1
    gateway.log.deliver()
    assert gateway.shell._wake.is_set(), "the sender is woken for the one that waits"
    assert entries(world) == [ALPHA]
    gateway.shell.pump()
    gateway.log.deliver()
    assert entries(world) == [ALPHA, HOT]


def crowd(names: list[str]) -> tuple[World, GatewayShell, list[str]]:
    """A gateway with an entry of each account that is due, one at a time on its way; and accounts
    of the entries that leave, in order."""
    world, _ = with_entries(names)
    gateway = world.live["gateway"][0]
    shell = gateway.shell
    assert isinstance(shell, GatewayShell)
    shell._way._limit = float(LEAST)
    shell._way._shrunk_s = shell._way._left_s = time.monotonic()
    left: list[str] = []

    def note(record: Envelope) -> None:
        request = record.data.request if isinstance(record, VenueRequested) else None
        if isinstance(request, Place) and not request.reduce_only:
            left.append(record.partitionkey)

    shell.on_record = note
    return world, shell, left


def test_what_little_room_there_is_goes_round_the_partitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entry_way, "TARGET_S", -1.0)  # everything is late
    names = [f"account-{n:02d}" for n in range(12)]
    world, shell, left = crowd(names)
    for _ in range(len(names)):
        shell.pump()
        world.live["gateway"][0].log.deliver()
    assert len(left) == len(names)
    numbers = [partition_of(name, PARTITIONS) for name in left]
    fewest = min(numbers.count(0), numbers.count(1))
    assert fewest > 2
    assert all(a != b for a, b in itertools.pairwise(numbers[: 2 * fewest]))


def test_no_entry_overtakes_one_that_was_turned_away_in_its_round() -> None:
    """Room may come in the middle of a round: acknowledgements come from another thread."""
    names = [f"account-{n:02d}" for n in range(20)]
    names = [name for name in names if partition_of(name, PARTITIONS) == 0][:5]
    world, shell, left = crowd(names)
    log = world.live["gateway"][0].log
    room = shell._way.room

    def acknowledged_just_now() -> bool:
        free = room()
        if not free and log.flight:
            log.deliver()
        return free

    shell._way.room = acknowledged_just_now  # type: ignore[method-assign]
    for _ in range(3 * len(names)):
        shell.pump()
        while log.deliver():
            pass
    assert left == names
