"""`./quantum simulate`: what it prints, its exit codes, and how a failing seed is replayed."""

import json

import pytest
from typer.testing import CliRunner, Result

from commands.app import create
from replay.simulator.faults import FAULTS
from streams.simulated.seed import warm
from tests.replay.simulator.mutants import gappy_producer


def quantum(*arguments: str) -> Result:
    return CliRunner().invoke(create("simulate"), ["simulate", *arguments])


def test_seeds_that_pass_are_told_as_json() -> None:
    done = quantum("--seeds", "2", "--first", "3", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["seeds"], told["failed"], told["failing"]) == (2, 0, [])
    assert set(FAULTS) <= set(told["coverage"])
    assert told["times_real"] > 0


def test_people_read_what_each_fault_means() -> None:
    done = quantum("--seeds", "1")
    assert done.exit_code == 0, done.output
    for name, meaning in FAULTS.items():
        assert name in done.stdout
        assert meaning[:40] in done.stdout
    assert "1 seeds, 0 failed" in done.stdout


def test_a_failing_seed_says_why_and_how_it_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    warm()
    gappy_producer(monkeypatch)
    done = quantum("--seeds", "1", "--first", "1", "--trace")
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())  # however wide the terminal is
    assert "seed 1 failed: " in said
    assert "records are missing" in said
    assert "./quantum simulate --first 1 --seeds 1 --trace" in said
    assert done.stderr.count("\n") > 50, "the whole trace"
    again = quantum("--seeds", "1", "--first", "1", "--json")
    assert json.loads(again.stdout)["failing"] == [1]
