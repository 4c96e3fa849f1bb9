"""A log in memory: the same order of records a broker would keep, without bytes or network."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from schemas.envelope import Envelope


class Stored(NamedTuple):
    """A record of the in-memory log. `order` is its place in the order of all appends."""

    key: str
    offset: int
    order: int
    event: Envelope


class MemoryLog:
    """Partitions by key ``topic/number``; appends get one order over all partitions. `unkept`:
    partitions that are counted and forgotten, so that memory does not grow with them."""

    def __init__(self, *, unkept: Collection[str] = ()) -> None:
        self.partitions: dict[str, list[Stored]] = {}
        self.order: list[Stored] = []
        self.unkept: dict[str, int] = dict.fromkeys(unkept, 0)
        """How many records of these partitions there were."""

    def append(self, key: str, event: Envelope) -> Stored:
        place, unkept = len(self.order), self.unkept
        for count in unkept.values():
            place += count
        if key in unkept:
            unkept[key] += 1
            return Stored(key, unkept[key] - 1, place, event)
        partition = self.partitions.get(key)
        if partition is None:
            partition = self.partitions[key] = []
        stored = Stored(key, len(partition), place, event)
        partition.append(stored)
        self.order.append(stored)
        return stored

    def end(self, key: str) -> int:
        """Offset of the next record of a partition."""
        return self.unkept.get(key) or len(self.partitions.get(key, ()))

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[Stored]:
        """Records of a partition from offset `start` up to before `end`."""
        yield from self.partitions.get(key, [])[start:end]

    def events(self, topic: str | None = None) -> Iterator[Envelope]:
        """All events in append order, or those of one topic."""
        for stored in self.order:
            if topic is None or stored.key.rpartition("/")[0] == topic:
                yield stored.event
