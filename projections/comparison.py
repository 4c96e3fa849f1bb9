"""Comparing two generations in the database: sums of row hashes, then the rows that differ.

Postgres hashes by type, so `1.50` equals `1.5`. A table's digest is the number of its rows and the
sum of their 64-bit hashes; order does not matter and nothing is sorted. Only where digests differ
are keys and hashes read in order and merged: then JSON is compared by content, which takes longer
and is needed only where an older build wrote it in other words.
"""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg

from projections.database import sql
from projections.digest import SHOWN_MAX, columns, plain
from projections.tables import COMPARED, KEYS, RAW

Digest = tuple[int, Any]
_Hashed = tuple[tuple[str, ...], int]


class Side:
    """One generation, seen through a transaction that is open on `connection`."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, name: str) -> None:
        self.connection = connection
        self.schema = schema
        self.name = name

    def digest(self, table: str) -> Digest:
        """(rows, sum of hashes) of a table."""
        row = self.connection.execute(
            sql(
                f"SELECT count(*), sum(hash_record_extended({_row(table, 'text')}, 1)) "
                f'FROM "{self.schema}"."{table}"'
            )
        ).fetchone()
        assert row is not None
        return (row[0], row[1])

    def hashes(self, table: str) -> Iterator[_Hashed]:
        """Key and hash of each row, by key."""
        keys = [f'"{key}"::text COLLATE "C"' for key in KEYS[table]]
        order = ", ".join(str(number) for number in range(1, len(keys) + 1))
        with self.connection.cursor(name=f"hashes_{table}") as cursor:
            cursor.itersize = 10_000
            statement = (
                f"SELECT {', '.join(keys)}, hash_record_extended({_row(table, 'jsonb')}, 1) "
                f'FROM "{self.schema}"."{table}" ORDER BY {order}'
            )
            for row in cursor.execute(sql(statement)):
                yield tuple(row[:-1]), row[-1]

    def row(self, table: str, key: tuple[str, ...]) -> list[Any]:
        """Compared columns of one row."""
        where = " AND ".join(f'"{name}"::text = %s' for name in KEYS[table])
        names = ", ".join(f'"{name}"' for name in columns(table))
        found = self.connection.execute(
            sql(f'SELECT {names} FROM "{self.schema}"."{table}" WHERE {where}'), key
        ).fetchone()
        assert found is not None
        return [plain(value) for value in found]


def _row(table: str, form: str) -> str:
    """`form`: what JSON that is kept as text is hashed as."""
    raw = RAW[table]
    names = (f'"{name}"::{form}' if name in raw else f'"{name}"' for name in columns(table))
    return f"ROW({', '.join(names)})"


def differences(one: Side, other: Side, tables: tuple[str, ...] | None = None) -> list[str]:
    """Lines that name table, key and columns of what differs; empty if nothing does."""
    names = tables or tuple(table.name for table in COMPARED)
    digests: dict[str, dict[str, Digest]] = {one.name: {}, other.name: {}}
    failed: list[BaseException] = []

    def work(side: Side) -> None:
        try:
            for table in names:
                digests[side.name][table] = side.digest(table)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, args=(other,), daemon=True)
    thread.start()
    work(one)
    thread.join()
    if failed:
        raise failed[0]
    found: list[str] = []
    for table in names:
        if digests[one.name][table] != digests[other.name][table]:
            found += _table(table, one, other)
    return found


def _table(table: str, one: Side, other: Side) -> list[str]:
    lines: list[str] = []
    count = 0
    for key, where in _merged(one.hashes(table), other.hashes(table)):
        count += 1
        if count > SHOWN_MAX:
            continue
        shown = f"{table} {'/'.join(key)}"
        if where != "both":
            lines.append(f"{shown}: only in {one.name if where == 'one' else other.name}")
            continue
        what = ", ".join(
            f"{name} {a!r:.60} and {b!r:.60}"
            for name, a, b in zip(
                columns(table), one.row(table, key), other.row(table, key), strict=True
            )
            if a != b
        )
        lines.append(f"{shown}: {what} ({one.name} and {other.name})")
    if count > SHOWN_MAX:
        lines.append(f"{table}: {count - SHOWN_MAX} more rows differ")
    return lines


def _merged(
    left: Iterator[_Hashed], right: Iterator[_Hashed]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys whose rows differ, and on which side they are: `one`, `other` or `both`."""
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None
            yield a[0], "one"
            a = next(left, None)
        elif a is None or b[0] < a[0]:
            yield b[0], "other"
            b = next(right, None)
        else:
            if a[1] != b[1]:
                yield a[0], "both"
            a, b = next(left, None), next(right, None)
