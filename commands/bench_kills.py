"""Recovery: kill -9 in a fed run, seconds until everything works again.

The feed publishes a record only when all workers have answered the one before. So the second tick
of the clock after a kill proves that the killed process decides again: the first one may have been
on its way.
"""

import os
import signal
import statistics
import time
from typing import Any

from confluent_kafka import TopicPartition

from commands.bench_world import own_system
from commands.console import CommandError, ExitCode, say
from commands.demo import END, FIRST, demo_plan
from commands.live import LiveSystem
from runtime.supervisor import Supervisor
from schemas.topics import CLOCK
from streams.kafka_log import consumer

VICTIMS = (
    "risk", "execution", "gateway", "venue", "positions", "safety", "signals", "control",
)  # fmt: skip
TICKS_AFTER = 2
BETWEEN_S = 2.0
GIVE_UP_S = 60.0
CHECK_S = 0.01


class Clock:
    """Counts the ticks that a running feed publishes."""

    def __init__(self, system: LiveSystem) -> None:
        self._system = system
        self._reader = consumer(system.kafka)
        _, end = self._reader.get_watermark_offsets(TopicPartition(CLOCK.name, 0), timeout=10)
        self._reader.assign([TopicPartition(CLOCK.name, 0, end)])

    def wait(self, ticks: int, why: str) -> float:
        """Seconds until that many more ticks came. CommandError when they do not come."""
        began = time.monotonic()
        while ticks > 0:
            message = self._reader.poll(CHECK_S)
            ticks -= message is not None and message.error() is None
            _look(self._system)
            if time.monotonic() - began > GIVE_UP_S:
                raise CommandError(f"{why}: the feed did not go on within {GIVE_UP_S:.0f} s")
        return time.monotonic() - began

    def idle(self, seconds: float) -> None:
        """Read on for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._reader.poll(CHECK_S)
            _look(self._system)

    def drain(self) -> None:
        """Read what is there already: it was published before what comes next."""
        while self._reader.poll(0) is not None:
            pass

    def close(self) -> None:
        """Give the consumer back."""
        self._reader.close()


def _look(system: LiveSystem) -> None:
    system.check()
    if system.interrupted:
        raise CommandError("interrupted; everything is stopped", ExitCode.INTERRUPTED)
    if error := system.feed_error():
        raise CommandError(f"the feed stopped: {error}")
    if system.feed_done():
        raise CommandError("the feed came to its end before the measurement: give fewer --kills")


def recovery(*, kills: int, broker: bool) -> dict[str, Any]:
    """Kill workers in turn, then the broker, in a fed run of the demo's days."""
    found: list[tuple[str, float]] = []
    broker_s = None
    with own_system("recovery", demo_plan(FIRST, END, "max")) as system:
        clock = Clock(system)
        clock.wait(10, "before the first kill")
        for number in range(kills):
            name = VICTIMS[number % len(VICTIMS)]
            found.append((name, _killed(system.supervisor, clock, name)))
            say(f"{name}: {found[-1][1]:.2f} s")
            clock.idle(BETWEEN_S)
        if broker:
            broker_s = round(_killed(system.supervisor, clock, "kafka"), 2)
            say(f"kafka: {broker_s:.2f} s")
        clock.close()
    seconds = [each for _, each in found]
    return {
        "worker_seconds": round(statistics.median(seconds), 2),
        "worker_seconds_max": round(max(seconds), 2),
        "broker_seconds": broker_s,
        "workers": {name: _spread([s for n, s in found if n == name]) for name, _ in found},
        "kills": [{"worker": name, "seconds": round(each, 2)} for name, each in found],
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(seconds), 2), "max": round(max(seconds), 2)}


def _killed(supervisor: Supervisor, clock: Clock, name: str) -> float:
    pid = supervisor.pids().get(name)
    if pid is None:
        raise CommandError(f"{name} does not run: see the logs of this run")
    clock.drain()
    os.kill(pid, signal.SIGKILL)
    return clock.wait(TICKS_AFTER, f"{name} was killed")
