"""Rebuild: the read models made anew from the log beside the live ones, compared and swapped.

Nobody waits. Two processes load a shadow without indexes from trusted bytes; then it is completed,
follows the live projector's positions, is compared inside snapshots; the swap is two renames in
one transaction, in which only the projector pauses, for the records between two of its batches.
The old generation stays as `before` until the next rebuild, for
:func:`projections.swapping.rollback`. Interrupted or
killed, a rebuild leaves the live tables as they were, and the next one goes on with the shadow.
"""

import logging
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from migrations import chain
from projections import shadow as shadows
from projections.batch import Message, apply_all
from projections.comparison import Side, differences
from projections.database import ProjectionError, connect, exists, sql
from projections.digest import begin_snapshot, offsets_of
from projections.loading import CHECKPOINT, STALL_S, DistrustedError, Loaded, Loaders, Progress
from projections.log import Cursor, Ends
from projections.memory import memory_mib
from projections.origin import Origin, checked, cursors, ends, read_to
from projections.reading import Partition
from projections.swapping import hand_over, lock_projector, take_lock
from projections.tables import BEFORE, FEEDS, LIVE
from projections.writing import Writer

log = logging.getLogger("projections.rebuild")

OLDEST = "shadow_0"
"""What was `before`, until it is removed; by the next rebuild, if this one is killed first."""
_TAIL_AT_ONCE = 5_000
_TAIL_MAX = 50_000
"""Records up to which ordinary batches are quicker than starting loaders."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """events: records read. seconds: start to swap. load_events_per_second: reading, folding and
    COPY alone. equal: None when not compared. differences: lines naming table and key. checked:
    records that were parsed with models. resumed: an interrupted rebuild was gone on with.
    replaced: rows of the one projection that was asked for that were taken out or put in.
    memory_mib: most memory of all processes together. phases: seconds of each step."""

    events: int
    seconds: float
    events_per_second: float
    load_events_per_second: float
    equal: bool | None
    differences: list[str] = field(default_factory=list)
    checked: int = 0
    resumed: bool = False
    replaced: int | None = None
    memory_mib: float | None = None
    phases: dict[str, float] = field(default_factory=dict)


def rebuild(
    origin: Origin,
    postgres: str,
    *,
    verify: bool,
    progress: Progress | None = None,
    swap: bool = True,
    projection: str | None = None,
    checkpoint: int = CHECKPOINT,
    stall_s: float = STALL_S,
) -> RebuildResult:
    """Make the read models anew from the log and swap them in.

    origin: a broker's bootstrap servers, or the folder of an archive. From an archive the tables
    stand where it ends; the projector goes on from there.
    verify: compare with the live tables, every row, at the same positions. What differs is in the
    result; the log is the authority, so the new tables go live all the same and the old ones stay
    as `before`. swap False: compare only, the shadow is dropped. progress(done, total): records.
    projection: one table alone, whose rows are then mended in place, in one transaction.
    checkpoint: records between two commits of a loader. stall_s: without progress for so long it
    ends with an error.

    Raises ProjectionError when another rebuild runs or the log cannot be read; the live tables are
    then as they were.
    """
    started = time.perf_counter()
    if projection is not None and projection not in FEEDS:
        raise ProjectionError(f"No projection {projection!r}: one of {', '.join(sorted(FEEDS))}.")
    if isinstance(origin, Path):
        checked(origin)
    options = "-c client_connection_check_interval=1000"  # a killed rebuild must not hold the lock
    with (
        Loaders(stall_s=stall_s) as loaders,
        closing(connect(postgres, autocommit=True, server_options=options)) as control,
    ):
        take_lock(control, "Another rebuild is running: wait for it to end.")
        work = _Rebuild(origin, postgres, control, projection, loaders, progress)
        work.checkpoint = checkpoint
        work.open()
        work.load(verify=verify)
        found = work.compare() if verify else None
        replaced = None
        if projection is not None and swap:
            replaced = work.mend()
        elif swap:
            work.swap()
        seconds = time.perf_counter() - started
        done = OLDEST if swap and projection is None else work.shadow
        control.execute(sql(f'DROP SCHEMA IF EXISTS "{done}" CASCADE'))
    return RebuildResult(
        events=work.events,
        seconds=round(seconds, 3),
        events_per_second=round(work.events / seconds, 1),
        load_events_per_second=round(work.loaded / work.load_seconds, 1),
        equal=None if found is None else not found,
        differences=found or [],
        checked=work.checked,
        resumed=work.resumed,
        replaced=replaced,
        memory_mib=work.memory_mib(),
        phases=work.phases,
    )


class _Rebuild:
    """One rebuild under way. `cursors` stand where the shadow stands."""

    def __init__(
        self,
        origin: Origin,
        postgres: str,
        control: psycopg.Connection[Any],
        projection: str | None,
        loaders: Loaders,
        progress: Progress | None,
    ) -> None:
        self.origin = origin
        self.postgres = postgres
        self.control = control
        self.projection = projection
        self.progress = progress
        self.checkpoint = CHECKPOINT
        self.shadow = ""
        self.resumed = False
        self.events = self.loaded = self.checked = 0
        self.load_seconds = 1e-9
        self.phases: dict[str, float] = {}
        self._loaders: Loaders | None = loaders
        self._loaders_mib: float | None = None
        self.cursors: dict[Partition, Cursor] = {
            key: cursor
            for key, cursor in cursors(origin).items()
            if projection is None or key[0] in FEEDS[projection]
        }
        self.log_ends = ends(origin, self.cursors)
        self.live = exists(control, LIVE)
        self.same_log = self.live and self._is_same_log()
        if projection is not None and not self.same_log:
            raise ProjectionError(
                "One projection can be mended only in live tables of this log: run `quantum "
                "rebuild` without --projection."
            )

    # ------------------------------------------------------------------ making the shadow

    def open(self) -> None:
        """A shadow to load: what an interrupted rebuild left, or a new one."""
        started = time.perf_counter()
        ids = {f"{topic}/{n}": c.topic_id for (topic, n), c in sorted(self.cursors.items())}
        what = {"projection": self.projection, "topics": ids}
        self.shadow, self.resumed = shadows.open_shadow(self.control, self.postgres, what)
        with closing(connect(self.postgres, autocommit=True)) as connection:
            writer = Writer(connection, self.shadow)
            writer.register(self.cursors.values())
            self.cursors = writer.load()
        self._spent("open", started)

    def load(self, *, verify: bool) -> None:
        """Everything up to where the shadow is compared or swapped, then indexes.

        To be compared, the shadow must not be ahead of live: then live's positions are the target.
        """
        targets = self.live_positions() if verify or self.projection else self.newest()
        self._refuse_beyond(targets)
        try:
            if shadows.stage(self.control, self.shadow) == "loading":
                self._load(targets)
                started = time.perf_counter()
                shadows.complete(self.control, self.postgres, self.shadow)
                self._spent("indexes", started)
            self._follow(targets)
        except (DistrustedError, psycopg.errors.UniqueViolation) as error:
            log.warning("loaded again as the projector does it: %s", str(error).splitlines()[0])
            self._load_carefully(targets)

    def _load(self, targets: Ends) -> None:
        left = {
            key: (self.cursors[key].next_offset, end)
            for key, end in targets.items()
            if self.cursors[key].next_offset < end
        }
        loaders, self._loaders = self._loaders or Loaders(), None
        job = {
            "kafka": self.origin if isinstance(self.origin, str) else "",
            "archive": str(self.origin) if isinstance(self.origin, Path) else None,
            "postgres": self.postgres,
            "schema": self.shadow,
            "checkpoint": self.checkpoint,
            "tables": None if self.projection is None else [self.projection],
        }
        with loaders:
            told = loaders.load(job, left, self.progress)
        self._note(told)
        with closing(connect(self.postgres, autocommit=True)) as connection:
            stopped = {key: c.stopped for key, c in self.cursors.items()}
            self.cursors = Writer(connection, self.shadow).load()
            for key, why in stopped.items():
                self.cursors[key].stopped = why

    def _note(self, told: Loaded) -> None:
        self.events += told.records
        self.loaded += told.records
        self.load_seconds += told.seconds
        self.checked += told.checked
        self.phases["load"] = round(self.phases.get("load", 0.0) + told.seconds, 3)
        self.phases["loaders_cpu"] = told.cpu_s
        self._loaders_mib = told.memory_mib

    def _load_carefully(self, targets: Ends) -> None:
        """With models, by upsert, into complete tables: slow, and it takes whatever live took."""
        self.control.execute(sql(f'DROP SCHEMA "{self.shadow}" CASCADE'))
        self.shadow = "shadow_1"
        chain.upgrade(self.postgres, self.shadow)
        shadows.note_ready(self.control, self.shadow)
        fresh = [Cursor(c.topic, c.partition, topic_id=c.topic_id) for c in self.cursors.values()]
        with closing(connect(self.postgres, autocommit=True)) as connection:
            writer = Writer(connection, self.shadow)
            writer.register(fresh)
            self.cursors = writer.load()
        self.events = 0
        started = time.perf_counter()
        self._follow(targets, by_loaders=False)
        self._note(Loaded(self.events, time.perf_counter() - started, self.events, 0.0))
        self.events = self.loaded

    # ------------------------------------------------------------------ comparing

    def compare(self) -> list[str]:
        """Compare with live at live's positions, in snapshots, while the projector goes on."""
        if not self.live:
            return ["there are no live tables to compare with"]
        if not self.same_log:
            return ["the live tables were made from another log (topic ids differ)"]
        started = time.perf_counter()
        chain.upgrade(self.postgres, LIVE)  # an older build's tables lack columns to compare
        with closing(connect(self.postgres, autocommit=True)) as connection:
            self._follow(self.live_positions())
            with connection.transaction():
                begin_snapshot(connection)
                self._follow(self._wanted(offsets_of(connection, LIVE)))
                with self.control.transaction():
                    begin_snapshot(self.control)
                    found = differences(
                        Side(connection, LIVE, "live"),
                        Side(self.control, self.shadow, "rebuilt"),
                        None if self.projection is None else (self.projection,),
                    )
        self._spent("compare", started)
        return found

    # ------------------------------------------------------------------ going live

    def swap(self) -> None:
        """Catch up for the last time while the projector waits, and exchange the names."""
        started = time.perf_counter()
        control = self.control
        self._follow(self.newest())
        with control.transaction():
            if self.live:
                lock_projector(control, LIVE)
                self._follow(self.newest())
                hand_over(control, self.shadow)
                if exists(control, BEFORE):  # removing its files takes long: after the swap
                    control.execute(sql(f'ALTER SCHEMA "{BEFORE}" RENAME TO "{OLDEST}"'))
                control.execute(sql(f'ALTER SCHEMA "{LIVE}" RENAME TO "{BEFORE}"'))
            shadows.bare(control, self.shadow)
            control.execute(sql(f'ALTER SCHEMA "{self.shadow}" RENAME TO "{LIVE}"'))
        self._spent("swap", started)

    def mend(self) -> int:
        """Make the rows of the one projection in `live` those of the shadow, at live's positions,
        while the projector waits; returns how many were taken out or put in. Readers see all of it
        at once."""
        started = time.perf_counter()
        assert self.projection is not None
        self._follow(self.live_positions())
        with self.control.transaction():
            lock_projector(self.control, LIVE)
            self._follow(self.live_positions())
            count = shadows.replace_rows(self.control, self.shadow, LIVE, self.projection)
        self._spent("mend", started)
        return count

    # ------------------------------------------------------------------ positions

    def live_positions(self) -> Ends:
        """Where live stands, or the log's ends where that means nothing."""
        if not self.same_log:
            return self.log_ends
        return self._wanted(offsets_of(self.control, LIVE))

    def newest(self) -> Ends:
        """The ends seen at the start, or live's positions where those are beyond; an archive has
        nothing beyond its ends."""
        if isinstance(self.origin, Path):
            return self.log_ends
        reached = self.live_positions()
        return {key: max(end, reached.get(key, 0)) for key, end in self.log_ends.items()}

    def _wanted(self, reached: Ends) -> Ends:
        return {key: reached.get(key, 0) for key in self.cursors}

    def _follow(self, targets: Ends, *, by_loaders: bool = True) -> None:
        """Bring the shadow from where it stands to `targets`, through ordinary batches."""
        behind = sum(
            max(0, end - self.cursors[key].next_offset)
            for key, end in targets.items()
            if self.cursors[key].stopped is None
        )
        if by_loaders and behind > _TAIL_MAX:
            self._load(targets)
            shadows.apply_late(self.control, self.postgres, self.shadow)
        if not behind:
            return
        tail: list[Message] = []
        reading = {key: cursor.copy() for key, cursor in self.cursors.items()}
        with closing(connect(self.postgres, autocommit=True)) as connection:
            writer = Writer(connection, self.shadow)

            def take(cursor: Cursor, offset: int, raw: bytes | None) -> None:
                tail.append(((cursor.topic, cursor.partition), offset, raw))
                cursor.next_offset = offset + 1
                if len(tail) >= _TAIL_AT_ONCE:
                    write()

            def write() -> None:
                self.cursors.update(apply_all(writer, self.cursors, tail))
                tail.clear()

            report = self.progress if not by_loaders else None
            self.events += read_to(self.origin, reading, targets, take, progress=report)
            if tail:
                write()

    def _refuse_beyond(self, targets: Ends) -> None:
        """ProjectionError where live stands beyond what an archive holds."""
        for (topic, number), end in targets.items():
            at = self.log_ends.get((topic, number), 0)
            if isinstance(self.origin, Path) and end > at:
                raise ProjectionError(
                    f"The archive ends before live's positions ({topic}/{number}: {at}, live "
                    f"{end}): bring it up to date with `quantum archive`, or rebuild without "
                    "--verify and --projection."
                )

    def _is_same_log(self) -> bool:
        with closing(connect(self.postgres, autocommit=True)) as connection:
            stored = Writer(connection, LIVE).load()
        known = {key: stored[key] for key in stored if key in self.cursors}
        return (
            bool(known)
            and (self.projection is not None or len(known) == len(stored))
            and all(self.cursors[key].topic_id == cursor.topic_id for key, cursor in known.items())
        )

    def memory_mib(self) -> float | None:
        """Of this process and the loaders, if they ran; None where the system does not say."""
        own = memory_mib()
        return None if own is None else round(own + (self._loaders_mib or 0.0), 1)

    def _spent(self, phase: str, started: float) -> None:
        self.phases[phase] = round(time.perf_counter() - started, 3)
