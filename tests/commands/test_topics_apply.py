"""Goal: the broker agrees with the code; what cannot be mended is said before any change."""

import threading
import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from commands.publish import Publisher, PublishError, build
from commands.topics_apply import (
    PartitionCountError,
    TooFewBrokersError,
    apply,
    diff,
    settings_of,
)
from replay.log import KafkaUnreachableError, read_kafka
from runtime.kafka import EmbeddedKafka
from schemas.topics import DAY_MS, Lane, Topic, partition_of
from streams.broker_topics import check_counts, wait_for


@pytest.fixture
def topics() -> tuple[Topic, ...]:
    stem = f"t-{uuid.uuid4().hex[:8]}"
    return (
        Topic(f"{stem}-keyed", Lane.DECISION, True),
        Topic(f"{stem}-single", Lane.MARKET, False, retention_ms=90 * DAY_MS),
    )


def test_applying_twice_changes_nothing_the_second_time(
    kafka: EmbeddedKafka, topics: tuple[Topic, ...]
) -> None:
    assert [d.what for d in apply(kafka.bootstrap, 4, topics)] == ["missing", "missing"]
    assert apply(kafka.bootstrap, 4, topics) == []
    assert diff(kafka.bootstrap, 4, topics) == []


def test_a_worker_waits_for_missing_topics_and_names_them_with_the_remedy(
    kafka: EmbeddedKafka, topics: tuple[Topic, ...]
) -> None:
    names = [topic.name for topic in topics]
    with pytest.raises(TimeoutError, match=f"{topics[0].name}.* are missing: ./quantum topics"):
        wait_for(kafka.bootstrap, names, timeout_s=0.3)
    made = threading.Timer(0.3, lambda: apply(kafka.bootstrap, 4, topics))
    made.start()
    wait_for(kafka.bootstrap, names, timeout_s=30)
    made.join()
    check_counts(kafka.bootstrap, {topics[0].name: 4, topics[1].name: 1})


def test_a_setting_that_differs_is_shown_and_mended(
    kafka: EmbeddedKafka, topics: tuple[Topic, ...]
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    wrong = NewTopic(topics[1].name, 1, 1, config={"retention.ms": "1000"})
    admin.create_topics([wrong])[topics[1].name].result(10)
    while topics[1].name not in admin.list_topics(timeout=10).topics:
        time.sleep(0.02)  # the controller has it; the broker learns of it a moment later
    found = {d.what: d for d in diff(kafka.bootstrap, 4, topics[1:])}
    assert found["retention.ms"].found == "1000"
    assert found["retention.ms"].wanted == str(90 * DAY_MS)
    apply(kafka.bootstrap, 4, topics[1:])
    assert diff(kafka.bootstrap, 4, topics[1:]) == []


def test_a_topic_bound_in_size_forgets_by_eighths_of_it(kafka: EmbeddedKafka) -> None:
    topic = Topic(f"sized-{uuid.uuid4().hex[:8]}", Lane.NONE, False, retention_bytes=64 << 20)
    apply(kafka.bootstrap, 4, [topic])
    assert settings_of(topic)["segment.bytes"] == str(8 << 20)
    assert diff(kafka.bootstrap, 4, [topic]) == []


def test_a_wrong_partition_count_is_an_error_naming_both_and_changes_nothing(
    kafka: EmbeddedKafka, topics: tuple[Topic, ...]
) -> None:
    apply(kafka.bootstrap, 4, topics[:1])
    with pytest.raises(PartitionCountError, match="has 4 partitions, 8 are wanted"):
        apply(kafka.bootstrap, 8, topics)
    assert [d.topic for d in diff(kafka.bootstrap, 4, topics)] == [topics[1].name]


def test_copies_and_the_least_in_step_are_as_the_settings_say(
    kafka: EmbeddedKafka, topics: tuple[Topic, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTUM_KAFKA_REPLICATION", "3")
    with pytest.raises(TooFewBrokersError, match=r"copies need as many brokers, .* has 1"):
        apply(kafka.bootstrap, 4, topics)
    monkeypatch.setenv("QUANTUM_KAFKA_REPLICATION", "1")
    apply(kafka.bootstrap, 4, topics)
    monkeypatch.setenv("QUANTUM_KAFKA_MIN_INSYNC", "1")
    assert diff(kafka.bootstrap, 4, topics) == [], "1 is the broker's own"
    monkeypatch.delenv("QUANTUM_KAFKA_REPLICATION")
    monkeypatch.setenv("QUANTUM_KAFKA_MIN_INSYNC", "2")
    assert {d.what for d in diff(kafka.bootstrap, 4, topics)} == {"min.insync.replicas"}


def test_what_is_published_lies_on_the_partition_of_its_account(crash_kafka: str) -> None:
    places = {}
    with Publisher(crash_kafka) as publisher:
        for account in ("probe-a", "probe-b", "probe-c"):
            item = {"symbol": "X1USDT", "side": "BUY", "confidence": "0.1", "origin": "hand"}
            event = build("signal", account, {"items": [item]}, time="2021-05-19T14:00:00.000000Z")
            places[account] = (publisher.send(event), event)
    records = {r.event.id: r for r in read_kafka(crash_kafka, ["trade.signal.v5"]) if r.event}
    for account, ((_topic, partition, offset), event) in places.items():
        assert partition == partition_of(account, 8)
        assert records[event.id].offset == offset
        assert records[event.id].valid


def test_a_hand_made_message_is_read_and_one_under_a_wrong_key_is_not(crash_kafka: str) -> None:
    body = (
        b'{"type":"command.emergency.stop.v1","subject":"nobody",'
        b'"data":{"operator":"ann","reason":"by hand"}}'
    )
    producer = Producer({"bootstrap.servers": crash_kafka})
    for key in (b"nobody", b"somebody"):
        producer.produce("commands.control", body, key, 0)
    producer.flush(10)
    good, bad = list(read_kafka(crash_kafka, ["commands.control"]))[-2:]
    assert good.valid
    assert good.event
    assert good.event.source == "/hand"
    assert bad.error
    assert bad.error.startswith("WRONG_KEY")


def test_unknown_topics_and_brokers_are_refused_with_a_remedy(crash_kafka: str) -> None:
    with Publisher(crash_kafka) as publisher, pytest.raises(PublishError, match="is no topic"):
        publisher.send_raw("nonsense", b"k", b"v")
    with pytest.raises(KafkaUnreachableError), Publisher("127.0.0.1:9"):
        pass
