"""Goal: `whatif`, `parity` and `statement` work from the command line on any log.

Method: the crash in an archive, as `./quantum archive` writes it; the commands' JSON, text, files
and refusals.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from replay.archive_writing import archive
from replay.sources import KafkaLog, RawRecord
from replay.summary import Summary
from schemas.scalars import text
from schemas.topics import EVENT_TOPICS, PARTITIONS_EMBEDDED, partitions
from tests.commands.conftest import Quantum
from tests.replay.recorded_runs import crash, records


class Held(KafkaLog):
    """The crash, read as a broker's log is by whoever archives it."""

    def __init__(self) -> None:
        super().__init__("memory")
        self.log = crash()

    def ends(self, topics: Any = ()) -> dict[str, int]:
        every = [t for t in EVENT_TOPICS if t.name in topics]
        counts = {t.name: partitions(t, PARTITIONS_EMBEDDED) for t in every}
        empty = {f"{name}/{n}": 0 for name, count in counts.items() for n in range(count)}
        return empty | self.log.ends(topics)

    def starts(self, topics: Any = ()) -> dict[str, int]:
        return dict.fromkeys(self.ends(topics), 0)

    def topic_ids(self) -> dict[str, str]:
        return {topic.name: f"id of {topic.name}" for topic in EVENT_TOPICS}

    def raw_range(self, ranges: dict[str, tuple[int, int]]) -> Iterator[RawRecord]:
        return (r for r in self.log.records if f"{r.topic}/{r.partition}" in ranges)


@pytest.fixture(scope="session")
def archived(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an archive of the crash."""
    folder = tmp_path_factory.mktemp("archive")
    archive(Held(), folder)
    return str(folder)


@pytest.fixture
def quantum(idle: Quantum, archived: str) -> Quantum:
    """The command line, reading the archive where it is not told otherwise."""

    class Reading(Quantum):
        def __call__(self, *arguments: str) -> Result:
            return idle(*arguments, "--archive", archived)

    return Reading()


def result(quantum: Quantum, *arguments: str) -> Any:
    done = quantum(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text('{"max_size_pct": "20"}')
    return path


def test_whatif_tells_programs_and_people_the_same(quantum: Quantum, policy: Path) -> None:
    told = result(quantum, "whatif", "--policy", str(policy), "--limit", "3")
    assert told["decisions_changed"] > 0
    assert told["pnl_before"] != told["pnl_after"]
    assert told["unchanged_policy_differences"] == 0
    assert len(told["differences"]) == 3
    done = quantum("whatif", "--policy", str(policy), "--limit", "3")
    words = " ".join(done.stdout.split())
    assert f"{told['decisions_changed']} decisions change" in words
    assert f"P&L {told['pnl_before']} before, {told['pnl_after']} after" in words
    assert "modelled" in words


def test_whatif_refuses_what_it_cannot_use(quantum: Quantum, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("cooldwn_s = 5\n")
    done = quantum("whatif", "--policy", str(path))
    assert done.exit_code == 2
    assert "did you mean cooldown_s" in " ".join(done.stderr.split())
    path.write_text("cooldown_s = 5\n")
    for wrong, words in ((("--account", "nobody"), "there is no account nobody"),
                         (("--from", "noon"), "write 2021-05-19")):  # fmt: skip
        done = quantum("whatif", "--policy", str(path), *wrong)
        assert done.exit_code == 2
        assert words in " ".join(done.stderr.split())


def test_parity_of_an_untouched_run_is_whole(quantum: Quantum) -> None:
    told = result(quantum, "parity")
    assert told["identical"] == told["decisions"] > 100
    assert told["identical_pct"] == 100
    assert told["classes"] == {}
    assert "100.0000 %" in quantum("parity").stdout


def test_statement_writes_a_table_of_each_kind_for_each_account(
    quantum: Quantum, tmp_path: Path
) -> None:
    told = result(quantum, "statement", "--out", str(tmp_path / "books"))
    assert len(told["files"]) == 6 * len(told["accounts"])
    with (tmp_path / "books" / "main-days.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == told["accounts"]["main"]["days"]
    summary = Summary.of(r.event for r in records(crash()) if r.valid and r.event is not None)
    for name, tables in told["accounts"].items():
        equity = summary.accounts[name].equity(summary.marks)
        assert tables["days"][-1]["closing_equity"] == text(equity)
    done = quantum("statement", "--account", "nobody")
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "there is no account nobody" in said
    assert said.endswith(f"there are: {', '.join(told['accounts'])}")
