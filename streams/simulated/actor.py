"""A process on the virtual clock: what it could do next, when, and doing one of these things.

The gateway is the real one; only what a round of it waits on is another: while the real sender
waits, its followers go on in their threads, here they get their turns.
"""

import math
from random import Random
from typing import Any, Self

from runtime.host_clock import StepWatch
from schemas.topics import CONTROL
from streams.gateway import BARRIER_S, FRESH_S, PUMP_S, GatewayShell
from streams.recovery import Identity
from streams.simulated.broker import MemoryLog
from streams.simulated.disk import SimulatedBufferedLog
from streams.simulated.process import NEVER, KilledError, Process

PUMP_US = int(PUMP_S * 1e6)
IDENTITY = Identity("simulated", "simulated")


class Actor(Process):
    """One process. Instants in microseconds of the virtual clock."""

    world: Any

    def __init__(self, world: Any, name: str) -> None:
        super().__init__(world, name)
        self.hungry: dict[str, None] = {}
        """Inputs with records that were not read."""
        self.unseen: dict[str, None] = {}
        """Own outputs with records that were not looked at."""
        self.held: dict[str, int] = {}
        """Inputs that bring nothing before an instant."""
        self.busy_us: int = world.now_us
        self.beat_us: int = world.now_us + world.beat_us
        self.pumped_us = 0
        self.blind_us = 0
        """It does not look at its own output before: a zombie's follower lags behind."""
        self.slow, self.slow_us = 1, 0
        self.stopped = True
        """It stands still: it is starting, or stopped in the middle of a step."""
        self.gateway = self.shell if isinstance(self.shell, GatewayShell) else None
        self.buffered = (
            self.gateway.buffered if isinstance(self.gateway, SimulatedGateway) else None
        )
        self.clock = StepWatch(self._wall_s, world.monotonic)

    def _wall_s(self) -> float:
        return float(self.world.gateway_wall()) / 1e6

    def begin(self) -> None:
        self.start()
        self.stopped = False
        self.busy_us = self.world.now_us
        for key in (*self.at, *self.watch):
            self.note(key)

    def note(self, key: str) -> None:
        """A record came into a partition."""
        if key in self.at and self.unread(key):
            self.hungry[key] = None
        if key in self.watch and self.watch[key] < self.world.broker.end(key):
            self.unseen[key] = None

    # ------------------------------------------------------------------ when

    def due_us(self) -> int:
        """When it can do something next."""
        if self.stopped:
            return NEVER
        at = self.beat_us if self.world.beats else NEVER
        if self.buffered is not None:
            at = min(at, self.buffered.due_us())
        if not self.world.broker.away:
            if self.log.flight:
                return self.busy_us
            if self.unseen:
                at = min(at, self.blind_us)
            held = self.held
            for key in self.hungry:
                at = min(at, held.get(key, 0))
        if self.gateway is not None:
            at = min(at, self._pump_due(self.gateway))
        return max(at, self.busy_us)

    def _pump_due(self, gateway: GatewayShell) -> int:
        if gateway._wake.is_set():
            return self.pumped_us + 1
        return self.pumped_us + PUMP_US if gateway.unresolved() else NEVER

    # ------------------------------------------------------------------ what

    def act(self, rnd: Random) -> str:
        """Do one thing that is due; what it was. Raises what the shell raises, and KilledError."""
        now = self.world.now_us
        if self.world.beats and self.beat_us <= now:
            self.beat_us = now + self.world.beat_us
            self.shell.checkpoint(now / 1e6)
            return "beat"
        if self.buffered is not None and self.buffered.due_us() <= now:
            return self.buffered.work(now)
        if self.gateway is not None and self._pump_due(self.gateway) <= now and rnd.random() < 0.5:
            return self._pump(self.gateway)
        up = not self.world.broker.away
        rates = self.world.rates
        if up and self.unseen and self.blind_us <= now and rnd.random() < rates.watches:
            return self._look_at_own()
        if up and self.log.flight and rnd.random() < rates.eager:
            self.log.deliver()
            return "deliver"
        ready = [key for key in self.hungry if self.held.get(key, 0) <= now] if up else []
        if ready:
            key = ready[0] if len(ready) == 1 else rnd.choice(ready)
            self.world.reading(self, key, ready)
            if not self._read(key):
                del self.hungry[key]
            return f"take {key}"
        if up and self.log.flight:
            self.log.deliver()
            return "deliver"
        if up and self.unseen and self.blind_us <= now:
            return self._look_at_own()
        return self._pump(self.gateway) if self.gateway is not None else "rest"

    def _read(self, key: str) -> bool:
        """Take a record; whether there are more."""
        self.take(key)
        return self.unread(key)

    def _look_at_own(self) -> str:
        key = next(iter(self.unseen))
        record = self.world.broker.partitions[key][self.watch[key]]
        if self.saw(record):
            self.dead = True
        if self.watch[key] >= self.world.broker.end(key):
            self.unseen.pop(key, None)
        return "look"

    def _pump(self, gateway: GatewayShell) -> str:
        self.pumped_us = self.world.now_us
        gateway._wake.clear()
        if self.clock.stepped_s():
            raise KilledError("clock")
        gateway.pump()
        return "pump"

    def follow(self) -> bool:
        """A turn of the followers a round of the gateway waits for: control and its own output;
        False if they have nothing."""
        now = self.world.now_us
        if self.world.broker.away:
            return False
        if self.unseen and self.blind_us <= now:
            self._look_at_own()
            return True
        control = f"{CONTROL.name}/0"
        if control in self.hungry and self.held.get(control, 0) <= now:
            if not self._read(control):
                del self.hungry[control]
            return True
        return False


class SimulatedGateway(GatewayShell):
    """The gateway's shell on the virtual clock. `wait(seconds)`: what a round does while its
    followers fold; False when the time is over."""

    def __init__(self, world: Any, partitions: int, log: MemoryLog) -> None:
        self.buffered = SimulatedBufferedLog(world, log)
        super().__init__(
            partitions,
            self.buffered,
            IDENTITY,
            wall=world.gateway_wall,
            sender=False,
            barrier_s=BARRIER_S,
            halt=world.halt_now,
            monotonic=world.monotonic,
        )
        self._fresh_s = FRESH_S
        self._folded_more: Any = Turns(world, log)
        self.buffered.fenced = self.fenced


class Turns:
    """Stands for the condition on which a round of the gateway waits."""

    def __init__(self, world: Any, log: MemoryLog) -> None:
        self.world = world
        self.log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def notify_all(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        """Let followers and others go on, until there is something new or the time is over."""
        return bool(self.world.wait(self.log, math.ceil(seconds * 1e6)))
