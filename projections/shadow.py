"""A generation in the making: found again after an interrupt, loaded bare, then made complete.

`rebuild_state` says what it is made for and how far it is: `loading` (no indexes; rows stand up to
the positions in `offsets`), then `ready`. `rebuild_late` holds changes of rows that were
loaded before. Both are gone before the shadow goes live.
"""

import threading
from contextlib import closing
from decimal import Decimal
from typing import Any, LiteralString

import orjson
import psycopg

from migrations import chain
from projections.changes import Changes
from projections.database import connect, exists, sql
from projections.tables import KEYS, MERGES, RAW, STORED, metadata
from projections.writing import Writer
from runtime.build import code_digest

LATE_AT_ONCE = 5_000
BUILD_OPTIONS: LiteralString = (
    "SET maintenance_work_mem = '256MB'; SET synchronous_commit = off;"
    "SET max_parallel_maintenance_workers = 0; SET client_connection_check_interval = 1000;"
    "SET default_statistics_target = 10;"
    "SET application_name = 'quantum-rebuild'"
)
WHILE_LOADING = "autovacuum_enabled = off, toast_tuple_target = 8160"
"""Compressing long rows takes longer than writing them; nothing that is loaded needs a vacuum."""
_ROW_MAKERS = (
    "changes", "fold", "heads", "limits", "loader", "log", "origin", "tables", "text_rows",
    "trusted", "trusted_items", "trusted_verdicts",
)  # fmt: skip
EXTRA = ("rebuild_state", "rebuild_late")


def open_shadow(
    control: psycopg.Connection[Any], postgres: str, what: dict[str, Any]
) -> tuple[str, bool]:
    """(schema, whether it was left by an interrupted rebuild of the same log, code and `what`).

    Any other shadow is removed.
    """
    # sessions of a rebuild that was killed; none of another, whoever calls holds the lock
    control.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = "
        "'quantum-rebuild' AND datname = current_database()"
    )
    wanted = {**what, "build": code_digest(), "revision": chain.head(), "rows": _row_form()}
    left = control.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname ~ '^shadow_[0-9]+$' ORDER BY 1"
    ).fetchall()
    kept = None
    for (name,) in left:
        if kept is None and _made_for(control, name) == wanted:
            kept = name
        else:
            control.execute(sql(f'DROP SCHEMA "{name}" CASCADE'))
    if kept is not None:
        return kept, True
    number = 1 + max((int(name.split("_")[1]) for (name,) in left), default=0)
    name = f"shadow_{number}"
    chain.upgrade(postgres, name)
    with control.transaction():
        control.execute(
            sql(
                f'CREATE TABLE "{name}".rebuild_state (what jsonb NOT NULL, stage text NOT NULL, '
                f'mending jsonb NOT NULL); CREATE TABLE "{name}".rebuild_late '
                "(number bigserial, name text NOT NULL, change jsonb NOT NULL)"
            )
        )
        mending = orjson.dumps(dict(zip(STEPS, _strip(control, name), strict=True))).decode()
        control.execute(
            sql(f'INSERT INTO "{name}".rebuild_state VALUES (%s, %s, %s)'),
            (orjson.dumps(wanted).decode(), "loading", mending),
        )
    return name, False


def _row_form() -> str:
    """What the folds here and the tables are like; another form means other rows."""
    from hashlib import sha256
    from pathlib import Path

    digest = sha256()
    for name in _ROW_MAKERS:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def _made_for(control: psycopg.Connection[Any], schema: str) -> dict[str, Any] | None:
    if not exists(control, schema) or not _has(control, schema, "rebuild_state"):
        return None
    row = control.execute(sql(f'SELECT what FROM "{schema}".rebuild_state')).fetchone()
    return None if row is None else row[0]


def _has(control: psycopg.Connection[Any], schema: str, name: str) -> bool:
    row = control.execute("SELECT to_regclass(%s)", (f'"{schema}"."{name}"',)).fetchone()
    return row is not None and row[0] is not None


def stage(control: psycopg.Connection[Any], schema: str) -> str:
    """`loading` or `ready`."""
    row = control.execute(sql(f'SELECT stage FROM "{schema}".rebuild_state')).fetchone()
    assert row is not None
    return str(row[0])


def complete(control: psycopg.Connection[Any], postgres: str, schema: str) -> None:
    """Make constraints and indexes that are still missing, two at a time, then mend what is late.

    Raises psycopg.errors.UniqueViolation where two loaders made rows of one key.
    """
    row = control.execute(sql(f'SELECT mending FROM "{schema}".rebuild_state')).fetchone()
    assert row is not None
    for step in STEPS:
        _side_by_side(postgres, [s for name, s in row[0][step] if not _has(control, schema, name)])
    apply_late(control, postgres, schema)
    control.execute(sql(f"UPDATE \"{schema}\".rebuild_state SET stage = 'ready'"))


def _side_by_side(postgres: str, statements: list[str], count: int = 2) -> None:
    waiting, lock, failed = list(reversed(statements)), threading.Lock(), list[BaseException]()

    def work() -> None:
        try:
            with closing(connect(postgres, autocommit=True)) as connection:
                connection.execute(BUILD_OPTIONS)
                while not failed:
                    with lock:
                        if not waiting:
                            return
                        statement = waiting.pop()
                    connection.execute(sql(statement))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def apply_late(control: psycopg.Connection[Any], postgres: str, schema: str) -> None:
    """Merge late changes into their rows in the order in which they came, by upsert."""
    with closing(connect(postgres, autocommit=True)) as connection:
        connection.execute("SET synchronous_commit = off")
        writer = Writer(connection, schema)
        while True:
            with connection.transaction(), connection.cursor() as cursor:
                rows = cursor.execute(
                    sql(
                        f'DELETE FROM "{schema}".rebuild_late WHERE number IN (SELECT number FROM '
                        f'"{schema}".rebuild_late ORDER BY number LIMIT {LATE_AT_ONCE}) '
                        "RETURNING number, name, change"
                    )
                ).fetchall()
                if not rows:
                    return
                writer.upsert(cursor, _merged(sorted(rows)))


def _merged(rows: list[tuple[int, str, dict[str, Any]]]) -> Changes:
    changes = Changes()
    for _, table, change in rows:
        key = tuple(change.pop(name) for name in KEYS[table])
        merges = MERGES[table]
        for name, value in change.items():
            if merges.get(name) in ("add", "max") and value is not None:
                change[name] = Decimal(value)
        changes.set(table, *key, **change)
    return changes


Statements = list[tuple[str, str]]
"""Name of what is made, and how."""
STEPS = ("indexes", "rest")
"""What mends stripped tables, one after the other; the statements of each side by side."""


def _strip(control: psycopg.Connection[Any], schema: str) -> tuple[Statements, Statements]:
    """Take constraints and indexes off the shadow's tables; what mends that in :data:`STEPS`, the
    longest first. Keys are made as indexes, of which two can be made side by side on one table, and
    declared in the end."""
    indexes: Statements = []
    rest: Statements = []
    reset = ", ".join(part.split("=")[0].strip() for part in WHILE_LOADING.split(","))
    for name in dict.fromkeys(("events", "intents", "orders", *sorted(metadata.tables))):
        if name in ("offsets", "projector"):
            continue
        place, key = f'"{schema}"."{name}"', f"{name}_pkey"
        found = control.execute(
            "SELECT i.relname, pg_get_indexdef(i.oid) FROM pg_index x JOIN pg_class i "
            "ON i.oid = x.indexrelid WHERE x.indrelid = %s::regclass ORDER BY 1",
            (place,),
        ).fetchall()
        control.execute(sql(f"ALTER TABLE {place} SET ({WHILE_LOADING})"))
        control.execute(sql(f'ALTER TABLE {place} DROP CONSTRAINT "{key}"'))
        for index, statement in found:
            control.execute(sql(f'DROP INDEX IF EXISTS "{schema}"."{index}"'))
            indexes.append((index, statement))
        whole = f"{_declared(place, key)}; ALTER TABLE {place} RESET ({reset}); ANALYZE {place}"
        rest.append((f"rest of {name}", whole))
    return indexes, rest


def _declared(place: str, index: str) -> str:
    """Make a unique index the primary key of its table, unless it is."""
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = '{place}'::regclass"
        f" AND contype = 'p') THEN ALTER TABLE {place} ADD CONSTRAINT \"{index}\" "
        f'PRIMARY KEY USING INDEX "{index}"; END IF; END $$'
    )


def bare(control: psycopg.Connection[Any], schema: str) -> None:
    """Take what only a rebuild needs out of a shadow that goes live."""
    for name in EXTRA:
        control.execute(sql(f'DROP TABLE "{schema}".{name}'))


def note_ready(control: psycopg.Connection[Any], schema: str) -> None:
    """Extra tables of a shadow that was made complete and is never gone on with."""
    control.execute(
        sql(
            f'CREATE TABLE "{schema}".rebuild_state (what jsonb); '
            f'CREATE TABLE "{schema}".rebuild_late (number int)'
        )
    )


def replace_rows(control: psycopg.Connection[Any], shadow: str, live: str, table: str) -> int:
    """Inside the open transaction: make the rows of a table of `live` those of the shadow's; only
    rows that differ are written. Returns how many were taken out or put in."""
    names = ", ".join(f'"{name}"' for name in STORED[table])
    same = " AND ".join(f't."{key}" = s."{key}"' for key in KEYS[table])
    left, right = (
        ", ".join(
            f'{side}."{name}"' + ("::jsonb" if name in RAW[table] else "") for name in STORED[table]
        )
        for side in "ts"
    )
    control.execute(sql(f'ANALYZE "{shadow}"."{table}"'))
    gone = control.execute(
        sql(
            f'DELETE FROM "{live}"."{table}" t WHERE NOT EXISTS (SELECT 1 FROM "{shadow}"."{table}"'
            f" s WHERE {same} AND ROW({left}) IS NOT DISTINCT FROM ROW({right}))"
        )
    ).rowcount
    put = control.execute(
        sql(
            f'INSERT INTO "{live}"."{table}" ({names}) SELECT {names} FROM "{shadow}"."{table}" s '
            f'WHERE NOT EXISTS (SELECT 1 FROM "{live}"."{table}" t WHERE {same})'
        )
    ).rowcount
    return gone + put
