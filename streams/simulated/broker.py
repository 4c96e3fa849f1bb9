"""A log in memory with what makes a real one hard: each process has appends in flight of its own.

What a process appended is in the log only when it is delivered; a kill loses what was in flight,
and a prefix of it may land later. Every micro-step (append, delivery, read) is announced first.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from streams.log import Delivered, Incoming


@dataclass(frozen=True, slots=True)
class InFlight:
    """An append that is not delivered. `began`: the micro-step at which it was made."""

    key: str
    raw: bytes
    message_key: str
    delivered: Delivered
    began: int = 0
    failed: Callable[[str], None] | None = None


def ignored(_offset: int) -> None:
    """For appends whose place nobody wants to know."""


@dataclass(slots=True)
class Broker:
    """Partitions by key ``topic/number``. Several appends share one millisecond, as they do."""

    partitions: dict[str, list[Incoming]] = field(default_factory=dict)
    appends: list[Incoming] = field(default_factory=list)
    """All records in append order."""
    began: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """(key, offset) -> micro-steps at which the record was appended and delivered."""
    dead: list[tuple[str, Incoming, str]] = field(default_factory=list)
    per_ms: int = 4
    later_ms: int = 0
    """Time that passed while nothing was appended."""
    clock_ms: Callable[[], int] | None = None
    """The broker's clock; without one, time moves with the records."""
    placed: Callable[[Incoming, int, int], None] | None = None
    """Called with each record when it is in the log, and its two micro-steps."""
    away: bool = False
    """Nobody reaches it."""

    def place(self, append: InFlight, step: int = 0) -> int:
        partition = self.partitions.setdefault(append.key, [])
        at_ms = 1_700_000_000_000 + self.later_ms + len(self.appends) // self.per_ms
        if self.clock_ms is not None:
            at_ms = self.clock_ms()
        offset = len(partition)
        record = Incoming(append.key, offset, at_ms, append.message_key.encode(), append.raw)
        partition.append(record)
        self.appends.append(record)
        self.began[append.key, offset] = (append.began, step)
        if self.placed is not None:
            self.placed(record, append.began, step)
        return offset

    def end(self, key: str) -> int:
        return len(self.partitions.get(key, ()))


class MemoryLog:
    """The log as one process sees it. `step` is called before each micro-step, `look` before each
    record of a read; both may raise. ConnectionError while the broker is away."""

    def __init__(
        self,
        broker: Broker,
        step: Callable[[], int] = int,
        look: Callable[[], int] | None = None,
    ) -> None:
        self.broker = broker
        self.step = step
        self.look = look or step
        self.flight: deque[InFlight] = deque()
        self.wire = 0
        """How many of them, the oldest, are on the wire: a purge does not get hold of these."""

    def _reach(self) -> None:
        if self.broker.away:
            raise ConnectionError("the broker does not answer")

    def end(self, key: str, *, timeout_s: float = 10.0) -> int:
        self.step()
        self._reach()
        return self.broker.end(key)

    def ends(self, keys: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, int]:
        return {key: self.end(key) for key in keys}

    def start(self, key: str) -> int:
        self.step()
        self._reach()
        return 0

    def read(self, ranges: Mapping[str, tuple[int, int]]) -> Iterator[Incoming]:
        """One record of each partition in turn, so that readers cannot rely on more."""
        at = {key: start for key, (start, end) in ranges.items() if start < end}
        while at:
            for key in list(at):
                self.look()
                self._reach()
                yield self.broker.partitions[key][at[key]]
                at[key] += 1
                if at[key] >= ranges[key][1]:
                    del at[key]

    def append(
        self,
        key: str,
        raw: bytes,
        message_key: str,
        delivered: Delivered,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        self.flight.append(InFlight(key, raw, message_key, delivered, self.step(), failed))

    def deliver(self) -> bool:
        """Deliver the oldest append in flight; False if there is none."""
        if not self.flight:
            return False
        step = self.step()
        self._reach()
        append = self.flight.popleft()
        self.wire = max(0, self.wire - 1)
        append.delivered(self.broker.place(append, step))
        return True

    def purge(self) -> None:
        """Let go of what is not on the wire: each is told as failed, the oldest first."""
        gone = [self.flight.pop() for _ in range(len(self.flight) - self.wire)]
        for append in reversed(gone):
            if append.failed is not None:
                append.failed("purged")

    def flush(self) -> None:
        while self.deliver():
            pass

    def dead_letter(self, processor: str, record: Incoming, reason: str) -> None:
        self.broker.dead.append((processor, record, reason))
