"""How far the workers are behind, from their progress reports and the ends of the topics."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from replay.log import LogRecord, ends
from replay.tail import last_records
from schemas.topics import PROGRESS

REPORTS = 3_000
SILENT_MS = 5_000


@dataclass(slots=True)
class WorkerProgress:
    """A worker's latest report, put together from full and partial ones."""

    worker: str
    incarnation: str = ""
    positions: dict[str, int] = field(default_factory=dict)
    unresolved: int = 0
    event_time: str = ""
    heard_ms: int = 0
    """Broker time of its last report, milliseconds since 1970."""

    def take(self, report: dict[str, object], at_ms: int) -> None:
        """Fold a report in. A new incarnation or a full report replaces the positions."""
        positions = report.get("positions")
        if report.get("full") or report.get("incarnation") != self.incarnation:
            self.positions = {}
        if isinstance(positions, dict):
            self.positions.update(positions)
        self.incarnation = str(report.get("incarnation", ""))
        unresolved = report.get("unresolved")
        self.unresolved = unresolved if isinstance(unresolved, int) and unresolved > 0 else 0
        self.event_time = str(report.get("time", ""))
        self.heard_ms = at_ms

    def lag(self, until: dict[str, int]) -> int:
        """Records that it has not folded, orders without answer included."""
        behind = (until[key] - at for key, at in self.positions.items() if key in until)
        return sum(max(0, records) for records in behind) + self.unresolved

    @property
    def silent(self) -> bool:
        return time.time() * 1000 - self.heard_ms > SILENT_MS


class ProgressBoard:
    """Fold of the topic `progress`."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerProgress] = {}

    def take(self, raw: bytes | None, at_ms: int) -> None:
        """Fold one message in; what is no report is passed over."""
        try:
            report = orjson.loads(raw or b"")
            name = report["worker"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return
        known = self.workers.setdefault(name, WorkerProgress(name))
        known.take(report, at_ms)

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
