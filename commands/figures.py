"""Figures of a running system for `status`, `positions`, `policy` and `emergency`: from the log.

Market and clock are not read in full: last prices come from their ends, their records are counted
by offsets.
"""

from replay.log import ends, read_kafka, starts
from replay.summary import Summary
from replay.tail import last_records
from schemas.topics import CLOCK, EVENT_TOPICS, MARKET, Topic

BUSY = (MARKET, CLOCK)
RECENT = 50


def current(bootstrap: str) -> Summary:
    """The summary as of now. Raises KafkaUnreachableError."""
    summary = _fold(bootstrap, tuple(t for t in EVENT_TOPICS if t not in BUSY))
    recent = 0
    for record in last_records(bootstrap, BUSY, RECENT):
        if record.event is not None:
            summary.fold(record.event)
            recent += 1
    begin = starts(bootstrap, BUSY)
    there = sum(end - begin.get(key, 0) for key, end in ends(bootstrap, BUSY).items())
    summary.events += there - recent
    return summary


def _fold(bootstrap: str, topics: tuple[Topic, ...]) -> Summary:
    summary = Summary()
    for record in read_kafka(bootstrap, topics):
        if record.valid and record.event is not None:
            summary.fold(record.event)
    return summary
