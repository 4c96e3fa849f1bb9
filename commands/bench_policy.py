"""How fast a change of policy reaches every processor, whatever else is queued (POL-4).

Measured in the run of `bench emergency`: each emergency and each reset is a change of policy. Every
record of a processor names how far it had read `control` when it was made (`basis`, the gateway's
`after`): the last one that does not name the change bounds from below when it was known there, the
first one that does from above, as closely as the processor writes. Times are the broker's, so what
was decided before a change and waited in the producer counts against the processor. What it folded
when, each says itself (`quantum_control_seconds`): of all records of `control`, in steps of its
histogram.
"""

import bisect
import re
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from commands.bench_machine import summary
from schemas.topics import (
    EXECUTION_RES,
    ORDER,
    PARTITIONS_EMBEDDED,
    POSITION_UPDATE,
    SIGNAL_SAFE,
    Topic,
)
from streams.figures import CONTROL_AGE
from streams.log import Log

TOLD_BY: dict[str, Topic] = {
    "risk": SIGNAL_SAFE,
    "execution": ORDER,
    "gateway": EXECUTION_RES,
    "positions": POSITION_UPDATE,
}
"""Processors that write all the time in that run, and where. `signals` rests: it has no candles."""
_KNOWN = re.compile(rb'"control/0":([0-9]+)')
FOLDING = ("control", "signals", "risk", "execution", "gateway", "positions", "safety")
"""Processors that read `control`."""
WANTED_S = 0.05
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


class Folding:
    """How long records of `control` took to be folded by each processor since this was made.
    `logs`: the folder of the run's logs and port files."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._before = {name: self._read(name) for name in FOLDING}

    def _read(self, name: str) -> Counter[float]:
        """Cumulative counts by upper bound in seconds."""
        port = int((self._logs / f"{name}.port").read_text())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        found: Counter[float] = Counter()
        for family in families:
            for sample in family.samples:
                if sample.name == f"{CONTROL_AGE}_bucket":
                    found[float(sample.labels["le"])] = int(sample.value)
        return found

    def figures(self) -> dict[str, dict[str, float]]:
        """Of each processor: n, the share within 50 ms in %, and the bound of the histogram (ms)
        that 99 % are within."""
        made = {}
        for name, before in self._before.items():
            now = self._read(name)
            counts = {bound: now[bound] - before[bound] for bound in sorted(now)}
            n = max(counts.values(), default=0)
            if n:
                p99 = next(bound for bound, count in counts.items() if count >= 0.99 * n)
                within = round(100 * counts[WANTED_S] / n, 2)
                made[name] = {"n": n, "within_50_ms_pct": within, "p99_within_ms": p99 * 1000}
        return made


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
