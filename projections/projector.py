"""The projector: every topic into Postgres, exactly once, for as long as it runs.

It holds no state of its own but positions: a batch is folded into row changes and Postgres merges
them. So closed orders need no memory, and after any failure it reads its positions from the
database and goes on. A projection never causes an effect.
"""

import logging
import threading
import time
from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from projections.batch import Message, apply_all
from projections.database import ProjectionError, connect, exists
from projections.log import Cursor, check_same_log, cursors
from projections.reading import READ_MAX, Partition, consumer, good
from projections.tables import LIVE
from projections.writing import MovedError, Writer
from schemas.topics import EVENT_TOPICS

log = logging.getLogger("projections.projector")

BATCH_S = 0.15
BATCH_MAX = 5_000
BACKOFF_MAX_S = 2.0
TOPICS_AGAIN_S = 1.0


class Projector:
    """Follows all event topics into one generation.

    kafka: bootstrap servers. postgres: a URI. on_progress: called after each commit and at the
    start with the next offset of every partition, ``{"topic/partition": next}``.
    """

    def __init__(
        self,
        kafka: str,
        postgres: str,
        *,
        schema: str = LIVE,
        on_progress: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        self.kafka = kafka
        self.postgres = postgres
        self.schema = schema
        self.committed = 0
        """Records whose effects stand in the database, counted since this process began."""
        self.undecodable = 0
        self.reconnects = 0
        self.stopped: dict[str, str] = {}
        """Partitions that are read no further, and why."""
        self.turned_at = time.monotonic()
        """When :meth:`run` last took a turn; one that stands still hangs."""
        self.stood_at = time.monotonic()
        """When Kafka and Postgres both last answered."""
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._incarnation: int | None = None
        self._cursors: dict[Partition, Cursor] = {}
        self._writer: Writer | None = None
        self._reader: Consumer | None = None
        self._assigned: set[Partition] = set()
        self._next_topics = 0.0

    def stop(self) -> None:
        """End :meth:`run` after the batch in hand. From any thread or signal handler."""
        self._stop.set()

    @property
    def connected(self) -> bool:
        """Whether it stands at positions of the database and reads on from there."""
        return self._writer is not None and bool(self._assigned)

    @property
    def positions(self) -> dict[str, int]:
        """Next offset of each partition, as the database has it."""
        return {f"{t}/{p}": c.next_offset for (t, p), c in tuple(self._cursors.items())}

    def run(self) -> None:
        """Project until stopped. Goes on by itself when Kafka or Postgres was away.

        Raises OvertakenError when another projector took over, ProjectionError when the database
        was made from another log, or its tables are not those of this build.
        """
        backoff = 0.1
        try:
            while not self._stop.is_set():
                self.turned_at = time.monotonic()
                try:
                    if self._writer is None:
                        self._connect()
                        backoff = 0.1
                    self._step()
                    self.stood_at = time.monotonic()
                except MovedError as moved:
                    log.warning("%s: read again", moved)
                    self._disconnect()
                except (psycopg.OperationalError, psycopg.InterfaceError, KafkaException) as error:
                    log.warning("%s; again in %.1f s", str(error).splitlines()[0], backoff)
                    self._disconnect()
                    self.reconnects += 1
                    self._stop.wait(backoff)
                    backoff = min(BACKOFF_MAX_S, backoff * 2)
                except psycopg.Error as error:
                    raise ProjectionError(
                        f"Postgres takes the tables of schema {self.schema} for others than this "
                        f"build does: {str(error).splitlines()[0]}. What it had committed stays; "
                        "make them anew from the log (`quantum rebuild`)."
                    ) from error
        finally:
            self._disconnect()
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    # ------------------------------------------------------------------ connections

    def _connect(self) -> None:
        connection = connect(self.postgres, autocommit=True)
        try:
            if not exists(connection, self.schema):
                raise ProjectionError(
                    f"Schema {self.schema} has no tables: run the migrations (`quantum up`) first."
                )
            writer = Writer(connection, self.schema, self._incarnation)
            if self._incarnation is None:
                self._incarnation = writer.take_over()
            self._cursors = writer.load()
        except BaseException:
            connection.close()
            raise
        self._writer = writer
        self._assigned = set()
        self._look_for_topics()
        self._report()

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.connection.close()
            self._writer = None

    def _look_for_topics(self) -> None:
        """Register partitions that are new and read them from where their positions stand."""
        assert self._writer is not None
        broker = cursors(self.kafka)
        check_same_log(self._cursors, broker)
        new = [cursor for key, cursor in broker.items() if key not in self._cursors]
        if new:
            self._writer.register(new)
            self._cursors = {**self._writer.load(), **self._cursors}
        if self._reader is None:
            self._reader = consumer(self.kafka, "projector")
        if self._assigned != set(self._cursors):
            self._assigned = set(self._cursors)
            self._reader.assign(
                [TopicPartition(*key, c.next_offset) for key, c in self._cursors.items()]
            )
        complete = len({topic for topic, _ in broker}) == len(EVENT_TOPICS)
        self._next_topics = float("inf") if complete else time.monotonic() + TOPICS_AGAIN_S

    # ------------------------------------------------------------------ batches

    def _step(self) -> None:
        """Gather what comes within a batch's time and write it."""
        assert self._reader is not None
        if time.monotonic() > self._next_topics:
            self._look_for_topics()
        batch: list[Message] = []
        deadline = time.monotonic() + BATCH_S
        while len(batch) < BATCH_MAX and not self._stop.is_set():
            batch.extend(good(self._reader.consume(READ_MAX, 0.05)))
            if time.monotonic() >= deadline:
                break
        if batch:
            self._project(batch)
            self._report()

    def _project(self, batch: list[Message]) -> None:
        assert self._writer is not None
        for key, cursor in apply_all(self._writer, self._cursors, batch).items():
            if cursor.stopped is not None and f"{key[0]}/{key[1]}" not in self.stopped:
                self._stop_partition(key, cursor.stopped)
            self.undecodable += cursor.undecodable - self._cursors[key].undecodable
            self.committed += cursor.next_offset - self._cursors[key].next_offset
            self._cursors[key] = cursor

    def _stop_partition(self, key: Partition, why: str) -> None:
        log.critical("%s/%s is read no further: %s", key[0], key[1], why)
        self.stopped[f"{key[0]}/{key[1]}"] = why
        assert self._reader is not None
        self._reader.incremental_unassign([TopicPartition(*key)])

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.positions)
