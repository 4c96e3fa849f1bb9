"""Goal: a script can rely on exit codes, one-line errors and help that starts with examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.app import COMMANDS
from commands.console import CommandError, show
from commands.demo import span
from tests.commands.conftest import Quantum

ROOT = Path(__file__).parents[2]
NEED_A_SYSTEM = [
    ("status",),
    ("positions",),
    ("events",),
    ("why", "x"),
    ("topics", "diff"),
    ("policy", "show"),
    ("policy", "set", "cooldown_s=1", "--operator", "ann", "--reason", "x"),
    ("emergency", "status"),
    ("emergency", "stop", "--operator", "ann", "--reason", "x"),
    ("policy", "diff"),
    ("policy", "rollback", "1", "--operator", "ann", "--reason", "x"),
    ("dlq", "list"),
    ("dlq", "show", "risk/0"),
    ("dlq", "replay", "risk/0", "--operator", "ann", "--reason", "x"),
    ("dlq", "discard", "risk/0", "--operator", "ann", "--reason", "x"),
    ("close", "BTCUSDT", "--operator", "ann", "--reason", "x"),
    ("cancel", "--operator", "ann", "--reason", "x"),
    ("pause", "BTCUSDT", "--operator", "ann", "--reason", "x"),
    ("reduce", "50", "--operator", "ann", "--reason", "x"),
    ("flatten", "--operator", "ann", "--reason", "x"),
    ("rebuild",),
    ("doctor",),
    ("send", "emergency.stop", "operator=ann", "reason=x"),
]


@pytest.mark.parametrize("arguments", NEED_A_SYSTEM, ids=" ".join)
def test_without_a_system_every_command_ends_with_3_and_says_what_to_do(
    idle: Quantum, arguments: tuple[str, ...]
) -> None:
    done = idle(*arguments)
    assert done.exit_code == 3
    assert "./quantum up" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("start", "end"),
    [("2021-05-19T11:00:30", None), (None, "2021-05-19T11:00:00.5")],
)
def test_the_demo_takes_whole_minutes_only(start: str | None, end: str | None) -> None:
    with pytest.raises(CommandError) as refused:
        span(start, end)
    assert refused.value.code == 2
    assert str(refused.value).endswith("whole minutes only")


def test_a_broker_that_does_not_answer_is_exit_code_3(
    idle: Quantum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTUM_KAFKA", "127.0.0.1:9")
    done = idle("status")
    assert done.exit_code == 3
    assert "127.0.0.1:9 does not answer" in done.stderr.replace("\n", " ")


def test_a_setting_that_cannot_be_used_is_misuse(
    idle: Quantum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTUM_KAFKA", "nowhere")
    done = idle("status")
    assert done.exit_code == 2
    assert "QUANTUM_KAFKA=nowhere" in done.stderr


def test_a_database_that_refuses_connections_is_exit_code_3_and_one_line(
    idle: Quantum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTUM_KAFKA", "127.0.0.1:9")
    monkeypatch.setenv("QUANTUM_POSTGRES", "postgresql://ann:secret@127.0.0.1:9/quantum")
    done = idle("rebuild", "--rollback")
    assert done.exit_code == 3
    said = " ".join(done.stderr.split())
    assert "Postgres does not answer (connection failed" in said
    assert "./quantum doctor" in said
    assert "secret" not in said
    assert "details:" not in said


@pytest.mark.parametrize("option", ["--operator", "--reason"])
def test_words_for_the_record_that_are_no_utf_8_are_misuse(idle: Quantum, option: str) -> None:
    given = {"--operator": "ann", "--reason": "x"} | {option: "a\udcff"}
    done = idle("flatten", *(word for pair in given.items() for word in pair))
    assert done.exit_code == 2
    assert "is no UTF-8" in done.output


def test_words_between_colons_are_said_as_they_were_typed(
    idle: Quantum, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "There is no run :smile:." in idle("up", "--run", ":smile:").stderr
    show([], as_json=False, render=lambda: "why: :smile:")
    assert capsys.readouterr().out == "why: :smile:\n"


def test_an_unexpected_error_is_one_line_and_a_log(
    idle: Quantum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("commands.system.find", broken)
    done = idle("status")
    assert done.exit_code == 1
    assert "ZeroDivisionError: division by zero" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output
    assert "ZeroDivisionError" in (tmp_path / "logs" / "quantum.log").read_text()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("demo", "bench")])
def test_help_starts_with_examples(idle: Quantum, command: str) -> None:
    done = idle(command, "--help")
    assert done.exit_code == 0
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0].startswith("Usage:")
    shown = next(line for line in lines[1:] if line not in {"Examples:", "Example:"})
    assert shown.startswith("./quantum"), shown


def test_the_help_names_the_tests_and_the_exit_codes(idle: Quantum) -> None:
    done = idle("--help")
    assert "./quantum test" in done.stdout
    assert "4 refused, 130 interrupted" in " ".join(done.stdout.split())


def test_as_a_process_data_goes_to_stdout_and_words_to_stderr(
    crash_kafka: str, tmp_path: Path
) -> None:
    environment = os.environ | {"QUANTUM_KAFKA": crash_kafka, "QUANTUM_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "commands", "topics", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = {row["topic"]: row for row in json.loads(done.stdout)}
    assert rows["trade.order"]["partitions"] == 8
    assert rows["market"]["records"] > 1000


def test_a_reader_that_goes_away_is_no_error(crash_kafka: str, tmp_path: Path) -> None:
    environment = os.environ | {"QUANTUM_KAFKA": crash_kafka, "QUANTUM_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "commands", "events", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout
        assert running.stderr
        first = running.stdout.readline()
        running.stdout.close()
        told = running.stderr.read().decode()
        running.wait(60)
    assert json.loads(first)["type"]
    assert "Traceback" not in told
    assert "error" not in told.lower()
