"""What came into a recorded run from outside, and running the deciders on it again.

Outside are market, clock, people's commands, hand-made signals and intents, and what people did at
the venue themselves. Everything else in a log follows from them and is decided again.
"""

from collections.abc import Iterable, Iterator

from replay.engine import Engine
from replay.log import LogRecord
from replay.memory_log import MemoryLog, Stored
from replay.sources import EventLog
from schemas.envelope import Envelope
from schemas.topics import (
    CLOCK,
    COMMANDS_CONTROL,
    COMMANDS_TRADE,
    CONTROL,
    EXECUTION_RES,
    INTENT,
    MARKET,
    ORDER,
    PARTITIONS_EMBEDDED,
    POSITION_UPDATE,
    SIGNAL,
    SIGNAL_SAFE,
    TOPICS,
    VENUE_REQUEST,
)

REQUESTS = (COMMANDS_CONTROL, COMMANDS_TRADE, SIGNAL, INTENT, VENUE_REQUEST)
"""Topics on which a person's or another party's record names an account."""
OUTSIDE = frozenset(topic.name for topic in (*REQUESTS, MARKET, CLOCK))
FED = (MARKET.name, CLOCK.name)
DECIDED = frozenset(
    topic.name for topic in (CONTROL, SIGNAL, SIGNAL_SAFE, ORDER, EXECUTION_RES, POSITION_UPDATE)
)
"""Topics whose decided records a rerun is compared in."""
ABOUT_PROCESSES = ("source.fenced", "source.checkpointed", "source.skipped", "worker.")


def is_outside(record: LogRecord) -> bool:
    """Whether a record came from outside: an input to feed again."""
    event = record.event
    if event is None or event.epoch is not None or record.topic not in OUTSIDE:
        return False
    return record.topic != VENUE_REQUEST.name or not event.source.startswith("/gateway/")


def is_decided(topic: str, event: Envelope) -> bool:
    """Whether an event of a topic follows from others and is compared with its replay."""
    return (
        topic in DECIDED and event.epoch is not None and not event.type.startswith(ABOUT_PROCESSES)
    )


def in_event_order(records: Iterable[LogRecord]) -> Iterator[LogRecord]:
    """Records as a log gives them, but market and clock records that a broker appended in the same
    millisecond in the order of their event times: the feed published them one after the other."""
    group: list[LogRecord] = []
    for record in records:
        if group and record.timestamp_ms != group[0].timestamp_ms:
            yield from _fed_in_order(group)
            group = []
        group.append(record)
    yield from _fed_in_order(group)


def _fed_in_order(group: list[LogRecord]) -> list[LogRecord]:
    places = [n for n, r in enumerate(group) if r.topic in FED and r.event is not None]
    if len(places) < 2:
        return group
    fed = sorted((group[n] for n in places), key=_instant)
    for place, record in zip(places, fed, strict=True):
        group[place] = record
    return group


def _instant(record: LogRecord) -> tuple[str, bool]:
    """At one instant the market comes before the tick; of one topic the order is kept."""
    return record.event.time if record.event else "", record.topic == CLOCK.name


def partitions_in(log: EventLog) -> int:
    """How many account partitions a log was written with: source names, and with them all ids,
    depend on it. A log that holds only some of them is one of the embedded ones."""
    numbers = {int(key.rpartition("/")[2]) for key in log.ends((ORDER,))}
    whole = bool(numbers) and numbers == set(range(len(numbers)))
    return len(numbers) if whole else PARTITIONS_EMBEDDED


def accounts_in(log: EventLog) -> list[str]:
    """Accounts that records from outside name, in order of their names."""
    return sorted(
        {r.event.partitionkey for r in log.read(REQUESTS) if is_outside(r) and r.event is not None}
    )


class _Passing(MemoryLog):
    """Counts offsets and hands records on; keeps none, so a long log needs no more memory."""

    def __init__(self, before: MemoryLog) -> None:
        super().__init__()
        self._ends = {key: before.end(key) for key in before.partitions}
        self._count = len(before.order)
        self.fresh: list[Stored] = []

    def append(self, key: str, event: Envelope) -> Stored:
        stored = Stored(key, self.end(key), self._count, event)
        self._ends[key] = stored.offset + 1
        self._count += 1
        self.fresh.append(stored)
        return stored

    def end(self, key: str) -> int:
        return self._ends.get(key, 0)


class Rerun:
    """The deciders of this code on inputs fed one by one, each run to quiescence."""

    def __init__(self, accounts: Iterable[str], *, partitions: int) -> None:
        self._engine = Engine(accounts, partitions=partitions)
        self._log = _Passing(self._engine.log)
        self._engine.log = self._log

    def feed(self, topic: str, event: Envelope) -> list[Stored]:
        """Feed an outside record; it and everything that followed, in append order."""
        if topic not in TOPICS:
            raise ValueError(f"{topic} is no topic of this system: nothing can be fed to it")
        self._engine.feed(topic, event)
        fresh, self._log.fresh = self._log.fresh, []
        return fresh
