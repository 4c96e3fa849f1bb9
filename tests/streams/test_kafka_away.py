"""The buffered log on a real broker that is paused, and one that is killed (SAFE-7).

Goal: what a real producer does with an outage (what it had sent, what it had not) ends in a log
that has every record once and in order; what a client has come to believe of partitions does not
keep it away from a broker that answers.
Method: records are appended before, in and after each outage; the partition is read afterwards.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from commands import topics_apply
from gateways.buffer_folder import BufferFolder
from runtime.kafka import EmbeddedKafka
from streams.broker_topics import topic_ids
from streams.buffered_log import BufferedLog
from streams.kafka_log import KafkaLog, client, consumer, watermarks

KEY, CONTROL = "trade.execution.res/3", "control/0"
AWAY_S, STEP_S = 0.5, 0.05
LIMIT_S = 60


@pytest.fixture
def broker(short_path: Path) -> Iterator[EmbeddedKafka]:
    made = EmbeddedKafka(short_path / "kafka")
    made.start()
    topics_apply.apply(made.bootstrap)
    yield made
    made.kill()
    made.stop()


class Writer:
    """Appends numbers and knows which were acknowledged."""

    def __init__(self, log: BufferedLog) -> None:
        self.log = log
        self.written = 0
        self.acknowledged: list[int] = []

    def append(self, count: int) -> None:
        for _ in range(count):
            self.written += 1
            self.log.append(KEY, b"%d" % self.written, "main", self.acknowledged.append)

    def wait(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < deadline, (
                f"away {self.log.away}, held {self.log.held}, {len(self.log._flights)} under way, "
                f"{len(self.acknowledged)} of {self.written} acknowledged"
            )
            self.log.look()
            self.log.drain()
            time.sleep(STEP_S)


def pause(broker: EmbeddedKafka) -> Callable[[], None]:
    pid = broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def kill(broker: EmbeddedKafka) -> Callable[[], None]:
    broker.kill()
    return broker.start


def test_after_a_pause_and_a_kill_of_the_broker_every_record_lies_there_once_in_order(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    kafka = KafkaLog(broker.bootstrap, "test")
    buffer = BufferFolder(tmp_path, topic_ids(broker.bootstrap))
    log = BufferedLog(kafka, buffer, away_s=AWAY_S)
    writer = Writer(log)
    log.ends([KEY])
    for outage in (pause, kill):
        writer.append(20)
        writer.wait(lambda: len(writer.acknowledged) == writer.written)
        writer.append(5)  # some of these are on the wire when it happens
        back = outage(broker)
        writer.append(5)
        writer.wait(lambda: log.away)
        writer.append(200)
        assert log.keep(CONTROL, b"1", "main")
        assert log.waiting() >= 200
        back()
        writer.wait(lambda: not log.held)
        writer.append(5)
        writer.wait(lambda: len(writer.acknowledged) == writer.written)
    there = [record.raw for record in kafka.read({KEY: (0, kafka.end(KEY))})]
    assert there == [b"%d" % (n + 1) for n in range(writer.written)]
    assert sorted(writer.acknowledged) == list(range(writer.written)), "each told of its offset"
    assert kafka.end(CONTROL) == 2
    assert list(buffer.folder.glob("*.jsonl")) == []
    kafka.close()
    buffer.close()


def test_deliveries_are_told_by_one_thread_even_while_another_waits_for_them(
    broker: EmbeddedKafka,
) -> None:
    """Two would tell of them out of order now and then, and the buffer would count as damaged."""
    kafka = KafkaLog(broker.bootstrap, "test")
    told: list[tuple[str, int]] = []
    for _ in range(20):
        for _ in range(50):
            kafka.append(
                KEY, b"{}", "main",
                lambda offset: told.append((threading.current_thread().name, offset)),
            )  # fmt: skip
        kafka.flush()
    assert told == [("deliveries", offset) for offset in range(1_000)]
    kafka.close()


def test_a_partition_that_a_client_believes_is_not_there_is_asked_for_again(
    broker: EmbeddedKafka,
) -> None:
    """A broker that comes back names topics without leaders for a moment. Here the client believes
    what was true before a partition was added: it keeps either for five minutes."""
    admin = AdminClient(client(broker.bootstrap))
    admin.create_topics([NewTopic("grows", 1, 1)])["grows"].result(LIMIT_S)
    reader = consumer(broker.bootstrap)
    assert watermarks(reader, "grows/0", LIMIT_S) == (0, 0)
    admin.create_partitions([NewPartitions("grows", 2)])["grows"].result(LIMIT_S)
    with pytest.raises(KafkaException, match="Unknown partition"):
        reader.get_watermark_offsets(TopicPartition("grows", 1), timeout=LIMIT_S)
    assert watermarks(reader, "grows/1", LIMIT_S) == (0, 0)
    with pytest.raises(KafkaException, match="Unknown partition"):
        watermarks(reader, "grows/2", 0.3)
    reader.close()


def test_a_thread_that_still_asks_a_closed_log_hears_what_it_hears_without_a_broker(
    broker: EmbeddedKafka,
) -> None:
    """The gateway's sender goes on for a moment while its process ends."""
    log = KafkaLog(broker.bootstrap, "test")
    log.close()
    with pytest.raises(ConnectionError, match="closed"):
        log.ends([KEY], timeout_s=0.05)
