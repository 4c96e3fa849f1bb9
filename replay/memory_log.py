"""A log in memory: the same order of records a broker would keep, without bytes or network."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from schemas.envelope import Envelope


class Stored(NamedTuple):
    """A record of the in-memory log. `order` is its place in the order of all appends."""

    key: str
    offset: int
    order: int
    event: Envelope


class Stretch(Protocol):
    """Records of one partition, decided in one go and made when somebody looks at them."""

    @property
    def places(self) -> Sequence[int]:
        """Place of each in the order of all appends."""

    def made(self) -> Sequence[Envelope]:
        """All of them, in order."""


class MemoryLog:
    """Partitions by key ``topic/number``; appends get one order over all partitions. `unkept`:
    partitions that are counted and forgotten, so that memory does not grow with them."""

    def __init__(self, *, unkept: Collection[str] = ()) -> None:
        self.unkept: dict[str, int] = dict.fromkeys(unkept, 0)
        """How many records of these partitions there were."""
        self._order: list[Stored] = []
        self._partitions: dict[str, list[Stored]] = {}
        self._ends: dict[str, int] = {}
        self._length = 0
        self._unmade: list[tuple[str, int, int, Stretch]] = []
        """Stretches with key, first offset, and where in `_order` they belong."""

    def append(self, key: str, event: Envelope) -> Stored:
        place, unkept = self._length, self.unkept
        for count in unkept.values():
            place += count
        if key in unkept:
            unkept[key] += 1
            return Stored(key, unkept[key] - 1, place, event)
        end = self._ends.get(key, 0)
        stored = Stored(key, end, place, event)
        self._ends[key] = end + 1
        self._length += 1
        self._order.append(stored)
        return stored

    def append_stretch(self, key: str, stretch: Stretch) -> None:
        """Append records that are made when they are looked at."""
        end, count = self._ends.get(key, 0), len(stretch.places)
        self._unmade.append((key, end, len(self._order), stretch))
        self._ends[key] = end + count
        self._length += count

    @property
    def order(self) -> list[Stored]:
        """All records that are kept, in append order."""
        if self._unmade:
            self._make()
        return self._order

    def __len__(self) -> int:
        """How many records are kept."""
        return self._length

    def _make(self) -> None:
        made: list[Stored] = []
        done = 0
        for key, offset, upto, stretch in self._unmade:
            made += self._order[done:upto]
            done = upto
            both = enumerate(zip(stretch.places, stretch.made(), strict=True), offset)
            made += [Stored(key, at, place, event) for at, (place, event) in both]
        self._order = made + self._order[done:]
        self._unmade.clear()

    @property
    def partitions(self) -> dict[str, list[Stored]]:
        """Records by partition, each in order of offsets."""
        known = sum(map(len, self._partitions.values()))
        for stored in self.order[known:]:
            self._partitions.setdefault(stored.key, []).append(stored)
        return self._partitions

    def end(self, key: str) -> int:
        """Offset of the next record of a partition."""
        return self.unkept.get(key) or self._ends.get(key, 0)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[Stored]:
        """Records of a partition from offset `start` up to before `end`."""
        yield from self.partitions.get(key, [])[start:end]

    def events(self, topic: str | None = None) -> Iterator[Envelope]:
        """All events in append order, or those of one topic."""
        for stored in self.order:
            if topic is None or stored.key.rpartition("/")[0] == topic:
                yield stored.event
