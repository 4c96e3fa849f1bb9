"""The simulator finds bugs: each faulty rule of the protocol model is caught (issue 6).

Goal: a test that cannot fail shows nothing. Method: each mutant is put into the real code and the
seed, or the crash point, that was recorded as catching it is run again; with `--full` the search.
"""

from collections.abc import Iterator

import pytest

from commands.simulate import bystanders
from streams.simulated.seed import simulate, warm
from tests.replay.simulator.effects import FOCUS
from tests.replay.simulator.failing_brakes import BRAKES
from tests.replay.simulator.mutants import MUTANTS
from tests.streams.crash_runs import crash, reference

SEEDS = {
    "fence_in_control": 1,
    "epoch_by_count": 26,
    "id_without_source": 1,
    "done_by_outputs": 2,
    "trust_group_offset": 1,
    "hwm_in_fold": 8,
    "blind_snapshot": 2,
    "snapshot_anywhere": 8,
    "gappy_producer": 1,
    "random_fill_ids": 1,
    "exposure_two_topics": 4,
    "flat_from_two_topics": 95,
    "end_while_unknown": 1,
    "no_wait_after_fence": 12,
    "no_barrier": 94,
    "no_epoch_check": 2,
    "stamp_after_check": 369,
    "resend_on_timeout": 2,
    "projector_forgets_fence": 1,
}
"""A seed that catches each mutant, found by the search below; where `FOCUS` says so with faults of
its own."""
OUR_SEEDS = {
    "breaker_never_trips": 3,
    "stop_without_emergency": 3,
    "daily_loss_ignored": 16,
    "blind_between_updates": 77,
    "governor_unheard": 2,
    "halt_all_lets_exits_out": 14,
    "own_close_forgotten": 148,
    "flash_crash_ignored": 35,
    "flatten_closes_once": 72,
}
"""The same of the faulty rules of our own."""
POINTS = {
    "catchup_any_order": ("execution", "lost"),
    "split_records": ("venue", "lost"),
}
"""Worker and kind of the crash points that catch what random search misses."""
SEARCHED = range(1, 300)


@pytest.fixture(autouse=True)
def _cold() -> Iterator[None]:
    """The warm system is made by the code as it is."""
    warm.cache_clear()
    yield
    warm.cache_clear()


def broken(seed: int, name: str) -> str | None:
    """Why a seed fails; also where a process or a check stumbles over what it finds."""
    try:
        return simulate(seed, bystanders, FOCUS.get(name)).broken
    except Exception as error:
        return repr(error)


def test_every_mutant_is_caught_by_a_seed_or_a_crash_point() -> None:
    assert set(SEEDS) | set(POINTS) == set(MUTANTS)
    assert set(OUR_SEEDS) == set(BRAKES)


@pytest.mark.parametrize("name", OUR_SEEDS)
def test_a_brake_that_fails_is_caught_by_its_seed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BRAKES[name](monkeypatch)
    assert broken(OUR_SEEDS[name], name), BRAKES[name].__doc__


@pytest.mark.parametrize("name", SEEDS)
def test_a_mutant_is_caught_by_its_seed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    assert broken(SEEDS[name], name), MUTANTS[name].__doc__


@pytest.mark.parametrize("name", sorted(FOCUS.keys() & SEEDS.keys()))
def test_a_seed_with_faults_of_its_own_passes_without_the_mutant(name: str) -> None:
    """The seeds of the others are among those of the suite, which all pass."""
    assert broken(SEEDS[name], name) is None


@pytest.mark.parametrize("name", POINTS)
def test_a_mutant_is_caught_by_a_crash_point(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, kind = POINTS[name]
    steps = reference().steps(worker)
    MUTANTS[name](monkeypatch)
    for step in steps:
        try:
            crash(step, kind)
        except AssertionError:
            return
    pytest.fail(f"no crash of {worker} shows {MUTANTS[name].__doc__}")


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", [*SEEDS, *OUR_SEEDS])
def test_the_search_finds_a_mutant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (MUTANTS | BRAKES)[name](monkeypatch)
    assert any(broken(seed, name) for seed in SEARCHED)
