"""What is done once a user before the embedded broker starts: its jars and its start-up archive.

`python -m runtime.prepare [--tools]` does it from the launcher, `prepare` from the command line,
before a clock runs. Without the archive the broker starts 1.3 s later and is warm later.
"""

import contextlib
import sys
import tempfile
import time
import uuid
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from runtime import jars, java
from runtime.kafka import EmbeddedKafka
from runtime.logs import confluent_logger
from runtime.processes import ServiceError
from runtime.settings import Settings, SettingsError

EXERCISE_S = 4.0


class _RecordedKafka(EmbeddedKafka):
    """A broker that writes the start-up archive when it stops."""

    archive: Path

    def _command(self) -> list[str]:
        properties = self._write_properties("server.properties", "log", self._settle_ports())
        classpath = jars.classpath(self.cache)
        return java.recording_command(classpath, "kafka.Kafka", properties, archive=self.archive)


def prepare(settings: Settings, *, tools: bool = False) -> None:
    """Make sure that an embedded broker can start without network. Does nothing if it can.

    tools: fetch Kafka's console tools as well (tests). Raises JarError. From the main thread.
    """
    if settings.kafka is None or tools:
        jars.classpath(settings.cache)
        _record_archive(settings.cache)
    if tools:
        jars.tools_classpath(settings.cache)


def _record_archive(cache: Path) -> None:
    """Run a broker once and keep what the JVM learned. A failure costs speed only."""
    if java.archive_path(cache).exists():
        return
    with jars.cache_lock(cache, "archive"):
        if java.archive_path(cache).exists():
            return
        print("preparing Kafka's start (once a user)", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="quantum-") as scratch:
            broker = _RecordedKafka(Path(scratch) / "kafka", cache=cache)
            broker.archive = java.archive_path(cache).with_suffix(".new")
            try:
                broker.start()
                _exercise(broker.bootstrap)
            except (ServiceError, KafkaException) as error:
                print(f"Kafka will start more slowly: {error}", file=sys.stderr)
            finally:
                broker.stop(grace_s=120)  # the archive is written now, in some 6 s
        if broker.archive.exists():
            broker.archive.rename(java.archive_path(cache))


def _exercise(bootstrap: str) -> None:
    """Small requests in both directions, as a run makes them, so that their code is learned."""
    config: dict[str, str | int | float] = {"bootstrap.servers": bootstrap}
    topic = f"exercise-{uuid.uuid4().hex[:8]}"
    admin = AdminClient(dict(config), logger=confluent_logger())
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(10)
    consumer = Consumer(
        {**config, "group.id": topic, "auto.offset.reset": "earliest"}, logger=confluent_logger()
    )
    producer = Producer(
        {**config, "enable.idempotence": True, "linger.ms": 0}, logger=confluent_logger()
    )
    consumer.subscribe([topic])
    deadline = time.monotonic() + EXERCISE_S
    number = 0
    while time.monotonic() < deadline:
        producer.produce(topic, b"x" * 600, key=str(number % 7).encode())
        producer.flush(1)
        consumer.poll(0.1)
        number += 1
        if number % 50 == 0:
            with contextlib.suppress(KafkaException):
                consumer.commit(asynchronous=False)
    consumer.close()


def main(arguments: list[str]) -> int:
    """`--tools`: with Kafka's console tools. Returns an exit code; errors go to stderr."""
    try:
        prepare(Settings.load(), tools="--tools" in arguments)
    except (jars.JarError, SettingsError, ServiceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
