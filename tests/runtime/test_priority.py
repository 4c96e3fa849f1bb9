"""Who stands back where processor time is short."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.priority import AUTOGROUP, STEPS, stand_back
from runtime.settings import ROOT
from schemas.topics import WORKERS

ASK = """
import os, sys
from runtime.priority import AUTOGROUP, stand_back
stand_back(sys.argv[1])
print(os.nice(0), AUTOGROUP.read_text().rpartition("nice")[2] if AUTOGROUP.exists() else "")
"""


def steps_of(worker: str) -> tuple[int, int | None]:
    """Steps of a process of its own session, and of that session where the kernel has them."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, worker], cwd=ROOT, capture_output=True, text=True,
        check=True, start_new_session=True,
    )  # fmt: skip
    own, *session = done.stdout.split()
    return int(own), int(session[0]) if session else None


@pytest.mark.parametrize(("worker", "steps"), [("rebuild", 10), ("projector", 10), ("risk", 0)])
def test_a_worker_stands_back_as_far_as_it_should(worker: str, steps: int) -> None:
    before, _ = steps_of("nobody")
    own, session = steps_of(worker)
    assert own == min(before + steps, 19)
    assert session in (steps, None)


def test_what_trades_stands_back_for_nobody() -> None:
    assert STEPS.keys() & set(WORKERS) == {"projector"}


def test_where_it_cannot_be_set_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runtime.priority.AUTOGROUP", tmp_path / "none" / AUTOGROUP.name)
    monkeypatch.setattr("os.nice", lambda _steps: (_ for _ in ()).throw(PermissionError))
    stand_back("projector")
