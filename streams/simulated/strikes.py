"""Faults as they happen: processes that die or stand still, and what a second brings."""

from typing import TYPE_CHECKING, Any

from replay.simulator.faults import CALM, SKEW_MAX_US

if TYPE_CHECKING:
    from streams.simulated.actor import Actor
    from streams.simulated.simulation import Simulation

HOT = 4
"""How much likelier a process is struck that has something in flight."""
SECOND_US = 1_000_000
WAITS = 0.7
"""Of the outages of the broker: they begin when the gateway has something in flight."""
OUTAGE_MAX_US = 2_000_000
"""Or after so long."""
CROWD_MAX = 3
"""Processes of a worker beyond which a death brings no second start: each could bring two more."""
ALLOWED_US = 200_000
"""What clocks of gateway and venue may differ by."""


class Strikes:
    """Draws faults of a simulation and carries them out."""

    def __init__(self, world: "Simulation") -> None:
        self.world = world
        self._outage_us = 0
        """How long an outage is to last that waits for the gateway to have something in flight."""

    # ------------------------------------------------------------------ at a micro-step

    def maybe(self, actor: "Actor", share: float) -> None:
        """Strike the process that is stepping, or let others go on a little, or neither."""
        world, rates = self.world, self.world.rates
        if actor not in world.actors:
            return
        chance = rates.strike * share * (HOT if actor.log.flight else 1)
        drawn = world.rnd.random()
        if drawn < chance:
            self._strike(actor)
        elif drawn < chance + rates.meanwhile * share and world.depth < 2:
            self._goes_on(actor, int(world.rnd.uniform(0.5, 30) * 1000))

    def _strike(self, actor: "Actor") -> None:
        from streams.simulated.process import KilledError

        world, rnd = self.world, self.world.rnd
        names, weights = zip(*world.rates.kinds, strict=True)
        kind = rnd.choices(names, weights)[0]
        deep = world.depth >= 2
        if kind in ("crash", "late", "double") or (deep and kind != "pause"):
            raise KilledError("crash" if kind == "zombie" else kind)
        if deep:
            return
        self._count(kind, actor)
        us = int(rnd.choice((0.05, 0.3, 1.0, 3.0)) * rnd.random() * SECOND_US)
        if kind == "zombie":
            world.begin_at(world.now_us + int(us * rnd.random()), actor.name)
            actor.blind_us = world.now_us + us + int(rnd.choice((0, 0.5, 2.0)) * SECOND_US)
        self._goes_on(actor, us)
        if rnd.random() < 0.15:
            raise KilledError("crash")

    def _goes_on(self, actor: "Actor", us: int) -> None:
        self.world.meanwhile(actor, us)

    def _count(self, kind: str, actor: "Actor") -> None:
        self.world.coverage[kind] += 1
        self.world.note(actor.name, f"struck: {kind}")

    # ------------------------------------------------------------------ deaths

    def die(self, actor: "Actor", kind: str) -> None:
        """A process dies; who comes after it, and what becomes of what it had in flight."""
        world, rnd = self.world, self.world.rnd
        self._remove(actor)
        self._count(kind, actor)
        flight: list[Any] = list(actor.log.flight)
        actor.log.flight.clear()
        if flight and kind != "crash" and (kind in ("late", "clock") or rnd.random() < 0.5):
            self._land_later(flight[: rnd.randint(1, len(flight))])
        delay = int(rnd.choice((0.0, 0.02, 0.3, 1.5)) * rnd.random() * SECOND_US)
        if kind == "unreachable":
            delay = 200_000
        crowd = len(world.live(actor.name)) + world.starting[actor.name]
        if kind == "double" and crowd < CROWD_MAX:
            world.begin_at(world.now_us + delay + rnd.choice((0, 10, 200, 3000)), actor.name)
        elif world.live(actor.name) or world.starting[actor.name]:
            return
        world.begin_at(world.now_us + delay, actor.name)

    def ended(self, actor: "Actor") -> None:
        """A process saw another one's fence and ended."""
        world = self.world
        if actor not in world.actors:
            return
        self._remove(actor)
        world.note(actor.name, "ends: fenced")
        if not world.live(actor.name) and not world.starting[actor.name]:
            world.begin_at(world.now_us + 10_000, actor.name)

    def _remove(self, actor: "Actor") -> None:
        if actor in self.world.actors:
            self.world.actors.remove(actor)
            if actor.buffered is not None:
                actor.buffered.die()
            self.world.coverage[f"restart {actor.name}"] += 1

    def _land_later(self, flight: list[Any]) -> None:
        """One after the other: an idempotent producer keeps the order."""
        self.world.landing += len(flight)
        self._later(flight)

    def _later(self, flight: list[Any]) -> None:
        world, rnd = self.world, self.world.rnd
        after = int(rnd.choice((0.001, 0.05, 1.0)) * rnd.random() * SECOND_US)
        world.at(world.now_us + after, self._land, flight)

    def _land(self, flight: list[Any]) -> None:
        world = self.world
        if not world.broker.away:
            append = flight.pop(0)
            world.landing -= 1
            world.note("wire", f"lands in {append.key}")
            world.broker.place(append, world.now_us)
        if flight:
            self._later(flight)

    # ------------------------------------------------------------------ each second

    def weather(self) -> None:
        """What happens to the world in a second, and again a second later."""
        world, rates, rnd = self.world, self.world.rates, self.world.rnd
        if rates is CALM:
            return
        world.at(world.now_us + int(rnd.uniform(0.7, 1.3) * SECOND_US), self.weather)
        if rnd.random() < rates.slow and world.actors:
            actor = rnd.choice(world.actors)
            actor.slow = rnd.choice((30, 100, 300))
            actor.slow_us = world.now_us + int(rnd.uniform(0.5, 4.0) * SECOND_US)
            self._count("slow", actor)
        if rnd.random() < rates.broker and not world.broker.away:
            lasts_us = int(rnd.choice((0.1, 1.0, 6.0)) * SECOND_US)
            if world.disk.rnd.random() < WAITS:
                self._outage_us = max(lasts_us, SECOND_US)
                world.at(world.now_us + OUTAGE_MAX_US, self._outage)
            else:
                self._away(lasts_us)
        if rnd.random() < rates.step:
            self._step_of_the_clock()
        for bystander in world.bystanders:
            bystander.meet(rates, rnd, world)

    def sent(self) -> None:
        """The gateway has sent something that may not get lost: a moment for an outage."""
        if self._outage_us:
            self.world.at(self.world.now_us, self._outage)

    def _outage(self) -> None:
        """The outage that waits begins, if it has not."""
        lasts_us, self._outage_us = self._outage_us, 0
        if lasts_us and self.world.faulty:
            self._away(lasts_us)

    def _away(self, lasts_us: int) -> None:
        world = self.world
        if world.broker.away:
            return
        world.broker.away = True
        world.coverage["broker away"] += 1
        world.note("broker", "away")
        for gateway in world.live("gateway"):
            gateway.log.wire = world.disk.rnd.randint(0, len(gateway.log.flight))
        world.at(world.now_us + lasts_us, self.back)

    def back(self) -> None:
        """The broker answers again."""
        world = self.world
        world.broker.away = False
        world.note("broker", "back")
        waiting, world.unpublished = world.unpublished, []
        for topic, event in waiting:
            world.publish(topic, event)

    def _step_of_the_clock(self) -> None:
        """The clock of the host that gateway and venue share is set, or the gateway's alone, within
        what it allows for."""
        world, rnd = self.world, self.world.rnd
        world.coverage["clock step"] += 1
        if rnd.random() < 0.5:
            by = int(rnd.choice((-3600, -2, -0.5, 0.5, 2, 3600)) * SECOND_US)
            for name in world.clock_us:
                world.clock_us[name] += by
            world.note("clock", f"both are set by {by / 1e6:+.1f} s")
            return
        other = int(rnd.uniform(-SKEW_MAX_US, SKEW_MAX_US))
        world.clock_us["gateway"] = world.clock_us["venue"] + other
        world.note("clock", f"the gateway's is set to {other / 1000:+.0f} ms of the venue's")

    # ------------------------------------------------------------------ the end of faults

    def cease(self) -> None:
        """Faults stop. What is on its way arrives; zombies go on until they see their fence. A halt
        is lifted, unless it closes positions: whether it has is still to be seen."""
        world = self.world
        world.rates = CALM
        if world.halted is None or world.halted.mode != "flatten":
            world.halt(None)
        if world.broker.away:
            self.back()
        for actor in world.actors:
            actor.slow, actor.blind_us = 1, 0
            actor.held.clear()
        for bystander in world.bystanders:
            bystander.calm()
        self.world.note("world", "faults stop")
