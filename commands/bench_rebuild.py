"""Rebuilding from a long log: written, projected, then rebuilt and compared."""

import time
from typing import Any

from commands.bench_log import write_log
from commands.console import CommandError, say
from commands.live import LiveSystem
from projections.database import connect
from projections.digest import offsets_of
from projections.log import cursors, ends
from projections.reading import consumer
from projections.rebuild import RebuildResult
from projections.rebuild import rebuild as run
from projections.tables import LIVE

QUIET_S = 60.0


def rebuild(system: LiveSystem, *, events: int) -> dict[str, Any]:
    """Figures of a rebuild with comparison on a running system whose topics are empty.

    The live tables are the projector's, made with models from the same log, so `equal` says that
    trusted bytes fold as models do. Raises CommandError when the projector stands still.
    """
    say(f"writing {events:,} records")
    log = write_log(system.kafka, events, progress=lambda count: system.check())
    say(f"{log.events:,} records of {log.accounts:,} accounts; the projector takes them in")
    started = time.perf_counter()
    missing = _project(system)
    projected = time.perf_counter() - started
    say("rebuilding")
    result: RebuildResult = run(system.kafka, system.postgres, verify=True)
    for line in result.differences[:5]:
        say(line)
    return {
        "events": result.events,
        "seconds": result.seconds,
        "events_per_second": result.events_per_second,
        "load_events_per_second": result.load_events_per_second,
        "equal": result.equal,
        "memory_mib": result.memory_mib,
        "folded_pct": round(100 * log.folded / log.events, 1),
        "bytes": log.size,
        "accounts": log.accounts,
        "phases": result.phases,
        "projector_per_second": round(missing / projected, 1) if missing else None,
    }


def _project(system: LiveSystem) -> int:
    """Wait for the projector; returns how many records it still had before it."""
    places = cursors(system.kafka)
    reader = consumer(system.kafka, "ends")
    try:
        wanted = ends(reader, places)
    finally:
        reader.close()
    first = last = -1
    moved = time.monotonic()
    with connect(system.postgres, autocommit=True) as connection:
        while True:
            system.check()
            reached = offsets_of(connection, LIVE)
            left = sum(max(0, end - reached.get(key, 0)) for key, end in wanted.items())
            first = left if first < 0 else first
            if not left:
                return first
            if left != last:
                last, moved = left, time.monotonic()
            if time.monotonic() - moved > QUIET_S or system.interrupted:
                raise CommandError(f"the projector stands still, {left:,} records before the end")
            time.sleep(0.2)
