"""The feed's barrier: nothing more is published until everything that could follow has happened.

Latest reports of all workers are held against the ends they and the feed report. `behind` holds
each (worker, partition) that has yet to read something; when it is empty, no order waits for an
answer and every source of every worker is told of, the system is quiet. One agreement is enough:
progress.py.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition

from domain.processors import partitions_of
from schemas.topics import CLOCK, MARKET, PROGRESS
from streams.kafka_log import consumer, split, watermarks
from streams.progress import ALL
from streams.report_line import ReportLines
from streams.vectors import WorkerVector

logger = logging.getLogger(__name__)
ASK_S = 5.0
"""How often a wait that takes long looks at what is missing, and says so in the log."""
STALLED_S = 180.0
"""Longer than a broker may be away without any worker giving up (120 s), and their restarts."""
ANSWER_S = 2.0
SHARED_S = 0.005
"""How long one way of reports is waited at while others may come on the other."""
LOOK_S = 0.1
"""How often `progress` is looked at while every worker calls: another process may report there."""
NOTES = f"{PROGRESS.name}/0"
RECENT = 50
"""How many of the last notes are read: each worker writes one a second."""
PACED = (f"{MARKET.name}/0", f"{CLOCK.name}/0")
"""Partitions only the feed writes: who must have read a record of theirs depends on its type."""


class Agreement:
    """Fold of progress reports; pure, so that it can be tested without a broker.

    `workers`: the partitions of each worker's sources."""

    def __init__(self, workers: Mapping[str, Collection[int]], ends: dict[str, int]) -> None:
        self.workers = {name: WorkerVector(numbers) for name, numbers in workers.items()}
        self.ends = dict(ends)
        self.required: dict[tuple[str, str], int] = {}
        self.behind: set[tuple[str, str]] = set()

    def fold(self, report: dict[str, Any]) -> None:
        """Take a report in."""
        worker = report["worker"]
        if worker not in self.workers:
            return
        for key in self.workers[worker].fold(report):
            self._compare(worker, key)
        for key, end in report.get("ends", {}).items():
            self.extend(key, end)

    def extend(self, key: str, end: int) -> None:
        """Note that a partition now ends at `end`: all its readers have to come to it."""
        if end > self.ends.get(key, 0):
            self.ends[key] = end
            for worker in self.workers:
                self._compare(worker, key)

    def require(self, key: str, end: int, workers: Iterable[str]) -> None:
        """Note that `workers` have to read a paced partition up to `end`."""
        for worker in workers:
            self.required[worker, key] = end
            self._compare(worker, key)

    def _compare(self, worker: str, key: str) -> None:
        position = self.workers[worker].position(key)
        needed = self.required.get((worker, key), 0) if key in PACED else self.ends.get(key, 0)
        if position is not None and position < needed:
            self.behind.add((worker, key))
        else:
            self.behind.discard((worker, key))

    @property
    def quiet(self) -> bool:
        """Nothing is on its way and nothing waits for an answer."""
        return not self.behind and not any(
            worker.missing or worker.unresolved for worker in self.workers.values()
        )

    def waiting_for(self) -> str:
        """For people: what is still missing."""
        silent = [name for name, worker in self.workers.items() if not worker.owners]
        parts = [f"no report of {', '.join(silent)}"] if silent else []
        for name, worker in self.workers.items():
            if worker.owners and worker.missing:
                parts.append(f"no {name} has {', '.join(map(str, sorted(worker.missing)))}")
        parts += [f"{worker} has not read {key}" for worker, key in sorted(self.behind)]
        parts += [
            f"{w}: {r.unresolved} unresolved" for w, r in self.workers.items() if r.unresolved
        ]
        return "; ".join(parts) or "nothing"


class Barrier:
    """The agreement, fed by the workers that call the feed, and for all others by `progress`."""

    def __init__(
        self,
        bootstrap: str,
        ends: dict[str, int],
        partitions: int,
        workers: Iterable[str] = ALL,
        *,
        lines: ReportLines | None = None,
    ) -> None:
        """`partitions`: how many account partitions there are."""
        self.agreement = Agreement({w: partitions_of(w, partitions) for w in workers}, ends)
        self._lines = lines
        self._looked = 0.0
        self._consumer: Consumer = consumer(bootstrap)
        low, high = watermarks(self._consumer, NOTES, 10)
        self._consumer.assign([TopicPartition(*split(NOTES), max(low, high - RECENT))])

    def wait(self, settled: Callable[[], bool], *, stalled_s: float = STALLED_S) -> None:
        """Return when the system is quiet and `settled` says so; asked after each report.

        Raises TimeoutError, naming what is missing, after `stalled_s` without any report that
        changed something, not counting time in which Kafka does not answer."""
        asked = time.monotonic()
        deadline = asked + stalled_s
        before = ""
        while True:
            if settled() and self.agreement.quiet:
                return
            if not self._take(0.002 if self.agreement.quiet else 0.1) and (
                time.monotonic() > deadline
            ):
                if self._answers():
                    raise TimeoutError(
                        f"the system did not come to rest: {self.agreement.waiting_for()}"
                    )
                deadline = time.monotonic() + stalled_s
            if time.monotonic() > asked + ASK_S:
                asked, now = time.monotonic(), self.agreement.waiting_for()
                logger.info("the feed waits: %s", now)
                if now != before:
                    before, deadline = now, time.monotonic() + stalled_s

    def pause(self, seconds: float) -> None:
        """Wait, if that is more than none, and go on hearing the workers: their queue is short."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._take(left)

    def _answers(self) -> bool:
        try:
            watermarks(self._consumer, NOTES, ANSWER_S)
        except KafkaException:
            logger.warning("the feed waits: Kafka does not answer")
            return False
        return True

    def _take(self, timeout_s: float) -> bool:
        """Fold the reports that are there, or the first that comes; whether there were any."""
        if self._lines is None:
            return self._take_notes(timeout_s)
        everybody = self._lines.workers >= self.agreement.workers.keys()
        taken = False
        for report in self._lines.take(timeout_s if everybody else min(timeout_s, SHARED_S)):
            self.agreement.fold(report)
            taken = True
        if everybody and time.monotonic() < self._looked + LOOK_S:
            return taken
        self._looked = time.monotonic()
        return self._take_notes(0 if everybody or taken else SHARED_S) or taken

    def _take_notes(self, timeout_s: float) -> bool:
        message = self._consumer.poll(timeout_s)
        taken = False
        while message is not None:
            if message.error() is None:
                report = orjson.loads(message.value() or b"{}")
                if self._lines is None or not self._lines.has(report):
                    self.agreement.fold(report)
                    taken = True
            message = self._consumer.poll(0)
        return taken

    def close(self) -> None:
        """Give the consumer and the socket back."""
        self._consumer.close()
        if self._lines is not None:
            self._lines.close()
