"""Progress reports: how far a worker has read and written, for the feed's barrier and for status.

A report says, atomically, next offsets of the worker's inputs and ends of its own output. Since it
is a vector, one agreement of all latest reports proves that nothing is on its way: the first worker
to move after its report would need a record that no report covers (docs/decisions).
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
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


class Progress:
    """Publishes a worker's reports: at once when a feed waits for what it did, else each second."""

    def __init__(
        self,
        worker: str,
        incarnation: str,
        log: Noting,
        about: Reported,
        *,
        fed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.worker = worker
        self.incarnation = incarnation
        self._log = log
        self._about = about
        self._fed = fed
        self._lock = threading.Lock()
        self._positions: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._epochs: dict[str, int] = {}
        self._unresolved = -1
        self._reported_at = time.monotonic()
        self._owed = False
        """A full report was asked for while something was not delivered: the next one is full."""

    def touch(self, *, full: bool = False) -> None:
        """Report if something a feed waits for has changed and everything written is delivered.

        `full`: report everything whatever has changed; call so about once a second. Where no feed
        waits (a live clock) nothing else is reported: it would be a record for each record."""
        if not (full or self._owed or self._fed()):
            return
        with self._lock:
            full = self._owed = full or self._owed
            now = self._about.snapshot()
            if now is None:
                return
            first = not self._positions
            epochs = {str(number): epoch for number, epoch in now.epochs.items()}
            if not (full or first or self._waited(now)):
                return
            report: dict[str, Any] = {
                "worker": self.worker,
                "incarnation": self.incarnation,
                "full": full or first,
                "positions": _changed(now.positions, {} if full else self._positions),
                "ends": _changed(now.ends, {} if full else self._ends),
                "unresolved": now.unresolved,
                "epochs": _changed(epochs, {} if full else self._epochs),
                "time": now.event_time,
            }
            self._positions, self._ends, self._epochs = now.positions, now.ends, epochs
            self._owed = False
            self._unresolved = now.unresolved
            self._reported_at = time.monotonic()
            self._log.note(PROGRESS.name, orjson.dumps(report), self.worker)

    def taking(self, numbers: Collection[int]) -> None:
        """Say that this process is about to fence sources, and wait until the broker has it.

        Whatever an earlier owner reports after that counts no more: it may be invalid already."""
        report = {
            "worker": self.worker, "incarnation": self.incarnation, "taking": sorted(numbers),
        }  # fmt: skip
        self._log.note(PROGRESS.name, orjson.dumps(report), self.worker)
        self._log.flush()

    def age_s(self) -> float:
        """Seconds since positions were last reported with everything written delivered."""
        return time.monotonic() - self._reported_at

    def _waited(self, now: Snapshot) -> bool:
        if now.ends != self._ends or now.unresolved != self._unresolved:
            return True
        return any(t not in REACTORS or self.worker in REACTORS[t] for t in now.folded)


def _changed(new: dict[str, int], old: dict[str, int]) -> dict[str, int]:
    return {key: value for key, value in new.items() if old.get(key) != value}
