"""Rebuild: the read models made anew from the log beside the live ones, compared and swapped.

Nobody waits. The shadow is loaded by COPY into unlogged tables without indexes, then follows the
live projector's positions; it is compared inside a snapshot; the swap is two renames in one
transaction, in which only the projector pauses, for the records between two of its batches.
The old generation stays as `before` until the next rebuild, for :func:`rollback`.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg

from migrations import chain
from projections.batch import Message, apply
from projections.database import ProjectionError, connect, exists, sql
from projections.digest import begin_snapshot, compare, database_rows, offsets_of
from projections.fold import Fold
from projections.log import Cursor, Ends, Partition, absorb, consumer, cursors, ends, read_to
from projections.tables import BEFORE, FOLDED, LIVE, metadata
from projections.writing import Writer, copy_rows, offset_row

Progress = Callable[[int, int], None]
_LOCK = 7_315_221_007
_EVENTS_AT_ONCE = 20_000
_TAIL_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """events: records read. seconds: start to swap. load_events_per_second: reading, folding and
    COPY alone. equal: None when not compared. differences: lines naming table and key."""

    events: int
    seconds: float
    events_per_second: float
    load_events_per_second: float
    equal: bool | None
    differences: list[str] = field(default_factory=list)


def rebuild(
    kafka: str,
    postgres: str,
    *,
    verify: bool,
    progress: Progress | None = None,
    swap: bool = True,
) -> RebuildResult:
    """Make the read models anew from the log and swap them in.

    verify: compare with the live tables, every row, at the same positions. What differs is in the
    result; the log is the authority, so the new tables go live all the same and the old ones stay
    as `before`. swap False: compare only, the shadow is dropped. progress(done, total): records.

    Raises ProjectionError when another rebuild runs or the log cannot be read; the live tables are
    then as they were.
    """
    started = time.perf_counter()
    with closing(connect(postgres, autocommit=True)) as control:
        if not _locked(control):
            raise ProjectionError("Another rebuild is running: wait for it to end.")
        shadow = _fresh_name(control)
        work = _Rebuild(kafka, postgres, control, shadow)
        try:
            targets = work.live_positions() if verify else work.newest()
            loaded, load_seconds = work.load(targets, progress)
            differences = work.verify() if verify else None
            if swap:
                work.swap()
        finally:
            control.execute(sql(f'DROP SCHEMA IF EXISTS "{shadow}" CASCADE'))
    seconds = time.perf_counter() - started
    return RebuildResult(
        events=work.events,
        seconds=round(seconds, 3),
        events_per_second=round(work.events / seconds, 1),
        load_events_per_second=round(loaded / load_seconds, 1),
        equal=None if differences is None else not differences,
        differences=differences or [],
    )


def rollback(postgres: str) -> None:
    """Put the generation from before the last rebuild back; the rebuilt one becomes `before`.

    The projector finds older positions and catches up from there. Raises ProjectionError when
    there is nothing to go back to.
    """
    with closing(connect(postgres, autocommit=True)) as connection:
        if not _locked(connection):
            raise ProjectionError("A rebuild is running: wait for it to end.")
        if not exists(connection, BEFORE):
            raise ProjectionError("There is no generation to go back to: nothing was rebuilt yet.")
        chain.upgrade(postgres, BEFORE)  # an older build may have made it
        with connection.transaction():
            _lock_projector(connection, LIVE)
            _hand_over(connection, BEFORE)
            aside = _fresh_name(connection)
            for old, new in ((LIVE, aside), (BEFORE, LIVE), (aside, BEFORE)):
                connection.execute(sql(f'ALTER SCHEMA "{old}" RENAME TO "{new}"'))


class _Rebuild:
    """One rebuild under way. `cursors` stand where the shadow stands."""

    def __init__(
        self, kafka: str, postgres: str, control: psycopg.Connection[Any], shadow: str
    ) -> None:
        self.kafka = kafka
        self.postgres = postgres
        self.control = control
        self.shadow = shadow
        self.cursors: dict[Partition, Cursor] = cursors(kafka)
        self.log_ends = self._read_ends()
        self.live = exists(control, LIVE)
        self.same_log = self.live and self._is_same_log()
        self.events = 0

    def load(self, targets: Ends, progress: Progress | None) -> tuple[int, float]:
        """Read, fold and COPY everything up to `targets`, then indexes; (records, seconds).

        To be compared, the shadow must not be ahead of live: then `targets` are live's positions.
        """
        chain.upgrade(self.postgres, self.shadow)
        indexes = self._strip()
        started = time.perf_counter()
        fold = Fold()
        with closing(connect(self.postgres, autocommit=True)) as connection:
            writing = connection.cursor()

            def take(cursor: Cursor, offset: int, raw: bytes | None) -> None:
                absorb(fold, cursor, offset, raw)
                if len(fold.events) >= _EVENTS_AT_ONCE:
                    copy_rows(writing, self.shadow, "events", fold.events)
                    fold.events.clear()

            count = read_to(self.kafka, self.cursors, targets, take, progress=progress)
            for table in ("events", *(t.name for t in FOLDED)):
                copy_rows(writing, self.shadow, table, fold.rows(table))
            rows = [offset_row(cursor) for cursor in self.cursors.values()]
            copy_rows(writing, self.shadow, "offsets", rows)
        seconds = time.perf_counter() - started
        self.events += count
        for statement in indexes:
            self.control.execute(sql(statement))
        return count, seconds

    def verify(self) -> list[str]:
        """Compare with live at live's positions, in a snapshot, while the projector goes on."""
        if not self.live:
            return ["there are no live tables to compare with"]
        if not self.same_log:
            return ["the live tables were made from another log (topic ids differ)"]
        chain.upgrade(self.postgres, LIVE)  # an older build's tables lack columns to compare
        with closing(connect(self.postgres, autocommit=True)) as connection:
            self._follow(offsets_of(connection, LIVE))
            with connection.transaction():
                begin_snapshot(connection)
                self._follow(offsets_of(connection, LIVE))
                with self.control.transaction():
                    begin_snapshot(self.control)
                    return compare(
                        database_rows(connection, LIVE),
                        database_rows(self.control, self.shadow),
                        ("live", "rebuilt"),
                    )

    def swap(self) -> None:
        """Catch up for the last time while the projector waits, and exchange the names."""
        control = self.control
        control.execute(sql(f'DROP SCHEMA IF EXISTS "{BEFORE}" CASCADE'))
        self._follow(self.newest())
        with control.transaction():
            if self.live:
                _lock_projector(control, LIVE)
                self._follow(self.newest())
                _hand_over(control, self.shadow)
                control.execute(sql(f'ALTER SCHEMA "{LIVE}" RENAME TO "{BEFORE}"'))
            control.execute(sql(f'ALTER SCHEMA "{self.shadow}" RENAME TO "{LIVE}"'))

    def live_positions(self) -> Ends:
        """Where live stands, or the log's ends where that means nothing."""
        if not self.same_log:
            return self.log_ends
        reached = offsets_of(self.control, LIVE)
        return {key: reached.get(key, 0) for key in self.cursors}

    def newest(self) -> Ends:
        """The ends seen at the start, or live's positions where those are beyond."""
        reached = self.live_positions()
        return {key: max(end, reached.get(key, 0)) for key, end in self.log_ends.items()}

    def _follow(self, targets: Ends) -> None:
        """Bring the shadow from where it stands to `targets`, through ordinary batches."""
        tail: list[Message] = []
        reading = {key: cursor.copy() for key, cursor in self.cursors.items()}

        def take(cursor: Cursor, offset: int, raw: bytes | None) -> None:
            tail.append(((cursor.topic, cursor.partition), offset, raw))
            cursor.next_offset = offset + 1

        wanted = {key: end for key, end in targets.items() if key in reading}
        self.events += read_to(self.kafka, reading, wanted, take)
        if not tail:
            return
        with closing(connect(self.postgres, autocommit=True)) as connection:
            writer = Writer(connection, self.shadow)
            for start in range(0, len(tail), _TAIL_AT_ONCE):
                batch = tail[start : start + _TAIL_AT_ONCE]
                self.cursors.update(apply(writer, self.cursors, batch))

    def _read_ends(self) -> Ends:
        reader = consumer(self.kafka, "ends")
        try:
            return ends(reader, self.cursors)
        finally:
            reader.close()

    def _is_same_log(self) -> bool:
        with closing(connect(self.postgres, autocommit=True)) as connection:
            stored = Writer(connection, LIVE).load()
        return bool(stored) and all(
            key in self.cursors and self.cursors[key].topic_id == cursor.topic_id
            for key, cursor in stored.items()
        )

    def _strip(self) -> list[str]:
        """Make the shadow's tables unlogged and bare; returns the statements that mend that."""
        control, after = self.control, []
        for name in metadata.tables:
            place = f'"{self.shadow}"."{name}"'
            constraint, definition = control.execute(
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
                "WHERE conrelid = %s::regclass AND contype = 'p'",
                (place,),
            ).fetchone() or ("", "")
            indexes = control.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s "
                "AND tablename = %s AND indexname <> %s",
                (self.shadow, name, constraint),
            ).fetchall()
            control.execute(sql(f"ALTER TABLE {place} SET UNLOGGED"))
            control.execute(sql(f'ALTER TABLE {place} DROP CONSTRAINT "{constraint}"'))
            for index, _ in indexes:
                control.execute(sql(f'DROP INDEX "{self.shadow}"."{index}"'))
            after.append(f'ALTER TABLE {place} ADD CONSTRAINT "{constraint}" {definition}')
            after += [statement for _, statement in indexes]
            after += [f"ALTER TABLE {place} SET LOGGED", f"ANALYZE {place}"]
        return after


def _locked(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
    return row is not None and bool(row[0])


def _fresh_name(connection: psycopg.Connection[Any]) -> str:
    """The next `shadow_<n>`; what an interrupted rebuild left behind is removed."""
    left = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname ~ '^shadow_[0-9]+$'"
    ).fetchall()
    for (name,) in left:
        connection.execute(sql(f'DROP SCHEMA "{name}" CASCADE'))
    return f"shadow_{1 + max((int(name.split('_')[1]) for (name,) in left), default=0)}"


def _lock_projector(connection: psycopg.Connection[Any], schema: str) -> None:
    """Wait for the projector's transaction and hold off its next one; readers notice nothing."""
    connection.execute(sql(f'LOCK TABLE "{schema}".projector IN EXCLUSIVE MODE'))


def _hand_over(connection: psycopg.Connection[Any], schema: str) -> None:
    """The projector that writes `live` is the one that may write `schema` when it is live."""
    connection.execute(sql(f'DELETE FROM "{schema}".projector'))
    connection.execute(
        sql(f'INSERT INTO "{schema}".projector SELECT id, incarnation FROM "{LIVE}".projector')
    )
