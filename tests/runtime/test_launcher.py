"""The launcher: what makes it install, and that it needs nothing on PATH but python3.

Installing the real locks is what `.ci/run` does; here the locks are empty, so that a `.venv` takes
seconds and no network.
"""

import os
import shutil
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from runtime.settings import ROOT

PROGRAM = "import sys; print('commands', *sys.argv[1:])\n"


@pytest.fixture
def launcher() -> ModuleType:
    loader = SourceFileLoader("launcher", str(ROOT / "quantum"))
    spec = spec_from_loader("launcher", loader)
    assert spec is not None
    module = module_from_spec(spec)
    wanted, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = wanted
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real launcher, empty locks and a command that prints its arguments."""
    folder = tmp_path / "a checkout"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks" / "base.lock").touch()
    (folder / "commands").mkdir()
    (folder / "commands" / "__main__.py").write_text(PROGRAM)
    shutil.copy(ROOT / "quantum", folder / "quantum")
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment of a PATH with nothing but python3; no HOME."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(Path(sys.executable).resolve())
    return {"PATH": str(folder)}


def _start(checkout: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [checkout / "quantum", *arguments],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_first_starts_at_once_make_one_venv_which_later_starts_use_at_once(
    checkout: Path, bare: dict[str, str]
) -> None:
    (checkout / ".venv.new-1" / "bin").mkdir(parents=True)  # of an installation that was killed
    first, second = _start(checkout, bare, "a", "b c"), _start(checkout, bare, "d")
    said = [process.communicate(timeout=60) for process in (first, second)]
    assert (said[0][0], said[1][0]) == ("commands a b c\n", "commands d\n"), said
    assert sum("making .venv" in errors for _, errors in said) == 1
    assert not list(checkout.glob(".venv.*-*"))

    began = time.monotonic()
    output, errors = _start(checkout, bare, "again").communicate(timeout=60)
    assert (output, errors) == ("commands again\n", "")
    assert time.monotonic() - began < 2

    scripts = (checkout / ".venv" / "bin" / "pip").read_text()
    assert str(checkout / ".venv" / "bin") in scripts
    assert ".venv.new-" not in scripts


def test_a_changed_lock_another_place_or_a_lost_python_means_installing_again(
    launcher: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    monkeypatch.setattr(launcher, "ROOT", str(checkout))
    monkeypatch.setattr(launcher, "VENV", str(venv))
    monkeypatch.setattr(launcher, "PYTHON", str(venv / "bin" / "python"))
    assert not launcher.is_current("base")
    launcher.write_marker(str(venv), "base")
    assert launcher.is_current("base")

    (checkout / "locks" / "base.lock").write_text("# changed\n")
    assert not launcher.is_current("base")
    launcher.write_marker(str(venv), "base")
    checkout.with_name("moved").symlink_to(checkout)
    monkeypatch.setattr(launcher, "ROOT", str(checkout.with_name("moved")))
    assert not launcher.is_current("base")
    monkeypatch.setattr(launcher, "ROOT", str(checkout))
    (venv / "bin" / "python").unlink()
    assert not launcher.is_current("base")


def test_a_failed_installation_leaves_no_venv_and_says_what_to_do(
    checkout: Path, bare: dict[str, str]
) -> None:
    (checkout / "locks" / "base.lock").write_text("six==1.17.0\n")  # without a hash
    process = _start(checkout, bare, "x")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pip could not install locks/base.lock" in errors
    assert "Traceback" not in errors
    assert not (checkout / ".venv").exists()


def test_processes_keep_what_they_compile_whatever_the_environment_says(
    checkout: Path, bare: dict[str, str]
) -> None:
    (checkout / "commands" / "imported.py").touch()
    (checkout / "commands" / "__main__.py").write_text("from commands import imported")
    process = _start(checkout, bare | {"PYTHONDONTWRITEBYTECODE": "1"})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert list((checkout / "commands" / "__pycache__").glob("imported.*.pyc"))


def test_a_missing_lock_is_named(checkout: Path, bare: dict[str, str]) -> None:
    (checkout / "locks" / "base.lock").unlink()
    process = _start(checkout, bare)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "locks/base.lock cannot be read" in errors
    assert "Traceback" not in errors


def test_an_old_python_goes_on_in_a_newer_one_or_says_which_is_needed(
    launcher: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 10, "final", 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        launcher.use_newer_python(["demo"])
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err

    newer = tmp_path / "python3.12"
    newer.touch(mode=0o755)
    became: list[list[str]] = []

    def become(_path: str, argv: list[str]) -> None:
        became.append(argv)
        raise SystemExit

    monkeypatch.setattr(os, "execv", become)
    with pytest.raises(SystemExit):
        launcher.use_newer_python(["demo"])
    assert became == [[str(newer), str(ROOT / "quantum"), "demo"]]
