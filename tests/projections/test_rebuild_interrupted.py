"""Goal: whatever ends a rebuild leaves the live tables serving, and the next one goes on.
Method: the test holds a lock that stops the loaders in the middle; then the rebuild is killed,
interrupted, or left to its watchdog."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from projections import queries
from projections.database import ProjectionError, engine
from projections.digest import equals_replay
from projections.rebuild import rebuild
from tests.projections.builders import Log
from tests.projections.conftest import project_all, wait_for
from tests.projections.days import day
from tests.projections.publishing import Written, publish
from tests.projections.test_rebuild import schemas

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from projections.rebuild import rebuild
rebuild(sys.argv[1], sys.argv[2], verify=True, checkpoint=60)
"""


HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;
CREATE FUNCTION hold_late() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF to_regclass('shadow_1.rebuild_late') IS NOT NULL THEN
        CREATE OR REPLACE TRIGGER hold BEFORE INSERT ON shadow_1.rebuild_late
            FOR EACH STATEMENT EXECUTE FUNCTION hold();
    END IF;
END $$;
CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION hold_late();
"""
LET_GO = "DROP EVENT TRIGGER hold; DROP FUNCTION hold_late; DROP FUNCTION hold CASCADE"


@contextlib.contextmanager
def stuck(postgres: str) -> Iterator[None]:
    """No loader can commit a change of an earlier row: from its beginning on, the table that such
    changes go to has a trigger that waits for this test. Enter it before the rebuild is started."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(HOLD)
        connection.execute("SELECT pg_advisory_lock(1)")
        try:
            yield
        finally:
            connection.execute("SELECT pg_advisory_unlock(1)")
            connection.execute(LET_GO)


def loaded(postgres: str) -> int:
    """Records that stand in the shadow; none while there is no shadow."""
    with psycopg.connect(postgres) as connection:
        row = connection.execute("SELECT to_regclass('shadow_1.offsets')").fetchone()
        if row != (None,):
            row = connection.execute("SELECT sum(next_offset) FROM shadow_1.offsets").fetchone()
    return 0 if row is None else int(row[0] or 0)


def loaders(postgres: str) -> int:
    with psycopg.connect(postgres) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'quantum-rebuild' "
            "AND datname = current_database()"
        ).fetchone()
    return 0 if row is None else row[0] or 0


@pytest.fixture
def log(broker: str, migrated: str) -> Log:
    """A log that stands in Kafka and, by the projector, in the live tables."""
    log = day(12)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    return log


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_rebuild_that_is_killed_or_interrupted_is_gone_on_with(
    broker: str, migrated: str, log: Log, how: signal.Signals
) -> None:
    with stuck(migrated):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, broker, migrated],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: loaded(migrated) > 0, "a first commit")
            process.send_signal(how)
            process.wait(20)
        finally:
            process.kill()
            process.wait()
    wait_for(lambda: loaders(migrated) == 0, "the end of the loaders")
    at = loaded(migrated)
    assert 0 < at < len(log.messages)
    assert schemas(migrated) == {"live", "shadow_1"}
    assert len(queries.trades(engine(migrated), view="all")) == 26
    result = rebuild(broker, migrated, verify=True, checkpoint=60)
    assert (result.resumed, result.equal, result.differences) == (True, True, [])
    assert result.events == len(log.messages) - at
    assert schemas(migrated) == {"live", "before"}
    assert equals_replay(broker, migrated) == (True, [])


def test_a_rebuild_that_stands_still_says_so_and_leaves_what_is_loaded(
    broker: str, migrated: str, log: Log
) -> None:
    errors: list[str] = []

    def work() -> None:
        try:
            rebuild(broker, migrated, verify=True, checkpoint=60, stall_s=1)
        except ProjectionError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    with stuck(migrated):
        thread.start()
        thread.join(30)
    assert not thread.is_alive()
    assert len(errors) == 1
    assert "stands still: no record for 1 s" in errors[0]
    assert "goes on from what is loaded" in errors[0]
    assert schemas(migrated) == {"live", "shadow_1"}
    result = rebuild(broker, migrated, verify=True)
    assert (result.resumed, result.equal) == (True, True)


def test_what_another_code_or_purpose_left_behind_is_removed(
    broker: str, migrated: str, log: Log
) -> None:
    with psycopg.connect(migrated) as connection:
        connection.execute("CREATE SCHEMA shadow_3; CREATE TABLE shadow_3.offsets (n int)")
        connection.execute("CREATE SCHEMA shadow_7; CREATE TABLE shadow_7.rebuild_state (what int)")
    result = rebuild(broker, migrated, verify=True)
    assert (result.resumed, result.equal) == (False, True)
    assert schemas(migrated) == {"live", "before"}


def test_rows_that_change_again_after_a_commit_are_the_same_rows(
    broker: str, migrated: str, log: Log
) -> None:
    result = rebuild(broker, migrated, verify=True, checkpoint=1)
    assert (result.equal, result.differences) == (True, [])
    assert result.events == len(log.messages)
    assert result.checked < len(log.messages) / 4


def test_what_no_worker_writes_is_folded_as_the_projector_did(broker: str, migrated: str) -> None:
    """A record with the next sequence that is none, then the true one: live indexed the first as
    undecodable and took the second."""
    log = day(1)
    order = log.order("main", "BUY", "entry")
    log.reported("main", log.filled(order, "BUY", "40000.1"))
    true = log.messages.pop()
    forged = true.value.replace(b'"price":"40000.1"', b'"price":"nothing"')
    log.messages += [Written(true.topic, true.partition, true.key, forged), true]
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    result = rebuild(broker, migrated, verify=True)
    assert (result.equal, result.differences) == (True, [])
    assert result.checked == len(log.messages) == result.events
    assert schemas(migrated) == {"live", "before"}
    assert equals_replay(broker, migrated) == (True, [])
