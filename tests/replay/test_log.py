"""Goal: a reader gets every record of a real broker, in an order in which causes come first, and
nothing that is broken hides what follows it.

Method: a real broker; each test writes to topics of its own.
"""

import itertools
import time
import uuid
from collections.abc import Generator, Iterable
from typing import Protocol

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from replay.log import KafkaUnreachableError, LogRecord, ends, read_kafka, starts, topic_ids
from replay.tail import Tail, last_records
from runtime.kafka import EmbeddedKafka
from schemas.codec import encode
from schemas.market import ClockTicked, TickData
from schemas.scalars import time_text
from schemas.sources import CheckpointData, FencedData, SourceCheckpointed, SourceFenced


class Write(Protocol):
    """Writes raw records to a partition, one after the other."""

    def __call__(self, topic: str, partition: int, *raws: bytes, key: bytes = b"main") -> None: ...


@pytest.fixture
def topics(kafka: EmbeddedKafka) -> list[str]:
    names = [f"t-{uuid.uuid4().hex[:8]}-{letter}" for letter in "ab"]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    config = {"message.timestamp.type": "LogAppendTime"}
    for future in admin.create_topics([NewTopic(n, 2, 1, config=config) for n in names]).values():
        future.result(10)
    return names


@pytest.fixture
def write(kafka: EmbeddedKafka) -> Write:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})

    def written(topic: str, partition: int, *raws: bytes, key: bytes = b"main") -> None:
        for raw in raws:
            producer.produce(topic, raw, key, partition)
            producer.flush(5)

    return written


def _tick(number: int) -> ClockTicked:
    at = time_text(number * 1_000_000)
    return ClockTicked(
        id=str(uuid.UUID(int=number + 1)), source="/feed", subject="clock", time=at,
        partitionkey="clock", data=TickData(candle_s=1),
    )  # fmt: skip


def _fence(epoch: int) -> SourceFenced:
    about = FencedData(build="b", configuration="c", topic_ids={})
    return SourceFenced(
        id=str(uuid.uuid4()), source="/risk/0", subject="risk", time=time_text(0),
        partitionkey="risk", epoch=epoch, data=about,
    )  # fmt: skip


def _own(epoch: int, sequence: int, basis: dict[str, int] | None = None) -> SourceCheckpointed:
    return SourceCheckpointed(
        id=str(uuid.uuid4()), source="/risk/0", subject="risk", time=time_text(0),
        partitionkey="risk", epoch=epoch, sequence=sequence, basis=basis or {},
        data=CheckpointData(digest="d"),
    )  # fmt: skip


def _ids(records: Iterable[LogRecord]) -> list[str | None]:
    return [r.event.id if r.event else None for r in records]


def test_partitions_are_merged_in_append_order(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    a, b = topics
    order = [(a, 0), (b, 1), (a, 1), (b, 0), (a, 0), (b, 1)]
    for number, (topic, partition) in enumerate(order):
        write(topic, partition, encode(_tick(number)))
        time.sleep(0.003)
    records = list(read_kafka(kafka.bootstrap, topics))
    assert [(r.topic, r.partition) for r in records] == order
    assert _ids(records) == [_tick(n).id for n in range(6)]
    assert all(r.valid for r in records)


def test_a_record_comes_after_everything_it_was_based_on(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    a, b = sorted(topics)  # by name alone, each decision would come before its cause
    write(a, 0, encode(_fence(1)), key=b"risk")
    for number in range(1, 30):
        write(b, 0, encode(_tick(number)))
        write(a, 0, encode(_own(1, number, {f"{b}/0": number})), key=b"risk")
    folded = 0
    for record in read_kafka(kafka.bootstrap, topics):
        if record.topic == b:
            folded = record.offset + 1
        elif record.event and record.event.basis:
            assert record.event.basis[f"{b}/0"] == folded


def test_a_cause_comes_first_even_where_another_brokers_clock_was_ahead(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    a, b = topics
    write(a, 0, encode(_fence(1)), encode(_own(1, 1, {f"{b}/0": 2})), encode(_own(1, 2)))
    time.sleep(0.003)
    write(b, 0, encode(_tick(1)), encode(_tick(2)), encode(_tick(3)))
    records = list(read_kafka(kafka.bootstrap, topics))
    assert [(r.topic, r.offset) for r in records] == [
        (a, 0), (b, 0), (b, 1), (a, 1), (a, 2), (b, 2),
    ]  # fmt: skip


def test_a_record_based_on_what_lies_beyond_the_end_is_given_all_the_same(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    a, b = topics
    write(b, 0, encode(_tick(1)))
    write(a, 0, encode(_fence(1)), encode(_own(1, 1, {f"{b}/0": 9})))
    records = list(read_kafka(kafka.bootstrap, topics))
    assert [(r.topic, r.offset) for r in records] == [(b, 0), (a, 0), (a, 1)]


def test_what_does_not_decode_is_given_with_its_bytes_and_hides_nothing(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    topic = topics[0]
    broken = [b"\xff\x00", b"[1,2]", b'{"type":"no.such.v1"}', encode(_tick(1))[:-1] + b" }"]
    write(topic, 0, encode(_tick(1)), *broken, encode(_tick(2)))
    records = list(read_kafka(kafka.bootstrap, [topic]))
    assert [r.valid for r in records] == [True, False, False, False, False, True]
    assert [r.raw for r in records[1:5]] == broken
    assert [(r.error or "").split(":")[0] for r in records[1:5]] == [
        "NOT_JSON", "NOT_AN_EVENT", "UNKNOWN_TYPE", "NOT_CANONICAL",
    ]  # fmt: skip


def test_a_zombie_and_a_repetition_are_not_valid(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    topic = topics[0]
    events = [_fence(1), _own(1, 1), _fence(2), _own(1, 2), _own(2, 2), _own(2, 2), _own(2, 3)]
    write(topic, 0, *(encode(e) for e in events))
    valid = [r.valid for r in read_kafka(kafka.bootstrap, [topic])]
    assert valid == [False, True, False, False, True, False, True]


def test_a_gap_breaks_its_partition_and_says_so_and_no_other(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    topic = topics[0]
    write(topic, 0, *(encode(e) for e in (_fence(1), _own(1, 1), _own(1, 3), _own(1, 4))))
    write(topic, 1, encode(_tick(1)))
    records = list(read_kafka(kafka.bootstrap, [topic]))
    broken = [r for r in records if r.partition == 0][2:]
    assert all(not r.valid and "records are missing" in (r.error or "") for r in broken)
    assert [r.valid for r in records if r.partition == 1] == [True]


def test_since_holds_back_what_is_older_but_judges_by_all(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    topic = topics[0]
    write(topic, 0, encode(_fence(1)), encode(_own(1, 1)))
    time.sleep(0.01)
    since = int(time.time() * 1000)
    time.sleep(0.01)
    write(topic, 0, encode(_own(1, 2)))
    records = list(read_kafka(kafka.bootstrap, [topic], since=since))
    assert [(r.offset, r.valid) for r in records] == [(2, True)]


def test_following_goes_on_behind_the_ends_seen_at_the_start(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    topic = topics[0]
    write(topic, 0, encode(_tick(1)))
    following = read_kafka(kafka.bootstrap, topics, follow=True)
    assert _ids([next(following)]) == [_tick(1).id]
    write(topic, 1, encode(_tick(2)), encode(_tick(3)))
    assert _ids(itertools.islice(following, 2)) == [_tick(2).id, _tick(3).id]
    assert isinstance(following, Generator)
    following.close()


def test_ends_starts_and_topic_ids_name_every_partition(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    write(topics[0], 1, encode(_tick(1)), encode(_tick(2)))
    assert ends(kafka.bootstrap, [topics[0]]) == {f"{topics[0]}/0": 0, f"{topics[0]}/1": 2}
    assert starts(kafka.bootstrap, [topics[0]])[f"{topics[0]}/1"] == 0
    assert not set(topics) & set(topic_ids(kafka.bootstrap))  # only topics of this system
    assert ends(kafka.bootstrap, ["no-such-topic"]) == {}


def test_the_last_records_and_a_tail_give_what_stands_at_the_end(
    kafka: EmbeddedKafka, topics: list[str], write: Write
) -> None:
    topic = topics[0]
    write(topic, 0, *(encode(_tick(n)) for n in range(5)))
    assert [r.offset for r in last_records(kafka.bootstrap, [topic], 2)] == [3, 4]
    with Tail(kafka.bootstrap, {f"{topic}/0": 5, f"{topic}/1": 0}) as tail:
        write(topic, 0, encode(_tick(9)))
        deadline = time.monotonic() + 10
        found: list[LogRecord] = []
        while not found and time.monotonic() < deadline:
            found = tail.poll()
    assert _ids(found) == [_tick(9).id]


def test_a_broker_that_is_not_there_is_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KafkaUnreachableError, match=r"127\.0\.0\.1:9 does not answer.*quantum up"):
        list(read_kafka("127.0.0.1:9"))
    assert capfd.readouterr().err == ""
