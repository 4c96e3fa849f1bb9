"""How many entries may be on their way at once, by how long the last ones took (SAFE-8).

Goal: on a quiet machine nobody waits; on a crowded one an entry leaves when the one before it has
arrived, so that an emergency finds one on its way and not a queue. Method: a clock by hand; then
the in-memory system with a log that does not acknowledge.
"""

from hypothesis import given
from hypothesis import strategies as st

from streams.entry_way import AT_FIRST, LEAST, MOST, TARGET_S, EntryWay
from streams.gateway import GatewayShell
from streams.log import Delivered
from tests.streams.crash_scenario import ALPHA, HOT
from tests.streams.test_gateway_rounds import entries, with_two_entries


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


def test_a_quick_way_doubles_each_round_up_to_its_most() -> None:
    world = Way()
    rounds = []
    for _ in range(6):
        rounds.append(world.leave_all())
        world.arrive_all(TARGET_S / 2)
    assert rounds == [AT_FIRST, 8, 16, 32, MOST, MOST]


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
    world, _ = with_two_entries()
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
