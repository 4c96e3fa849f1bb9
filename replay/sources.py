"""Where a log lies: a running Kafka, an archive folder, or records in memory; read the same way.

`read` merges all partitions in append order and judges validity (:mod:`replay.log`). `raw` gives
bytes only, each partition in offset order, for readers that order partitions themselves.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from confluent_kafka import Consumer, KafkaError, TopicPartition

from replay import log
from replay.log import KafkaUnreachableError, LogRecord, client_settings
from replay.memory_log import Stored
from runtime.logs import confluent_logger
from schemas.codec import RecordError, encode
from schemas.topics import EVENT_TOPICS, PARTITIONS_EMBEDDED, TOPICS, Topic
from schemas.validity import SequenceGap, Validity

BATCH = 2_000
CORRUPT = 2
"""Kafka's CORRUPT_MESSAGE."""
STALLS_MAX = 150
"""Empty reads of 0.1 s before a broker that gives nothing is given up."""
Topics = Iterable[Topic | str]


class DamagedLogError(RuntimeError):
    """Bytes of a log are not what was written. The text names file or partition and offsets."""

    def __init__(self, message: str, *, place: str, file: str | None = None) -> None:
        super().__init__(message)
        self.place = place
        """``topic/partition/first offset-last offset``, as far as it is known."""
        self.file = file


class RawRecord(NamedTuple):
    """One Kafka record as bytes. `timestamp_ms`: broker append time."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@runtime_checkable
class EventLog(Protocol):
    """A log that can be read any number of times."""

    name: str
    """How messages call it: ``Kafka at 127.0.0.1:9092``, ``archive var/archive``."""

    def read(
        self, topics: Topics = EVENT_TOPICS, *, since: int | None = None
    ) -> Iterator[LogRecord]:
        """Records in append order with their validity, up to the ends at the start. `since`:
        append time in ms; older ones are judged and not yielded."""

    def raw(self, topics: Topics = EVENT_TOPICS) -> Iterator[RawRecord]:
        """Bytes of all records up to the ends at the start; each partition in offset order.

        Raises DamagedLogError where checksums or digests do not agree.
        """

    def starts(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        """First kept offset of each ``topic/partition``."""

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        """Next offset of each ``topic/partition``."""

    def topic_ids(self) -> dict[str, str]:
        """Kafka's id of each topic; empty where none is known."""


def open_log(
    *, kafka: str | None = None, archive: Path | None = None, check: bool = True
) -> EventLog:
    """The log of a broker (bootstrap servers) or of an archive folder; exactly one is given.

    An archive's manifest and segment digests are checked first (`check` False leaves that to a
    caller who wants all damage listed). Raises DamagedLogError, ArchiveError and
    KafkaUnreachableError.
    """
    if (kafka is None) == (archive is None):
        raise ValueError("open_log takes a broker or an archive: exactly one of both")
    if kafka is not None:
        return KafkaLog(kafka)
    from replay.archive import ArchiveLog

    assert archive is not None
    return ArchiveLog(archive, check=check)


class KafkaLog:
    """The log of a broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.name = f"Kafka at {bootstrap}"

    def read(
        self, topics: Topics = EVENT_TOPICS, *, since: int | None = None
    ) -> Iterator[LogRecord]:
        yield from log.read_kafka(self.bootstrap, topics, since=since)

    def starts(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return log.starts(self.bootstrap, topics)

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return log.ends(self.bootstrap, topics)

    def topic_ids(self) -> dict[str, str]:
        return log.topic_ids(self.bootstrap)

    def raw(self, topics: Topics = EVENT_TOPICS) -> Iterator[RawRecord]:
        ends = self.ends(topics)
        starts = self.starts(topics)
        yield from self.raw_range({k: (starts[k], end) for k, end in ends.items()})

    def raw_range(self, ranges: dict[str, tuple[int, int]]) -> Iterator[RawRecord]:
        """Bytes of offsets from first up to before next of each ``topic/partition``."""
        left = {key: end for key, (first, end) in ranges.items() if first < end}
        if not left:
            return
        reader = Consumer(
            {
                **client_settings(self.bootstrap),
                "group.id": "quantum-raw",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "check.crcs": True,
            },
            logger=confluent_logger(),
        )
        try:
            reader.assign([_place(key, ranges[key][0]) for key in left])
            yield from self._until(reader, left)
        finally:
            reader.close()

    def _until(self, reader: Consumer, left: dict[str, int]) -> Iterator[RawRecord]:
        stalled = 0
        while left:
            batch = reader.consume(BATCH, 0.1)
            stalled = 0 if batch else stalled + 1
            if stalled > STALLS_MAX:
                missing = ", ".join(f"{key} before {end}" for key, end in sorted(left.items())[:3])
                raise KafkaUnreachableError(self.bootstrap, f"nothing came of {missing}")
            for message in batch:
                topic, partition = message.topic() or "", message.partition() or 0
                offset = message.offset() or 0
                key = f"{topic}/{partition}"
                if (error := message.error()) is not None:
                    _refuse(error, key, offset)
                    continue
                end = left.get(key, 0)
                if offset + 1 >= end:
                    left.pop(key, None)
                if offset < end:
                    yield RawRecord(
                        topic,
                        partition,
                        offset,
                        message.timestamp()[1],
                        _bytes(message.key()),
                        _bytes(message.value()),
                        _headers(message),
                    )


def _refuse(error: KafkaError, key: str, offset: int) -> None:
    """Raise for what waiting does not mend; else return."""
    if error.code() in (KafkaError._BAD_MSG, CORRUPT):
        raise DamagedLogError(
            f"{key} is damaged from offset {offset} on: the broker's bytes do not have the "
            f"checksum they were written with ({error.str()}); take them from an archive",
            place=f"{key}/{offset}",
        )
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise DamagedLogError(
            f"{key} has no offset {offset} any more: retention took it while it was read",
            place=f"{key}/{offset}",
        )


def _place(key: str, at: int) -> TopicPartition:
    topic, _, partition = key.rpartition("/")
    return TopicPartition(topic, int(partition), at)


def _headers(message: Any) -> tuple[tuple[str, bytes | None], ...]:
    return tuple((name, _bytes(value)) for name, value in message.headers() or ())


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


class RecordedLog:
    """Records that are in memory: read before (:class:`LogRecord`), or an engine's own log."""

    def __init__(
        self,
        records: Iterable[LogRecord | Stored | RawRecord],
        name: str = "records",
        *,
        partitions: int = PARTITIONS_EMBEDDED,
    ) -> None:
        """`partitions`: of the account-keyed topics."""
        self.name = name
        self.partitions = partitions
        self._records = [_recorded(record) for record in records]

    @property
    def records(self) -> list[RawRecord]:
        """All of them, in append order."""
        return self._records

    def raw(self, topics: Topics = EVENT_TOPICS) -> Iterator[RawRecord]:
        wanted = set(log.names(topics))
        return (record for record in self._records if record.topic in wanted)

    def read(
        self, topics: Topics = EVENT_TOPICS, *, since: int | None = None
    ) -> Iterator[LogRecord]:
        validity: dict[str, Validity] = {}
        for record in self.raw(topics):
            judged = _judged(record, validity)
            if judged.timestamp_ms >= (since or 0):
                yield judged

    def starts(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        wanted = [TOPICS[name] for name in log.names(topics) if name in TOPICS]
        found = {
            f"{t.name}/{n}": 0 for t in wanted for n in range(self.partitions if t.keyed else 1)
        }
        first: dict[str, int] = {}
        for record in self.raw(topics):
            first.setdefault(f"{record.topic}/{record.partition}", record.offset)
        return found | first

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return {f"{r.topic}/{r.partition}": r.offset + 1 for r in self.raw(topics)}

    def topic_ids(self) -> dict[str, str]:
        return {}


def _judged(raw: RawRecord, validity: dict[str, Validity]) -> LogRecord:
    """The record with its event and validity; `validity` is the filter of each partition."""
    key = raw.key.decode(errors="replace") if raw.key is not None else None
    event, valid, error = None, False, None
    try:
        event = log.decode_message(raw[:3], raw.key, raw.value, partitions=None)
        valid = validity.setdefault(f"{raw.topic}/{raw.partition}", Validity()).admit(event)
    except (RecordError, SequenceGap) as problem:
        error = problem.reason if isinstance(problem, RecordError) else str(problem)
    return LogRecord(
        raw.topic, raw.partition, raw.offset, raw.timestamp_ms, key, raw.value, event, valid, error
    )


def _recorded(record: LogRecord | Stored | RawRecord) -> RawRecord:
    if isinstance(record, RawRecord):
        return record
    if isinstance(record, Stored):
        topic, _, number = record.key.rpartition("/")
        event = record.event
        key = event.partitionkey.encode()
        return RawRecord(topic, int(number), record.offset, record.order, key, encode(event))
    key_bytes = None if record.key is None else record.key.encode()
    return RawRecord(
        record.topic, record.partition, record.offset, record.timestamp_ms, key_bytes, record.raw
    )
