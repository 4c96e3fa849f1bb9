"""Valid records of a log in memory: what every check of a simulation looks at."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from schemas.codec import RecordError, decode, decode_request
from schemas.envelope import Envelope
from schemas.topics import TOPICS
from schemas.validity import Validity


class Placed(Protocol):
    """A record as it lies in a partition (`streams.log.Incoming` is one)."""

    @property
    def key(self) -> str:
        """``topic/partition``."""

    @property
    def offset(self) -> int: ...

    @property
    def raw(self) -> bytes | None: ...


class Found(NamedTuple):
    """A valid record and where it lies. `key`: ``topic/partition``."""

    key: str
    offset: int
    event: Envelope


class BrokenPromise(AssertionError):
    """Something that must hold whatever happens does not. The text says what, and where."""


def items_of(event: Envelope) -> Sequence[Any]:
    """Parts of a record; none for those that have no parts."""
    found: Sequence[Any] = getattr(getattr(event, "data", None), "items", ())
    return found


@lru_cache(maxsize=20_000)
def event_of(raw: bytes, key: str, offset: int) -> Envelope | None:
    """The event of a record; None where it is none."""
    topic, _, number = key.rpartition("/")
    try:
        if TOPICS[topic].people:
            return decode_request(raw, topic=topic, partition=int(number), offset=offset)
        return decode(raw)
    except RecordError:
        return None


class Judge:
    """Judges records in append order: each partition by its own order, outside events once."""

    def __init__(self) -> None:
        self.filters: dict[str, Validity] = {}
        self.seen: set[str] = set()

    def valid(self, record: Placed) -> Envelope | None:
        """The event if it counts. Raises SequenceGap where records of a source are missing."""
        event = event_of(record.raw or b"", record.key, record.offset)
        return event if event is not None and self.admit(record.key, event) else None

    def admit(self, key: str, event: Envelope) -> bool:
        """Whether the next event of a partition counts. SequenceGap."""
        if not self.filters.setdefault(key, Validity()).admit(event):
            return False
        if event.epoch is None:
            if event.id in self.seen:
                return False
            self.seen.add(event.id)
        return True


def valid(records: Iterable[Placed]) -> list[Found]:
    """All valid records, in append order; outside events are valid the first time."""
    judge = Judge()
    found: list[Found] = []
    for record in records:
        event = judge.valid(record)
        if event is not None:
            found.append(Found(record.key, record.offset, event))
    return found
