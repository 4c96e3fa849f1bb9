"""Goal: the chain makes exactly the tables that the projector writes, and takes them away again."""

from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from migrations import chain
from projections import queries
from projections.database import engine
from projections.digest import equals_replay
from projections.tables import TRADES_RECENT, VERDICTS, metadata
from runtime.settings import SettingsError
from tests.projections.conftest import project_all
from tests.projections.days import day
from tests.projections.publishing import publish


def tables(uri: str, schema: str) -> set[str]:
    with psycopg.connect(uri) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)
        ).fetchall()
    return {row[0] for row in rows}


def test_the_chain_goes_up_down_and_up_again(database: str) -> None:
    assert chain.upgrade(database) == chain.head()
    assert tables(database, "live") == {*metadata.tables, "alembic_version"}
    assert chain.upgrade(database) == chain.head()
    assert chain.downgrade(database) is None
    assert tables(database, "live") == {"alembic_version"}
    assert chain.upgrade(database) == chain.head()
    assert tables(database, "live") == {*metadata.tables, "alembic_version"}


def shape(uri: str) -> list[Any]:
    """Everything the catalogue says about `live`."""
    with psycopg.connect(uri) as connection:
        connection.execute("SET search_path TO live")
        found = [
            connection.execute(query.replace(":schema", "'live'")).fetchall()
            for query in (_COLUMNS, _CONSTRAINTS, _INDEXES)
        ]
        views = connection.execute(
            "SELECT viewname, definition FROM pg_views WHERE schemaname = 'live'"
        )
        return [*found, views.fetchall()]


def test_every_revision_is_the_same_whether_it_is_reached_from_below_or_from_above(
    database: str,
) -> None:
    revisions = chain.revisions()
    assert revisions[-1] == chain.head()
    below = {}
    for revision in revisions:
        assert chain.upgrade(database, revision=revision) == revision
        below[revision] = shape(database)
    for revision in reversed(revisions[:-1]):
        assert chain.downgrade(database, revision=revision) == revision
        assert shape(database) == below[revision]
    assert chain.downgrade(database) is None


def recent(uri: str) -> list[str]:
    with psycopg.connect(uri) as connection:
        rows = connection.execute("SELECT account FROM live.trades_recent ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def test_rows_of_the_first_generation_live_through_the_second_and_back(database: str) -> None:
    assert chain.upgrade(database, revision="0001") == "0001"
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO live.trades (trade_id, account, opened_at, closed_at) VALUES "
            "(gen_random_uuid(), 'a', '2021-05-19Z', '2021-05-20Z'), "
            "(gen_random_uuid(), 'b', '2021-05-19Z', NULL)"
        )
    assert chain.upgrade(database, revision="0002") == "0002"
    assert recent(database) == ["a", "b"]
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE live.trades SET deleted_at = '2021-05-21Z'")
        connection.execute(
            "INSERT INTO live.trades (trade_id, deleted_at) VALUES (gen_random_uuid(), now())"
        )
    assert recent(database) == ["b"]
    assert chain.downgrade(database, revision="0001") == "0001"
    assert recent(database) == ["a", "b"]
    assert chain.upgrade(database) == chain.head()
    assert recent(database) == ["a", "b"]


def test_limits_move_into_sets_of_their_own_and_back(broker: str, migrated: str) -> None:
    log = day(2)
    publish(broker, log.messages)
    project_all(broker, migrated, len(log.messages))
    before = queries.intents(engine(migrated), limit=10_000)
    assert before
    with psycopg.connect(migrated) as connection:
        wanted = connection.execute("SELECT * FROM live.limit_sets ORDER BY id").fetchall()
        assert 0 < len(wanted) < len(before)
    assert chain.downgrade(migrated, revision="0002") == "0002"
    with psycopg.connect(migrated) as connection:
        rows = connection.execute("SELECT id::text, limits FROM live.intents").fetchall()
    assert dict(rows) == {row["id"]: row["limits"] for row in before}
    assert chain.upgrade(migrated) == chain.head()
    assert queries.intents(engine(migrated), limit=10_000) == before
    with psycopg.connect(migrated) as connection:
        assert connection.execute("SELECT * FROM live.limit_sets ORDER BY id").fetchall() == wanted
        seen = connection.execute("SELECT id::text, limits FROM live.verdicts").fetchall()
    assert dict(seen) == dict(rows)
    assert equals_replay(broker, migrated) == (True, [])


def test_the_migrated_schema_is_the_metadata(migrated: str) -> None:
    with engine(migrated).connect() as connection:
        connection.execute(text("SET search_path TO live"))
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_the_migrated_constraints_and_view_are_those_of_the_metadata(migrated: str) -> None:
    """Alembic compares neither primary keys nor generated columns nor views."""
    with engine(migrated).begin() as connection:
        connection.execute(text("CREATE SCHEMA fresh"))
        connection.execute(text("SET search_path TO fresh"))
        metadata.create_all(connection.execution_options(schema_translate_map=None))
        connection.execute(text(f"CREATE VIEW trades_recent AS {TRADES_RECENT}"))
        connection.execute(text(f"CREATE VIEW verdicts AS {VERDICTS}"))
        made = {}
        for schema in ("live", "fresh"):
            connection.execute(text(f"SET search_path TO {schema}"))
            made[schema] = [
                connection.execute(text(query), {"schema": schema}).fetchall()
                for query in (_CONSTRAINTS, _GENERATED, _INDEXES, _VIEWS)
            ]
    assert made["live"] == made["fresh"]


def test_tables_of_a_newer_build_are_left_alone_and_named(database: str) -> None:
    chain.upgrade(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE live.alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsError, match="revision 9999, which this build does not know"):
        chain.upgrade(database)


_COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default, generation_expression
FROM information_schema.columns WHERE table_schema = :schema ORDER BY 1, 2
"""
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(c.oid) FROM pg_constraint c
JOIN pg_namespace n ON n.oid = c.connamespace
WHERE n.nspname = :schema AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2
"""
_GENERATED = """
SELECT table_name, column_name, ordinal_position, is_generated, generation_expression
FROM information_schema.columns
WHERE table_schema = :schema AND table_name <> 'alembic_version' ORDER BY 1, 3
"""
_INDEXES = """
SELECT tablename, indexname, replace(indexdef, :schema || '.', '') FROM pg_indexes
WHERE schemaname = :schema AND tablename <> 'alembic_version' ORDER BY 1, 2
"""
_VIEWS = """
SELECT pg_get_viewdef(to_regclass(:schema || '.trades_recent')),
pg_get_viewdef(to_regclass(:schema || '.verdicts'))
"""
