"""Some processors of a verification, in this process or in one of their own.

As a process it reads a pickled :class:`Part` on stdin and writes a pickled :class:`Verified` on
stdout: `python -m replay.verify_part`. The log's copy on the disk is the parent's; nothing is
written.
"""

import gc
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from domain.processors import partitions_of
from replay.rebuilt import Make, make
from replay.spool import Spool
from replay.verify_findings import Verified
from replay.verify_flock import Flock
from replay.verify_inputs import Decoder
from replay.verify_judge import Judge
from replay.verify_walker import Walker
from runtime.settings import ROOT

CHUNK = 2_000
"""Flocks go through the log together, this many records at a time: each is decoded once."""
COLLECT_EVERY = 100_000


@dataclass(frozen=True, slots=True)
class Part:
    """Which processors of a spooled log to verify; `build`: digest of this code; `elsewhere`: ask
    other processes where bytes differ."""

    spool: Spool
    processors: tuple[str, ...]
    build: str
    elsewhere: bool

    def verified(self, make: Make = make) -> Verified:
        """Decide again all that these processors decided. `make`: makes the empty sources."""
        with _rarely_collected():
            return self._verified(make)

    def _verified(self, make: Make) -> Verified:
        spool, findings = self.spool, Verified(build=self.build)
        judge = Judge(spool, self.build, make, elsewhere=self.elsewhere)
        decoder = Decoder(spool.counts)
        walkers = []
        for name in self.processors:
            for number in partitions_of(name, judge.count):
                walker = Walker(make(name, number, judge.count), spool, decoder, findings)
                walker.confirm, walker.classify = judge.surely, judge.class_of
                findings.sources += walker.target is not None
                findings.waiting += walker.waiting() if walker.target is None else 0
                walkers.append(walker)
        flocks = [Flock(spool, walkers, {}, {})]
        for until in (*spool.times(CHUNK), None):
            todo = [flock for flock in flocks if not flock.done]
            while todo:
                parted = todo.pop().run(until)
                flocks += parted
                todo += parted
        return findings


class Beside:
    """A part that is verified by another process meanwhile; use as a context, it ends with it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "replay.verify_part"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            pickle.dump(part, self._process.stdin)
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def result(self) -> Verified:
        """Wait for it. A process that could not do its part is done without: it is done here."""
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        if self._process.wait() != 0:
            return self.part.verified()
        found: Verified = pickle.loads(said)  # noqa: S301 - from the process that was begun here
        return found


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Records come and go by the thousand and hold no cycles: looking for some takes a quarter."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def main() -> None:
    """Do the part that stands on stdin."""
    part: Part = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that began this
    found = part.verified()
    found.cpu_seconds = time.process_time()
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    main()
