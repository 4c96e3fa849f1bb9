"""A whole system whose processes are killed and paused and whose network fails, and its judge.

Every worker and the feed reach the broker through a link of their own, by a listener that names the
link's port; the projector reaches its database through another one. Who looks on does not.
"""

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from commands.live import FeedPlan, LiveSystem, health
from runtime import processes
from runtime.kafka import EmbeddedKafka
from runtime.postgres import EmbeddedPostgres
from runtime.service import Service
from runtime.supervisor import ProcessSpec
from schemas.topics import WORKERS
from tests.system import chaos_feed
from tests.system.faults import ALL, DATABASE, LINKS, Fault
from tests.system.links import GOOD, HALF_OPEN, MUTE, Condition, Links
from tests.system.running import wait_until


class LinkedKafka(EmbeddedKafka):
    """One broker with a listener for each link beside its own; each names the link's port."""

    def __init__(self, folder: Path, links: Links) -> None:
        super().__init__(folder)
        self._held = {
            name: socket.create_server(("127.0.0.1", processes.free_port()))
            for name in LINKS if name != DATABASE
        }  # fmt: skip
        """Ports are nobody else's until the broker listens on them."""
        self.listeners = {name: held.getsockname()[1] for name, held in self._held.items()}
        self.addresses = {
            name: f"127.0.0.1:{links.open(name, port)}" for name, port in self.listeners.items()
        }

    def _write_properties(self, name: str, logs: str, ports: dict[str, int]) -> Path:
        path = super()._write_properties(name, logs, ports)
        if name != "server.properties":
            return path
        while self._held:
            self._held.popitem()[1].close()
        own = f"PLAINTEXT://127.0.0.1:{ports['broker']}"
        listeners = [f"{n.upper()}://127.0.0.1:{port}" for n, port in self.listeners.items()]
        advertised = [f"{n.upper()}://{address}" for n, address in self.addresses.items()]
        maps = [f"{n.upper()}:PLAINTEXT" for n in self.listeners]
        text = path.read_text()
        text = text.replace(f"\nlisteners={own}", ",".join([f"\nlisteners={own}", *listeners]))
        text = text.replace(f"advertised.listeners={own}", ",".join(
            [f"advertised.listeners={own}", *advertised]
        ))  # fmt: skip
        text = text.replace(
            "PLAINTEXT:PLAINTEXT\n", ",".join(["PLAINTEXT:PLAINTEXT", *maps]) + "\n"
        )
        text = text.replace("num.network.threads=2", "num.network.threads=1")
        path.write_text(text + "inter.broker.listener.name=PLAINTEXT\n")
        return path


class ChaosSystem(LiveSystem):
    """A system behind links."""

    def _embedded(self) -> list[ProcessSpec | Service]:
        self.links = Links()
        self.broker = LinkedKafka(self.run.folder / "kafka", self.links)
        self._port = processes.free_port()
        database = EmbeddedPostgres(self.run.folder / "postgres", port=self._port)
        self._linked = self.links.open(DATABASE, self._port)
        self._services += [self.broker, database]
        return list(self._services)

    def _worker(self, name: str) -> ProcessSpec:
        return self._behind(super()._worker(name))

    def _feed(self, plan: FeedPlan) -> ProcessSpec:
        spec = self._behind(super()._feed(plan))
        argv = [str(part).replace("streams.feed", chaos_feed.__name__) for part in spec.argv]
        return replace(spec, argv=argv)

    def _behind(self, spec: ProcessSpec) -> ProcessSpec:
        linked = self.postgres.replace(f":{self._port}/", f":{self._linked}/")
        other = {self.kafka: self.broker.addresses[spec.name], self.postgres: linked}
        return replace(spec, argv=[other.get(str(part), part) for part in spec.argv])

    def stop(self) -> None:
        super().stop()
        self.links.close()


@dataclass
class Chaos:
    """Does to a system what was drawn, when its time has come; call it several times a second."""

    system: ChaosSystem
    faults: Iterator[Fault]
    until_s: float = float("inf")
    """Seconds after which nothing more goes wrong."""
    done: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._next = next(self.faults)
        self._ends: list[tuple[float, Callable[[], None]]] = []
        self.begin()

    def begin(self) -> None:
        """Count seconds from now on."""
        self.began = time.monotonic()

    def __call__(self, _minute: int) -> None:
        now = time.monotonic() - self.began
        for end in [end for end in self._ends if end[0] <= now]:
            self._ends.remove(end)
            end[1]()
        while self._next.at_s <= now:
            if now < self.until_s and self._do(self._next):
                self.done.append(self._next)
            self._next = next(self.faults)

    def heal(self) -> None:
        """End whatever still goes wrong."""
        self.until_s = 0.0
        for _, end in self._ends:
            end()
        self._ends.clear()

    def _do(self, fault: Fault) -> bool:
        """Begin a fault; False if its target does not run."""
        links = self.system.links
        if fault.kind in ("kill", "pause", "kill-backend"):
            return self._signal(fault)
        names = links.names if fault.target == ALL else [fault.target]
        for name in names:
            if fault.kind == "cut":
                links.cut(name)
                continue
            links.become(name, condition(fault))
            if fault.kind == "refuse":
                links.cut(name)
            self._ends.append((fault.at_s + fault.seconds, partial(self._mended, fault, name)))
        return True

    def _mended(self, fault: Fault, name: str) -> None:
        if fault.kind in ("half-open-dies", "mute"):
            self.system.links.cut(name)
        self.system.links.become(name, GOOD)

    def _strike_forks(self, turn: int) -> None:
        """What the next process is to be forked from is killed, or stopped, or neither."""
        forks = self.system.forks.pid
        if forks is not None and turn:
            sent(forks, signal.SIGKILL if turn == 1 else signal.SIGSTOP)

    def _signal(self, fault: Fault) -> bool:
        state = self.system.supervisor.state()
        name = "postgres" if fault.target == DATABASE else fault.target
        pid = state[name]["pid"] if name in state else None
        if pid is None:
            return False
        if fault.kind == "kill-backend":
            backends = [p for p in children(pid) if "127.0.0.1(" in command(p)]
            return bool(backends) and sent(backends[0], signal.SIGKILL)
        if fault.kind == "kill":
            self._strike_forks(len(self.done) % 3)
            return sent(pid, signal.SIGKILL)
        stopped = [p for p in (pid, *children(pid)) if sent(p, signal.SIGSTOP)]
        self._ends.append((fault.at_s + fault.seconds, partial(_go_on, stopped)))
        return bool(stopped)


def condition(fault: Fault) -> Condition:
    """How a link is while a fault lasts."""
    return {
        "refuse": Condition(refused=True),
        "half-open": HALF_OPEN,
        "half-open-dies": HALF_OPEN,
        "mute": MUTE,
        "late": Condition(late_s=fault.amount),
        "slow": Condition(rate=fault.amount),
    }[fault.kind]


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    with suppress(OSError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


def command(pid: int) -> str:
    """Command line of a process; empty if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8")
    return ""


def sent(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False if the process is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _go_on(stopped: list[int]) -> None:
    for pid in stopped:
        with suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "T":  # not somebody else's who got its number
                sent(pid, signal.SIGCONT)


def converges(system: ChaosSystem, seconds: float = 60) -> None:
    """Once nothing goes wrong any more, every worker is live within a bounded time."""

    def live() -> bool:
        system.check()
        return all(
            health(system.run.logs / f"{name}.port").get("healthy") is True for name in WORKERS
        )

    wait_until(live, f"every worker is live again: {system.supervisor.state()}", seconds=seconds)


def exits(system: ChaosSystem) -> Counter[str]:
    """Why processes ended by themselves, and how often, as their logs say it."""
    found: Counter[str] = Counter()
    for path in system.run.logs.glob("*.log"):
        for line in path.read_text(errors="replace").splitlines():
            if '"level": "critical"' in line:
                found[f"{path.stem}: {json.loads(line)['event'][:80]}"] += 1
    return found
