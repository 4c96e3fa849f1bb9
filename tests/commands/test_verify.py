"""`verify` on a real broker and by another build, as a person runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from replay.archive_writing import archive
from replay.sources import KafkaLog
from runtime.settings import ROOT
from tests.commands.conftest import Quantum

ROOMS = ("commands", "domain", "gateways", "replay", "runtime", "schemas")


def test_the_running_system_is_decided_again(quantum: Quantum) -> None:
    done = quantum("verify", "--json", "--processor", "venue", "--processor", "execution")
    assert done.exit_code == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["decisions"] == found["identical"] > 150
    assert (found["different"], found["details"], found["classes"]) == (0, [], {})
    said = quantum("verify", "--processor", "signals").stdout
    assert "36 identical, 0 different" in said


def test_an_unknown_processor_or_two_logs_at_once_is_misuse(idle: Quantum, tmp_path: Path) -> None:
    assert idle("verify", "--archive", str(tmp_path), "--processor", "gateway").exit_code == 2
    assert idle("verify", "--archive", str(tmp_path), "--run", "last").exit_code == 2
    assert idle("verify").exit_code == 3


def test_one_changed_line_of_a_decider_is_found_and_named(crash_kafka: str, tmp_path: Path) -> None:
    """A copy of this code in which one comparison is another one, on the archive of this run."""
    archive(KafkaLog(crash_kafka), tmp_path / "kept")
    code = tmp_path / "code"
    for room in ROOMS:
        shutil.copytree(ROOT / room, code / room, ignore=shutil.ignore_patterns("__pycache__"))
    clock = code / "domain" / "clock_state.py"
    line = "market.time > latest:"
    assert clock.read_text().count(line) == 1
    clock.write_text(clock.read_text().replace(line, line.replace(">", "<")))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "commands", "verify", "--archive", str(tmp_path / "kept")],
        cwd=code,
        env=os.environ | {"PYTHONPATH": str(code), "QUANTUM_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "decided by other code" in done.stdout
    assert "Traceback" not in done.stderr
