"""The projector of a simulation: the real fold and cursors over tables in memory.

What stands in for Postgres keeps what makes it hard: a batch is committed whole or not at all, with
positions and filter state of each partition; a database may be away; an older projector is refused.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import orjson

from projections.batch import Message, apply
from projections.digest import compare, fold_rows
from projections.fold import Fold
from projections.log import Cursor, absorb
from projections.reading import Partition
from projections.writing import MovedError, OvertakenError, cursor_of, offset_row
from replay.simulator.faults import Rates
from replay.simulator.found import BrokenPromise
from schemas.topics import EVENT_TOPICS
from schemas.topics import partitions as counted

BATCH_US = 150_000
BATCH_MAX = 400
AGAIN_US = 100_000


class AwayError(ConnectionError):
    """The database does not answer."""


class CrashError(Exception):
    """The projector dies before its transaction."""


class Database:
    """Tables, positions and who may write them."""

    def __init__(self, partitions: int) -> None:
        self.rows = Fold()
        self.incarnation = 0
        self.away = False
        self.offsets: dict[Partition, tuple[Any, ...]] = {}
        self.touched = Fold()
        """What the last transaction changed."""
        for topic in EVENT_TOPICS:
            for number in range(counted(topic, partitions)):
                cursor = Cursor(topic.name, number)
                self.offsets[topic.name, number] = offset_row(cursor)

    def load(self) -> dict[Partition, Cursor]:
        """Positions as they stand."""
        if self.away:
            raise AwayError("the database does not answer")
        rows = [(*row[:-1], orjson.loads(row[-1])) for row in self.offsets.values()]
        return {(row[0], row[1]): cursor_of(*row) for row in rows}


class MemoryWriter:
    """Writes batches as `projections.writing.Writer` does. `crash`: die before the commit."""

    def __init__(self, database: Database) -> None:
        self.database = database
        if database.away:
            raise AwayError("the database does not answer")
        database.incarnation += 1
        self.incarnation = database.incarnation
        self.crash = False

    def known_fills(self, ids: Sequence[str]) -> list[str]:
        known = self.database.rows.appends["fills"]
        return [each for each in ids if (each,) in known]

    def commit(self, fold: Fold, before: dict[Partition, int], after: Sequence[Cursor]) -> None:
        """Positions from `before` to `after` and all changes of `fold`, or nothing."""
        database = self.database
        if self.crash:
            raise CrashError
        if database.away:
            raise AwayError("the database does not answer")
        if database.incarnation != self.incarnation:
            raise OvertakenError("another projector took over")
        for cursor in after:
            place = cursor.topic, cursor.partition
            if database.offsets[place][3] != before[place]:
                raise MovedError("positions are not those the batch began at")
        for table, rows in fold.states.items():
            for key, row in rows.items():
                database.rows.set(table, *key, **row)
        for table, rows in fold.appends.items():
            for key, row in rows.items():
                database.rows.append(table, *key, **row)
        database.rows.events.extend(fold.events)
        database.touched = fold
        for cursor in after:
            database.offsets[cursor.topic, cursor.partition] = offset_row(cursor)


class SimulatedProjector:
    """A bystander of a simulation: it follows every topic and has no effect."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.database = Database(partitions)
        self.writer: MemoryWriter | None = None
        self.cursors: dict[Partition, Cursor] = {}
        self.ends: dict[Partition, int] = dict.fromkeys(self.database.offsets, 0)
        self.at_us = 1 << 62
        self.back_us = 0
        self.zombie: tuple[MemoryWriter, dict[Partition, Cursor]] | None = None
        self.whole = Fold()
        """One fold of the log, each record once and in order, as far as the tables are."""
        self.places = {place: Cursor(*place) for place in self.database.offsets}

    # ------------------------------------------------------------------ on the clock

    def due_us(self) -> int:
        return self.at_us

    def note(self, record: Any) -> None:
        topic, _, number = record.key.rpartition("/")
        place = topic, int(number)
        if place in self.ends:
            self.ends[place] = record.offset + 1
            self.at_us = min(self.at_us, record.timestamp_ms * 1000 + BATCH_US)

    def meet(self, rates: Rates, rnd: Random, world: Any) -> None:
        """A second's faults: the database goes away, the projector dies, or is taken over."""
        if rnd.random() < rates.database and not self.database.away:
            world.coverage["database away"] += 1
            self.database.away = True
            self.back_us = world.now_us + int(rnd.choice((0.2, 1.5, 5.0)) * 1e6)
        if rnd.random() < rates.projector and self.writer is not None:
            if rnd.random() < 0.5:
                world.coverage["projector crash"] += 1
                self.writer.crash = True
            else:
                world.coverage["projector zombie"] += 1
                self.zombie = self.writer, self.cursors
                self.writer = None

    def calm(self) -> None:
        self.database.away = False

    def act(self, world: Any) -> str:
        """A batch, or what keeps it from one."""
        self.at_us = world.now_us + AGAIN_US
        if self.database.away and world.now_us >= self.back_us:
            self.database.away = False
        if world.broker.away:
            return "the broker is away"
        try:
            if self.writer is None:
                self.writer = MemoryWriter(self.database)
                self.cursors = self.database.load()
            self._project(world, self.writer, self.cursors)
        except AwayError:
            self.writer = None
            return "the database is away"
        except (MovedError, CrashError):
            self.writer = None
            return "begins again"
        if self.zombie is not None:
            self._haunt(world)
        if all(c.next_offset >= self.ends[p] for p, c in self.cursors.items()):
            self.at_us = 1 << 62
        return "commits"

    def _haunt(self, world: Any) -> None:
        """The projector that was taken over commits what it holds, and is refused."""
        assert self.zombie is not None
        writer, cursors = self.zombie
        self.zombie = None
        behind = any(c.next_offset < self.ends[p] for p, c in cursors.items())
        try:
            self._project(world, writer, cursors)
        except (OvertakenError, AwayError, CrashError):
            return
        if behind:
            world.fail(BrokenPromise("a projector that was taken over has written"))

    def _project(
        self, world: Any, writer: MemoryWriter, cursors: dict[Partition, Cursor]
    ) -> None:  # fmt: skip
        batch: list[Message] = []
        places = list(cursors)
        world.rnd.shuffle(places)
        for place in places:
            at, end = cursors[place].next_offset, self.ends[place]
            if at < end and cursors[place].stopped is None:
                records = world.broker.partitions[f"{place[0]}/{place[1]}"][at:end]
                batch += [(place, record.offset, record.raw) for record in records]
            if len(batch) >= BATCH_MAX:
                break
        cursors.update(apply(writer, cursors, batch))
        for place, cursor in cursors.items():
            if cursor.stopped is not None:
                world.fail(BrokenPromise(f"the projector stopped at {place}: {cursor.stopped}"))
        self._catch_up(world)
        if differs := self._differs():
            world.fail(BrokenPromise(f"projections differ after a commit: {differs}"))

    def _catch_up(self, world: Any) -> None:
        """Fold what has been committed since."""
        for place, row in self.database.offsets.items():
            cursor, end = self.places[place], row[3]
            if cursor.next_offset < end:
                records = world.broker.partitions[f"{place[0]}/{place[1]}"]
                for record in records[cursor.next_offset : end]:
                    absorb(self.whole, cursor, record.offset, record.raw)

    def _differs(self) -> str:
        """A row of the last transaction that is not as one fold makes it, or nothing."""
        rows, touched = self.database.rows, self.database.touched
        self.database.touched = Fold()
        for kind in ("states", "appends"):
            stored, whole = getattr(rows, kind), getattr(self.whole, kind)
            for table, keys in getattr(touched, kind).items():
                for key in keys:
                    if _lists(stored[table][key]) != _lists(whole[table].get(key, {})):
                        return f"{table} {key}"
        return ""

    # ------------------------------------------------------------------ at rest

    def behind(self, world: Any) -> str:
        stored = self.database.offsets
        late = [place for place, end in self.ends.items() if stored[place][3] < end]
        return f"the projector has not read {late}" if late else ""

    def check(self, world: Any) -> None:
        """The tables equal one fold of the whole log, row by row."""
        self._catch_up(world)
        stored = fold_rows(self.database.rows, self.database.load())
        whole = fold_rows(self.whole, self.places)
        found = compare(stored, whole, ("tables", "a fold of the log"))
        if found:
            raise BrokenPromise(f"projections differ: {found[0]}")


def _lists(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which what was put together from parts is a list, whoever did."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in row.items()}
