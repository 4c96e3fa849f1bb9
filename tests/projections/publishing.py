"""Messages as they go to the broker, and publishing them in order."""

import time
from dataclasses import dataclass

from confluent_kafka import Producer

from runtime.logs import confluent_logger


@dataclass(frozen=True, slots=True)
class Written:
    """One message as it goes to the broker."""

    topic: str
    partition: int
    key: bytes
    value: bytes


def publish(kafka: str, messages: list[Written], *, chunk: int = 0, pause_s: float = 0) -> None:
    """Append messages to their partitions in order, and wait until all are acknowledged.

    chunk: wait for acknowledgement and `pause_s` seconds after every so many.
    """
    producer = Producer(
        {"bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 5},
        logger=confluent_logger(),
    )
    failed: list[str] = []
    for number, m in enumerate(messages, 1):
        if chunk and number % chunk == 0:
            producer.flush(30)
            time.sleep(pause_s)
        while True:
            try:
                producer.produce(
                    m.topic,
                    m.value,
                    m.key,
                    m.partition,
                    on_delivery=lambda error, _: failed.append(str(error)) if error else None,
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(30) == 0
    assert not failed
