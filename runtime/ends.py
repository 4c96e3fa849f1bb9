"""Ends of partitions for figures: asked when somebody looks, never waited for by a decision."""

import threading
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import OffsetSpec as _OffsetSpec

from runtime.logs import confluent_logger
from runtime.security import confluent_security

_LATEST: Any = _OffsetSpec.latest()  # type: ignore[no-untyped-call]
TIMEOUT_S = 1.0


class Ends:
    """Next offsets of partitions. While the broker does not answer, what it said last."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin: AdminClient | None = None
        self._known: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, keys: Iterable[str]) -> dict[str, int]:
        """Ends of ``topic/partition`` keys; one that was never heard of is left out."""
        wanted = list(keys)
        with self._lock:
            if wanted:
                self._ask(wanted)
            return {key: self._known[key] for key in wanted if key in self._known}

    def _ask(self, keys: list[str]) -> None:
        if self._admin is None:
            self._admin = AdminClient(
                {"bootstrap.servers": self._bootstrap, **confluent_security()},
                logger=confluent_logger(),
            )
        asked = {}
        for key in keys:
            topic, _, number = key.rpartition("/")
            asked[TopicPartition(topic, int(number))] = _LATEST
        try:
            answers = self._admin.list_offsets(asked, request_timeout=TIMEOUT_S)
            for place, answer in answers.items():
                found = answer.result(TIMEOUT_S * 2)
                self._known[f"{place.topic}/{place.partition}"] = int(found.offset)
        except (KafkaException, TimeoutError):
            return
