"""Kafka into folds on one core, as JSON: `python -m benchmarks.folds [--events N]`.

Consumer batches, the pattern of the envelope, orjson, row changes; no database. One process reads
the partitions of a log that :mod:`commands.bench_log` wrote, in runs of one partition and with the
garbage collector at rest, as a loader of a rebuild does. `per_second` is by the wall,
`per_cpu_second` by the processor time of this process, librdkafka's thread included: on a machine
that does other work too it is what can be compared. Beside it the same with models, and reading
alone.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from confluent_kafka import TopicPartition

from commands.bench_log import write_log
from commands.bench_machine import machine
from commands.bench_world import own_system
from projections.fold import Fold
from projections.log import Cursor, absorb, cursors, ends
from projections.reading import READ_MAX, Partition, consumer, runs
from projections.trusted import TrustedFold

LINES_MAX = 4_000
Run = list[tuple[int, bytes | None]]
Take = Callable[[Cursor, Run], None]


def main() -> None:
    """Write the log, read it `--times` times each way, print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    before = machine()
    with own_system("folds", None, workers=()) as system:
        log = write_log(system.kafka, given.events, progress=lambda _: None)
        ways: dict[str, Callable[[], Take]] = {
            "trusted": _trusted,
            "models": _models,
            "read": lambda: _pass,
        }
        figures = {
            name: _medians([_run(system.kafka, make()) for _ in range(given.times)])
            for name, make in ways.items()
        }
    body = {"events": log.events, "bytes": log.size, **figures["trusted"]}
    others = {name: figures[name] for name in ("models", "read")}
    print(json.dumps(body | others | {"machine": before}, indent=2))


def _trusted() -> Take:
    fold = TrustedFold()

    def take(cursor: Cursor, run: Run) -> None:
        fold.run(cursor, run)
        if len(fold.rows.lines["events"]) >= LINES_MAX:
            for lines in fold.rows.lines.values():
                lines.clear()

    return take


def _models() -> Take:
    fold = Fold()

    def take(cursor: Cursor, run: Run) -> None:
        for offset, raw in run:
            absorb(fold, cursor, offset, raw)
        if len(fold.events) >= LINES_MAX:
            fold.events.clear()

    return take


def _pass(_cursor: Cursor, _run: Run) -> None:
    """Reading alone."""


def _run(kafka: str, take: Take) -> dict[str, float]:
    places: dict[Partition, Cursor] = cursors(kafka)
    reader = consumer(kafka, "folds", bulk=True)
    left = sum(ends(reader, places).values())
    reader.assign([TopicPartition(*key, 0) for key in places])
    gc.collect()
    gc.disable()
    count, wall, cpu = left, time.perf_counter(), time.process_time()
    while left:
        for key, run in runs(reader.consume(READ_MAX, 0.1)):
            take(places[key], run)
            left -= len(run)
    gc.enable()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    reader.close()
    return {"per_second": count / wall, "per_cpu_second": count / cpu}


def _medians(runs: list[dict[str, float]]) -> dict[str, Any]:
    return {name: round(median(run[name] for run in runs)) for name in runs[0]}


if __name__ == "__main__":
    main()
