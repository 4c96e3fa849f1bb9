"""How fast a change of policy reaches every processor, whatever else is queued (POL-4).

Measured in the run of `bench emergency`: each emergency and each reset is a change of policy. Every
record of a processor names how far it had read `control` when it was made (`basis`, the gateway's
`after`), so the first one that names the change bounds from above when the change was known there.
Times are the broker's.
"""

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from commands.bench_machine import summary
from schemas.topics import (
    EXECUTION_RES,
    ORDER,
    PARTITIONS_EMBEDDED,
    POSITION_UPDATE,
    SIGNAL_SAFE,
    Topic,
)
from streams.log import Log

TOLD_BY: dict[str, Topic] = {
    "risk": SIGNAL_SAFE,
    "execution": ORDER,
    "gateway": EXECUTION_RES,
    "positions": POSITION_UPDATE,
}
"""Processors that write all the time in that run, and where. `signals` rests: it has no candles."""
_KNOWN = re.compile(rb'"control/0":([0-9]+)')
APART_MS = 2_000
"""A processor that wrote nothing for so long after a change shows nothing about it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of policy: its offset on `control`, and when it was appended."""

    offset: int
    at_ms: int


def reached(log: Log, changes: Iterable[Change]) -> dict[str, Any]:
    """Milliseconds from each change to the last processor that knew it, and of each processor."""
    wanted = list(changes)
    each = {name: _of(_told(log, topic), wanted) for name, topic in TOLD_BY.items()}
    whole = [
        max(times)
        for number in range(len(wanted))
        if (times := [ms for found in each.values() if (ms := found[number]) is not None])
    ]
    return {
        "n": len(whole),
        **summary(whole),
        "processors": {
            name: {
                "n": sum(ms is not None for ms in found),
                **summary([ms for ms in found if ms is not None]),
            }
            for name, found in each.items()
        },
    }


def _told(log: Log, topic: Topic) -> list[tuple[int, int]]:
    """(broker time, how far `control` was read) of each record of a topic, by time."""
    keys = [f"{topic.name}/{number}" for number in range(PARTITIONS_EMBEDDED)]
    found = []
    for record in log.read({key: (0, end) for key, end in log.ends(keys).items()}):
        known = _KNOWN.search(record.raw or b"")
        if known is not None:
            found.append((record.timestamp_ms, int(known[1])))
    return sorted(found)


def _of(told: list[tuple[int, int]], changes: list[Change]) -> list[float | None]:
    """Of each change: milliseconds to the first record that knew it; None if there is none near."""
    found: list[float | None] = []
    for change in changes:
        begin = bisect.bisect_left(told, (change.at_ms, 0))
        later = (at for at, known in told[begin:] if known > change.offset)
        at_ms = next(later, None)
        near = at_ms is not None and at_ms - change.at_ms <= APART_MS
        found.append(float(at_ms - change.at_ms) if near and at_ms is not None else None)
    return found
