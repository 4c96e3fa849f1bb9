"""Are two sets of tables the same? Digests of rows whatever their order, and what differs.

A table's digest is the sum of its rows' hashes: no sorting, and equal for equal rows however they
were written (`1.50` and `1.5` are one number). Where digests differ, rows are compared by key.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import psycopg

from projections.database import ProjectionError, connect, exists, sql
from projections.fold import Fold
from projections.log import Cursor, Ends, absorb, cursors, ends, read_to
from projections.reading import Partition, consumer
from projections.tables import COMPARED, KEYS, LIVE, STORED, UNCOMPARED
from projections.writing import offset_row
from schemas.scalars import text

Values = tuple[Any, ...]
Rows = Callable[[str], Iterable[Values]]
"""Rows of a table by its name, in the order of :func:`columns`; may be asked for again."""
SHOWN_MAX = 20
_MODULUS = 1 << 128


@dataclass(frozen=True, slots=True)
class TableDigest:
    """How many rows, and the sum of their 128-bit hashes in hexadecimal."""

    rows: int
    value: str


def columns(table: str) -> tuple[str, ...]:
    """What is compared of a table: all stored columns but counters that retention changes."""
    return tuple(c for c in STORED[table] if c not in UNCOMPARED.get(table, ()))


def plain(value: Any) -> Any:
    """One form for a value read from Postgres and the same value in a fold."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return text(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def digest(rows: Iterable[Values]) -> TableDigest:
    """The digest of a table's rows."""
    count = total = 0
    for row in rows:
        seen = repr([plain(value) for value in row]).encode()
        total += int.from_bytes(hashlib.blake2b(seen, digest_size=16).digest(), "big")
        count += 1
    return TableDigest(count, f"{total % _MODULUS:032x}")


def database_rows(connection: psycopg.Connection[Any], schema: str) -> Rows:
    """Rows of a generation, streamed inside the transaction that is open on `connection`."""

    def rows(table: str) -> Iterator[Values]:
        names = ", ".join(f'"{name}"' for name in columns(table))
        with connection.cursor(name=f"rows_{table}") as cursor:
            cursor.itersize = 5_000
            yield from cursor.execute(sql(f'SELECT {names} FROM "{schema}"."{table}"'))

    return rows


def fold_rows(fold: Fold, places: dict[Partition, Cursor]) -> Rows:
    """Rows that a fold of the whole log up to `places` makes."""

    def rows(table: str) -> Iterator[Values]:
        if table != "offsets":
            yield from fold.rows(table)
            return
        kept = [STORED[table].index(name) for name in columns(table)]
        for cursor in places.values():
            row = offset_row(cursor)
            sources = {name: list(state) for name, state in cursor.validity.sources.items()}
            yield tuple((*row[:-1], sources)[i] for i in kept)

    return rows


def digests(rows: Rows) -> dict[str, TableDigest]:
    """Digest of every compared table."""
    return {table.name: digest(rows(table.name)) for table in COMPARED}


def compare(left: Rows, right: Rows, names: tuple[str, str]) -> list[str]:
    """What differs, as lines that name table, key and columns; empty if nothing does."""
    found: list[str] = []
    for table in COMPARED:
        if digest(left(table.name)) != digest(right(table.name)):
            found += _differences(table.name, left, right, names)
    return found


def _differences(table: str, left: Rows, right: Rows, names: tuple[str, str]) -> list[str]:
    order = columns(table)
    places = [order.index(key) for key in KEYS[table]]

    def by_key(rows: Iterable[Values]) -> dict[Values, Values]:
        listed = (tuple(plain(value) for value in row) for row in rows)
        return {tuple(row[i] for i in places): row for row in listed}

    one, other = by_key(left(table)), by_key(right(table))
    lines = []
    for key in sorted(one.keys() | other.keys(), key=str):
        a, b = one.get(key), other.get(key)
        shown = "/".join(str(part) for part in key)
        if a is None or b is None:
            lines.append(f"{table} {shown}: only in {names[1] if a is None else names[0]}")
        elif a != b:
            what = ", ".join(
                f"{name} {x!r:.60} and {y!r:.60}"
                for name, x, y in zip(order, a, b, strict=True)
                if x != y
            )
            lines.append(f"{table} {shown}: {what} ({names[0]} and {names[1]})")
    more = len(lines) - SHOWN_MAX
    return [*lines[:SHOWN_MAX], *([f"{table}: {more} more rows differ"] if more > 0 else [])]


def begin_snapshot(connection: psycopg.Connection[Any]) -> None:
    """First statement of a transaction: from here on it sees the database as it is now."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def offsets_of(connection: psycopg.Connection[Any], schema: str) -> Ends:
    """The vector of positions of a generation."""
    rows = connection.execute(
        sql(f'SELECT topic, partition, next_offset FROM "{schema}".offsets')
    ).fetchall()
    return {(topic, partition): offset for topic, partition, offset in rows}


def equals_replay(
    kafka: str, postgres: str, *, schema: str = LIVE, timeout_s: float = 30
) -> tuple[bool, list[str]]:
    """Whether the tables equal a fresh fold of all topics, up to the ends they have at the call.

    Waits up to `timeout_s` seconds for the projector to get there. Returns (equal, differences);
    a position short of the log's end is a difference. The projector goes on meanwhile: the tables
    are read in one snapshot, and folded is what that snapshot's positions cover.
    """
    places = cursors(kafka)
    reader = consumer(kafka, "ends")
    try:
        wanted = ends(reader, places)
    finally:
        reader.close()
    with connect(postgres, autocommit=True) as connection:
        if not exists(connection, schema):
            raise ProjectionError(f"Schema {schema} has no tables: start with `quantum up`.")
        deadline = time.monotonic() + timeout_s
        while _short(offsets_of(connection, schema), wanted) and time.monotonic() < deadline:
            time.sleep(0.05)
        with connection.transaction():
            begin_snapshot(connection)
            reached = offsets_of(connection, schema)
            found = [
                f"offsets {key[0]}/{key[1]}: stands at {reached.get(key, 0)}, the log ends at {end}"
                for key, end in sorted(_short(reached, wanted).items())
            ]
            fold = replay(kafka, places, reached)
            names = ("tables", "replay")
            found += compare(database_rows(connection, schema), fold_rows(fold, places), names)
    return not found, found


def replay(kafka: str, places: dict[Partition, Cursor], targets: Ends) -> Fold:
    """A fresh fold of the log from the cursors in `places`, which it moves, up to `targets`."""
    fold = Fold()
    read_to(kafka, places, targets, lambda cursor, offset, raw: absorb(fold, cursor, offset, raw))
    return fold


def _short(reached: Ends, wanted: Ends) -> Ends:
    return {key: end for key, end in wanted.items() if reached.get(key, 0) < end}
