"""Loading a shadow with several processes: who reads which partitions, how far, and whether they
get on."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson

from projections.database import ProjectionError
from projections.reading import Partition
from runtime.settings import ROOT
from schemas.topics import TOPICS

PROCESSES = 2
CHECKPOINT = 600_000
"""Records between two commits of a process: so many, some 8 s of work, are read again after a kill.
Rows that change again after a commit are changed one by one, so there should be few commits."""
STALL_S = 30.0
Progress = Callable[[int, int], None]


class DistrustedError(RuntimeError):
    """The log holds something that only the projector's own way can take."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """records: read. checked: of them, with models. cpu_s: processor seconds of the loaders.
    memory_mib: most memory of all of them together, None where the system does not say."""

    records: int
    seconds: float
    checked: int
    cpu_s: float
    memory_mib: float | None = None


class Loaders:
    """Processes that wait for their share of a load. Started early: imports take a while.

    A context: whatever happens inside, none is left running.
    """

    def __init__(self, count: int = PROCESSES, *, stall_s: float = STALL_S) -> None:
        self._stall_s = stall_s
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        jobs, told = ([os.pipe() for _ in range(count)] for _ in range(2))
        theirs = [end for (reads, _), (_, writes) in zip(jobs, told, strict=True)
                  for end in (reads, writes)]  # fmt: skip
        self._jobs = [os.fdopen(writes, "wb") for _, writes in jobs]
        self._told = [os.fdopen(reads, "rb") for reads, _ in told]
        self._process = subprocess.Popen(  # forks the others: imports take a while
            [sys.executable, "-m", "projections.loader", *map(str, theirs)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=theirs,
            start_new_session=True,  # an interrupt from the terminal is the parent's to handle
        )
        for end in theirs:
            os.close(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (*self._jobs, *self._told):
            with suppress(BrokenPipeError):
                pipe.close()

    def load(
        self, job: dict[str, Any], left: dict[Partition, tuple[int, int]], progress: Progress | None
    ) -> Loaded:
        """Load every partition of `left` from its first to its second offset.

        job: fields of :class:`projections.loader.Job` but the targets. Once a set of loaders.
        Raises DistrustedError, and ProjectionError when one ends or none gets on for `stall_s`.
        """
        started = time.perf_counter()
        for pipe, keys in zip(self._jobs, share(left, len(self._jobs)), strict=True):
            targets = [(*key, left[key][1]) for key in keys]
            with suppress(BrokenPipeError):  # it ended: seen where it is read from
                pipe.write(orjson.dumps({**job, "targets": targets}) + b"\n")
                pipe.flush()
        total = sum(end - at for at, end in left.values())
        return self._follow(total, started, progress)

    def _follow(self, total: int, started: float, progress: Progress | None) -> Loaded:
        done = dict.fromkeys(range(len(self._told)), 0)
        ended: dict[int, dict[str, Any]] = {}
        moved = dict.fromkeys(done, time.monotonic())
        with selectors.DefaultSelector() as selector:
            for number, pipe in enumerate(self._told):
                selector.register(pipe, selectors.EVENT_READ, number)
            while len(ended) < len(done):
                for key, _ in selector.select(0.5):
                    number = key.data
                    told = self._read(number)
                    if told["done"] != done[number]:
                        done[number], moved[number] = told["done"], time.monotonic()
                    if told.get("ended"):
                        ended[number] = told
                        selector.unregister(key.fileobj)
                    if progress is not None:
                        progress(sum(done.values()), total)
                self._watch({n: at for n, at in moved.items() if n not in ended}, done, total)
        held = [told["memory_mib"] for told in ended.values()]
        return Loaded(
            records=sum(done.values()),
            seconds=time.perf_counter() - started,
            checked=sum(told["checked"] for told in ended.values()),
            cpu_s=round(sum(told["cpu_s"] for told in ended.values()), 2),
            memory_mib=None if None in held else sum(held),
        )

    def _read(self, number: int) -> dict[str, Any]:
        line = self._told[number].readline()
        if not line:
            raise ProjectionError(
                "A loader of the rebuild ended before its work was done: run `quantum rebuild` "
                "again, it goes on from what is loaded."
            )
        told: dict[str, Any] = orjson.loads(line)
        if "distrust" in told:
            raise DistrustedError(told["distrust"])
        if "error" in told:
            raise ProjectionError(
                f"Loading failed ({told['error']}): the live tables are as they were; run `quantum "
                "rebuild` again, it goes on from what is loaded."
            )
        return told

    def _watch(self, moved: dict[int, float], done: dict[int, int], total: int) -> None:
        now = time.monotonic()
        if any(now - at > self._stall_s for at in moved.values()):
            raise ProjectionError(
                f"Loading stands still: no record for {self._stall_s:.0f} s, "
                f"{sum(done.values()):,} of {total:,} are read. See whether Kafka and Postgres "
                "answer (`quantum status`), then run `quantum rebuild` again: it goes on from what "
                "is loaded."
            )


def share(left: dict[Partition, tuple[int, int]], count: int) -> list[list[Partition]]:
    """Partitions for each of `count` processes, about as many records each.

    One number of all account-keyed topics stays together: rows are merged from several topics of an
    account. What is left goes where there is room.
    """
    groups: dict[tuple[str, int], list[Partition]] = {}
    for topic, partition in sorted(left):
        if topic in TOPICS and TOPICS[topic].keyed:
            group = ("", partition)
        else:
            group = (topic, 0)
        groups.setdefault(group, []).append((topic, partition))

    def size(keys: Iterable[Partition]) -> int:
        return sum(left[key][1] - left[key][0] for key in keys)

    shares: list[list[Partition]] = [[] for _ in range(count)]
    for keys in sorted(groups.values(), key=size, reverse=True):
        min(shares, key=size).extend(keys)
    return shares
