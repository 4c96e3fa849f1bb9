"""How much memory reading commands take for logs of growing length: JSON on stdout.

    python -m benchmarks.memory [--days 1 3 6]

For each length the engine's log is written to an archive; then each command runs in a process of
its own, and the most it held at once (`ru_maxrss`, the larger of its processes) is noted. `copy`
reads the archive and writes another one, as `archive` does from a broker. The log is made in a
process of its own too: what a process starts begins with the high-water mark of its parent.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from commands.bench_machine import machine
from replay.archive_writing import archive
from replay.sources import EventLog, KafkaLog, RawRecord, Topics, open_log
from runtime.settings import ROOT
from schemas.topics import EVENT_TOPICS

MAKE = "from benchmarks.memory import make; import sys; make(float(sys.argv[1]), sys.argv[2])"
COPY = "from benchmarks.memory import copy; import sys; copy(sys.argv[1], sys.argv[2])"


class AsKafka(KafkaLog):
    """Another log in the form in which `archive` reads a broker."""

    def __init__(self, log: EventLog) -> None:
        super().__init__("none")
        self.log = log

    def starts(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return self.log.starts(topics)

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return self.log.starts(topics) | self.log.ends(topics)

    def topic_ids(self) -> dict[str, str]:
        return {topic.name: topic.name for topic in EVENT_TOPICS}

    def raw_range(self, ranges: dict[str, tuple[int, int]]) -> Iterator[RawRecord]:
        for record in self.log.raw():
            first, end = ranges.get(f"{record.topic}/{record.partition}", (0, 0))
            if first <= record.offset < end:
                yield record


def make(days: float, target: str) -> None:
    """Write an archive of so many days; its records and their bytes go to stdout."""
    from benchmarks.verify_logs import day

    log = day(days)
    archive(AsKafka(log), Path(target), topics=EVENT_TOPICS)
    sys.stdout.write(f"{len(log.records)} {sum(len(r.value or b'') for r in log.records)}")


def copy(source: str, target: str) -> None:
    """Write an archive of an archive."""
    archive(AsKafka(open_log(archive=Path(source))), Path(target), topics=EVENT_TOPICS)


def most_mib(command: list[str]) -> float:
    """Run a command; the most its processes held, each for itself. RuntimeError if it fails."""
    with tempfile.TemporaryFile() as said:
        started = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT)
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        if started.returncode:
            said.seek(0)
            raise RuntimeError(f"{command}: {said.read().decode()[-500:]}")
    return round(usage.ru_maxrss / 1024, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, nargs="+", default=[1.0, 3.0, 6.0])
    asked = parser.parse_args()
    quantum = [sys.executable, "-m", "commands"]
    rows = []
    for days in asked.days:
        with tempfile.TemporaryDirectory() as folder:
            first, second = Path(folder) / "one", Path(folder) / "two"
            told = [sys.executable, "-c", MAKE, str(days), str(first)]
            made = subprocess.run(told, capture_output=True, check=True, cwd=ROOT).stdout.split()
            row = {"records": int(made[0]), "mib": round(int(made[1]) / 2**20, 1)}
            at = ["state", "--event-time", "--at", "2021-05-19T20:00"]
            for name, command in {
                "verify": [*quantum, "verify", "--archive", str(first)],
                "state": [*quantum, *at, "--archive", str(first)],
                "events": [*quantum, "events", "--archive", str(first), "--topic", "control"],
                "copy": [sys.executable, "-c", COPY, str(first), str(second)],
            }.items():
                row[f"{name}_mib"] = most_mib(command)
            rows.append(row)
    sys.stdout.write(json.dumps({"logs": rows, "machine": machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
