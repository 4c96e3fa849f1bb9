"""Chaos on the real thing: broker, database and workers killed and paused, their network failing.

One round of a fixed seed in the suite; `./quantum test tests/system/test_chaos.py --chaos-minutes N
[--chaos-seed S]` for more: rounds of seeds S, S + 1, … until so much time has passed with chaos
(`--full`: 10 minutes).
"""

import pytest

from tests.system.chaos_round import Round, hours_of, run

HOURS = 6
DAY = ("2021-05-19T11:00", "2021-05-19T15:00")
"""With the crash in it, and long enough for a minute of chaos."""
LONGEST_S = 20.0


@pytest.mark.timeout(600)
def test_a_run_with_chaos_ends_by_itself_as_if_nothing_had_happened() -> None:
    met = run(1, DAY, longest_s=4.0, until_s=60.0, limit_s=300.0)
    print(met)
    assert len(met.faults) > 5
    assert len(met.counts()) > 3
    assert sum(met.restarts.values()) > 0


@pytest.mark.long
@pytest.mark.timeout(0)
def test_chaos_for_as_long_as_was_asked_for(
    chaos_minutes: float, chaos_seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A round that fails does not end it: all are told at the end."""
    rounds: list[Round] = []
    failed: dict[int, BaseException] = {}
    seed, spent_s = chaos_seed, 0.0
    while spent_s < chaos_minutes * 60:
        hours = hours_of(seed, hours=HOURS)
        told(capsys, f"chaos seed {seed}, {hours[0]} to {hours[1]}")
        try:
            met = run(seed, hours, longest_s=LONGEST_S, until_s=300.0, limit_s=1_200.0)
        except Exception as error:
            failed[seed] = error
            notes = "\n".join(getattr(error, "__notes__", ()))
            told(capsys, f"chaos seed {seed} FAILED: {error!r}\n{notes}")
            spent_s += 60
        else:
            rounds.append(met)
            spent_s += met.seconds
            told(capsys, f"{met}, {spent_s / 60:.1f} minutes so far; {dict(met.ended)}")
        seed += 1
    assert not failed, f"seeds {sorted(failed)}"


def told(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Say it at once, whatever pytest captures."""
    with capsys.disabled():
        print(line, flush=True)
