"""`./quantum halt` on a host where nothing else runs: the file alone is what counts."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commands.app import create
from runtime.halt_file import HaltFile


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTUM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("QUANTUM_KAFKA", raising=False)
    return tmp_path / "data"


def halt(*arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(create("halt"), ["halt", *arguments, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else done.output


def test_a_halt_needs_nothing_that_runs_and_is_there_for_whoever_is_started(data: Path) -> None:
    said = halt("--all", "--operator", "ann", "--reason", "it sells in a loop")
    assert said["halt"]["mode"] == "all"
    assert (said["gateway"], said["obeyed"]) == (None, None)
    found = HaltFile.of(data).look()
    assert found is not None
    assert (found.mode, found.operator, found.reason) == ("all", "ann", "it sells in a loop")
    assert halt("--reason", "less")["halt"]["mode"] == "entries", "the later one counts"
    assert halt("--lift")["lifted"]["reason"] == "less"
    assert halt("--lift")["lifted"] is None
    assert HaltFile.of(data).look() is None


def test_a_person_is_told_what_a_halt_does_not_do(data: Path) -> None:
    done = CliRunner().invoke(create("halt"), ["halt", "--all", "--operator", "ann"])
    assert "halt --all by ann" in done.stdout
    assert "only the stops that rest on the exchange protect now" in done.stdout
    assert "no gateway of this data folder answers: it obeys when it runs" in done.stdout
    assert str(data / "halt.json") in done.stdout.replace("\n", "")


def test_two_modes_at_once_are_misuse_and_change_nothing(data: Path) -> None:
    assert "say one of --all, --flatten and --lift" in halt("--all", "--lift", code=2)
    assert not (data / "halt.json").exists()


def test_a_file_that_cannot_be_written_is_named_with_what_is_left_to_do(data: Path) -> None:
    data.write_text("no folder")
    said = halt("--operator", "ann", code=1)
    assert f"{data / 'halt.json'} cannot be written" in said.replace("\n", "")
    assert halt("--lift")["lifted"] is None, "there is no file, so there is no halt"
    assert "Free some space or mend the folder" in said.replace("\n", " ")
