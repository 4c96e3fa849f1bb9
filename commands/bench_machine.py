"""What a figure was measured on: cores, memory, load, versions. Without it a figure says little."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("faust-streaming", "aiokafka", "confluent-kafka", "pydantic", "psycopg")
KIB = 1024


def machine() -> dict[str, Any]:
    """Date, processor, cores, memory in MiB, load average (1, 5, 15 minutes), versions."""
    from runtime.build import code_digest

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int((_first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // KIB,
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "build": code_digest(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _first(file: str, field: str) -> str | None:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(field))
    return next(values, None)


def summary(values_ms: list[float]) -> dict[str, float | None]:
    """p50, p99 and maximum of latencies in milliseconds; None without any."""
    if not values_ms:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None}
    ordered = sorted(values_ms)
    last = len(ordered) - 1
    return {
        "p50_ms": round(ordered[last // 2], 2),
        "p99_ms": round(ordered[min(last, int(0.99 * len(ordered)))], 2),
        "max_ms": round(ordered[last], 2),
    }


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    """Processor seconds each process has used so far, by name; those that are gone are left out."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for name, pid in {**pids, "probe": os.getpid()}.items():
        try:
            after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[name] = round((int(after[11]) + int(after[12])) / tick, 2)
    return found


def spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Processor seconds between two readings, the busiest first."""
    used = {name: round(value - before.get(name, 0.0), 2) for name, value in after.items()}
    return dict(sorted(used.items(), key=lambda pair: -pair[1]))
