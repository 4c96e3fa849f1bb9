"""Topics and where an account's records lie."""

import pytest
from confluent_kafka import Producer

from runtime.kafka import EmbeddedKafka
from schemas.topics import (
    CONTROL,
    DEAD_LETTERS,
    EVENT_TOPICS,
    PARTITIONS_EMBEDDED,
    SIGNAL,
    TOPICS,
    Lane,
    murmur2,
    partition_of,
    partitions,
)

VECTORS = {
    b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829, b"abc": 479470107,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
}  # fmt: skip
"""Published with Kafka's own client (UtilsTest.testMurmur2), as signed 32-bit numbers."""


@pytest.mark.parametrize(("data", "expected"), VECTORS.items())
def test_murmur2_is_kafka_s(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected & 0xFFFFFFFF


def test_the_accounts_of_the_demo_lie_on_partitions_of_their_own() -> None:
    places = [partition_of(name, PARTITIONS_EMBEDDED) for name in ("main", "hot", "probe")]
    assert places == [7, 2, 3]


def test_the_broker_s_clients_choose_the_same_partition(kafka: EmbeddedKafka) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic("test-partitioner", 8, 1)])["test-partitioner"].result(20)
    found: dict[bytes, int | None] = {}
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    names = ["main", "hot", "probe", *(f"account-{n}" for n in range(40))]
    for name in names:
        producer.produce(
            "test-partitioner", b"x", name.encode(),
            on_delivery=lambda _, m: found.update({m.key() or b"": m.partition()}),
        )  # fmt: skip
    producer.flush(20)
    assert found == {name.encode(): partition_of(name, 8) for name in names}


def test_account_topics_have_as_many_partitions_as_asked_and_others_one() -> None:
    assert partitions(SIGNAL, 64) == 64
    assert partitions(CONTROL, 64) == 1


def test_people_may_publish_to_command_and_request_topics_only() -> None:
    assert {t.name for t in TOPICS.values() if t.people} == {
        "commands.control", "commands.trade", "trade.signal.v5", "trade.intent",
    }  # fmt: skip


def test_only_market_clock_and_copies_for_speed_are_forgotten() -> None:
    bounded = {t.name for t in TOPICS.values() if t.retention_ms != -1}
    assert bounded == {"market", "clock", "progress", "snapshots"}


def test_every_topic_is_told_once_and_has_a_purpose() -> None:
    assert len(TOPICS) == len(EVENT_TOPICS) + len(DEAD_LETTERS) + 2
    assert all(t.purpose for t in TOPICS.values())
    assert sorted(Lane) == [0, 1, 2, 3, 4, 9]
