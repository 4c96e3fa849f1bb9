"""Fuzzed archives: whatever is changed in one, it gives the records it had, or says it is damaged.

Method: hypothesis changes bytes of the files of a small archive of a real broker, and of its list
of segments, swaps and removes files. Checked as every command opens it; `--full`: 10,000 times.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.archive import MANIFEST, ArchiveError, ArchiveLog
from replay.archive_writing import archive
from replay.sources import DamagedLogError, KafkaLog, RawRecord, Topics
from schemas.topics import EVENT_TOPICS

EACH = 10_000 if os.environ.get("QUANTUM_TEST_FULL") else 150
FEW = {"market/0": 9, "control/0": 9, "commands.control/0": 3}
"""How many records of a partition there are: each reading looks at every file."""


class Beginning(KafkaLog):
    """The broker's log as it was when a little was written."""

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return {key: min(end, FEW.get(key, 0)) for key, end in super().ends(topics).items()}


@pytest.fixture(scope="module")
def small(crash_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "small"
    archive(Beginning(crash_kafka), folder, segment_rows=4)
    return folder


class Change(NamedTuple):
    """What is done to a file. at: where, modulo its size; other: whose content comes instead."""

    name: str
    kind: str
    at: int
    size: int
    other: str

    def of(self, files: dict[str, bytes]) -> bytes | None:
        """The file's new content; None: it is removed."""
        raw = bytearray(files[self.name])
        at = self.at % len(raw)
        if self.kind == "gone":
            return None
        if self.kind == "byte":
            raw[at] ^= 1 << self.size % 8
        elif self.kind == "cut":
            del raw[at : at + self.size]
        elif self.kind == "insert":
            raw[at:at] = bytes(range(self.size % 20))
        elif self.kind == "end":
            del raw[at:]
        else:
            raw = bytearray(files[self.other])
        return bytes(raw)


def changes(names: list[str]) -> st.SearchStrategy[list[Change]]:
    name = st.one_of(st.just(MANIFEST), st.sampled_from(names))
    kinds = st.sampled_from(("byte", "byte", "cut", "insert", "end", "other", "gone"))
    one = st.builds(
        Change, name, kinds, st.integers(0, 1 << 20), st.integers(1, 400), st.sampled_from(names)
    )
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda change: change.name)


def read(folder: Path) -> list[RawRecord] | None:
    """All records as a command reads them; None if the archive is refused."""
    try:
        log = ArchiveLog(folder)
        assert sum(1 for _ in log.read()) == sum(1 for _ in log.raw())
        return list(log.raw())
    except (ArchiveError, DamagedLogError):
        return None


@pytest.mark.timeout(3600)
def test_a_damaged_archive_is_refused_or_gives_every_record_it_had(
    small: Path, tmp_path: Path
) -> None:
    found = {str(f.relative_to(small)): f.read_bytes() for f in small.rglob("*") if f.is_file()}
    files = {name: raw for name, raw in found.items() if raw}
    whole, folder = read(small), Path(shutil.copytree(small, tmp_path / "copy"))
    assert whole
    refused = 0

    @settings(
        max_examples=EACH, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(done=changes(sorted(files)))
    def look(done: list[Change]) -> None:
        nonlocal refused
        for change in done:
            if (raw := change.of(files)) is None:
                (folder / change.name).unlink()
            else:
                (folder / change.name).write_bytes(raw)
        found = read(folder)
        for change in done:
            (folder / change.name).write_bytes(files[change.name])
        refused += found is None
        assert found is None or found == whole

    look()
    assert refused > EACH // 2
