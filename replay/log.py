"""Reading the log back from Kafka: every record of the chosen topics, merged in append order.

A record's validity is that of its partition's order alone (:mod:`schemas.validity`), so a reader
always begins at the start of a partition; `since` only holds back what is older. What cannot be
decoded is yielded with its error and original bytes, and nothing after it is lost.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import OffsetSpec as _OffsetSpec

from runtime.clients import RECONNECT
from runtime.logs import confluent_logger
from runtime.security import confluent_security
from schemas.codec import RecordError, decode, decode_request
from schemas.envelope import Envelope
from schemas.topics import EVENT_TOPICS, TOPICS, Topic, partition_of
from schemas.validity import SequenceGap, Validity

REQUEST_TIMEOUT_S = 5.0
STALL_S = 15.0
"""Who gets nothing for this long, or hears for so long of partitions without leaders, gives up: the
broker has gone."""
BATCH = 500
_LATEST: Any = _OffsetSpec.latest()  # type: ignore[no-untyped-call]
_EARLIEST: Any = _OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_PASSING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._NOENT,  # no partition has a leader: it stalled, and goes on
)
"""What a broker says for a moment after it has started or stalled, or a topic was made."""
_CHAIN = (
    "commands.control", "control", "market", "clock", "commands.trade", "trade.signal.v5",
    "trade.intent", "trade.signal.safe", "trade.order", "venue.request", "venue.report",
    "trade.execution.res", "trade.position.update",
)  # fmt: skip
RANK = {name: rank for rank, name in enumerate(_CHAIN)}
"""Along the chain of causes: decides between records that were appended in the same millisecond."""


class KafkaUnreachableError(RuntimeError):
    """The broker does not answer; the text says where it was looked for and what to do."""

    def __init__(self, bootstrap: str, detail: str = "") -> None:
        because = f" ({detail})" if detail else ""
        super().__init__(
            f"Kafka at {bootstrap} does not answer{because}: start the system with ./quantum up, "
            "or set QUANTUM_KAFKA to a running broker"
        )


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One Kafka record. `event` None: undecodable, `error` says why. `valid` False with an event:
    a fence, a zombie's or repeated record, or one behind a break in its partition (`error` set).
    `timestamp_ms`: broker append time, milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str | None
    raw: bytes | None
    event: Envelope | None
    valid: bool
    error: str | None = None

    @property
    def place(self) -> str:
        """``topic/partition/offset``."""
        return f"{self.topic}/{self.partition}/{self.offset}"


def client_settings(bootstrap: str) -> dict[str, Any]:
    """What every client of ours sets: a killed broker is found again soon."""
    return {
        "bootstrap.servers": bootstrap,
        "broker.address.family": "v4",
        **RECONNECT,
        **confluent_security(),
    }


def decode_message(
    place: tuple[str, int, int], key: bytes | None, raw: bytes | None, *, partitions: int | None
) -> Envelope:
    """The event of the Kafka record at `place` (topic, partition, offset); hand-made forms are
    taken where people publish. `partitions`: of the topic; None: unknown, not checked.

    Raises RecordError, also for a key that is not the record's account, as the processors do.
    """
    topic, partition, offset = place
    known = TOPICS.get(topic)
    if known is not None and known.people:
        event = decode_request(raw, topic=topic, partition=partition, offset=offset)
    else:
        event = decode(raw)
    if known is None or event.type.startswith("source."):
        return event
    account = event.partitionkey
    if key != account.encode():
        raise RecordError("WRONG_KEY", f"message key {key!r:.80}, expected {account!r}")
    if known.keyed and partitions and partition_of(account, partitions) != partition:
        right = partition_of(account, partitions)
        raise RecordError("WRONG_KEY", f"{account} belongs on partition {right}, not {partition}")
    return event


def record_of(message: Message, partitions: int | None, *, valid: bool = False) -> LogRecord:
    """A message that was read as a record, decoded if it can be; `valid` applies if it was."""
    key, offset = _where(message)
    topic, _, number = key.rpartition("/")
    message_key, raw = _bytes(message.key()), _bytes(message.value())
    event, error = None, None
    try:
        place = (topic, int(number), offset)
        event = decode_message(place, message_key, raw, partitions=partitions)
    except RecordError as problem:
        error = problem.reason
    return LogRecord(
        topic=topic,
        partition=int(number),
        offset=offset,
        timestamp_ms=message.timestamp()[1],
        key=None if message_key is None else message_key.decode(errors="replace"),
        raw=raw,
        event=event,
        valid=valid and event is not None,
        error=error,
    )


def names(topics: Iterable[Topic | str]) -> list[str]:
    """Names of topics given as objects or names."""
    return [t if isinstance(t, str) else t.name for t in topics]


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient(client_settings(bootstrap), logger=confluent_logger())


def _partitions(bootstrap: str, client: AdminClient | Consumer, wanted: set[str]) -> dict[str, int]:
    """Partition count of each wanted topic there is."""
    try:
        found = client.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    except KafkaException as error:
        raise KafkaUnreachableError(bootstrap, _text(error)) from None
    return {n: len(found[n].partitions) for n in sorted(wanted) if n in found}


def _text(error: KafkaException) -> str:
    first = error.args[0] if error.args else error
    return str(first.str() if isinstance(first, KafkaError) else first)


def ends(bootstrap: str, topics: Iterable[Topic | str] = tuple(TOPICS.values())) -> dict[str, int]:
    """Next offset of each ``topic/partition`` there is. Raises KafkaUnreachableError."""
    return _offsets(bootstrap, topics, _LATEST)


def starts(bootstrap: str, topics: Iterable[Topic | str] = EVENT_TOPICS) -> dict[str, int]:
    """First kept offset of each ``topic/partition``; above 0 where retention took the beginning."""
    return _offsets(bootstrap, topics, _EARLIEST)


def _offsets(bootstrap: str, topics: Iterable[Topic | str], spec: Any) -> dict[str, int]:
    admin = _admin(bootstrap)
    counts = _partitions(bootstrap, admin, set(names(topics)))
    asked = {TopicPartition(n, p): spec for n, count in counts.items() for p in range(count)}
    if not asked:
        return {}
    deadline = time.monotonic() + STALL_S
    while True:
        futures = admin.list_offsets(asked, request_timeout=REQUEST_TIMEOUT_S)
        try:
            return {f"{tp.topic}/{tp.partition}": f.result().offset for tp, f in futures.items()}
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise KafkaUnreachableError(bootstrap, _text(error)) from None
            time.sleep(0.05)
            admin = _admin(bootstrap)  # the other may believe for long what it was told last


def topic_ids(bootstrap: str) -> dict[str, str]:
    """Kafka's own id of each of our topics there is: offsets mean something only beside it."""
    admin = _admin(bootstrap)
    there = list(_partitions(bootstrap, admin, set(TOPICS)))
    if not there:
        return {}
    futures = admin.describe_topics(TopicCollection(there), request_timeout=REQUEST_TIMEOUT_S)
    try:
        return {name: str(future.result().topic_id) for name, future in futures.items()}
    except KafkaException as error:
        raise KafkaUnreachableError(bootstrap, _text(error)) from None


def read_kafka(
    bootstrap: str,
    topics: Iterable[Topic | str] = EVENT_TOPICS,
    *,
    follow: bool = False,
    since: int | None = None,
) -> Iterator[LogRecord]:
    """Records of `topics` in append order, up to the ends seen at the start, or for ever.

    A cause comes before what was decided on it, whatever their times; ties of one millisecond are
    broken along the chain of topics. `since`: append time in ms; older records are read for
    validity and not yielded. Raises KafkaUnreachableError; while following, a broker that goes is
    waited for.
    """
    consumer = Consumer(
        {
            **client_settings(bootstrap),
            "group.id": "quantum-read",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "enable.partition.eof": False,
        },
        logger=confluent_logger(),
    )
    try:
        wanted = set(names(topics))
        _partitions(bootstrap, consumer, wanted)
        until, begin = _offsets(bootstrap, wanted, _LATEST), starts(bootstrap, wanted)
        for record in _read(bootstrap, consumer, Merge(begin, until), follow):
            if record.timestamp_ms >= (since or 0):
                yield record
    finally:
        consumer.close()


def _read(bootstrap: str, consumer: Consumer, merge: "Merge", follow: bool) -> Iterator[LogRecord]:
    begin = merge.begin if follow else {k: merge.begin[k] for k in merge.waiting}
    if not begin:
        return
    consumer.assign([_place(key, at) for key, at in begin.items()])
    heard = time.monotonic()
    while not merge.done:
        batch = _consume(consumer)
        if batch:
            heard = time.monotonic()
        elif time.monotonic() - heard > STALL_S:
            raise KafkaUnreachableError(bootstrap, f"nothing was read for {STALL_S:.0f} s")
        yield from merge.take(batch)
    while follow:
        yield from merge.later(_consume(consumer))


def _place(key: str, at: int) -> TopicPartition:
    topic, _, partition = key.rpartition("/")
    return TopicPartition(topic, int(partition), at)


def _where(message: Message) -> tuple[str, int]:
    """``topic/partition`` and offset of a message that was read."""
    return f"{message.topic()}/{message.partition()}", message.offset() or 0


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _consume(consumer: Consumer) -> list[Message]:
    return [m for m in consumer.consume(BATCH, 0.05) if m.error() is None]


def _along_the_chain(key: str) -> tuple[int, str]:
    return RANK.get(key.rpartition("/")[0], len(RANK)), key


class Merge:
    """Merges partitions by append time, a cause before what was decided on it. A partition whose
    end was read holds nobody back."""

    def __init__(self, begin: dict[str, int], until: dict[str, int]) -> None:
        self.heads: dict[str, deque[LogRecord]] = {key: deque() for key in begin}
        self.validity = {key: Validity() for key in begin}
        self.broken: dict[str, str] = {}
        self.begin = begin
        self.given = dict(begin)
        """Next offset not yet yielded."""
        self.until = until
        self.counts = Counter(key.rpartition("/")[0] for key in begin)
        self.waiting = {key for key, at in begin.items() if at < until[key]}
        """Partitions that still have to give records before their end."""
        self.beyond: list[Message] = []
        """Records behind the ends, seen early; for a reader that follows."""

    @property
    def done(self) -> bool:
        return not self.waiting and not any(self.heads.values())

    def hungry(self) -> list[str]:
        """Partitions without which nothing more can be yielded."""
        return sorted(key for key in self.waiting if not self.heads[key])

    def take(self, batch: list[Message]) -> Iterator[LogRecord]:
        """Queue a batch; yield what no record still to come can stand before."""
        for message in batch:
            key, offset = _where(message)
            if offset >= self.until[key]:
                self.beyond.append(message)
                self.waiting.discard(key)
                continue
            self.heads[key].append(self._record(message, key))
            if offset + 1 >= self.until[key]:
                self.waiting.discard(key)
        while all(self.heads[key] for key in self.waiting):
            full = [key for key, queue in self.heads.items() if queue]
            if not full:
                return
            yield self._pop(full)

    def later(self, batch: list[Message]) -> Iterator[LogRecord]:
        """What was appended after the ends, in append order within a batch."""
        early, self.beyond = self.beyond, []
        for message in (*early, *batch):
            key = _where(message)[0]
            self.heads[key].append(self._record(message, key))
        while full := [key for key, queue in self.heads.items() if queue]:
            yield self._pop(full)

    def _pop(self, full: list[str]) -> LogRecord:
        """The earliest record; one that was decided on records that were not given yet waits for
        them (clocks of brokers differ, and a millisecond holds many)."""
        heads = self.heads
        earliest = min(heads[key][0].timestamp_ms for key in full)
        ties = [key for key in full if heads[key][0].timestamp_ms == earliest]
        if len(ties) > 1:
            ties.sort(key=_along_the_chain)
        chosen = next((key for key in ties if self._covered(heads[key][0])), None)
        if chosen is None:
            later = sorted(full, key=lambda k: (heads[k][0].timestamp_ms, *_along_the_chain(k)))
            chosen = next((key for key in later if self._covered(heads[key][0])), ties[0])
        record = heads[chosen].popleft()
        self.given[chosen] = record.offset + 1
        return self._judged(chosen, record)

    def _covered(self, record: LogRecord) -> bool:
        """Whether everything the record was decided on was yielded."""
        event = record.event
        if event is None or not (floor := event.basis or event.after):
            return True
        given = self.given
        return all(given.get(key, at) >= at for key, at in floor.items())

    def _record(self, message: Message, key: str) -> LogRecord:
        return record_of(message, self.counts[key.rpartition("/")[0]])

    def _judged(self, key: str, record: LogRecord) -> LogRecord:
        if record.event is None:
            return record
        if key in self.broken:
            return replace(record, error=self.broken[key])
        try:
            return replace(record, valid=self.validity[key].admit(record.event))
        except SequenceGap as gap:
            self.broken[key] = f"{key} is broken at offset {record.offset}: {gap}"
            return replace(record, error=self.broken[key])
