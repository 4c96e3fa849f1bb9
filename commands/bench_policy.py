"""How fast a change of policy reaches every processor, whatever else is queued (POL-4).

Measured in the run of `bench emergency`: each emergency and each reset is a change of policy. Every
record of a processor names how far it had read `control` when it was made (`basis`, the gateway's
`after`): the last one that does not name the change bounds from below when it was known there, the
first one that does from above, as closely as the processor writes. Times are the broker's.
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


@dataclass(frozen=True, slots=True)
class Bounds:
    """Milliseconds from a change to the last record without it, and to the first one with it."""

    below: float
    above: float


def reached(log: Log, changes: Iterable[Change]) -> dict[str, Any]:
    """Milliseconds from each change to the last record that did not know it (0: none), over all
    processors and of each; `known_…`: to the first record that knew it, of the slowest of them."""
    wanted = list(changes)
    each = {name: _of(_told(log, topic), wanted) for name, topic in TOLD_BY.items()}
    columns = [[b for b in column if b is not None] for column in zip(*each.values(), strict=True)]
    whole = [
        Bounds(max(b.below for b in column), max(b.above for b in column))
        for column in columns
        if column
    ]
    return {
        **_figures(whole),
        "processors": {
            name: _figures([b for b in found if b is not None]) for name, found in each.items()
        },
    }


def _figures(found: list[Bounds]) -> dict[str, Any]:
    above = summary([bounds.above for bounds in found])
    below = summary([bounds.below for bounds in found])
    return {"n": len(found), **below, **{f"known_{name}": ms for name, ms in above.items()}}


def _told(log: Log, topic: Topic) -> list[tuple[int, int]]:
    """(broker time, how far `control` was read) of each record of a topic, by time."""
    keys = [f"{topic.name}/{number}" for number in range(PARTITIONS_EMBEDDED)]
    found = []
    for record in log.read({key: (0, end) for key, end in log.ends(keys).items()}):
        known = _KNOWN.search(record.raw or b"")
        if known is not None:
            found.append((record.timestamp_ms, int(known[1])))
    return sorted(found)


def _of(told: list[tuple[int, int]], changes: list[Change]) -> list[Bounds | None]:
    """Of each change: when it was known; None where the processor wrote nothing soon after."""
    found: list[Bounds | None] = []
    for change in changes:
        begin = bisect.bisect_left(told, (change.at_ms, 0))
        end = bisect.bisect_right(told, (change.at_ms + APART_MS, 1 << 62))
        near = told[begin:end]
        above = next((at - change.at_ms for at, known in near if known > change.offset), None)
        below = max((at - change.at_ms for at, known in near if known <= change.offset), default=0)
        found.append(None if above is None else Bounds(float(below), float(above)))
    return found
