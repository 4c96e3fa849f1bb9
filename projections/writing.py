"""Writing row changes: state by upsert, the index by COPY, positions in the same transaction.

Two guards make it exactly once. A projector is the one whose incarnation stands in the table
`projector`; a later one raises it. Positions move only `WHERE next_offset` is what the batch began
at. Where either fails the whole transaction does, so nothing is ever written twice.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
import psycopg

from projections.changes import Changes
from projections.database import ProjectionError, sql
from projections.fold import Fold
from projections.log import Cursor
from projections.reading import Partition
from projections.tables import FOLDED, KEYS, MERGES, STORED, metadata
from schemas.validity import Validity

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_COPY_BYTES = 1 << 17


class OvertakenError(ProjectionError):
    """Another projector took over this generation; this one must end."""


class MovedError(RuntimeError):
    """Positions in the database are not those this batch began at: read them again."""


class Writer:
    """Writes batches into one generation over a connection in autocommit mode.

    `incarnation` None: no guard against other projectors (a shadow nobody shares).
    """

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, incarnation: int | None = None
    ) -> None:
        self.connection = connection
        self.schema = schema
        self.incarnation = incarnation

    def take_over(self) -> int:
        """Become the projector of this generation: whoever was it before is refused from now on."""
        with self.connection.transaction():
            row = self.connection.execute(
                sql(
                    f'INSERT INTO "{self.schema}".projector AS t (id, incarnation) VALUES (1, 1) '
                    "ON CONFLICT (id) DO UPDATE SET incarnation = t.incarnation + 1 "
                    "RETURNING incarnation"
                )
            ).fetchone()
        assert row is not None
        self.incarnation = int(row[0])
        return self.incarnation

    def load(self) -> dict[Partition, Cursor]:
        """The positions as they stand in the database."""
        rows = self.connection.execute(
            sql(
                "SELECT topic, partition, topic_id, next_offset, events, undecodable, sources "
                f'FROM "{self.schema}".offsets'
            )
        ).fetchall()
        return {(row[0], row[1]): cursor_of(*row) for row in rows}

    def register(self, cursors: Iterable[Cursor]) -> None:
        """Give partitions that have no position yet theirs."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(
                sql(
                    f'INSERT INTO "{self.schema}".offsets '
                    "(topic, partition, topic_id, next_offset, events, undecodable, sources) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
                ),
                [offset_row(c) for c in cursors],
            )

    def known_fills(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` whose fills were counted before."""
        if not ids:
            return []
        rows = self.connection.execute(
            sql(f'SELECT id::text FROM "{self.schema}".fills WHERE id = ANY(%s::uuid[])'),
            (list(ids),),
        ).fetchall()
        return [row[0] for row in rows]

    def commit(self, fold: Fold, before: dict[Partition, int], after: Sequence[Cursor]) -> None:
        """One transaction: positions from `before` to `after`, and all changes of `fold`.

        Raises OvertakenError or MovedError, then nothing was written; psycopg.Error as it comes.
        """
        with self.connection.transaction(), self.connection.cursor() as cursor:
            self._guard(cursor)
            self._move(cursor, before, after)
            self.upsert(cursor, fold)
            if fold.events:
                copy_rows(cursor, self.schema, "events", fold.events)

    def upsert(self, cursor: psycopg.Cursor[Any], changes: Changes) -> None:
        """Merge states and add history inside the transaction that is open; the index apart."""
        for table in FOLDED:
            rows = changes.appends if table.info["append"] else changes.states
            self._upsert(cursor, table.name, rows[table.name])

    def _guard(self, cursor: psycopg.Cursor[Any]) -> None:
        if self.incarnation is None:
            return
        # held to the end of the transaction: a swap of generations waits for it, and we for a swap
        cursor.execute(sql(f'LOCK TABLE "{self.schema}".projector IN ROW SHARE MODE'))
        row = cursor.execute(
            sql(f'SELECT incarnation FROM "{self.schema}".projector WHERE id = 1')
        ).fetchone()
        if row is None or row[0] != self.incarnation:
            raise OvertakenError(
                f"Another projector (number {row and row[0]}) took over from this one (number "
                f"{self.incarnation}): only one writes; this one ends."
            )

    def _move(
        self,
        cursor: psycopg.Cursor[Any],
        before: dict[Partition, int],
        after: Sequence[Cursor],
    ) -> None:
        cursor.executemany(
            sql(
                f'UPDATE "{self.schema}".offsets SET next_offset = %s, events = %s, '
                "undecodable = %s, sources = %s WHERE topic = %s AND partition = %s "
                "AND topic_id = %s AND next_offset = %s"
            ),
            [
                (*offset_row(c)[3:], c.topic, c.partition, c.topic_id, before[c.topic, c.partition])
                for c in after
            ],
        )
        if cursor.rowcount != len(after):
            raise MovedError(f"positions in {self.schema} are not those the batch began at")

    def _upsert(
        self, cursor: psycopg.Cursor[Any], table: str, rows: dict[tuple[Any, ...], dict[str, Any]]
    ) -> None:
        shapes: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for key, row in rows.items():
            values = (*key, *(_parameter(value) for value in row.values()))
            shapes.setdefault(tuple(row), []).append(values)
        for columns, parameters in shapes.items():
            cursor.executemany(sql(_upsert_sql(self.schema, table, columns)), parameters)


@lru_cache(1024)
def _upsert_sql(schema: str, table: str, columns: tuple[str, ...]) -> str:
    keys = KEYS[table]
    names = (*keys, *columns)
    if metadata.tables[table].info["append"]:
        action = "NOTHING"
    else:
        merges = MERGES[table]
        action = "UPDATE SET " + ", ".join(
            {
                None: f'"{c}" = EXCLUDED."{c}"',
                "add": f'"{c}" = t."{c}" + EXCLUDED."{c}"',
                "max": f'"{c}" = GREATEST(t."{c}", EXCLUDED."{c}")',
                "append": f'"{c}" = t."{c}" || EXCLUDED."{c}"',
            }[merges.get(c)]
            for c in columns
        )
    quoted = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(["%s"] * len(names))
    return (
        f'INSERT INTO "{schema}"."{table}" AS t ({quoted}) VALUES ({marks})'
        f" ON CONFLICT ({', '.join(keys)}) DO {action}"
    )


def cursor_of(
    topic: str, partition: int, topic_id: str, next_offset: int, events: int, undecodable: int,
    sources: dict[str, Sequence[int]],
) -> Cursor:  # fmt: skip
    """The cursor that a row of `offsets` keeps."""
    known = {name: (epoch, sequence) for name, (epoch, sequence) in sources.items()}
    return Cursor(
        topic, partition, topic_id, next_offset, events, undecodable, Validity(known)
    )  # fmt: skip


def offset_row(c: Cursor) -> tuple[Any, ...]:
    """A row of `offsets` in the order of its columns."""
    sources = orjson.dumps(c.validity.sources, option=orjson.OPT_SORT_KEYS).decode()
    return (c.topic, c.partition, c.topic_id, c.next_offset, c.events, c.undecodable, sources)


def copy_rows(
    cursor: psycopg.Cursor[Any],
    schema: str,
    table: str,
    rows: Iterable[tuple[Any, ...]],
) -> None:
    """Load whole rows, in the order of the table's stored columns, by COPY."""
    columns = ", ".join(f'"{name}"' for name in STORED[table])
    with cursor.copy(sql(f'COPY "{schema}"."{table}" ({columns}) FROM STDIN')) as copy:
        lines: list[str] = []
        size = 0
        for row in rows:
            line = "\t".join([_field(value) for value in row])
            lines.append(line)
            size += len(line)
            if size > _COPY_BYTES:
                copy.write("\n".join(lines) + "\n")
                lines, size = [], 0
        if lines:
            copy.write("\n".join(lines) + "\n")


def _parameter(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list | tuple) else value


def _field(value: Any) -> str:
    """A value in COPY's text format; it runs for every value of a rebuild."""
    if value is None:
        return "\\N"
    kind = type(value)
    if kind is str:
        # nearly all are ids, names and numbers, in which nothing needs an escape
        plain = value.isprintable() and "\\" not in value
        return str(value) if plain else value.translate(_ESCAPES)
    if kind is Decimal:
        return format(value, "f")
    if kind is int:
        return str(value)
    if kind is bool:
        return "t" if value else "f"
    return orjson.dumps(value).decode().translate(_ESCAPES)
