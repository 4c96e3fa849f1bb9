"""A log in memory: the same order of records a broker would keep, without bytes or network."""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.envelope import Envelope


@dataclass(slots=True, frozen=True)
class Stored:
    """A record of the in-memory log. `order` is its place in the order of all appends."""

    key: str
    offset: int
    order: int
    event: Envelope


class MemoryLog:
    """Partitions by key ``topic/number``; appends get one order over all partitions."""

    def __init__(self) -> None:
        self.partitions: dict[str, list[Stored]] = {}
        self.order: list[Stored] = []

    def append(self, key: str, event: Envelope) -> Stored:
        partition = self.partitions.setdefault(key, [])
        stored = Stored(key, len(partition), len(self.order), event)
        partition.append(stored)
        self.order.append(stored)
        return stored

    def end(self, key: str) -> int:
        """Offset of the next record of a partition."""
        return len(self.partitions.get(key, ()))

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[Stored]:
        """Records of a partition from offset `start` up to before `end`."""
        yield from self.partitions.get(key, [])[start:end]

    def events(self, topic: str | None = None) -> Iterator[Envelope]:
        """All events in append order, or those of one topic."""
        for stored in self.order:
            if topic is None or stored.key.rpartition("/")[0] == topic:
                yield stored.event
