"""How fast `verify` is: JSON on stdout.

    python -m benchmarks.verify [--days 3] [--signals 1000] [--archive DIR] [--times 5]

Two logs of the in-process engine: `day`, the demo's accounts over shipped candles, where most
records are market; `dense`, 32 accounts whose signals are all approved, where most records are
decisions. `--archive` takes a recorded run instead. A decision is counted in three ways, each with
its rate:

- `recorded`: records of deciders, taken again and compared byte for byte;
- `taken`: these, and facts on which a decider was called and, as in the log, gave nothing;
- `consulted`: these, and inputs of which a decider said that they concern no account, as the live
  shell asks it after each input that it could have something to say on.

`per_second` is by the wall, with two processes where the log is long enough; `per_cpu_second` by
the processor time of both: what can be compared on a machine that does other work.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.verify_logs import day, dense
from commands.bench_machine import machine
from replay.sources import EventLog, open_log
from replay.verify import verify
from replay.verify_findings import Verified

PARTS = 2
"""Signals a record in the dense log."""


def measured(log: EventLog, times: int) -> dict[str, Any]:
    """Medians over so many runs; RuntimeError if anything differs."""
    verify(log)
    runs = [verify(log) for _ in range(times)]
    one = runs[0]
    if any(run.different for run in runs):
        raise RuntimeError(f"{one.different} decisions differ: {one.details[:1]}")
    seconds = statistics.median(run.seconds for run in runs)
    cpu = statistics.median(run.cpu_seconds for run in runs)
    counts = _counts(one)
    return {
        "records": one.records,
        "identical": one.identical,
        "different": one.different,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "counts": counts,
        "per_second": {name: round(count / seconds) for name, count in counts.items()},
        "per_cpu_second": {name: round(count / cpu) for name, count in counts.items()},
    }


def _counts(one: Verified) -> dict[str, int]:
    return {
        "recorded": one.decisions,
        "taken": one.decisions + one.nothing,
        "consulted": one.consulted,
        "records": one.records,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--signals", type=int, default=1_000)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    before = machine()
    if asked.archive:
        result = {"archive": measured(open_log(archive=asked.archive), asked.times)}
    else:
        result = {
            "day": measured(day(asked.days), asked.times),
            "dense": measured(dense(asked.signals, PARTS), asked.times),
        }
    sys.stdout.write(json.dumps(result | {"machine": before}, indent=1) + "\n")


if __name__ == "__main__":
    main()
