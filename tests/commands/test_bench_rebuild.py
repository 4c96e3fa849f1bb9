"""The log a rebuild is measured with, and the measurement end to end in small."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands import bench_log
from commands.app import create
from schemas.codec import decode
from schemas.topics import partition_of
from schemas.validity import Validity

PARTITIONS = 4


@pytest.mark.long
def test_the_long_log_is_valid_and_most_of_it_feeds_tables() -> None:
    shared, templates = bench_log.cut()
    validity: dict[tuple[str, int], Validity] = {}
    topics: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    told = bench_log.messages(shared, templates, 9, PARTITIONS)
    for topic, partition, key, value in told:
        event = decode(value)
        valid = validity.setdefault((topic, partition), Validity()).admit(event)
        assert valid or event.type == "source.fenced.v1"
        if event.partitionkey.startswith("acct-"):
            assert key.decode() == event.partitionkey
            assert partition in (0, partition_of(event.partitionkey, PARTITIONS))
            topics[topic] += 1
            ids[event.id] += 1
    assert ids.most_common(1)[0][1] == 1
    fed = sum(topics[name] for name in bench_log.FED)
    assert fed > 0.62 * topics.total()


@pytest.mark.long
def test_a_small_rebuild_is_measured_and_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTUM_DATA", str(tmp_path))
    found = CliRunner().invoke(create("bench"), ["bench", "rebuild", "--events=15000", "--json"])
    assert found.exit_code == 0, found.stderr
    figures = json.loads(found.stdout)
    assert figures["equal"] is True
    assert figures["events"] >= 15_000
    assert figures["load_events_per_second"] > figures["events_per_second"] > 0
    assert figures["memory_mib"] < 1_000
