"""How much of the time checkpoints and snapshots take: goal and method.

Goal: however large the states are and however slow the machine, a process has time for its work,
and small states are told when they are due. Method: costs are told to a pace, no time passes; a
real shell whose pace has to rest.
"""

from replay.simulator.script import Script
from streams.paces import AHEAD_S, CHECKPOINT_S, Every, Paces
from tests.streams.crash_scenario import ALPHA
from tests.streams.test_shell import Bench, checkpoints


def test_after_a_state_was_told_the_process_rests_for_many_times_as_long() -> None:
    paces = Paces(Every(process_share=0.05))
    assert paces.rested(0.0)
    paces.spent(10.0, 0.02)
    assert paces.rested(10.0), "small states are told one after the other"
    paces.spent(10.0, 0.4)
    assert not paces.rested(18.3 - AHEAD_S)
    assert paces.rested(18.4 - AHEAD_S)
    paces.spent(100.0, 0.4)
    assert not paces.rested(107.9 - AHEAD_S), "a long rest before is not saved up"


def test_of_many_small_states_a_second_takes_many() -> None:
    paces, told = Paces(Every(process_share=0.05)), 0
    while paces.rested(0.0):
        paces.spent(0.0, 0.001)
        told += 1
    assert told > 40


def test_a_source_that_is_due_waits_while_the_process_has_to_rest() -> None:
    bench, script = Bench("risk"), Script()
    bench.feed(*script.signal(ALPHA, "BUY"))
    bench.shell.checkpoint(1.0)
    bench.feed(*script.tick())
    bench.shell.keeper.paces.spent(1.0, 2.0)
    bench.shell.checkpoint(1.0 + CHECKPOINT_S)
    assert checkpoints(bench) == 0
    bench.shell.checkpoint(1.0 + 4 * CHECKPOINT_S)
    assert checkpoints(bench) == 1


def test_who_folded_most_without_a_record_tells_its_state_first() -> None:
    bench, script = Bench("risk"), Script()
    bench.feed(*script.signal(ALPHA, "BUY"))
    sources = list(bench.shell.sources.values())
    for source in sources:
        source.sequence = max(source.sequence, 1)
    paces, since = Paces(), {s.name: n + 1 for n, s in enumerate(sources)}
    assert paces.checkpoints(sources, since, 0.0) == []
    due = paces.checkpoints(sources, since, CHECKPOINT_S)
    assert [since[source.name] for source in due] == sorted(since.values(), reverse=True)


def test_where_there_is_time_for_one_state_a_snapshot_comes_before_checkpoints() -> None:
    bench, script = Bench("risk", every=Every(1, share=float("inf"), process_share=1e-9)), Script()
    bench.feed(*script.signal(ALPHA, "BUY"))
    bench.shell.checkpoint(0.0)
    bench.feed(*script.tick())
    bench.shell.checkpoint(2 * CHECKPOINT_S)
    assert bench.shell.keeper.waiting, "checkpoints of eight sources would never leave time for it"
    assert checkpoints(bench) == 1, "its own"
