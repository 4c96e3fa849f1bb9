"""Runs that were cut off, as commands tell of them, go on with them and leave them alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands.console import CommandError, ExitCode
from commands.live import LiveSystem
from runtime import runs
from tests.commands.conftest import Quantum


def _cut_off(data: Path) -> runs.Run:
    """A run whose supervisor, of a live clock, is gone without having said so."""
    run = runs.new_run(data=data, details={"feed": []})
    run.update(state="running", began="another boot/1")
    return run


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch, handlers: None) -> None:
    """Systems end where their processes would be started."""

    def start(*_: object, **__: object) -> None:
        raise CommandError("this is far enough")

    monkeypatch.setattr(LiveSystem, "start", start)


def test_each_run_that_was_cut_off_is_named_whichever_was_the_last(
    idle: Quantum, unstarted: None, tmp_path: Path
) -> None:
    older, newer = _cut_off(tmp_path), _cut_off(tmp_path)
    finished = runs.new_run(data=tmp_path)
    finished.update(state="stopped")
    told = idle("status")
    assert told.exit_code == ExitCode.NOT_RUNNING
    said = " ".join(told.stderr.split())
    assert f"run {newer.name} was cut off: go on with it by ./quantum up --resume" in said
    assert f"--run {newer.name}; so were {older.name}" in said
    said = " ".join(idle("up").stderr.split())
    for run in (newer, older):
        assert f"./quantum up --run {run.name} --resume goes on with it" in said
    assert finished.name not in said


def test_a_run_that_is_resumed_is_the_last_and_one_that_is_looked_into_is_not(
    idle: Quantum, unstarted: None, tmp_path: Path
) -> None:
    older, newer = _cut_off(tmp_path), _cut_off(tmp_path)
    assert "this is far enough" in idle("up", "--run", older.name).stderr
    assert runs.open_run("last", tmp_path).name == newer.name
    assert "this is far enough" in idle("up", "--run", older.name, "--resume").stderr
    assert runs.open_run("last", tmp_path).name == older.name


def test_down_never_signals_a_process_that_has_the_id_of_a_gone_supervisor(
    idle: Quantum, tmp_path: Path
) -> None:
    run = _cut_off(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        run.update(pid=foreign.pid)
        told = idle("down")
        assert told.exit_code == ExitCode.NOT_RUNNING, told.output
        assert foreign.poll() is None
        foreign.communicate(b"\n", timeout=30)
    assert foreign.returncode == 0
    assert "was cut off" in idle("status").stderr
