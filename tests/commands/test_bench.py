"""The measurements run end to end in small, on real services; no figure is asserted."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commands.app import create
from commands.bench_emergency import findings
from commands.bench_kills import VICTIMS
from commands.bench_machine import machine, spent, summary
from commands.bench_policy import FOLDING
from commands.bench_speed import slots_for
from commands.console import CommandError
from schemas.topics import WORKERS


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `bench …` in a data folder of its own and returns its JSON."""
    monkeypatch.setenv("QUANTUM_DATA", str(tmp_path))

    def run(*arguments: str) -> dict[str, Any]:
        found = CliRunner().invoke(create("bench"), ["bench", *arguments, "--json"])
        assert found.exit_code == 0, found.stderr
        figures: dict[str, Any] = json.loads(found.stdout)
        return figures

    return run


@pytest.mark.long
def test_latency_reports_every_signal_and_the_floor_of_the_same_run(measured: Any) -> None:
    figures = measured("latency", "--seconds", "1", "--rate", "40", "--accounts", "5")
    assert figures["signals"] == 40
    assert figures["approved"] + sum(figures["rejected"].values()) == 40
    assert 0 < figures["n"] <= figures["approved"]
    for name in ("p50_ms", "p99_ms", "max_ms", "floor_p50_ms", "floor_p99_ms"):
        assert figures[name] > 0
    assert figures["machine"]["cores"] >= 1


@pytest.mark.long
def test_emergency_says_so_when_a_figure_would_say_nothing(measured: Any) -> None:
    small = ("--emergencies", "2", "--unread", "500", "--accounts", "4", "--symbols", "10")
    figures = measured("emergency", *small)
    assert figures["n"] == len(figures["emergencies"]) == 2
    assert figures["wrong"] == []
    assert figures["unread_min"] >= 500
    for each in figures["emergencies"]:
        assert each["requests_second_before"] > 0
        assert each["approved_after"] == 0
        assert each["flat_ms"] > 0
        assert each["command_ms"] >= each["obeyed_ms"] >= 0
    assert figures["policy"]["n"] >= 2
    assert set(figures["policy"]["processors"]) == {"risk", "execution", "gateway", "positions"}
    assert set(figures["policy"]["folded"]) == set(FOLDING)
    assert min(each["n"] for each in figures["policy"]["folded"].values()) >= 2


def test_an_emergency_with_nothing_to_obey_is_no_figure() -> None:
    row = {
        "unread": 30_000,
        "requests_second_before": 3,
        "approved_after": 0,
        "refused_after": 2,
        "flat_ms": 400,
    }
    assert findings([row], 30_000) == []
    for change, words in (
        ({"unread": 29_999}, "29999 signals unread, not 30000"),
        ({"requests_second_before": 0}, "no entry was sent in the second before"),
        ({"approved_after": 1}, "1 approvals knew of it"),
        ({"refused_after": 0}, "no signal was refused"),
        ({"flat_ms": -1}, "never flat"),
    ):
        (found,) = findings([row | change], 30_000)
        assert words in found


@pytest.mark.long
def test_throughput_counts_only_signals_that_have_a_durable_order(measured: Any) -> None:
    figures = measured(
        "throughput", "--signals", "80", "--accounts", "20", "--symbols", "4", "--parts", "2"
    )
    assert figures["orders"] == figures["approved"] == 80
    assert figures["per_second"] > 0
    assert figures["records"] == 40, "two parts a record"


@pytest.mark.long
def test_recovery_measures_a_killed_worker(measured: Any) -> None:
    figures = measured("recovery", "--kills", "1", "--no-broker")
    assert figures["worker_seconds"] > 0
    assert figures["broker_seconds"] is None
    assert [each["worker"] for each in figures["kills"]] == ["risk"]


@pytest.mark.long
def test_restart_measures_with_snapshots_and_without_any(measured: Any) -> None:
    figures = measured("restart", "--events", "20000", "--behind", "2000", "--times", "1")
    assert figures["events"] >= 20_000
    assert figures["with_snapshot"]["restored"] == 8
    assert figures["without"]["restored"] == 0
    assert figures["snapshot_bytes"] > 1_000


def test_the_help_of_bench_starts_with_examples() -> None:
    for arguments in (["bench"], ["bench", "latency"], ["bench", "restart"]):
        shown = CliRunner().invoke(create("bench"), [*arguments, "--help"]).output
        lines = [line for line in shown.splitlines() if "./quantum" in line or "Options" in line]
        assert "./quantum bench" in lines[0]


def test_more_signals_than_slots_are_refused_with_the_number_that_fits() -> None:
    fits = slots_for(["a", "b"], ["X", "Y", "Z"], signals=6, parts=2)
    assert fits == [("a", ["X", "Y"]), ("b", ["X", "Y"]), ("a", ["Z"]), ("b", ["Z"])]
    with pytest.raises(CommandError, match="6 at most"):
        slots_for(["a", "b"], ["X", "Y", "Z"], signals=7, parts=2)


def test_percentiles_are_those_of_all_values() -> None:
    assert summary([float(n) for n in range(1, 101)]) == {
        "p50_ms": 50.0,
        "p99_ms": 100.0,
        "max_ms": 100.0,
    }
    assert summary([]) == {"p50_ms": None, "p99_ms": None, "max_ms": None}


def test_a_figure_names_its_machine() -> None:
    assert {"date", "cores", "memory_mib", "load_average", "build", "versions"} <= machine().keys()
    assert spent({"a": 1.0}, {"a": 1.5, "b": 2.0}) == {"b": 2.0, "a": 0.5}


def test_only_workers_that_the_feed_waits_for_are_killed() -> None:
    assert set(VICTIMS) == set(WORKERS) - {"projector"}
