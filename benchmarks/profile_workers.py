"""Where the workers' time goes: the records of a benched run, taken again in one process.

``python -m benchmarks.profile_workers record --log bench.log --signals 2000 --parts 2`` runs
`bench throughput` and keeps every record of its topics; ``… replay --log bench.log`` then gives
each processor's shell the records it reads, in append order, with a log in memory, and prints
JSON: microseconds a record and a signal by processor, and the shares of decode (bytes to event),
fold, decide (with the fold of the own record), encode, publish (the append's bookkeeping) and shell
(locks, queues, readiness). No broker, no Faust, no progress reports: what the processes use above
this (`cpu_seconds` of the bench) is clients and threads. `--top risk` adds a cProfile of one.
"""

import argparse
import cProfile
import gc
import io
import pstats
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

import streams.gateway
import streams.shell
from domain.processors import PROCESSORS, partitions_of
from schemas.codec import decode, encode
from schemas.topics import EVENT_TOPICS, PARTITIONS_EMBEDDED, partitions
from schemas.trade import SignalPublished
from streams.gateway import GatewayShell, GatewaySource
from streams.log import Delivered, Incoming
from streams.recovery import Identity
from streams.shell import Shell

STAGES = ("decode", "fold", "decide", "encode", "publish", "shell")
IDENTITY = Identity("profile", "profile")
SIGNALLED = b'"trade.signal.published.v1"'
QUIET_TRIES = 12
"""How often the recording looks whether the system has come to rest, 0.9 s apart."""


class Sink:
    """A log that has everything at once and hands back only what a fence needs to see."""

    def __init__(self) -> None:
        self.records: dict[str, list[Incoming]] = {}
        self.appended = 0

    def end(self, key: str, *, timeout_s: float = 10.0) -> int:
        """How much this process appended to a partition while it was starting."""
        return len(self.records.get(key, ()))

    def ends(self, keys: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, int]:
        """The same of several."""
        return {key: self.end(key) for key in keys}

    def read(self, ranges: Mapping[str, tuple[int, int]]) -> Iterator[Incoming]:
        """What was appended while starting."""
        for key, (start, end) in ranges.items():
            yield from self.records.get(key, [])[start:end]

    def start(self, key: str) -> int:
        """Nothing was deleted."""
        return 0

    def append(self, key: str, raw: bytes, message_key: str, delivered: Delivered) -> None:
        """Deliver at once. Fences are kept, what follows is counted."""
        self.appended += 1
        offset = self.appended
        if b'"source.fenced.v1"' in raw[:120]:
            kept = self.records.setdefault(key, [])
            offset = len(kept)
            kept.append(Incoming(key, offset, 0, message_key.encode(), raw))
        delivered(offset)

    def flush(self) -> None:
        """Nothing is ever on its way."""

    def dead_letter(self, processor: str, record: Incoming, reason: str) -> None:
        """A recorded run has none that matter here; say so if it does."""
        print(f"{processor}: dead letter of {record.key} {record.offset}: {reason}")


class Stages:
    """Time by stage, each without the stages called from it."""

    def __init__(self) -> None:
        self.ns = dict.fromkeys(STAGES, 0)
        self._open: list[int] = []

    def around(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, timed as `stage`."""

        def timed(*args: Any, **more: Any) -> Any:
            began = time.perf_counter_ns()
            self._open.append(0)
            try:
                return work(*args, **more)
            finally:
                self._close(stage, began)

        return timed

    def each(self, stage: str, work: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
        """The same for a generator: the steps into it count, what is done between them not."""

        def timed(*args: Any, **more: Any) -> Iterator[Any]:
            steps = work(*args, **more)
            step = self.around(stage, lambda: next(steps, None))
            while (record := step()) is not None:
                yield record

        return timed

    def _close(self, stage: str, began: int) -> None:
        spent = time.perf_counter_ns() - began
        self.ns[stage] += spent - self._open.pop()
        if self._open:
            self._open[-1] += spent


def watch(shell: Shell, stages: Stages) -> Callable[[Incoming], None]:
    """Put timers around the stages of one shell and return its timed `receive`."""
    for source in shell.sources.values():
        for name, stage in (("fold", "fold"), ("advance", "fold")):
            setattr(source, name, stages.around(stage, getattr(source, name)))
        source.decide = stages.each("decide", source.decide)  # type: ignore[method-assign]
        if isinstance(source, GatewaySource):
            source.record = stages.around("decide", source.record)  # type: ignore[method-assign]
            source.core.due = stages.around(  # type: ignore[method-assign]
                "decide", source.core.due
            )
    shell._take = stages.around("decode", shell._take)  # type: ignore[method-assign]
    shell._append = stages.around("publish", shell._append)  # type: ignore[method-assign]
    for room in (streams.shell, streams.gateway):
        vars(room)["encode"] = stages.around("encode", encode)
    if isinstance(shell, GatewayShell):
        pumped = shell
        shell._barrier = lambda numbers: True  # type: ignore[method-assign]

        def take_and_send(record: Incoming) -> None:
            pumped.receive(record)
            pumped.pump()

        return stages.around("shell", take_and_send)
    return stages.around("shell", shell.receive)


def build(processor: str) -> tuple[Shell, Sink]:
    """A started shell of a processor on a log of its own."""
    log = Sink()
    numbers = partitions_of(processor, PARTITIONS_EMBEDDED)
    shell: Shell
    if processor == "gateway":
        shell = GatewayShell(PARTITIONS_EMBEDDED, log, IDENTITY, sender=False, barrier_s=0)
    else:
        shell = Shell(processor, PARTITIONS_EMBEDDED, log, IDENTITY)
    shell.acquire(numbers)
    return shell, log


def load(path: Path) -> list[Incoming]:
    """Records of a recorded run in append order."""
    found = []
    with path.open("rb") as lines:
        for line in lines:
            key, offset, at, message_key, raw = orjson.loads(line)
            found.append(Incoming(key, offset, at, message_key.encode(), raw.encode()))
    return found


def replay(processor: str, records: list[Incoming], *, top: int = 0) -> dict[str, Any]:
    """One processor over its inputs: figures from the first signal on."""
    shell, log = build(processor)
    stages = Stages()
    plain = top and not isinstance(shell, GatewayShell)
    receive = shell.receive if plain else watch(shell, stages)
    inputs = set(shell.inputs())
    signals = [n for n, r in enumerate(records) if SIGNALLED in (r.raw or b"")[:120]]
    first = signals[0] if signals else 0
    for record in records[:first]:
        receive(record)
    stages.ns = dict.fromkeys(STAGES, 0)
    mine = [record for record in records[first:] if record.key in inputs]
    appended = log.appended
    profile = cProfile.Profile() if top else None
    gc.collect()
    gc.freeze()
    gc.disable()
    began = time.perf_counter_ns()
    if profile:
        profile.enable()
    for record in mine:
        receive(record)
    if profile:
        profile.disable()
    spent = time.perf_counter_ns() - began
    gc.enable()
    if profile:
        _print_profile(profile, top)
    whole = sum(stages.ns.values()) or 1
    parts = sum(_parts(records[n]) for n in signals) or 1
    return {
        "records": len(mine),
        "written": log.appended - appended,
        "us_per_record": round(spent / 1000 / max(1, len(mine)), 1),
        "us_per_signal": round(spent / 1000 / parts, 1),
        "left_waiting": sum(len(queue) for queue in shell._queues.values()),
        "shares_pct": {k: round(100 * v / whole, 1) for k, v in stages.ns.items()},
    }


def _parts(record: Incoming) -> int:
    event = decode(record.raw)
    return len(event.data.items) if isinstance(event, SignalPublished) else 0


def _print_profile(profile: cProfile.Profile, top: int) -> None:
    out = io.StringIO()
    pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(top)
    print(out.getvalue(), file=sys.stderr)


def record(path: Path, *, signals: int, parts: int, accounts: int, symbols: int) -> dict[str, Any]:
    """Run `bench throughput` and keep the records of all its topics."""
    from commands.bench_speed import throughput
    from commands.bench_world import World, own_system
    from commands.live import FeedPlan

    with own_system("profile", FeedPlan()) as system:
        world = World(system, accounts=accounts, symbols=symbols)
        try:
            world.open()
            figures = throughput(world, signals=signals, parts=parts)
            _keep(world, path)
        finally:
            world.close()
    return figures


def _keep(world: Any, path: Path) -> None:
    keys = [f"{t.name}/{n}" for t in EVENT_TOPICS for n in range(partitions(t, 8))]
    ends = world.log.ends(keys)
    for _ in range(QUIET_TRIES):
        time.sleep(0.9)  # until what follows from the last order is there too
        world.check()
        now = world.log.ends(keys)
        paced = ("market/", "clock/")
        if all(now[key] == ends[key] for key in keys if not key.startswith(paced)):
            break
        ends = now
    found = list(world.log.read({key: (0, end) for key, end in ends.items()}))
    found.sort(key=lambda r: (r.timestamp_ms, r.key, r.offset))
    with path.open("wb") as target:
        for r in found:
            row = (r.key, r.offset, r.timestamp_ms)
            texts = ((r.message_key or b"").decode(), (r.raw or b"").decode())
            target.write(orjson.dumps([*row, *texts]) + b"\n")


def main(arguments: list[str] | None = None) -> None:
    """Record or replay; JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("what", choices=("record", "replay"))
    parser.add_argument("--log", type=Path, required=True, help="file of the recorded records")
    parser.add_argument("--signals", type=int, default=2_000)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--only", help="one processor")
    parser.add_argument("--top", help="cProfile of this processor on stderr")
    options = parser.parse_args(arguments)
    if options.what == "record":
        sizes = {k: getattr(options, k) for k in ("signals", "parts", "accounts", "symbols")}
        found: dict[str, Any] = record(options.log, **sizes)
    else:
        records = load(options.log)
        names = [options.only or options.top] if options.only or options.top else ALL
        found = {n: replay(n, records, top=35 if options.top == n else 0) for n in names}
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


ALL = (*PROCESSORS, "gateway")

if __name__ == "__main__":
    main()
