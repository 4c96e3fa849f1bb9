"""Goal: a shell completes commands, options and subcommands, and asking it costs little.

Method: the command line as the shells call it, and a real bash with the script it is given.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands.__main__ import typed
from commands.app import COMMANDS

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "commands", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def asked(line: str, number: int) -> list[str]:
    """What bash is offered for word `number` of a line."""
    return run(_QUANTUM_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(number)).split()


@pytest.mark.parametrize(
    ("line", "number", "offered"),
    [
        ("quantum po", 1, {"positions", "policy"}),
        ("./quantum policy ", 2, {"show", "set", "history", "diff", "rollback"}),
        ("quantum policy ro", 2, {"rollback"}),
        ("quantum close BTCUSDT --op", 3, {"--operator"}),
    ],
)
def test_bash_is_offered_commands_subcommands_and_options(
    line: str, number: int, offered: set[str]
) -> None:
    assert set(asked(line, number)) == offered


def test_every_command_is_offered() -> None:
    assert set(asked("quantum ", 1)) == set(COMMANDS)


def test_other_shells_are_offered_the_same() -> None:
    told = run(_QUANTUM_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="quantum policy ro")
    assert "rollback" in told


def test_a_real_bash_completes_with_the_script_it_is_given(tmp_path: Path) -> None:
    script = run("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "complete -o default -F _quantum_completion quantum" in script
    command = tmp_path / "quantum"
    command.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m commands "$@"\n')
    command.chmod(0o755)
    line = f"""{script}
COMP_WORDS=({command} flat); COMP_CWORD=1
_quantum_completion {command}
echo "${{COMPREPLY[@]}}"
"""
    path = os.pathsep.join((os.environ.get("PATH", ""), os.defpath))  # a test's may be short
    done = subprocess.run(
        [shutil.which("bash", path=path) or "bash", "-c", line],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["flatten"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"COMP_WORDS": "quantum", "COMP_CWORD": "1"}, [""]),
        ({"COMP_WORDS": "quantum po", "COMP_CWORD": "1"}, ["po"]),
        ({"COMP_WORDS": "quantum policy", "COMP_CWORD": "2"}, ["policy", ""]),
        ({"_TYPER_COMPLETE_ARGS": "quantum po"}, ["po"]),
        ({"_TYPER_COMPLETE_ARGS": "quantum policy "}, ["policy", ""]),
        ({}, []),
    ],
)
def test_the_words_of_the_line_are_found(environment: dict[str, str], words: list[str]) -> None:
    assert typed(environment) == words
