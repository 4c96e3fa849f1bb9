"""Goal: a Ctrl-C ends a command with 130 and no traceback, whenever it comes."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands import bench_kills, bench_restart, bench_soak, bench_world, demo, drill, rebuild
from commands.console import CommandError, ExitCode
from runtime.settings import ROOT
from tests.commands.conftest import Quantum

STARTING = """
import signal, sys
module, sys.argv = sys.argv[1], ["quantum", *sys.argv[2:]]

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
from commands.__main__ import main
main()
"""
"""A person interrupts a command while a module of it is imported."""


@pytest.mark.parametrize("module", ["commands.app", "typer", "commands.status", "replay.log"])
def test_an_interrupt_while_a_command_starts_is_130_without_a_word(
    module: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTING, module, "status"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT), "QUANTUM_DATA": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


SYSTEM: Any = SimpleNamespace(
    interrupted=True,
    kafka="",
    run=SimpleNamespace(name="", folder=Path()),
    check=lambda: None,
    feed_done=lambda: None,
    feed_error=lambda: None,
)
"""A system whose person has interrupted it."""
NOTHING: Any = SimpleNamespace(poll=lambda _s: None)


def _world() -> bench_world.World:
    world = bench_world.World.__new__(bench_world.World)
    world.system = SYSTEM
    return world


@pytest.mark.parametrize(
    "wait",
    [
        lambda: demo._watch(SYSTEM, ("", ""), plain=True),
        lambda: drill._Watch(SYSTEM, NOTHING).until(lambda _log: False, 1, "never"),
        lambda: bench_kills._look(SYSTEM),
        lambda: bench_restart.report(SYSTEM, NOTHING, "risk", ""),
        lambda: bench_soak._watch(SYSTEM, 1),
        lambda: _world().check(),
    ],
    ids=["demo", "drill", "kills", "restart", "soak", "world"],
)
def test_an_interrupted_run_is_130_and_says_that_everything_is_stopped(
    wait: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "LiveView", lambda *_, **__: nullcontext())
    with pytest.raises(CommandError, match="interrupted; everything is stopped") as raised:
        wait()
    assert raised.value.code is ExitCode.INTERRUPTED


def test_an_interrupted_rebuild_is_130_and_says_how_it_goes_on(
    idle: Quantum, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("QUANTUM_KAFKA", "127.0.0.1:9")
    monkeypatch.setenv("QUANTUM_POSTGRES", "postgresql://ann@127.0.0.1:9/quantum")
    monkeypatch.setattr(rebuild, "_rebuilt", interrupted)
    done = idle("rebuild")
    assert done.exit_code == 130
    assert "the live tables are as they were" in " ".join(done.stderr.split())
