"""A process that loads a shadow: `python -m projections.loader`, told what to do through a pipe.

It reads its partitions from where the shadow's positions stand up to their targets, folds trusted
bytes, and commits rows together with positions every so many records: killed at any moment, what
it leaves is a shadow that stands at those positions. It ends when its pipe does, so no parent that
was killed leaves it behind.
"""

import gc
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, LiteralString, NoReturn

import orjson
import psycopg
from confluent_kafka import TopicPartition

from projections.memory import memory_mib
from projections.reading import READ_MAX, consumer, runs
from projections.text_rows import COLUMNS, STATES, Key
from projections.trusted import DistrustError, TrustedFold
from runtime.priority import stand_back
from runtime.security import postgres_secret
from schemas.validity import Validity

LINES_MAX = 4_000
"""Lines of a table gathered before a COPY: about 1 MB."""
INTENTS_MAX = 1_000
TELL_S = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """What a loader is told. `targets`: [topic, partition, end]. `checkpoint`: records a commit.
    `tables`: what is written, None: everything. `archive`: folder that is read instead of Kafka."""

    kafka: str
    postgres: str
    schema: str
    targets: list[tuple[str, int, int]]
    checkpoint: int
    tables: list[str] | None = None
    archive: str | None = None


@dataclass(slots=True)
class Place:
    """A partition's cursor, as :class:`projections.log.Cursor`, and where it ends."""

    topic: str
    partition: int
    target: int
    next_offset: int = 0
    events: int = 0
    undecodable: int = 0
    validity: Validity = field(default_factory=Validity)
    stopped: str | None = None
    stored: int = 0
    """Next offset as the shadow has it."""


class Loader:
    """Loads the partitions of a job. `done`: records read so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.done = 0
        self.fold = TrustedFold()
        self.tables = [n for n in COLUMNS if job.tables is None or n in job.tables]
        self._unwritten = [n for n in COLUMNS if n not in self.tables]
        self._connection = psycopg.connect(
            job.postgres,
            options="-c timezone=UTC -c synchronous_commit=off",
            application_name="quantum-rebuild",
            **postgres_secret(),
        )
        self.places = self._load_places()

    def run(self) -> None:
        """Read, fold, write; returns when every partition is at its target."""
        if self.job.archive is not None:
            self._run_archive(Path(self.job.archive))
            return
        left = {k: p for k, p in self.places.items() if p.next_offset < p.target}
        reader = consumer(self.job.kafka, "rebuild", bulk=True)
        try:
            for key, place in list(left.items()):
                bottom = reader.get_watermark_offsets(TopicPartition(*key), timeout=10)[0]
                if place.next_offset < bottom:  # retention has removed what was before
                    place.next_offset = min(bottom, place.target)
                    if place.next_offset >= place.target:
                        del left[key]
            reader.assign([TopicPartition(*key, p.next_offset) for key, p in left.items()])
            committed = 0
            while left:
                self._take(reader.consume(READ_MAX, 0.1), left, reader)
                if self.done - committed >= self.job.checkpoint:
                    self.commit()
                    committed = self.done
            self.commit()
        finally:
            reader.close()
            self._connection.close()

    def _run_archive(self, folder: Path) -> None:
        from projections.origin import archived

        absorb, committed = self.fold.absorb, 0
        spans = {key: (p.next_offset, p.target) for key, p in self.places.items()}
        try:
            for key, offset, raw in archived(folder, spans):
                absorb(self.places[key], offset, raw)
                self.done += 1
                self._write_some()
                if self.done - committed >= self.job.checkpoint:
                    self.commit()
                    committed = self.done
            for place in self.places.values():  # an archive may begin later than its topic
                if place.stopped is None:
                    place.next_offset = max(place.next_offset, place.target)
            self.commit()
        finally:
            self._connection.close()

    def _take(self, messages: list[Any], left: dict[tuple[str, int], Place], reader: Any) -> None:
        for key, run in runs(messages):
            place = left.get(key)
            if place is None:
                continue
            while run and run[-1][0] >= place.target:
                run.pop()
            before = place.next_offset
            self.fold.run(place, run)
            self.done += len(run) if place.stopped is None else place.next_offset - before
            if place.next_offset >= place.target or place.stopped is not None:
                del left[key]
                reader.incremental_unassign([TopicPartition(*key)])
        self._write_some()

    def _write_some(self) -> None:
        lines = self.fold.rows.lines
        if len(lines["events"]) >= LINES_MAX or len(lines["intents"]) >= INTENTS_MAX:
            self._write()

    # ------------------------------------------------------------------ database

    def commit(self) -> None:
        """States, what is left of the lines, and positions; then all of it stands."""
        self.fold.rows.settle()
        self._write()
        late = self.fold.rows.late
        with self._connection.cursor() as cursor:
            kept = [pair for pair in late if pair[0] in self.tables]
            if kept:
                into = f'"{self.job.schema}".rebuild_late (name, change)'
                cursor.executemany(_sql(f"INSERT INTO {into} VALUES (%s, %s)"), kept)
            late.clear()
            moved = [place for place in self.places.values() if place.next_offset != place.stored]
            cursor.executemany(
                _sql(
                    f'UPDATE "{self.job.schema}".offsets SET next_offset = %s, events = %s, '
                    "undecodable = %s, sources = %s WHERE topic = %s AND partition = %s "
                    "AND next_offset = %s"
                ),
                [
                    (
                        p.next_offset, p.events, p.undecodable,
                        orjson.dumps(p.validity.sources, option=orjson.OPT_SORT_KEYS).decode(),
                        p.topic, p.partition, p.stored,
                    )
                    for p in moved
                ],
            )  # fmt: skip
            if moved and cursor.rowcount != len(moved):  # the last commit of one that was killed
                raise RuntimeError("positions moved meanwhile")
        self._connection.commit()
        for place in moved:
            place.stored = place.next_offset
        gc.collect(0)  # which is off meanwhile: next to nothing here is a cycle

    def _write(self) -> None:
        rows = self.fold.rows
        with self._connection.cursor() as cursor:
            for name in self.tables:
                if rows.lines.get(name):
                    columns = ", ".join(f'"{column}"' for column in COLUMNS[name])
                    target = f'"{self.job.schema}"."{name}" ({columns})'
                    with cursor.copy(_sql(f"COPY {target} FROM STDIN")) as copy:
                        copy.write(rows.drain(name))
        for name in self._unwritten:
            rows.lines.get(name, []).clear()

    def _load_places(self) -> dict[tuple[str, int], Place]:
        """Cursors as the shadow has them, and the keys that stand in it already."""
        schema, connection = self.job.schema, self._connection
        places: dict[tuple[str, int], Place] = {}
        rows = connection.execute(
            _sql(
                "SELECT topic, partition, next_offset, events, undecodable, sources "
                f'FROM "{schema}".offsets'
            )
        ).fetchall()
        stored = {(topic, partition): rest for topic, partition, *rest in rows}
        for topic, partition, target in self.job.targets:
            at, events, undecodable, sources = stored[topic, partition]
            known = {name: (epoch, sequence) for name, (epoch, sequence) in sources.items()}
            places[topic, partition] = Place(
                topic, partition, target, at, events, undecodable, Validity(known), stored=at
            )
        if any(rest[0] for rest in stored.values()):
            self._load_keys()
        connection.rollback()
        return places

    def _load_keys(self) -> None:
        rows = self.fold.rows
        for name in (*STATES, *rows.seen):
            keys = _KEYS.get(name)
            if keys is None:
                continue
            found = self._connection.execute(
                _sql(f'SELECT {keys} FROM "{self.job.schema}"."{name}"')
            ).fetchall()
            into: set[Key] = rows.stored[name] if name in STATES else rows.seen[name]
            into.update(row[0] if len(row) == 1 else row for row in found)


_KEYS = {
    "orders": "order_id::text", "trades": "trade_id::text", "positions": "account, symbol",
    "emergencies": "emergency_id::text", "fills": "id::text", "intents": "id::text",
    "limit_sets": "id::text", "equity": "id::text", "policy_snapshots": "account, version",
    "commands_rejected": "id::text",
}  # fmt: skip


def _sql(text: str) -> LiteralString:
    """SQL composed of names in this package's code."""
    return text


def main(pipes: list[str]) -> NoReturn:
    """Do jobs: each stands on the first line of a pipe, its progress and end go to another.

    pipes: two descriptors a job, to read and to write. What is imported is imported once, models
    too, and before this process stands back: on a machine that is full a loader that imported them
    behind everybody else read nothing for half a minute. For each job but the first it then forks,
    before anything else is begun.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    stand_back("rebuild")
    gc.freeze()
    gc.disable()
    ends = [(int(pipes[n]), int(pipes[n + 1])) for n in range(0, len(pipes), 2)]
    own = ends[0]
    for pair in ends[1:]:
        if os.fork() == 0:
            own = pair
            break
    for pair in ends:
        if pair != own:
            os.close(pair[0])
            os.close(pair[1])
    _work(os.fdopen(own[0], "rb"), os.fdopen(own[1], "wb"))
    os._exit(0)  # taking a million rows' keys apart first would only take time


def _work(told: BinaryIO, telling: BinaryIO) -> None:
    line = told.readline()
    if not line:
        return
    threading.Thread(target=_end_with_parent, args=(told,), daemon=True).start()
    lock = threading.Lock()

    def tell(**what: Any) -> None:
        with lock:
            telling.write(orjson.dumps(what) + b"\n")
            telling.flush()

    try:
        loader = Loader(Job(**orjson.loads(line)))
        ended = threading.Event()

        def tell_now_and_then() -> None:
            while not ended.wait(TELL_S):
                tell(done=loader.done)

        teller = threading.Thread(target=tell_now_and_then, daemon=True)
        teller.start()
        loader.run()
        ended.set()
        teller.join()
        tell(
            done=loader.done,
            ended=True,
            checked=loader.fold.checked,
            cpu_s=time.process_time(),
            memory_mib=memory_mib(),
        )
    except DistrustError as error:
        tell(distrust=str(error))
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        tell(distrust=str(error).splitlines()[0])
    except Exception as error:
        tell(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def _end_with_parent(told: BinaryIO) -> None:
    told.read()
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
