"""Progress reports: how far a worker has read and written, for the feed's barrier and for status.

A report says, atomically, next offsets of the worker's inputs and ends of its own output. Since it
is a vector, one agreement of all latest reports proves that nothing is on its way: the first worker
to move after its report would need a record that no report covers (docs/decisions).
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import orjson

from schemas.topics import PROGRESS

ALL = ("control", "signals", "risk", "execution", "gateway", "venue", "positions", "safety")
REACTORS: dict[str, tuple[str, ...]] = {
    "market.prices.observed.v1": ("venue", "safety"),
    "market.funding.settled.v1": ("venue",),
    "market.candles.closed.v1": ("signals",),
    "market.instruments.listed.v1": ALL,
    "clock.ticked.v1": ALL,
}
"""Which workers can answer a record of the feed. The others only fold it, sooner or later."""

SEEN_S = 0.25
"""So old may be at most what people see of a worker that tells a feed by its line."""


class Snapshot(NamedTuple):
    """Positions and ends at one instant, types folded since the last, orders without answer."""

    positions: dict[str, int]
    ends: dict[str, int]
    folded: set[str]
    unresolved: int
    event_time: str
    epochs: Mapping[int, int] = MappingProxyType({})  # of each source of this process


class Reported(Protocol):
    """What a worker reports: None while something it wrote is not delivered."""

    def snapshot(self) -> Snapshot | None:
        """Positions, ends, types folded since the last snapshot, all at one instant."""


class Noting(Protocol):
    """Where reports go."""

    def note(self, topic: str, raw: bytes, message_key: str) -> None: ...
    def flush(self) -> None: ...


class Line(Protocol):
    """The short way to a feed on this machine, where there is one (report_line.py)."""

    @property
    def open(self) -> bool: ...
    def connect(self) -> bool: ...
    def send(self, raw: bytes) -> bool: ...


class NoLine:
    """Where nobody listens."""

    open = False

    def connect(self) -> bool:
        """Nobody is there."""
        return False

    def send(self, raw: bytes) -> bool:
        """Nobody hears it."""
        return False


@dataclass(slots=True)
class _Told:
    """What was last said on one way: the next report there has what changed since."""

    positions: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    unresolved: int = -1

    def news(self, now: Snapshot, *, full: bool) -> dict[str, Any]:
        """The fields that a report of `now` has; the first on a way is full."""
        full = full or not self.positions
        epochs = {str(number): epoch for number, epoch in now.epochs.items()}
        fields = {
            "full": full,
            "positions": _changed(now.positions, {} if full else self.positions),
            "ends": _changed(now.ends, {} if full else self.ends),
            "unresolved": now.unresolved,
            "epochs": _changed(epochs, {} if full else self.epochs),
            "time": now.event_time,
        }
        self.positions, self.ends, self.epochs = now.positions, now.ends, epochs
        self.unresolved = now.unresolved
        return fields


class Progress:
    """A worker's reports: at once when a feed waits for what it did, else each second.

    They go to Kafka, and to a feed that listens by the `line`: then Kafka has four a second at the
    most, for people who look on, a full one among them."""

    def __init__(
        self,
        worker: str,
        incarnation: str,
        log: Noting,
        about: Reported,
        *,
        fed: Callable[[], bool] = lambda: True,
        line: Line | None = None,
    ) -> None:
        self.worker = worker
        self.incarnation = incarnation
        self._log = log
        self._about = about
        self._fed = fed
        self._lock = threading.Lock()
        self._line: Line = line or NoLine()
        self._given_up = 0
        """How often a line was: a report in Kafka with more than the feed heard by the line is
        newer."""
        self._in_kafka, self._on_line = _Told(), _Told()
        self._reported_at = self._noted_at = time.monotonic()
        self._owed = False
        """A full report was asked for while something was not delivered: the next one is full."""

    def touch(self, *, full: bool = False) -> None:
        """Report if something a feed waits for has changed and everything written is delivered.

        `full`: report everything whatever has changed; call so about once a second. Where no feed
        waits (a live clock) nothing else is reported: it would be a record for each record."""
        if not (full or self._owed or self._fed()):
            return
        with self._lock:
            if full:
                self._look_for_line()
            full = self._owed = full or self._owed
            now = self._about.snapshot()
            if now is None:
                return
            line = self._line.open and (full or self._waited(now, self._on_line))
            if line and not self._tell(self._on_line.news(now, full=full)):
                full = True  # what was said there has to be said again
            due = not self._line.open or time.monotonic() > self._noted_at + SEEN_S
            kafka = full or (due and self._waited(now, self._in_kafka))
            if kafka:
                self._noted_at = time.monotonic()
                fields = self._in_kafka.news(now, full=full)
                self._log.note(PROGRESS.name, self._report(fields), self.worker)
            if line or kafka:
                self._owed = False
                self._reported_at = time.monotonic()

    def taking(self, numbers: Collection[int]) -> None:
        """Say that this process is about to fence sources, and wait until the broker has it.

        Whatever an earlier owner reports after that counts no more: it may be invalid already."""
        taking = {"taking": sorted(numbers)}
        with self._lock:
            self._look_for_line()
            self._tell(taking)
            self._log.note(PROGRESS.name, self._report(taking), self.worker)
        self._log.flush()

    def age_s(self) -> float:
        """Seconds since positions were last reported with everything written delivered."""
        return time.monotonic() - self._reported_at

    def _look_for_line(self) -> None:
        if self._line.connect():
            self._on_line = _Told()

    def _tell(self, fields: dict[str, Any]) -> bool:
        """By the line; one that does not take it is given up."""
        if not self._line.open or self._line.send(self._report(fields)):
            return self._line.open
        self._given_up += 1
        return False

    def _report(self, fields: dict[str, Any]) -> bytes:
        head = {"worker": self.worker, "incarnation": self.incarnation}
        return orjson.dumps({**head, **fields, "line": self._given_up})

    def _waited(self, now: Snapshot, told: _Told) -> bool:
        if not told.positions or now.ends != told.ends or now.unresolved != told.unresolved:
            return True
        return any(t not in REACTORS or self.worker in REACTORS[t] for t in now.folded)


def _changed(new: dict[str, int], old: dict[str, int]) -> dict[str, int]:
    return {key: value for key, value in new.items() if old.get(key) != value}
