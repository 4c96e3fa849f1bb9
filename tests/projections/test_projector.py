"""Goal: what stands in Postgres is the log, exactly once, whatever dies meanwhile.
Method: a real broker and database; processes are killed, then tables are compared with a replay."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import projections.projector as module
from projections import queries
from projections.database import ProjectionError, connect, engine
from projections.digest import equals_replay
from projections.fold import Fold
from projections.log import absorb
from projections.projector import Projector
from projections.worker import main as projector_main
from projections.writing import MovedError, OvertakenError, Writer
from runtime.kafka import EmbeddedKafka
from runtime.postgres import EmbeddedPostgres
from schemas.topics import COMMANDS_CONTROL, CONTROL, EVENT_TOPICS, MARKET, ORDER
from tests.projections.builders import Log
from tests.projections.conftest import project_all, wait_for
from tests.projections.days import day
from tests.projections.publishing import publish

ROOT = Path(__file__).resolve().parents[2]
ENDS_S = 60.0
"""It stands back behind everything else that the machine does, so it may take its time."""


@contextlib.contextmanager
def running(projector: Projector) -> Iterator[Projector]:
    """A projector at work in a thread."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            projector.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield projector
    finally:
        projector.stop()
        thread.join(20)
    assert not thread.is_alive()
    assert failures == []


@contextlib.contextmanager
def worker(kafka: str, postgres: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The projector as the supervisor runs it: it stands back with a session of its own."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "projections.worker"),
            *(f"--kafka={kafka}", f"--postgres={postgres}", f"--folder={folder}"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read(postgres: str) -> int:
    """How many records the tables cover."""
    with contextlib.closing(connect(postgres, autocommit=True)) as connection:
        present = connection.execute("SELECT to_regclass('live.offsets') IS NOT NULL").fetchone()
        if present is None or not present[0]:
            return 0
        row = connection.execute(
            "SELECT coalesce(sum(next_offset), 0) FROM live.offsets"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_batches_of_any_size_leave_the_rows_of_one_fold(
    broker: str, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = day(3)
    publish(broker, log.messages)
    monkeypatch.setattr(module, "BATCH_MAX", 7)
    monkeypatch.setattr(module, "READ_MAX", 7)
    projector = project_all(broker, migrated, len(log.messages))
    assert projector.undecodable == 0
    assert equals_replay(broker, migrated) == (True, [])


def test_a_killed_projector_loses_and_doubles_nothing(
    broker: str, database: str, tmp_path: Path
) -> None:
    messages = day(12).messages
    size = len(messages) // 4
    pace = {"chunk": 5, "pause_s": 0.03}
    for start in range(0, 3 * size, size):
        with worker(broker, database, tmp_path) as process:
            part = messages[start : start + size]
            feeder = threading.Thread(target=publish, args=(broker, part), kwargs=pace)
            feeder.start()
            wait_for(lambda low=start: read(database) > low, "a batch")  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
            process.wait(ENDS_S)
            feeder.join()
    with worker(broker, database, tmp_path) as process:
        publish(broker, messages[3 * size :])
        wait_for(lambda: read(database) == len(messages), "all records")
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS_S) == 0
    assert equals_replay(broker, database) == (True, [])


def test_a_paused_projector_that_comes_back_is_refused_and_ends(
    broker: str, database: str, tmp_path: Path
) -> None:
    log = day(1)
    with worker(broker, database, tmp_path) as zombie:
        publish(broker, log.messages[:40])
        wait_for(lambda: read(database) == 40, "first records")
        zombie.send_signal(signal.SIGSTOP)
        publish(broker, log.messages[40:])
        project_all(broker, database, len(log.messages) - 40)
        zombie.send_signal(signal.SIGCONT)
        _, said = zombie.communicate(timeout=20)
        assert zombie.returncode == 70
        assert b"took over" in said
        assert b"Traceback" not in said
    assert equals_replay(broker, database) == (True, [])


def test_a_transaction_that_begins_at_other_positions_is_refused_whole(
    broker: str, migrated: str
) -> None:
    log = Log()
    log.trade("main")
    publish(broker, log.messages)
    with contextlib.closing(connect(migrated, autocommit=True)) as connection:
        late = Writer(connection, "live")
        project_all(broker, migrated, len(log.messages))
        cursors = late.load()
        key = (ORDER.name, next(m.partition for m in log.messages if m.topic == ORDER.name))
        moved = cursors[key].copy()
        fold = Fold()
        log.order("main", "BUY", "entry")
        absorb(fold, moved, moved.next_offset, log.messages[-1].value)
        with pytest.raises(MovedError):
            late.commit(fold, {key: cursors[key].next_offset - 1}, [moved])
        late.incarnation = 0
        with pytest.raises(OvertakenError, match="took over"):
            late.commit(fold, {key: cursors[key].next_offset}, [moved])
    assert equals_replay(broker, migrated) == (True, [])


def test_it_goes_on_when_postgres_was_killed(
    broker: str, migrated: str, postgres: EmbeddedPostgres
) -> None:
    messages = day(4).messages
    with running(Projector(broker, migrated)) as projector:
        publish(broker, messages[:60])
        wait_for(lambda: projector.committed >= 60, "first records")
        postgres.kill()
        publish(broker, messages[60:])
        wait_for(lambda: projector.reconnects > 0, "the loss of Postgres")
        postgres.start()
        wait_for(lambda: sum(projector.positions.values()) == len(messages), "the rest")
    assert equals_replay(broker, migrated) == (True, [])


def test_it_waits_while_the_disk_under_postgres_is_full(broker: str, migrated: str) -> None:
    """Postgres itself says so (SQLSTATE 53100), at each commit until there is space again."""
    messages = day(4).messages
    full = (
        "CREATE FUNCTION live.full() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE disk_full USING MESSAGE = 'No space left on device'; END$$; "
        "CREATE TRIGGER full_disk BEFORE UPDATE ON live.offsets "
        "FOR EACH STATEMENT EXECUTE FUNCTION live.full()"
    )
    with (
        contextlib.closing(connect(migrated, autocommit=True)) as connection,
        running(Projector(broker, migrated)) as projector,
    ):
        publish(broker, messages[:60])
        wait_for(lambda: projector.committed >= 60, "first records")
        connection.execute(full)
        publish(broker, messages[60:])
        wait_for(lambda: projector.reconnects > 1, "the full disk")
        assert projector.committed < len(messages)
        connection.execute("DROP TRIGGER full_disk ON live.offsets; DROP FUNCTION live.full()")
        wait_for(lambda: sum(projector.positions.values()) == len(messages), "the rest")
    assert equals_replay(broker, migrated) == (True, [])


@pytest.mark.long
def test_postgres_may_be_away_for_a_minute(
    broker: str, migrated: str, postgres: EmbeddedPostgres
) -> None:
    messages = day(4).messages
    with running(Projector(broker, migrated)) as projector:
        publish(broker, messages[:60])
        wait_for(lambda: projector.committed >= 60, "first records")
        postgres.stop()
        publish(broker, messages[60:])
        assert not threading.Event().wait(60)
        assert projector.reconnects > 10, "it tries again every two seconds at the latest"
        postgres.start()
        wait_for(lambda: sum(projector.positions.values()) == len(messages), "the rest")
    assert equals_replay(broker, migrated) == (True, [])


def test_it_goes_on_when_the_broker_was_killed(
    broker: str, migrated: str, own_kafka: EmbeddedKafka
) -> None:
    messages = day(4).messages
    with running(Projector(broker, migrated)) as projector:
        publish(broker, messages[:60])
        wait_for(lambda: projector.committed >= 60, "first records")
        own_kafka.kill()
        own_kafka.start()
        publish(broker, messages[60:])
        wait_for(lambda: projector.committed >= len(messages), "the rest")
    assert equals_replay(broker, migrated) == (True, [])


def test_undecodable_bytes_on_every_topic_are_indexed_and_nothing_after_is_lost(
    broker: str, migrated: str
) -> None:
    log = day(1)
    bad = [b"\xff\x00no json", b"{}", b'{"type":"trade.order.decided.v9"}', b"[" * 5000]
    for topic in EVENT_TOPICS:
        for value in bad:
            log.write(topic, "main", value)
    log.trade("main")
    publish(broker, log.messages)
    projector = project_all(broker, migrated, len(log.messages))
    assert projector.undecodable == len(bad) * len(EVENT_TOPICS)
    found = queries.events(engine(migrated), type="undecodable")
    assert {row["topic"] for row in found} == {topic.name for topic in EVENT_TOPICS}
    assert all(len(row["digest"]) == 64 and row["reason"] for row in found)
    assert queries.totals(engine(migrated))["undecodable"] == projector.undecodable
    assert equals_replay(broker, migrated) == (True, [])


def test_text_and_times_that_postgres_cannot_hold_stop_nothing(broker: str, migrated: str) -> None:
    log = Log()
    log.open_account("main")
    hand = (
        b'{"type":"command.emergency.stop.v1","subject":"main","time":"2021-02-30T00:00:00.000000Z",'
        b'"data":{"operator":"ana","reason":"no such day"}}'
    )
    log.write(COMMANDS_CONTROL, "main", hand)
    change = log.change("main", 2).model_copy(update={"reason": "a\x00b"})
    log.own("control", CONTROL, "main", *_changed(change))
    publish(broker, log.messages)
    assert project_all(broker, migrated, len(log.messages)).undecodable == 1
    reasons = [row["reason"] for row in queries.policy_history(engine(migrated), "main")]
    assert reasons == ["test", "a\ufffdb"]
    assert equals_replay(broker, migrated) == (True, [])


def test_what_cannot_even_be_noted_stops_its_partition_alone(broker: str, migrated: str) -> None:
    """Somebody's constraint on a table refuses the records of control, and notes of them too."""
    with contextlib.closing(connect(migrated, autocommit=True)) as connection:
        connection.execute("ALTER TABLE live.events ADD CHECK (topic <> 'control')")
    log = day(1)
    publish(broker, log.messages)
    with running(Projector(broker, migrated)) as projector:
        others = {f"{m.topic}/{m.partition}" for m in log.messages} - {"control/0"}
        wait_for(lambda: "control/0" in projector.stopped, "the alarm")
        wait_for(lambda: all(projector.positions[key] for key in others), "other partitions")
        assert "neither the record at offset 1" in projector.stopped["control/0"]
        assert projector.positions["control/0"] == 1, "after its fence"


def test_tables_that_somebody_changed_end_the_projector_with_one_line(
    broker: str, migrated: str, tmp_path: Path
) -> None:
    with contextlib.closing(connect(migrated, autocommit=True)) as connection:
        connection.execute("ALTER TABLE live.offsets DROP COLUMN events")
    with worker(broker, migrated, tmp_path) as process:
        assert process.wait(60) == 1
        assert process.stderr is not None
        (line,) = process.stderr.read().decode().splitlines()
    assert 'column "events" does not exist' in line
    assert "quantum rebuild" in line


def _changed(change: object) -> tuple[object, object]:
    from schemas.control import PolicyChanged, PolicyChangedData

    return PolicyChanged, PolicyChangedData(items=(change,))  # type: ignore[arg-type]


def test_records_of_a_fenced_source_change_nothing(broker: str, migrated: str) -> None:
    log = Log()
    first = log.order("main", "BUY", "entry")
    partition = log.messages[-1].partition
    log.fence("execution", ORDER, partition)
    zombie = Log()
    zombie._made = 1000  # other ids than those of the valid records
    lost = zombie.order("main", "SELL", "entry")  # same source, epoch 1
    log.messages += [m for m in zombie.messages[1:] if m.topic == ORDER.name]
    second = log.order("main", "BUY", "entry")
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    found = {row["order_id"] for row in queries.orders(engine(migrated))}
    assert found == {first, second}
    assert lost not in found
    assert equals_replay(broker, migrated) == (True, [])


def test_a_gap_in_a_sources_sequence_stops_that_partition_alone(broker: str, migrated: str) -> None:
    log = Log()
    log.order("main", "BUY", "entry")
    place = f"{ORDER.name}/{log.messages[-1].partition}"
    data = log.messages[-1]
    jumped = data.value.replace(b'"sequence":1', b'"sequence":3')
    log.write(ORDER, "main", jumped, data.partition)
    log.tick()
    publish(broker, log.messages)
    with running(Projector(broker, migrated)) as projector:
        wait_for(lambda: place in projector.stopped, "the alarm")
        wait_for(lambda: projector.positions[f"{MARKET.name}/0"] == 1, "other partitions")
        assert "records are missing" in projector.stopped[place]
        assert projector.positions[place] == 2
    equal, differences = equals_replay(broker, migrated, timeout_s=0)
    assert not equal
    assert differences == [f"offsets {place}: stands at 2, the log ends at 3"]


def test_projections_of_another_log_are_refused_with_the_remedy(broker: str, migrated: str) -> None:
    log = Log()
    log.open_account("main")
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    with psycopg.connect(migrated) as connection:
        connection.execute("UPDATE live.offsets SET topic_id = 'other' WHERE topic = 'control'")
    with pytest.raises(ProjectionError, match="rebuild"):
        Projector(broker, migrated).run()


def test_a_database_without_tables_is_an_error_with_the_remedy(broker: str, database: str) -> None:
    with pytest.raises(ProjectionError, match="run the migrations"):
        Projector(broker, database).run()


def test_the_worker_answers_on_health_and_says_when_it_waits_for_postgres(
    broker: str, database: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    def health() -> dict[str, object]:
        try:
            port = (tmp_path / "projector.port").read_text()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                found: dict[str, object] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                found = json.loads(error.read())
        except (OSError, ValueError):
            return {}
        return found

    with worker(broker, database, tmp_path) as process:
        wait_for(lambda: health().get("healthy") is True, "a healthy answer")
        postgres.kill()
        publish(broker, day(1).messages)
        wait_for(lambda: health().get("state") == "waiting", "the loss of Postgres")
        postgres.start()
        wait_for(lambda: health().get("healthy") is True, "health again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS_S) == 0


def test_an_address_that_is_none_is_refused_without_being_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--kafka", "h:1", "--postgres", "postgresql://u:secret@h:x", "--folder", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        projector_main(given)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "expected postgresql://user:password@host:port/database" in said
    assert "secret" not in said
