"""How far the workers are behind, from their progress reports and the ends of the topics."""

import contextlib
import time
from collections.abc import Iterable
from typing import Any

import orjson

from replay.log import LogRecord, ends
from replay.tail import last_records
from schemas.topics import PROGRESS
from streams.vectors import WorkerVector

REPORTS = 3_000
SILENT_MS = 5_000


class WorkerProgress:
    """What a worker's processes last reported."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.vector = WorkerVector()
        self.event_time = ""
        self.heard_ms = 0
        """Broker time of its last report, milliseconds since 1970."""

    def take(self, report: dict[str, Any], at_ms: int) -> None:
        """Fold a report in."""
        self.vector.fold(report)
        self.event_time = str(report.get("time", self.event_time))
        self.heard_ms = at_ms

    def lag(self, until: dict[str, int]) -> int:
        """Records that it has not folded, orders without answer included."""
        at = {key: self.vector.position(key) or 0 for key in self.vector.keys() & until.keys()}
        behind = sum(max(0, until[key] - position) for key, position in at.items())
        return behind + self.vector.unresolved

    @property
    def silent(self) -> bool:
        return time.time() * 1000 - self.heard_ms > SILENT_MS


class ProgressBoard:
    """Fold of the topic `progress`."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerProgress] = {}

    def take(self, raw: bytes | None, at_ms: int) -> None:
        """Fold one message in; what is no report is passed over."""
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            report = orjson.loads(raw or b"")
            name = report["worker"]
            known = self.workers.get(name) or WorkerProgress(name)
            known.take(report, at_ms)
            self.workers[name] = known

    def lag(self, until: dict[str, int]) -> dict[str, int]:
        """Records behind, by processor."""
        return {name: each.lag(until) for name, each in sorted(self.workers.items())}


def board(bootstrap: str) -> ProgressBoard:
    """The workers' latest reports. Raises KafkaUnreachableError."""
    made = ProgressBoard()
    for record in _reports(bootstrap):
        made.take(record.raw, record.timestamp_ms)
    return made


def _reports(bootstrap: str) -> Iterable[LogRecord]:
    return last_records(bootstrap, (PROGRESS,), REPORTS)


def lag(bootstrap: str) -> dict[str, int]:
    """Records that each processor has not folded yet."""
    return board(bootstrap).lag(ends(bootstrap))
