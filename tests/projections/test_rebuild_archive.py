"""Goal: an archive makes the same tables as the topics it was made of.
Method: a day's log in a real broker, archived in small segments; then rebuilds from the folder."""

from pathlib import Path

import pytest

from projections.database import ProjectionError
from projections.digest import equals_replay
from projections.projector import Projector
from projections.rebuild import rebuild
from replay.archive_writing import archive
from replay.sources import KafkaLog
from tests.projections.builders import Log
from tests.projections.conftest import project_all, wait_for
from tests.projections.days import day
from tests.projections.publishing import publish
from tests.projections.test_projector import running
from tests.projections.test_rebuild import schemas


@pytest.fixture
def log(broker: str) -> Log:
    log = day(4)
    publish(broker, log.messages)
    return log


@pytest.fixture
def folder(broker: str, log: Log, tmp_path: Path) -> Path:
    """An archive of all of it."""
    told = archive(KafkaLog(broker), tmp_path / "kept", segment_rows=100)
    assert told.total_records == len(log.messages)
    return tmp_path / "kept"


def test_a_rebuild_from_an_archive_is_equal_to_the_live_tables(
    broker: str, migrated: str, log: Log, folder: Path
) -> None:
    project_all(broker, migrated, len(log.messages))
    steps: list[tuple[int, int]] = []
    result = rebuild(
        folder,
        migrated,
        verify=True,
        checkpoint=60,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert (result.equal, result.differences) == (True, [])
    assert result.events == len(log.messages) == steps[-1][0] == steps[-1][1]
    assert rebuild(folder, migrated, verify=True, projection="trades").replaced == 0
    assert equals_replay(broker, migrated) == (True, [])


def test_tables_made_from_an_archive_are_gone_on_with_from_the_topics(
    broker: str, database: str, log: Log, folder: Path
) -> None:
    assert rebuild(folder, database, verify=False).events == len(log.messages)
    count = len(log.messages)
    log.trade("main")
    publish(broker, log.messages[count:])
    with running(Projector(broker, database)) as projector:
        wait_for(lambda: sum(projector.positions.values()) == len(log.messages), "the rest")
    assert equals_replay(broker, database) == (True, [])
    with pytest.raises(ProjectionError, match=r"ends before live's positions .* `quantum archive`"):
        rebuild(folder, database, verify=True)
    assert rebuild(folder, database, verify=False).equal is None, "live falls back and catches up"
    with running(Projector(broker, database)) as projector:
        wait_for(lambda: sum(projector.positions.values()) == len(log.messages), "the rest again")
    assert equals_replay(broker, database) == (True, [])
    assert schemas(database) == {"live", "before"}


def test_a_damaged_archive_or_none_is_refused_and_the_live_tables_stay(
    migrated: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProjectionError, match="is no archive"):
        rebuild(tmp_path, migrated, verify=False)
    file = min(folder.glob("trade.order/*/*.parquet"))
    raw = bytearray(file.read_bytes())
    raw[40] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ProjectionError, match=r"archive file trade.order/.*altered"):
        rebuild(folder, migrated, verify=False)
    assert schemas(migrated) == {"live"}


def test_what_only_models_can_take_is_taken_from_an_archive_too(
    broker: str, migrated: str, tmp_path: Path
) -> None:
    log = day(1)
    order = log.order("main", "BUY", "entry")
    log.reported("main", log.filled(order, "BUY", "40000.1"))
    true = log.messages.pop()
    forged = true.value.replace(b'"price":"40000.1"', b'"price":"nothing"')
    log.messages += [type(true)(true.topic, true.partition, true.key, forged), true]
    publish(broker, log.messages)
    archive(KafkaLog(broker), tmp_path / "kept")
    project_all(broker, migrated, len(log.messages))
    result = rebuild(tmp_path / "kept", migrated, verify=True)
    assert (result.equal, result.differences) == (True, [])
    assert result.checked == len(log.messages)
