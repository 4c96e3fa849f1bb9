"""The whole system on one seeded virtual clock: real shells, a broker in memory, clients, faults.

One thing happens at a time: the scheduler takes whoever is due first, lets it do one step, and the
clock moves by what that took. Within a step others may go on (a process is stopped in the middle of
it, or a round of the gateway waits): then the scheduler runs inside the step.
"""

import heapq
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from domain.processors import build
from domain.source import Source
from domain.venue import Venue
from domain.venue_faults import FaultPlan
from replay.simulator.faults import CALM, Coverage, Rates
from replay.simulator.found import BrokenPromise
from replay.simulator.script import START_US
from replay.simulator.watch import Watch
from runtime.halt_file import Halt, HaltMode
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.scalars import time_text
from schemas.topics import TOPICS, WORKERS, partition_of
from streams.log import Incoming
from streams.paces import Every
from streams.processors import AGENTS
from streams.shell import Shell
from streams.simulated.actor import IDENTITY, Actor, SimulatedGateway
from streams.simulated.broker import Broker, InFlight, MemoryLog, ignored
from streams.simulated.disk import Disk
from streams.simulated.process import NEVER, KilledError
from streams.simulated.strikes import Strikes
from streams.venue_window import outside_window

DEPTH_MAX = 3
"""How deep steps may lie within steps."""
TRACE_MAX = 200_000
NAMES = tuple(name for name in WORKERS if name in AGENTS)
MICRO_US = 5
"""What a micro-step takes."""
SECOND_US = 1_000_000


class Bystander(Protocol):
    """Somebody else on the clock: the projector. It reads the broker and has no effect."""

    def due_us(self) -> int: ...
    def act(self, world: "Simulation") -> str: ...
    def note(self, record: Incoming) -> None: ...
    def meet(self, rates: Rates, rnd: Random, world: "Simulation") -> None:
        """Have a second's faults."""

    def calm(self) -> None:
        """Faults stop."""

    def behind(self, world: "Simulation") -> str:
        """What it has not read, or nothing."""

    def check(self, world: "Simulation") -> None:
        """At rest: raise BrokenPromise where it is not as it must be."""


class Simulation:
    """One system. Instants in microseconds of the virtual clock, which nobody in it can see."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.now_us = START_US
        self.beat_us = SECOND_US
        self.beats = True
        self.rnd = Random(0)
        self.rates = CALM
        self.broker = Broker(clock_ms=self._clock_ms, placed=self._placed)
        self.watch = Watch()
        self.coverage = Coverage()
        self.actors: list[Actor] = []
        self.bystanders: list[Bystander] = []
        self.starting: dict[str, int] = dict.fromkeys(NAMES, 0)
        """Starts on their way, by worker."""
        self.timers: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.clock_us = {"gateway": 0, "venue": 0}
        """What these clocks show more than the virtual one."""
        self.broken: BrokenPromise | None = None
        self.trace: list[tuple[int, int, str, str]] = []
        """(instant, depth, who, what)."""
        self.steps = 0
        self.depth = 0
        self.unpublished: list[tuple[str, Envelope]] = []
        """What clients wait with while the broker is away."""
        self.plan = FaultPlan()
        self.halted: Halt | None = None
        """The halt in force at the gateway's host."""
        self.disk = Disk(0)
        self.landing = 0
        """Appends of dead processes that are still on the wire."""
        self.strikes = Strikes(self)
        for name in NAMES:
            self.begin(name)

    # ------------------------------------------------------------------ clocks

    def _clock_ms(self) -> int:
        return self.now_us // 1000

    def monotonic(self) -> float:
        return (self.now_us - START_US) / 1e6

    def gateway_wall(self) -> int:
        """The gateway's clock; who signs with it is known by what it showed."""
        shown = self.now_us + self.clock_us["gateway"]
        if self.watch.signed is not None:
            self.watch.signed[shown] = self.now_us
        return shown

    def admits(self, event: Envelope) -> str | None:
        """The venue's look at a request's window, by its own clock."""
        late = outside_window(event, self.now_us + self.clock_us["venue"])
        if late:
            self.coverage["outside window"] += 1
        return late

    # ------------------------------------------------------------------ what a process needs

    def shell(self, name: str, log: MemoryLog) -> Shell:
        if name == "gateway":
            return SimulatedGateway(self, self.partitions, log)
        every = Every(
            inputs=self.rates.snapshot_inputs, share=float("inf"), process_share=float("inf")
        )
        return Shell(
            name,
            self.partitions,
            log,
            IDENTITY,
            admits=self.admits if name == "venue" else None,
            make=self.venue if name == "venue" else None,
            every=every,
        )

    def venue(self, number: int) -> Source:
        decider = Venue(number, self.partitions, faults=self.plan)
        return Source(decider, number, self.partitions)

    def source(self, name: str, number: int, _partitions: int) -> Source:
        """An empty source as this world runs it."""
        if name == "venue":
            return self.venue(number)
        return Source(build(name, number, self.partitions), number, self.partitions)

    def step(self, actor: Actor) -> int:
        """A micro-step of a process is about to happen."""
        self.now_us += MICRO_US
        if self.rates.strike or self.rates.meanwhile:
            self.strikes.maybe(actor, 1.0)
        return self.now_us

    def look(self, actor: Actor) -> int:
        """The same of a record that is read at a start: there are many."""
        self.now_us += 1
        if self.rates.strike or self.rates.meanwhile:
            self.strikes.maybe(actor, 0.05)
        return self.now_us

    def reading(self, actor: Actor, key: str, ready: list[str]) -> None:
        """A process reads a partition; count it where another one has an older record for it."""
        mine = self.broker.partitions[key][actor.at[key]].timestamp_ms
        for other in ready:
            if self.broker.partitions[other][actor.at[other]].timestamp_ms < mine:
                self.coverage["reorder"] += 1
                return

    def wait(self, log: MemoryLog, us: int) -> bool:
        """A round of the gateway waits at most so long for its followers."""
        actor = next(a for a in self.actors if a.log is log)
        until = self.now_us + us
        while self.now_us < until:
            if actor.follow():
                return True
            if self.depth >= DEPTH_MAX:
                break
            self.meanwhile(actor, min(2_000, until - self.now_us))
        self.now_us = max(self.now_us, until)
        return False

    # ------------------------------------------------------------------ the broker

    def publish(self, topic: str, event: Envelope) -> None:
        """A client appends a record; while the broker is away it waits, in order."""
        if self.broker.away:
            self.unpublished.append((topic, event))
            return
        number = partition_of(event.partitionkey, self.partitions) if TOPICS[topic].keyed else 0
        append = InFlight(
            f"{topic}/{number}", encode(event), event.partitionkey, ignored, self.now_us
        )
        self.broker.place(append, self.now_us)

    def halt(self, mode: HaltMode | None) -> None:
        """A person halts the gateway, or lifts the halt (None)."""
        if mode is None:
            self.watch.halts.end(self.now_us)
            self.halted = None
            return
        at = time_text(self.now_us)
        self.halted = Halt(mode, "anna", "simulated", at, key=f"halt {self.now_us}")
        self.watch.halts.begin(mode, self.halted.key, self.now_us)
        self.coverage[f"halt {mode}"] += 1
        for actor in self.live("gateway"):
            if actor.gateway is not None:
                actor.gateway.wake()

    def halt_now(self) -> Halt | None:
        """What the gateway finds when it looks."""
        return self.halted

    def _placed(self, record: Incoming, began: int, at: int) -> None:
        try:
            self.watch.look(record, began, at)
        except BrokenPromise as broken:
            self.fail(broken)
        delay = self.rates.delay
        for actor in self.actors:
            if delay and record.key in actor.at and self.rnd.random() < delay:
                until = self.now_us + int(self.rnd.uniform(0.02, 2.0) * SECOND_US)
                actor.held[record.key] = max(until, actor.held.get(record.key, 0))
                self.coverage["delay"] += 1
            actor.note(record.key)
        for bystander in self.bystanders:
            bystander.note(record)

    def fail(self, broken: BrokenPromise) -> None:
        """Note the first promise that was broken; the run ends before the next step."""
        if self.broken is None:
            self.broken = broken

    # ------------------------------------------------------------------ processes

    def at(self, us: int, what: Callable[..., None], *arguments: Any) -> None:
        """Do something at an instant."""
        self.steps += 1
        heapq.heappush(self.timers, (us, self.steps, what, arguments))

    def begin_at(self, us: int, name: str) -> None:
        """Start a process of a worker at an instant."""
        self.starting[name] += 1
        self.at(us, self._begin, name)

    def _begin(self, name: str) -> None:
        self.starting[name] -= 1
        self.begin(name)

    def begin(self, name: str) -> Actor:
        """Start a process of a worker."""
        actor = Actor(self, name)
        self.actors.append(actor)
        self.note(name, "starts")
        self._guarded(actor, actor.begin)
        return actor

    def _guarded(self, actor: Actor, what: Callable[[], Any]) -> Any:
        """Let a process do something; whatever ends it ends only it."""
        try:
            return what()
        except KilledError as killed:
            self.strikes.die(actor, str(killed))
        except ConnectionError:
            self.strikes.die(actor, "unreachable")
        except Exception as error:
            if not self.overtaken(actor):
                self.fail(BrokenPromise(f"{actor.name} failed: {error!r}"))
            self.strikes.die(actor, "failed")
        return None

    def overtaken(self, actor: Actor) -> bool:
        """Whether another process has fenced its sources, which it may not have seen yet."""
        return any(
            self.watch.judge.filters[s.output].epoch(s.name) > s.epoch
            for s in actor.shell.sources.values()
            if s.output in self.watch.judge.filters
        )

    @property
    def faulty(self) -> bool:
        """Whether this is the phase with faults."""
        return self.rates is not CALM

    def settle(self, seed: int) -> None:
        """Go on as a copy, with a disk of its own."""
        self.disk = Disk(seed)
        for actor in self.actors:
            if actor.buffered is not None:
                actor.buffered.settle()

    def close(self) -> None:
        """Let go of the disk."""
        for actor in self.actors:
            if actor.buffered is not None:
                actor.buffered.die()
        self.disk.close()

    def live(self, name: str) -> list[Actor]:
        return [a for a in self.actors if a.name == name]

    # ------------------------------------------------------------------ running

    def run(self, until_us: int) -> None:
        """Go on to an instant. BrokenPromise where one is."""
        while self.one(until_us):
            pass
        if self.broken is not None:
            raise self.broken

    def meanwhile(self, stopped: Actor, us: int) -> None:
        """Others go on for so long while a process stands still in the middle of a step."""
        if self.depth >= DEPTH_MAX:
            self.now_us += us
            return
        was, stopped.stopped = stopped.stopped, True
        self.depth += 1
        until = self.now_us + us
        while self.one(until):
            pass
        self.depth -= 1
        stopped.stopped = was

    def one(self, until_us: int) -> bool:
        """The next step of whoever is due first; False when nobody is before `until_us`."""
        if self.broken is not None:
            return False
        best = self.timers[0][0] if self.timers else NEVER
        who: Actor | Bystander | None = None
        everybody: list[Actor | Bystander] = [*self.actors, *self.bystanders]
        for each in everybody:
            due = each.due_us()
            if due < best:
                best, who = due, each
        if best > until_us:
            self.now_us = max(self.now_us, until_us)
            return False
        self.now_us = max(self.now_us, best)
        if who is None:
            _, _, what, arguments = heapq.heappop(self.timers)
            what(*arguments)
        elif isinstance(who, Actor):
            self._turn(who)
        else:
            self.note("projector", who.act(self))
        return True

    def _turn(self, actor: Actor) -> None:
        actor.stopped = True  # nobody else gives it a turn within this one
        done = self._guarded(actor, lambda: actor.act(self.rnd))
        actor.stopped = False
        if done is not None:
            self.note(actor.name, done)
        slow = actor.slow if actor.slow_us > self.now_us else 1
        took = self.rnd.expovariate(1.0) * self.rates.step_us * slow
        actor.busy_us = self.now_us + 1 + int(took)
        if actor.dead:
            self.strikes.ended(actor)

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        if len(self.trace) < TRACE_MAX:
            self.trace.append((self.now_us, self.depth, who, what))
