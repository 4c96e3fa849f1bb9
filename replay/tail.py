"""Reading the log from given places on, without judging validity: answers, last prices, progress.

For what is shown or waited for; figures come from :func:`replay.log.read_kafka`.
"""

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from replay.log import LogRecord, client_settings, ends, record_of
from runtime.logs import confluent_logger
from schemas.topics import Topic


class Tail:
    """A consumer at given offsets (``topic/partition`` to next offset); use as a context.

    Records come in the order in which the broker gives them, with `valid` True if they decode.
    """

    def __init__(self, bootstrap: str, places: Mapping[str, int]) -> None:
        self._consumer = Consumer(
            {
                **client_settings(bootstrap),
                "group.id": "quantum-tail",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            },
            logger=confluent_logger(),
        )
        assigned = []
        for key, at in places.items():
            topic, _, partition = key.rpartition("/")
            assigned.append(TopicPartition(topic, int(partition), at))
        if assigned:
            self._consumer.assign(assigned)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def poll(self, timeout_s: float = 0.1, count: int = 500) -> list[LogRecord]:
        """Up to `count` records that came within `timeout_s` seconds."""
        messages = [m for m in self._consumer.consume(count, timeout_s) if m.error() is None]
        return [record_of(m, None, valid=True) for m in messages]


def last_records(
    bootstrap: str, topics: Iterable[Topic | str], count: int, timeout_s: float = 5.0
) -> list[LogRecord]:
    """The last `count` records of each partition of `topics`, in append order."""
    until = ends(bootstrap, topics)
    begin = {key: max(0, end - count) for key, end in until.items() if end}
    left = {key for key, at in begin.items() if at < until[key]}
    found: list[LogRecord] = []
    deadline = time.monotonic() + timeout_s
    with Tail(bootstrap, {key: begin[key] for key in left}) as tail:
        while left and time.monotonic() < deadline:
            for record in tail.poll():
                key = f"{record.topic}/{record.partition}"
                if record.offset < until[key]:
                    found.append(record)
                if record.offset + 1 >= until[key]:
                    left.discard(key)
    return sorted(found, key=lambda record: (record.timestamp_ms, record.topic, record.offset))
