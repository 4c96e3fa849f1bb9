"""How fast verify is, and how much memory it holds: JSON on stdout.

    python -m benchmarks.verify [--days N] [--archive DIR] [--times 5]

Without an archive the engine trades N days of the shipped candles (with 24 h of warm-up) and its
log is verified. `cpu` figures are by processor time: what can be compared on a shared machine.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateways.candles import read_candles
from gateways.feed_records import fed_records
from gateways.probes import demo_script
from replay.engine import Engine, accounts_of
from replay.sources import EventLog, RawRecord, RecordedLog, open_log
from replay.verify import verify
from runtime.settings import ROOT
from schemas.codec import encode
from schemas.instruments import load_instruments

END = datetime(2021, 5, 20, tzinfo=UTC)


def traded(days: float) -> RecordedLog:
    """The log of the demo's accounts over the days before 20 May 2021."""
    start = END - timedelta(days=days)
    names = ("BTCUSDT", "ETHUSDT")
    files = [ROOT / "data" / "market" / f"{s}-1m-20210516-20210522.parquet" for s in names]
    candles = [read_candles(path) for path in files]
    records = list(
        fed_records(
            candles,
            start=start,
            end=END,
            warm_up_start=start - timedelta(hours=24),
            instruments=load_instruments(),
            funding=[],
            script=demo_script(candles, start=start, end=END),
        )
    )
    engine = Engine(accounts_of(event for _, event in records))
    for topic, event in records:
        engine.feed(topic, event)
    raw = []
    for stored in engine.log.order:
        topic, _, number = stored.key.rpartition("/")
        key = stored.event.partitionkey.encode()
        place = (topic, int(number), stored.offset, stored.order)
        raw.append(RawRecord(*place, key, encode(stored.event)))
    return RecordedLog(raw)


def measured(log: EventLog, times: int) -> dict[str, Any]:
    """Medians over so many runs."""
    before = _resident_mb()
    runs = [verify(log) for _ in range(times)]
    one = runs[0]
    seconds = statistics.median(run.seconds for run in runs)
    cpu = statistics.median(run.cpu_seconds for run in runs)
    asked = one.decisions + one.nothing
    return {
        "records": one.records,
        "decisions": one.decisions,
        "nothing": one.nothing,
        "identical": one.identical,
        "different": one.different,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "records_per_second": round(one.records / seconds),
        "records_per_cpu_second": round(one.records / cpu),
        "decisions_per_second": round(asked / seconds),
        "decisions_per_cpu_second": round(asked / cpu),
        "recorded_decisions_per_cpu_second": round(one.decisions / cpu),
        "memory_before_mb": before,
        "memory_max_mb": _resident_mb(),
    }


def _resident_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    log = open_log(archive=asked.archive) if asked.archive else traded(asked.days)
    result = measured(log, asked.times)
    result |= {"python": platform.python_version(), "machine": platform.machine()}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
