"""Goal: a rebuild makes the same tables while readers read on, and finds what is wrong.
Method: a projector, a publisher and a reader at work while the rebuild runs."""

import contextlib
import threading

import psycopg
import pytest

import projections.rebuild as module
from migrations import chain
from projections import queries, swapping
from projections.database import ProjectionError, connect, engine, sql
from projections.digest import equals_replay
from projections.projector import Projector
from projections.rebuild import rebuild
from projections.swapping import rollback
from tests.projections.builders import Log
from tests.projections.conftest import project_all, wait_for
from tests.projections.days import day
from tests.projections.publishing import publish
from tests.projections.test_projector import running


def schemas(postgres: str) -> set[str]:
    with psycopg.connect(postgres) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ '^(live|before|shadow)'"
        ).fetchall()
    return {row[0] for row in rows}


def test_a_rebuild_under_load_is_equal_and_readers_never_see_a_gap(
    broker: str, migrated: str
) -> None:
    messages = day(20).messages
    half = len(messages) // 2
    publish(broker, messages[:half])
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        with contextlib.closing(connect(migrated, autocommit=True)) as connection:
            while not done.wait(0.002):
                row = connection.execute("SELECT count(*) FROM live.events").fetchone()
                assert row is not None
                seen.append(row[0])

    def feed() -> None:
        publish(broker, messages[half:], chunk=10, pause_s=0.05)

    threads = [threading.Thread(target=watch), threading.Thread(target=feed)]
    steps: list[tuple[int, int]] = []
    with running(Projector(broker, migrated)) as projector:
        wait_for(lambda: projector.committed >= half, "first half")
        for thread in threads:
            thread.start()
        first = rebuild(
            broker, migrated, verify=True, progress=lambda done, total: steps.append((done, total))
        )
        second = rebuild(broker, migrated, verify=True)
        threads[1].join()
        wait_for(lambda: projector.committed >= len(messages), "second half")
        done.set()
        threads[0].join()
    assert (first.equal, first.differences) == (True, [])
    assert (second.equal, second.differences) == (True, [])
    assert first.events >= half
    assert steps[-1][0] == steps[-1][1]
    assert seen == sorted(seen)
    assert seen[0] > 0
    assert schemas(migrated) == {"live", "before"}
    assert equals_replay(broker, migrated) == (True, [])


def test_a_rebuild_names_what_differs_and_mends_it(broker: str, migrated: str) -> None:
    log = day(2)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    trade = queries.trades(engine(migrated))[0]["trade_id"]
    with psycopg.connect(migrated) as connection:
        connection.execute("UPDATE live.trades SET net = 7 WHERE trade_id = %s", (trade,))
        connection.execute(
            "DELETE FROM live.fills WHERE id = (SELECT min(id::text)::uuid FROM live.fills)"
        )
    assert not equals_replay(broker, migrated)[0]
    result = rebuild(broker, migrated, verify=True, swap=False)
    assert result.equal is False
    assert schemas(migrated) == {"live"}
    result = rebuild(broker, migrated, verify=True)
    assert result.equal is False
    assert any(line.startswith(f"trades {trade}: net ") for line in result.differences)
    assert any("only in rebuilt" in line for line in result.differences)
    assert equals_replay(broker, migrated) == (True, [])


def test_a_rollback_puts_the_old_generation_back_and_it_catches_up(
    broker: str, migrated: str
) -> None:
    log = day(1)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    with pytest.raises(ProjectionError, match="nothing was rebuilt"):
        rollback(migrated)
    with psycopg.connect(migrated) as connection:
        connection.execute("UPDATE live.trades SET net = 7")
    with running(Projector(broker, migrated)) as projector:
        wait_for(lambda: bool(projector.positions), "the start")
        assert rebuild(broker, migrated, verify=False).equal is None
        count = len(log.messages)
        log.trade("main")
        publish(broker, log.messages[count:])
        wait_for(lambda: sum(projector.positions.values()) == len(log.messages), "more records")
        rollback(migrated)
        count = len(log.messages)
        log.trade("hot")
        publish(broker, log.messages[count:])
        wait_for(lambda: sum(projector.positions.values()) == len(log.messages), "the rest")
    assert schemas(migrated) == {"live", "before"}
    assert {"7"} < {row["net"] for row in queries.trades(engine(migrated))}


def test_generations_of_an_older_build_are_compared_and_gone_back_to(
    broker: str, migrated: str
) -> None:
    log = Log()
    log.open_account("main")
    trade = log.trade("main")
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    chain.downgrade(migrated, revision="0001")
    assert rebuild(broker, migrated, verify=True).equal is True
    chain.downgrade(migrated, "before", "0001")
    rollback(migrated)
    count = len(log.messages)
    log.delete("main", trade)
    publish(broker, log.messages[count:])
    with running(Projector(broker, migrated)) as projector:
        wait_for(lambda: sum(projector.positions.values()) == len(log.messages), "the deletion")
    assert queries.trades(engine(migrated)) == []
    assert equals_replay(broker, migrated) == (True, [])


def test_a_rebuild_makes_tables_where_there_were_none(broker: str, database: str) -> None:
    log = Log()
    log.open_account("main")
    log.trade("main")
    publish(broker, log.messages)
    result = rebuild(broker, database, verify=False)
    assert result.events == len(log.messages)
    assert schemas(database) == {"live"}
    with running(Projector(broker, database)) as projector:
        count = len(log.messages)
        log.trade("main")
        publish(broker, log.messages[count:])
        wait_for(lambda: sum(projector.positions.values()) == len(log.messages), "the rest")
    assert equals_replay(broker, database) == (True, [])


def test_one_projection_is_mended_in_place_while_the_projector_goes_on(
    broker: str, migrated: str
) -> None:
    log = day(3)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    with psycopg.connect(migrated) as connection:
        connection.execute("UPDATE live.trades SET net = 7 WHERE closed_at IS NOT NULL")
        changed = connection.execute("UPDATE live.fills SET fee = 9").rowcount
    with running(Projector(broker, migrated)) as projector:
        wait_for(lambda: projector.connected, "the start")
        result = rebuild(broker, migrated, verify=True, projection="trades")
        assert result.equal is False
        assert {line.split()[0] for line in result.differences} == {"trades"}
        assert result.replaced == 2 * 6
        assert rebuild(broker, migrated, verify=True, projection="trades").replaced == 0
        assert rebuild(broker, migrated, verify=False, projection="fills").replaced == 2 * changed
        assert rebuild(broker, migrated, verify=True, projection="events").equal is True
        count = len(log.messages)
        log.trade("main")
        publish(broker, log.messages[count:])
        wait_for(lambda: sum(projector.positions.values()) == len(log.messages), "the rest")
    assert schemas(migrated) == {"live"}
    assert equals_replay(broker, migrated) == (True, [])


def test_verdicts_that_an_older_build_wrote_in_other_words_are_equal(
    broker: str, migrated: str
) -> None:
    log = day(2)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    with psycopg.connect(migrated) as connection:
        for table, column in (("intents", "figures"), ("limit_sets", "limits")):
            changed = connection.execute(
                sql(f'UPDATE live."{table}" SET "{column}" = "{column}"::jsonb::text::json')
            ).rowcount
            assert changed > 0
    for name in ("intents", "limit_sets"):
        result = rebuild(broker, migrated, verify=True, projection=name)
        assert (result.equal, result.replaced) == (True, 0)
    with psycopg.connect(migrated) as connection:
        connection.execute("""UPDATE live.intents SET figures = '{"equity": "7"}'""")
    result = rebuild(broker, migrated, verify=True)
    assert result.equal is False
    assert {line.split()[0] for line in result.differences} == {"intents"}
    assert equals_replay(broker, migrated) == (True, [])


def test_a_projection_that_does_not_exist_is_refused_with_the_names_of_all(
    broker: str, migrated: str
) -> None:
    with pytest.raises(ProjectionError, match="No projection 'wins': one of commands_rejected, em"):
        rebuild(broker, migrated, verify=False, projection="wins")
    assert schemas(migrated) == {"live"}


def test_live_tables_far_behind_the_log_are_compared_there_and_then_overtaken(
    broker: str, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TAIL_MAX", 20)  # the rest is loaded into complete tables
    log = day(4)
    half = len(log.messages) // 2
    publish(broker, log.messages[:half])
    project_all(broker, migrated, half)
    publish(broker, log.messages[half:])
    result = rebuild(broker, migrated, verify=True)
    assert (result.equal, result.differences) == (True, [])
    assert result.events == len(log.messages)
    assert equals_replay(broker, migrated) == (True, [])


def test_a_second_rebuild_is_refused_while_one_runs(
    broker: str, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swapping, "_LOCK_WAIT_S", 0.1)
    with connect(migrated, autocommit=True) as other:
        swapping.take_lock(other, "")
        with pytest.raises(ProjectionError, match="Another rebuild is running"):
            rebuild(broker, migrated, verify=False)
        with pytest.raises(ProjectionError, match="A rebuild is running"):
            rollback(migrated)
    assert schemas(migrated) == {"live"}
