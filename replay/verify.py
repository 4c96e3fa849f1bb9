"""`verify`: every recorded decision of a log is taken again and compared byte for byte.

For each pure source its own valid records are walked in order; inputs are folded up to the `basis`
of each, the decider decides on its cause, and the canonical bytes are compared. The other way
round, every fact and request up to a source's last basis must have led to a record exactly where
the log has one. docs/verify.md says how to read what comes out.
"""

import os
import time
from collections.abc import Iterable

from domain.processors import PROCESSORS
from replay.log import LogRecord
from replay.memory_log import Stored
from replay.rebuilt import Make, make
from replay.sources import EventLog, RawRecord, RecordedLog
from replay.spool import Spool
from replay.verify_findings import Verified
from replay.verify_part import Beside, Part
from runtime.build import code_digest
from schemas.topics import EVENT_TOPICS

BESIDE = frozenset({"risk", "venue", "control"})
"""What the second process takes: about half of the work on all logs that were measured."""
SPLIT_FROM = 20_000
"""Records from which a second process is worth its start."""


def verify(
    log: EventLog | Iterable[LogRecord | Stored | RawRecord],
    *,
    processors: Iterable[str] = tuple(PROCESSORS),
    build: str | None = None,
    make: Make = make,
    elsewhere: bool = True,
    split_from: int = SPLIT_FROM,
) -> Verified:
    """Decide everything again that is recorded in `log` (a log, or records in append order with
    what is not valid among them). `build`: digest of this code, by default computed; `make`: makes
    the empty sources; `elsewhere`: ask other processes where bytes differ; `split_from`: records
    from which two processes share the work where there are two cores.

    Memory does not grow with the log; the local disk (TMPDIR) takes a copy of it meanwhile.
    Raises DamagedLogError where a broker's checksums or an archive's digests do not hold.
    """
    began, cpu = time.monotonic(), time.process_time()
    known = log if isinstance(log, EventLog) else RecordedLog(log)
    with Spool(known, EVENT_TOPICS) as spool:
        whole = Part(spool, tuple(processors), build or code_digest(), elsewhere)
        two = spool.records >= split_from and _cores() > 1 and make is _MAKE
        found = _side_by_side(whole) if two else whole.verified(make)
        found.records = spool.records
    found.details.sort(key=lambda each: (each.order, each.place))
    found.seconds = time.monotonic() - began
    found.cpu_seconds += time.process_time() - cpu
    return found


def _side_by_side(whole: Part) -> Verified:
    """Half of the processors here, half in another process. Sources do not depend on each other:
    each is decided again from what the log says the others wrote."""
    here, there = (
        Part(whole.spool, tuple(names), whole.build, whole.elsewhere)
        for names in (
            [name for name in whole.processors if name not in BESIDE],
            [name for name in whole.processors if name in BESIDE],
        )
    )
    if not here.processors or not there.processors:
        return whole.verified()
    with Beside(there) as beside:
        found = here.verified()
        found.join(beside.result())
    return found


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_MAKE = make
