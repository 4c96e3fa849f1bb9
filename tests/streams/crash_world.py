"""All processors on the in-memory log, one micro-step at a time, any one of which may be a crash.

A micro-step is a receive, an append, a delivery, a read, a question for an end. `plan` names the
micro-steps at which the process that is stepping is struck, and how:

- lost: it dies, what it had in flight vanishes;
- ghost: it dies, a prefix of what it had in flight lands later;
- zombie: it is paused, another one starts and goes on; then it comes back and does not look;
- double: it dies, and two new ones start at once;
- late: it dies, what it had in flight lands when `late_us` of wall time have passed; `meanwhile` is
  published at once.
"""

import bisect
from collections.abc import Callable
from typing import Any

from domain.processors import PROCESSORS, build
from domain.source import Source
from domain.venue import Venue
from domain.venue_faults import FaultPlan
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.topics import TOPICS, partition_of
from streams.gateway import GatewayShell
from streams.paces import CHECKPOINT_S, Every
from streams.recovery import Identity
from streams.shell import Shell
from streams.simulated.broker import Broker, InFlight, MemoryLog, ignored
from streams.simulated.process import KilledError, frozen, thawed
from streams.simulated.process import Process as Running
from streams.venue_window import outside_window
from tests.streams.crash_scenario import PARTITIONS

KINDS = ("lost", "ghost", "zombie", "double")
NAMES = ("control", "signals", "risk", "execution", "gateway", "venue", "positions", "safety")
PIPE = 3
STEP_US = 50_000
ROUNDS_MAX = 600
ZOMBIE_TURNS = 4
FAULTS = FaultPlan(lost_answer_every=2, lost_request_every=5)
IDENTITY = Identity("test", "test")
EVERY = Every(inputs=1, share=float("inf"), process_share=float("inf"))
"""A snapshot at every look: of one source at each of the two that a tick brings."""


class NotQuietError(AssertionError):
    """The system did not come to rest, or a worker that was fenced goes on."""


class Process(Running):
    """A process that is given its turns one after the other."""

    world: "World"

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(world, name)
        self.blind = 0
        """Turns for which it does not look whether it was fenced: a zombie's."""
        self.read_at = -1
        """How many records the log had when all inputs were last seen to be read."""

    def turn(self) -> bool:
        """Take a few records, send what is due, let everything in flight be delivered."""
        if self.blind:
            self.blind -= 1
        elif self.fenced():
            self.dead = True
            return True
        moved = False
        for _ in range(PIPE):
            moved |= self._take()
        if isinstance(self.shell, GatewayShell):
            moved |= self.shell.pump()
        while self.log.deliver():
            moved = True
        return moved

    def _take(self) -> bool:
        appended = len(self.world.broker.appends)
        if self.read_at == appended:
            return False
        for key in self.at:
            if self.unread(key):
                self.take(key)
                return True
        self.read_at = appended
        return False


class World:
    """Runs to quiescence after each outside event."""

    partitions = PARTITIONS

    def __init__(self) -> None:
        self.broker = Broker()
        self.tick = 0
        self.wall_us = 1_800_000_000_000_000
        self.plan: dict[int, str] = {}
        self.struck: list[tuple[str, str]] = []
        """(worker, kind) of each strike so far."""
        self.names_at: dict[int, str] = {}
        self.zombies: list[Process] = []
        self.ghosts: list[list[Any]] = []
        """[rounds to go, appends] of dead processes."""
        self.hook: list[Any] = []
        """[process, reads and appends to go, what then, whether these count only from its first
        look at its own output on, behind the snapshots] at one place of a start."""
        self.walls: list[tuple[int, int]] = [(0, self.wall_us)]
        """(micro-step, wall time from there on)."""
        self.late: list[Any] = []
        """[wall time, appends] of a process that was struck late."""
        self.late_us = 0
        self.meanwhile: tuple[str, Envelope] | None = None
        self.live: dict[str, list[Process]] = {}
        for name in NAMES:
            self.live[name] = [Process(self, name)]
        for name in NAMES:
            self.live[name][0].start()
        self.settle()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"plan": {}, "struck": [], "names_at": {}}

    # ------------------------------------------------------------------ processes

    def shell(self, name: str, log: MemoryLog) -> Shell:
        if name == "gateway":
            return GatewayShell(
                PARTITIONS, log, IDENTITY, wall=self.wall, sender=False, barrier_s=0.0
            )
        admits = self.admits if name == "venue" else None
        made = self.source_of_venue if name == "venue" else None
        return Shell(name, PARTITIONS, log, IDENTITY, admits=admits, make=made, every=EVERY)

    def wall(self) -> int:
        return self.wall_us

    def wall_of(self, step: int) -> int:
        """Wall time at a micro-step."""
        return self.walls[bisect.bisect_right(self.walls, (step, 1 << 62)) - 1][1]

    def admits(self, event: Envelope) -> str | None:
        return outside_window(event, self.wall_us)

    def source_of_venue(self, number: int) -> Source:
        return Source(Venue(number, PARTITIONS, faults=FAULTS), number, PARTITIONS)

    def begin(
        self,
        name: str,
        during: Callable[[], None] | None = None,
        after: int = 0,
        looked: bool = False,
    ) -> None:
        """Start a process; `during` happens at its `after`-th micro-step; looked: of those after
        its first look at its own output."""
        process = Process(self, name)
        if during:
            self.hook = [process, after, during, looked]
        process.start()
        if during and self.hook and self.hook[0] is process:
            self.hook = []
            during()
        self.live[name].append(process)

    # ------------------------------------------------------------------ micro-steps

    def look(self, process: Process) -> int:
        return self.step(process)

    def step(self, process: Process) -> int:
        self.tick += 1
        self.names_at[self.tick] = process.name
        hook = self.hook
        if hook and hook[0] is process and (process.shell.keeper.since or not hook[3]):
            self.hook[1] -= 1
            if self.hook[1] < 0:
                during = self.hook[2]
                self.hook = []
                during()
        kind = self.plan.pop(self.tick, None)
        if kind is not None and process in self.live[process.name]:
            self.struck.append((process.name, kind))
            if kind == "zombie":
                self._pause(process)
            else:
                raise KilledError(kind)
        return self.tick

    def _pause(self, process: Process) -> None:
        """Stop here; the new one starts and, in turn, does nothing more, a little, or all."""
        at = self.tick
        self.live[process.name].remove(process)
        process.blind = ZOMBIE_TURNS
        self.begin(process.name)
        for _ in range((0, 2, ROUNDS_MAX)[at % 3]):
            if not self.round() and not self._waited():
                break
        self.zombies.append(process)

    def _die(self, process: Process, kind: str, at: int) -> None:
        self.live[process.name].remove(process)
        flight = list(process.log.flight)
        if kind == "double":
            self.begin(process.name, lambda: self.begin(process.name), at % 11, at % 2 == 0)
        elif kind == "ghost":
            ghost = [at % 4, flight[: 1 + at % max(1, len(flight))]]
            landing = at % 3 == 0
            if not landing:
                self.ghosts.append(ghost)
            during = (lambda: self._land(ghost)) if landing else None
            self.begin(process.name, during, at % 7, at % 2 == 0)
        else:
            if kind == "late":
                self.late = [self.wall_us + self.late_us, flight]
            if self.meanwhile:
                self.publish(*self.meanwhile)
            self.begin(process.name)

    def _land(self, ghost: list[Any]) -> None:
        appends: list[InFlight] = ghost[1]
        while appends:
            self.broker.place(appends.pop(0), self.tick)

    # ------------------------------------------------------------------ running

    def publish(self, topic: str, event: Envelope) -> None:
        number = partition_of(event.partitionkey, PARTITIONS) if TOPICS[topic].keyed else 0
        raw = encode(event)
        append = InFlight(f"{topic}/{number}", raw, event.partitionkey, ignored, self.tick)
        self.broker.place(append, self.tick)

    def feed(self, topic: str, event: Envelope) -> None:
        self.broker.later_ms += 1  # fed to quiescence, two outside events never share one
        self.publish(topic, event)
        self.settle()
        if topic == "clock":
            for now_s in (0.0, CHECKPOINT_S):
                for name in NAMES:
                    self._checkpoint(self.live[name][0], now_s)
            self.settle()

    def _checkpoint(self, process: Process, now_s: float) -> None:
        try:
            process.shell.checkpoint(now_s)
        except KilledError as killed:
            self._die(process, str(killed), self.tick)

    def settle(self) -> None:
        """Run until nothing is on its way and no order waits for an answer."""
        for _ in range(ROUNDS_MAX):
            if not self.round() and not self._waited():
                break
        else:
            raise NotQuietError("no quiescence")
        for name, processes in self.live.items():
            if len(processes) != 1:
                raise NotQuietError(f"{len(processes)} processes of {name} go on")

    def round(self) -> bool:
        moved = False
        for name in NAMES:
            for process in list(self.live[name]):
                moved |= self._turn(process)
        for zombie in list(self.zombies):
            moved = True
            zombie.turn()
            if zombie.dead:
                self.zombies.remove(zombie)
        if self.late and self.wall_us >= self.late[0]:
            ghost, self.late = self.late, []
            self._land(ghost)
            moved = True
        for ghost in list(self.ghosts):
            moved = True
            ghost[0] -= 1
            if ghost[0] < 0:
                self.ghosts.remove(ghost)
                self._land(ghost)
        return moved

    def _turn(self, process: Process) -> bool:
        try:
            moved = process.turn()
        except KilledError as killed:
            self._die(process, str(killed), self.tick)
            return True
        if process.dead:
            if process in self.live[process.name]:
                self.live[process.name].remove(process)
            if not self.live[process.name]:
                self.begin(
                    process.name
                )  # two starts may fence each other; a supervisor starts again
        return moved

    def _waited(self) -> bool:
        """Let wall time pass while an order waits for an answer; False if none does."""
        if not self.late and not any(p.shell.unresolved() for p in self.live["gateway"]):
            return False
        self.wall_us += STEP_US
        self.walls.append((self.tick + 1, self.wall_us))
        return True

    # ------------------------------------------------------------------ copies

    def frozen(self) -> bytes:
        """The whole world at rest, to go on from any number of times."""
        return frozen(self)

    @staticmethod
    def thawed(at_rest: bytes) -> "World":
        world: World = thawed(at_rest)
        return world


ALL_PURE = tuple(PROCESSORS)


def rebuilt(name: str, number: int) -> Source:
    """A fresh source as the world runs it."""
    if name == "venue":
        return Source(Venue(number, PARTITIONS, faults=FAULTS), number, PARTITIONS)
    return Source(build(name, number, PARTITIONS), number, PARTITIONS)
