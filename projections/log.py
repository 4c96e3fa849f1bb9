"""Reading the log for projections: positions, decoding, validity, and plain consumers.

:func:`absorb` is the one way from a message's bytes into a fold. The projector, the rebuild and the
comparison with a replay all use it, so they agree on what counts and what is skipped.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from confluent_kafka import Consumer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from projections.database import ProjectionError
from projections.fold import Fold
from projections.reading import READ_MAX, Moving, Partition, consumer, good
from runtime.logs import confluent_logger
from runtime.security import confluent_security
from schemas.codec import RecordError, decode, decode_request
from schemas.scalars import micros
from schemas.topics import CLOCK, EVENT_TOPICS, MARKET
from schemas.validity import SequenceGap, Validity

Ends = dict[Partition, int]
_PEOPLE = frozenset(t.name for t in EVENT_TOPICS if t.people)
_NOT_INDEXED = frozenset({MARKET.name, CLOCK.name})
"""Known by their offset ranges alone; so are checkpoints, which decide nothing."""
_CHECKPOINT = "source.checkpointed.v1"


@dataclass(slots=True)
class Cursor:
    """Position in one partition: next offset, what was counted, (epoch, sequence) of its sources.

    `stopped`: why nothing more is read from it (records of a source are missing), else None.
    """

    topic: str
    partition: int
    topic_id: str = ""
    next_offset: int = 0
    events: int = 0
    undecodable: int = 0
    validity: Validity = field(default_factory=Validity)
    stopped: str | None = None

    def copy(self) -> "Cursor":
        return Cursor(
            self.topic, self.partition, self.topic_id, self.next_offset, self.events,
            self.undecodable, Validity(self.validity.sources), self.stopped,
        )  # fmt: skip


def absorb(fold: Fold, cursor: Moving, offset: int, raw: bytes | None) -> None:
    """Fold one message in and move the cursor past it.

    Bytes that are no record are indexed as `undecodable`, records of a fenced source are passed
    over, both without effect on state. At a gap in a source's sequence the cursor stops before it.
    """
    if cursor.stopped is not None or offset < cursor.next_offset:
        return
    topic, partition = cursor.topic, cursor.partition
    try:
        if topic in _PEOPLE:
            event = decode_request(raw, topic=topic, partition=partition, offset=offset)
        else:
            event = decode(raw)
        _check_time(event.time)
    except (ValueError, RecursionError) as error:
        skip(fold, cursor, offset, raw, error)
        return
    try:
        valid = cursor.validity.admit(event)
    except SequenceGap as gap:
        cursor.stopped = str(gap)
        return
    cursor.next_offset = offset + 1
    if not valid:
        return
    cursor.events += 1
    fold.fold(topic, event)
    if topic not in _NOT_INDEXED and event.type != _CHECKPOINT:
        fold.index(topic, partition, offset, event)


def skip(fold: Fold, cursor: Moving, offset: int, raw: bytes | None, error: Exception) -> None:
    """Index bytes that cannot be taken and move past them."""
    reason = error.reason if isinstance(error, RecordError) else f"NOT_AN_EVENT: {error}"[:500]
    digest = hashlib.sha256(raw or b"").hexdigest()
    fold.index_undecodable(cursor.topic, cursor.partition, offset, digest, reason)
    cursor.undecodable += 1
    cursor.next_offset = offset + 1


@lru_cache(4096)
def _check_time(text: str) -> None:
    """The pattern of a time admits 30 February and the year 0, Postgres does not."""
    micros(text)


def cursors(kafka: str, *, timeout_s: float = 5) -> dict[Partition, Cursor]:
    """A cursor at offset 0 for every partition of every event topic the broker has.

    Raises KafkaException while the broker does not answer within `timeout_s`.
    """
    admin = AdminClient(
        {
            "bootstrap.servers": kafka,
            "socket.timeout.ms": int(timeout_s * 1000),
            **confluent_security(),
        },
        logger=confluent_logger(),
    )
    known = admin.list_topics(timeout=timeout_s).topics
    names = [topic.name for topic in EVENT_TOPICS if topic.name in known]
    if not names:
        return {}
    found: dict[Partition, Cursor] = {}
    answers = admin.describe_topics(TopicCollection(names), request_timeout=timeout_s)
    for name in names:
        described = answers[name].result(timeout_s)
        for place in described.partitions:
            found[name, place.id] = Cursor(name, place.id, topic_id=str(described.topic_id))
    return found


def ends(reader: Consumer, partitions: Iterable[Partition], *, timeout_s: float = 10) -> Ends:
    """High watermark of each partition: the offset the next record will get. KafkaException."""
    return {
        (topic, number): reader.get_watermark_offsets(
            TopicPartition(topic, number), timeout=timeout_s
        )[1]
        for topic, number in partitions
    }


def check_same_log(stored: dict[Partition, Cursor], broker: dict[Partition, Cursor]) -> None:
    """Positions belong to one log: refuse those of topics that were made anew since."""
    for key, cursor in stored.items():
        there = broker.get(key)
        if there is not None and there.topic_id != cursor.topic_id:
            raise ProjectionError(
                f"Topic {key[0]} is another one (id {there.topic_id}) than the projections were "
                f"made from (id {cursor.topic_id}): run `quantum rebuild`, or go back to the "
                "broker they belong to."
            )


def read_to(
    kafka: str,
    places: dict[Partition, Cursor],
    targets: Ends,
    take: Callable[[Cursor, int, bytes | None], None],
    *,
    progress: Callable[[int, int], None] | None = None,
    idle_s: float = 30,
) -> int:
    """Read every partition from its cursor up to its target and hand each message to `take`,
    which moves the cursor. Returns how many were read.

    `progress(done, total)` is called after each batch. ProjectionError when nothing comes for
    `idle_s` seconds although targets are not reached.
    """
    left = {k for k, c in places.items() if k in targets and c.next_offset < targets[k]}
    if not left:
        return 0
    reader = consumer(kafka, "rebuild", bulk=True)
    try:
        for key in sorted(left):
            bottom = reader.get_watermark_offsets(TopicPartition(*key), timeout=10)[0]
            if places[key].next_offset < bottom:  # retention has removed what was before
                places[key].next_offset = min(bottom, targets[key])
        left = {key for key in left if places[key].next_offset < targets[key]}
        total = sum(targets[k] - places[k].next_offset for k in left)
        reader.assign([TopicPartition(*key, places[key].next_offset) for key in left])
        done, idle = 0, 0.0
        while left:
            messages = reader.consume(READ_MAX, 0.1)
            idle = 0.0 if messages else idle + 0.1
            if idle > idle_s:
                raise ProjectionError(
                    f"Kafka at {kafka} gave no record for {idle_s:.0f} s, {total - done} of {total}"
                    " are missing: see `quantum status`, then start again."
                )
            for key, offset, raw in good(messages):
                if key not in left or offset >= targets[key]:
                    continue
                cursor = places[key]
                take(cursor, offset, raw)
                done += 1
                if cursor.stopped is not None or offset + 1 >= targets[key]:
                    left.discard(key)
                    reader.incremental_unassign([TopicPartition(*key)])
            if progress is not None and messages:
                progress(done, total)
        return done
    finally:
        reader.close()
