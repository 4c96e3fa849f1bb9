"""Plain consumers of the log, without a group: positions are ours, never the broker's."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException

from runtime.clients import RECONNECT
from runtime.logs import confluent_logger
from runtime.security import confluent_security
from schemas.validity import Validity

Partition = tuple[str, int]
READ_MAX = 500
"""Records a call to `consume`: more is slower."""


class Moving(Protocol):
    """What is moved along a partition: a cursor, or a loader's place."""

    topic: str
    partition: int
    next_offset: int
    events: int
    undecodable: int
    validity: Validity
    stopped: str | None


def consumer(kafka: str, name: str, *, bulk: bool = False) -> Consumer:
    """A consumer without a group. `bulk` reads ahead far, for a rebuild."""
    return Consumer(
        {
            "bootstrap.servers": kafka,
            "client.id": f"quantum-{name}",
            "group.id": f"quantum-{name}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 100,
            "fetch.min.bytes": 1 if bulk else 65_536,
            "fetch.queue.backoff.ms": 10,
            "fetch.error.backoff.ms": 100,
            "queued.min.messages": 100_000 if bulk else 10_000,
            "fetch.max.bytes": 4_194_304,
            "queued.max.messages.kbytes": 8_192 if bulk else 16_384,
            "topic.metadata.refresh.interval.ms": 30_000,
            **RECONNECT,
            **confluent_security(),
        },
        logger=confluent_logger(),
    )


def good(messages: Iterable[Any]) -> Iterator[tuple[Partition, int, bytes | None]]:
    """(partition, offset, value) of what was consumed; fatal errors are raised, others passed."""
    for message in messages:
        error: KafkaError | None = message.error()
        if error is None:
            yield (message.topic(), message.partition()), message.offset(), message.value()
        elif error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaException(error)


def runs(messages: Iterable[Any]) -> Iterator[tuple[Partition, list[tuple[int, bytes | None]]]]:
    """The same as messages of one partition that follow each other: (offset, value) of each."""
    key: Partition | None = None
    run: list[tuple[int, bytes | None]] = []
    for place, offset, value in good(messages):
        if place != key:
            if key is not None:
                yield key, run
            key, run = place, []
        run.append((offset, value))
    if key is not None:
        yield key, run
