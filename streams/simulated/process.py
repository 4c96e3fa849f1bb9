"""One process of a worker on a broker in memory: its shell, and how far its readers have come."""

import io
import pickle
import threading
from typing import Any, Protocol

from domain.processors import PROCESSORS, partitions_of
from streams.log import Incoming
from streams.shell import Shell
from streams.simulated.broker import Broker, MemoryLog

NEVER = 1 << 62
"""An instant that does not come."""


class KilledError(BaseException):
    """The process that is stepping dies here. Not an Exception: nothing of ours may catch it."""


class World(Protocol):
    """What a process needs of whoever runs it."""

    broker: Broker
    partitions: int

    def step(self, process: Any) -> int:
        """A micro-step of a process is about to happen; it may raise KilledError. Returns what is
        noted as the instant of the step."""

    def look(self, process: Any) -> int:
        """The same of reading a record: there are many more of them."""

    def shell(self, name: str, log: MemoryLog) -> Shell: ...


class Process:
    """A shell, its view of the log, how far its followers have come."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.log = MemoryLog(world.broker, self._step, self._look)
        self.shell = world.shell(name, self.log)
        self.at: dict[str, int] = {}
        """Next offset of each input."""
        self.watch: dict[str, int] = {}
        """Next offset of each own output."""
        self.dead = False

    def _step(self) -> int:
        return self.world.step(self)

    def _look(self) -> int:
        return self.world.look(self)

    def start(self) -> None:
        """Take over every partition there is."""
        count = self.world.partitions
        self.shell.acquire(
            partitions_of(self.name, count) if self.name in PROCESSORS else range(count)
        )
        self.at = {key: self.shell.position(key) for key in self.shell.inputs()}
        self.watch = self.shell.outputs()

    def take(self, key: str) -> None:
        """Read the next record of an input and hand it to the shell."""
        self._step()
        record = self.world.broker.partitions[key][self.at[key]]
        self.at[key] += 1
        self.shell.receive(record)

    def unread(self, key: str) -> bool:
        """Whether an input has a record that was not read."""
        return self.at[key] < self.world.broker.end(key)

    def fenced(self) -> bool:
        """Look at the own output; True if another one has opened a later epoch."""
        found = False
        for key in self.watch:
            for record in self.world.broker.partitions.get(key, [])[self.watch[key] :]:
                found |= self.saw(record)
        return found

    def saw(self, record: Incoming) -> bool:
        """Look at one record of the own output."""
        self.watch[record.key] = record.offset + 1
        return self.shell.fenced(record)


# ---------------------------------------------------------------------- copies

_RLOCK, _LOCK = type(threading.RLock()), type(threading.Lock())


class _Pickler(pickle.Pickler):
    """Locks are made anew: nothing holds one at rest."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _RLOCK):
            return threading.RLock, ()
        if isinstance(obj, _LOCK):
            return threading.Lock, ()
        return NotImplemented


def frozen(world: Any) -> bytes:
    """A whole world at rest, to go on from any number of times (:func:`thawed`)."""
    out = io.BytesIO()
    _Pickler(out, protocol=pickle.HIGHEST_PROTOCOL).dump(world)
    return out.getvalue()


def thawed(world: bytes) -> Any:
    """A copy of a world that was :func:`frozen` by this process or its parent."""
    return pickle.loads(world)  # noqa: S301 (our own bytes, never read from anywhere)
