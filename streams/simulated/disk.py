"""The gateway's disk buffer on the virtual clock: real files, and deaths in the middle of a line.

Every gateway of a simulation has the log of the real one (:mod:`streams.buffered_log`) over its
broker in memory. Its files are real and lie in memory where the machine has a place for that.
"""

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson

from gateways.buffer import Line, encoded, files_of, name_of
from gateways.buffer_folder import BufferFolder
from streams.buffered_log import BufferedLog
from streams.simulated.broker import MemoryLog
from streams.simulated.process import NEVER, KilledError

AWAY_S = 0.5
"""Less than the real gateway waits: outages are shorter here too."""
LOOK_US = 100_000
TORN = 0.5
"""Of a line while there are faults: the process dies in the middle of it."""
ROTATE_BYTES = 4_000
MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of ours is made in it)


class Disk:
    """Where gateways of one simulation keep what Kafka does not take."""

    def __init__(self, seed: int) -> None:
        self.rnd = Random(seed ^ 0xD15C)
        """Apart from the draws of everything else: what a disk does moves no other fault."""
        place = MEMORY if MEMORY.is_dir() else None
        self.root = Path(tempfile.mkdtemp(prefix="qt-sim-", dir=place))
        weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True)

    def left(self) -> list[str]:
        """Files with lines, of living processes and of dead ones."""
        return sorted(path.name for path in self.root.glob("*/*.jsonl"))

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)


class SimulatedFolder(BufferFolder):
    """A buffer whose process may die in the middle of a line. `step` is called before each line,
    and may raise KilledError; `tears` says whether the process dies in it."""

    def __init__(self, disk: Disk, step: Callable[[], int], tears: Callable[[], bool]) -> None:
        super().__init__(disk.root, {}, rotate_bytes=ROTATE_BYTES, spare_bytes=1)
        self._disk, self._step, self._tears = disk, step, tears

    def append(self, key: str, raw: bytes, message_key: str) -> int:
        self._step()
        if self._tears():
            self._tear(key, encoded(Line(self.last(key) + 1, message_key, raw)))
            raise KilledError("half-written line")
        return super().append(key, raw, message_key)

    def _tear(self, key: str, line: bytes) -> None:
        """Leave a part of a line behind all others; of a buffer's first line with a part of what
        stands before it, or all."""
        there = files_of(self.folder, key)
        path = there[-1] if there else self.folder / name_of(key, 1)
        written = self._disk.rnd.randrange(1, len(line))
        if not there:
            head = encoded(Line(0, "", orjson.dumps("")))
            written = written * (len(head) + len(line)) // len(line)
            line = head + line
        with path.open("ab") as file:
            file.write(line[:written])

    def die(self) -> None:
        """Let go as a process does that ends: what is on the disk stays."""
        for writer in self._writers.values():
            writer.close()
        self.release()


class SimulatedBufferedLog(BufferedLog):
    """The gateway's log. `world` is the simulation, `log` the gateway's broker in memory."""

    inner: MemoryLog

    def __init__(self, world: Any, log: MemoryLog) -> None:
        self.world = world
        self.looked_us = 0
        super().__init__(log, self.folder(log), away_s=AWAY_S, clock=world.monotonic)
        self.on_fenced = _fenced

    def folder(self, log: MemoryLog) -> SimulatedFolder:
        """A buffer of its own on the disk of the world."""
        return SimulatedFolder(self.world.disk, log.step, self._tears)

    def settle(self) -> None:
        """Go on in a copied world: with an empty buffer on its disk."""
        self.buffer = self.folder(self.inner)

    def die(self) -> None:
        """Let go of the disk as a process does that ends."""
        if isinstance(self.buffer, SimulatedFolder):
            self.buffer.die()

    def _tears(self) -> bool:
        world = self.world
        world.coverage["buffered"] += 1
        return bool(world.faulty and world.disk.rnd.random() < TORN)

    def _send(self, flight: Any) -> None:
        super()._send(flight)
        if flight.kept:
            self.world.strikes.sent()

    def due_us(self) -> int:
        """When it looks next whether Kafka is away, or back."""
        if self.held or (self.inner.broker.away and self.inner.flight):
            return self.looked_us + LOOK_US
        return NEVER

    def work(self, now_us: int) -> str:
        """Look, and bring what waits into the log."""
        self.looked_us = now_us
        self.look()
        return "drain" if self.held and self.drain() else "look for Kafka"


def _fenced() -> None:
    raise KilledError("crash")
