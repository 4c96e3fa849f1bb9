"""Hours of trading in minutes: whether memory, open files and lag stay flat (issue "hardened").

The demo's days (17-19 May 2021) are told again and again with later dates, at full speed, with its
accounts and probes. Every few seconds each process is looked at. A least-squares line through what
was seen after the warm-up says how fast each figure grows; the verdict says whether that is flat.
"""

import math
import os
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from commands.bench_world import own_system
from commands.console import CommandError, ExitCode, say
from commands.lag import ProgressBoard
from commands.live import DATA, FeedPlan, LiveSystem
from replay.log import ends
from replay.tail import last_records
from schemas.topics import EVENT_TOPICS, PROGRESS

FIRST, DAYS = datetime(2021, 5, 17, tzinfo=UTC), 3
DAY_MS = 86_400_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
DAYS_A_MINUTE = 2.5
"""More event days than the fastest machine known gets through in a minute (1.3)."""
EVERY_S = 2.0
WARM_UP = 0.25
"""Share of the run before the line begins: caches fill, code is compiled."""
FLAT_MIB, FLAT_SHARE = 8.0, 0.05
"""Memory is flat if the line rises by no more than that over what was seen, whichever is more."""
FLAT_FILES = 3.0
LAG_MAX = 5_000.0
"""Records a worker may be behind in the median; the feed waits for all but the projector."""
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 1_048_576
Series = dict[str, list[tuple[float, float]]]
"""By process: (seconds since the start, value)."""


def looped(folder: Path, loops: int) -> tuple[list[str], datetime]:
    """Candle files of the demo's days told `loops` times, one day of warm-up before; their paths
    and the end of the last day."""
    folder.mkdir(parents=True, exist_ok=True)
    first_ms = int(FIRST.timestamp() * 1000)
    last = FIRST + timedelta(days=DAYS * loops)
    paths = []
    for symbol in SYMBOLS:
        table = pq.read_table(DATA / f"{symbol}-1m-20210516-20210522.parquet")
        stamps = table.column("ts").to_numpy()
        before = table.filter(pa.array(stamps < first_ms))
        days = table.filter(pa.array((stamps >= first_ms) & (stamps < first_ms + DAYS * DAY_MS)))
        told = [before]
        for loop in range(loops):
            moved = days.column("ts").to_numpy() + loop * DAYS * DAY_MS
            told.append(days.set_column(0, "ts", pa.array(moved, pa.int64())))
        path = folder / f"{symbol}-1m-20210516-{last:%Y%m%d}.parquet"
        pq.write_table(pa.concat_tables(told), path)
        paths.append(str(path))
    return paths, last


def soak(minutes: float) -> dict[str, Any]:
    """Run for so long (the feed may end earlier on a very fast machine); slopes and a verdict."""
    with own_system("soak", None) as system:
        loops = math.ceil(minutes * DAYS_A_MINUTE / DAYS) + 1
        paths, last = looped(system.run.folder / "candles", loops)
        days = ("--from", f"{FIRST:%Y-%m-%dT%H:%M}", "--to", f"{last:%Y-%m-%dT%H:%M}")
        system.supervisor.add([system._feed(FeedPlan((*paths, *days, "--demo")))])
        say(f"{loops * DAYS} event days at most, for {minutes:g} minutes")
        seen = _watch(system, minutes * 60)
        restarts = {n: s["restarts"] for n, s in system.supervisor.state().items()}
        counts = _counts(system.kafka)
    return _figures(seen, counts, restarts)


def _watch(system: LiveSystem, seconds: float) -> dict[str, Series]:
    seen: dict[str, Series] = {name: defaultdict(list) for name in ("rss_mib", "files", "lag")}
    seen["topics_mib"] = defaultdict(list)
    began = looked = time.monotonic()
    while (now := time.monotonic()) - began < seconds and system.feed_done() is None:
        system.check()
        if system.interrupted:
            raise CommandError("interrupted; everything is stopped", ExitCode.INTERRUPTED)
        if (why := system.feed_error()) is not None:
            raise CommandError(f"the feed ended: {why}")
        if now - looked >= EVERY_S:
            looked = now
            _look(system, now - began, seen)
        time.sleep(0.2)
    return seen


def _look(system: LiveSystem, at_s: float, seen: dict[str, Series]) -> None:
    for name, pid in {**system.supervisor.pids(), "probe": os.getpid()}.items():
        try:
            resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MIB
            files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        seen["rss_mib"][name].append((at_s, resident))
        seen["files"][name].append((at_s, float(files)))
    board = ProgressBoard()
    for record in last_records(system.kafka, (PROGRESS,), 500):
        board.take(record.raw, record.timestamp_ms)
    for name, records in board.lag(ends(system.kafka)).items():
        seen["lag"][name].append((at_s, float(records)))
    sizes: dict[str, int] = defaultdict(int)
    for file in (system.run.folder / "kafka" / "log").glob("*/*.log"):
        sizes[file.parent.name.rpartition("-")[0]] += file.stat().st_size
    for topic, size in sizes.items():
        if size > 0 and not topic.startswith("__"):
            seen["topics_mib"][topic].append((at_s, size / 1_048_576))


def _counts(kafka: str) -> dict[str, int]:
    names = {topic.name for topic in EVENT_TOPICS}
    counts: dict[str, int] = defaultdict(int)
    for key, end in ends(kafka).items():
        if key.rpartition("/")[0] in names:
            counts[key.rpartition("/")[0]] += end
    return dict(counts)


def line(points: list[tuple[float, float]]) -> dict[str, float]:
    """First and last value, and the least-squares line after the warm-up: `per_hour`, and
    `rise` over the time it covers."""
    from_s = points[0][0] + (points[-1][0] - points[0][0]) * WARM_UP
    kept = np.array([point for point in points if point[0] >= from_s])
    at, values = kept[:, 0], kept[:, 1]
    slope = float(np.polyfit(at - at[0], values, 1)[0]) if len(kept) > 2 else 0.0
    return {
        "first": round(points[0][1], 2),
        "last": round(points[-1][1], 2),
        "median": round(float(np.median(values)), 2),
        "max": round(max(value for _, value in points), 2),
        "per_hour": round(slope * 3600, 2),
        "rise": round(slope * float(at[-1] - at[0]), 2),
    }


def grows(figure: str, found: dict[str, float]) -> bool:
    """Whether a line is not flat."""
    if figure == "rss_mib":
        return found["rise"] > max(FLAT_MIB, FLAT_SHARE * found["median"])
    if figure == "files":
        return found["rise"] > FLAT_FILES
    return figure == "lag" and found["median"] > LAG_MAX


def _figures(
    seen: dict[str, Series], counts: dict[str, int], restarts: dict[str, int]
) -> dict[str, Any]:
    samples = {name: len(points) for name, points in seen["rss_mib"].items()}
    if not samples or max(samples.values()) < 10:
        raise CommandError(f"too short: {max(samples.values(), default=0)} looks, 10 are needed")
    lines = {
        figure: {name: line(points) for name, points in sorted(series.items()) if len(points) > 2}
        for figure, series in seen.items()
    }
    growing = [
        f"{name}: {figure} +{found['rise']:g} ({found['per_hour']:+g}/h)"
        for figure, by_name in lines.items()
        for name, found in by_name.items()
        if grows(figure, found)
    ]
    restarted = [f"{name}: started again {n} times" for name, n in restarts.items() if n]
    seconds = max(points[-1][0] for points in seen["rss_mib"].values())
    return {
        "seconds": round(seconds, 1),
        "events": sum(counts.values()),
        "events_per_second": round(sum(counts.values()) / seconds, 1),
        "flat": not growing and not restarted,
        "growing": [*growing, *restarted],
        "samples": max(samples.values()),
        **lines,
        "records": counts,
    }
