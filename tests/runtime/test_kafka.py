"""The embedded broker: what it acknowledged survives kill -9, and it comes back where it was."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from runtime import jars, java, processes
from runtime.kafka import FIRST_SESSION_MS, NEXT_SESSION_MS, EmbeddedKafka
from runtime.logs import confluent_logger
from runtime.processes import ServiceError
from runtime.settings import Settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("broker")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[EmbeddedKafka]:
    """A broker of this module, for killing, beside the session's."""
    own = EmbeddedKafka(folder / "kafka")
    own.start()
    yield own
    own.stop()


def _produce(broker: EmbeddedKafka, topic: str, *values: bytes) -> None:
    config = {"bootstrap.servers": broker.bootstrap, "enable.idempotence": True}
    producer = Producer(config, logger=confluent_logger())
    for value in values:
        producer.produce(topic, value, key=b"main", timestamp=1)
    assert producer.flush(20) == 0


def _create(broker: EmbeddedKafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap}, logger=confluent_logger())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)


def _read(broker: EmbeddedKafka, topic: str, count: int) -> list[Message]:
    config = {"bootstrap.servers": broker.bootstrap, "group.id": topic}
    consumer = Consumer(config, logger=confluent_logger())
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = consumer.consume(count, 20)
    consumer.close()
    return found


def test_records_carry_the_time_at_which_the_broker_wrote_them(broker: EmbeddedKafka) -> None:
    _create(broker, "times")
    _produce(broker, "times", b"{}")
    kind, milliseconds = _read(broker, "times", 1)[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert milliseconds > 1_000_000_000_000


def test_after_kill_9_it_is_back_at_the_same_address_with_all_it_acknowledged(
    broker: EmbeddedKafka,
) -> None:
    _create(broker, "kept")
    _produce(broker, "kept", b"1", b"2", b"3")
    address, pid = broker.bootstrap, broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    broker.kill()
    assert not broker.is_running()
    broker.start()
    assert broker.bootstrap == address
    assert broker.pid != pid
    _produce(broker, "kept", b"4")
    assert [each.value() for each in _read(broker, "kept", 4)] == [b"1", b"2", b"3", b"4"]


def test_only_who_succeeds_another_broker_of_its_folder_has_a_short_session(tmp_path: Path) -> None:
    """A starved machine makes heartbeats late: who loses its session is not named to clients."""
    own = EmbeddedKafka(tmp_path / "kafka")
    sessions = []
    for _ in range(2):
        own.start()
        said = (own.folder / "server.properties").read_text()
        sessions += re.findall(r"(?m)^broker\.session\.timeout\.ms=(.*)$", said)
        own.stop()
    assert sessions == [str(FIRST_SESSION_MS), str(NEXT_SESSION_MS)]


def test_two_brokers_live_side_by_side(broker: EmbeddedKafka, kafka: EmbeddedKafka) -> None:
    assert broker.bootstrap != kafka.bootstrap
    assert broker.ready()
    assert kafka.ready()


def test_a_second_broker_on_one_folder_is_refused(broker: EmbeddedKafka) -> None:
    ports = (broker.folder / "ports.json").read_text()
    with pytest.raises(processes.ServiceError, match="Another kafka uses"):
        EmbeddedKafka(broker.folder).start()
    assert broker.ready()
    assert (broker.folder / "ports.json").read_text() == ports


def test_a_port_that_is_taken_is_named_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(processes.ServiceError) as raised:
            EmbeddedKafka(tmp_path / "kafka", port=port).start()
    assert f"Port {port} " in str(raised.value)
    assert "QUANTUM_KAFKA_PORT" in str(raised.value)


def test_an_interrupted_format_is_done_anew(tmp_path: Path) -> None:
    half = tmp_path / "kafka"
    (half / "log.new").mkdir(parents=True)
    (half / "log").mkdir()
    (half / "log" / "bootstrap.checkpoint").write_bytes(b"half")
    EmbeddedKafka(half).prepare()
    assert (half / "log" / "meta.properties").exists()
    assert not (half / "log.new").exists()


def test_topics_do_not_come_into_being_by_writing_to_them(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap}, logger=confluent_logger())
    assert "never-created" not in admin.list_topics("never-created", timeout=10).topics or (
        admin.list_topics("never-created", timeout=10).topics["never-created"].error is not None
    )


def test_free_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not lowest <= processes.free_port() <= highest


def test_a_third_partys_console_consumer_reads_what_was_written(kafka: EmbeddedKafka) -> None:
    _create(kafka, "foreign")
    _produce(kafka, "foreign", b'{"specversion":"1.0"}')
    cache = Settings.load().cache
    command = java.command(
        jars.tools_classpath(cache),
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *("--bootstrap-server", kafka.bootstrap, "--topic", "foreign", "--from-beginning"),
        *("--max-messages", "1", "--timeout-ms", "20000"),
        cache=cache / "without-archive",
    )
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == '{"specversion":"1.0"}'


def test_a_folder_of_another_version_of_kafka_is_refused(short_path: Path) -> None:
    folder = short_path / "kafka"
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "meta.properties").write_text("version=9\ncluster.id=x\n")
    broker = EmbeddedKafka(folder)
    with pytest.raises(ServiceError, match=r"has layout 9, this build's Kafka has 1.*QUANTUM_DATA"):
        broker.start()
    assert broker.pid is None
