"""Bringing a whole system up: services, topics, migrations, workers, feed; one supervisor."""

import http.client
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Self

from sqlalchemy.exc import OperationalError

from commands import topics_apply
from commands.console import say
from domain.processors import PROCESSORS
from migrations.chain import upgrade
from runtime import runs
from runtime.build import code_digest
from runtime.forks import Forks
from runtime.kafka import EmbeddedKafka
from runtime.postgres import EmbeddedPostgres
from runtime.prepare import prepare
from runtime.processes import ServiceError
from runtime.runs import Run, RunLock
from runtime.service import Service
from runtime.settings import ROOT, Settings
from runtime.supervisor import ProcessSpec, Supervisor
from schemas.topics import WORKERS

UNANSWERED = (OSError, ValueError, http.client.HTTPException)
"""What asking a process for its health can end in: it may be killed in the middle of its answer."""

TELL_S = 10.0
"""How often a person who waits for a long start is told how far it is."""


PORTS = ("QUANTUM_KAFKA_PORT", "QUANTUM_POSTGRES_PORT")
"""Of embedded services, which no service of others has."""

MODULES = (
    "streams.worker",
    "projections.worker",
    *(module for module, _ in PROCESSORS.values()),
    *("structlog", "faust.app.router", "faust.fixups.django", "faust.tables.manager"),
)
"""What processes of a run are made of, and what Faust imports when it starts. The feed needs more,
and imports that itself: packages that start threads, which a fork would not have."""

FEED = "feed"
"""Where a run's details say what its feed was told."""


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """What the feed process is told: its command line after the addresses; none: a live clock."""

    arguments: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run) -> "FeedPlan | None":
        """That of a run that was started before; None where it had no feed."""
        told = run.record.details.get(FEED)
        return cls(tuple(map(str, told))) if isinstance(told, list) else None


class LiveSystem:
    """One run's processes. Use as a context: whatever happens inside, nothing is left running."""

    def __init__(self, *, details: dict[str, Any] | None = None, reopen: Run | None = None) -> None:
        self.settings = Settings.load()
        prepare(self.settings)
        self._lock: RunLock = runs.lock()
        self.run: Run = reopen or runs.new_run(build=code_digest(), details=details or {})
        if reopen:
            reopen.reopen()
        self.kafka = self.settings.kafka or ""
        self.postgres = self.settings.postgres or ""
        self.interrupted = False
        self._services: list[Service] = []
        self.forks = Forks(MODULES, self.environment(), self.run.logs / "fork_server.out")
        self.supervisor = Supervisor(self._embedded(), self.run.state_file, spawn=self.forks.spawn)
        signal.signal(signal.SIGTERM, self._interrupt)
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGHUP, self._interrupt)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupted = True

    def _embedded(self) -> list[ProcessSpec | Service]:
        if not self.settings.kafka:
            self._services.append(
                EmbeddedKafka(self.run.folder / "kafka", port=self.settings.kafka_port)
            )
        if not self.settings.postgres:
            self._services.append(
                EmbeddedPostgres(self.run.folder / "postgres", port=self.settings.postgres_port)
            )
        return list(self._services)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ starting

    def start(self, feed: FeedPlan | None, *, workers: tuple[str, ...] = WORKERS) -> None:
        """Services, then topics and migrations, then workers, then the feed (None: no feed)."""
        if feed is not None:
            self.run.update(details={**self.run.record.details, FEED: list(feed.arguments)})
        say("starting Kafka and Postgres")
        self.forks.start()  # it imports what workers need while those start
        self.supervisor.start()
        for service in self._services:
            if isinstance(service, EmbeddedKafka):
                self.kafka = service.bootstrap
            elif isinstance(service, EmbeddedPostgres):
                self.postgres = service.uri
        self.run.update(kafka=self.kafka, postgres=self.postgres)
        say(f"starting {len(workers)} workers")
        self.supervisor.add([self._worker(name) for name in workers])
        self.supervisor.check()
        topics_apply.apply(self.kafka)
        self._migrate()
        self.supervisor.start()
        if feed is not None:
            self.supervisor.add([self._feed(feed)])
            self.supervisor.check()
        self.run.update(state="running", pids=self.supervisor.pids())

    def add_worker(self, name: str) -> None:
        """Start one more worker and wait until it is ready; it is restarted like the others."""
        self.supervisor.add([self._worker(name)])
        self.supervisor.check()
        self.supervisor.start()

    def _migrate(self) -> None:
        try:
            upgrade(self.postgres)
        except OperationalError as error:
            detail = str(error.orig).strip().splitlines()[0]
            raise ServiceError(
                f"Postgres at {self.postgres} does not answer ({detail}): correct QUANTUM_POSTGRES,"
                " or unset it to use the embedded one."
            ) from None

    def environment(self) -> dict[str, str]:
        """A child's environment: this checkout's code. Byte code lies where Python looks for it: in
        a place of each run's own, eight processes would compile every package anew."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return kept | {"PYTHONPATH": path}

    def _worker(self, name: str) -> ProcessSpec:
        if name == "projector":
            argv = ["projections.worker", "--kafka", self.kafka, "--postgres", self.postgres]
        else:
            argv = ["streams.worker", name, "--kafka", self.kafka]
            argv += ["--instance", f"{name}-{self.run.name}"]
        (self.run.logs / f"{name}.port").unlink(missing_ok=True)
        starting = Starting(name, self.run.logs / f"{name}.port")
        return ProcessSpec(
            name=name,
            argv=[sys.executable, "-P", "-m", *argv, "--folder", str(self.run.logs)],
            env=self.environment(),
            ready=starting.ready,
            progress=lambda: starting.replayed,
            log=self.run.logs / f"{name}.out",
        )

    def _feed(self, plan: FeedPlan) -> ProcessSpec:
        argv = [sys.executable, "-P", "-m", "streams.feed", "--kafka", self.kafka]
        argv += ["--folder", str(self.run.logs), *plan.arguments]
        return ProcessSpec(
            name="feed",
            argv=argv,
            env=self.environment(),
            finishes=True,
            log=self.run.logs / "feed.out",
        )

    # ------------------------------------------------------------------ running

    def check(self) -> None:
        """One round of the supervisor; call several times a second."""
        self.supervisor.check()
        self.forks.start()  # if it was killed

    def feed_done(self) -> dict[str, Any] | None:
        """What the feed wrote when it had published everything; None before."""
        try:
            done: dict[str, Any] = json.loads((self.run.logs / "feed.json").read_text())
        except (OSError, ValueError):
            return None
        return done

    def feed_error(self) -> str | None:
        """Why the feed gave up on its input, if it did."""
        try:
            return (self.run.logs / "feed.error").read_text()
        except OSError:
            return None

    def stop(self) -> None:
        """Stop everything, the last started first."""
        self.supervisor.stop()
        self.forks.stop()
        self.run.update(state="stopped", pids={}, stopped=_now())
        self._lock.release()


@contextmanager
def own_system(details: dict[str, Any], *, data: Path | None = None) -> Iterator[LiveSystem]:
    """A system with services of its own: never those of the settings, whatever the environment
    says. While it lasts neither this process nor one of its children knows of others, nor of how
    to prove who they are to them. data: its data folder, with free ports; None: that of the
    settings, with the ports of the settings."""
    hidden = {name for name in os.environ if _is_of_services(name)}
    if data is None:
        hidden -= {name for name in hidden if name.upper() in PORTS}
    else:
        hidden |= {name for name in os.environ if name.upper() == "QUANTUM_DATA"}
    kept = {name: os.environ.pop(name) for name in hidden}
    if data is not None:
        os.environ["QUANTUM_DATA"] = str(data)
    try:
        with LiveSystem(details=details) as system:
            yield system
    finally:
        if data is not None:
            del os.environ["QUANTUM_DATA"]
        os.environ.update(kept)


def _is_of_services(name: str) -> bool:
    """Whether a variable says where services are, or how they are used; in capitals or not."""
    return name.upper().startswith(("QUANTUM_KAFKA", "QUANTUM_POSTGRES"))


class Starting:
    """What a worker says of its start: whether it is ready, and how far its replay has come. A long
    one is told to the person who waits for it."""

    def __init__(self, name: str, port_file: Path) -> None:
        self.name = name
        self.replayed: int | None = None
        """Records read and folded; grows as long as the start gets on. None before it answers."""
        self._port_file = port_file
        self._reason = ""
        self._told_at = time.monotonic() + TELL_S

    def ready(self) -> bool:
        """Whether it is; asked several times a second."""
        body = health(self._port_file)
        self.replayed = body.get("replayed", self.replayed)
        if body.get("healthy") is True:
            return True
        if (reason := str(body.get("reason", ""))) and reason != self._reason:
            say(f"{self.name}: {reason}")
            self._reason = reason
        elif body and time.monotonic() > self._told_at:
            self._told_at = time.monotonic() + TELL_S
            say(f"{self.name} is starting: {self.replayed or 0:,} records replayed")
        return False


def health(port_file: Path) -> dict[str, Any]:
    """What the process that wrote `port_file` answers on `/health`; empty if it does not."""
    try:
        port = int(port_file.read_text())
        url = f"http://127.0.0.1:{port}/health"
        try:
            with urllib.request.urlopen(url, timeout=0.5) as answer:
                body: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:  # it is not healthy, and says why
            with error:
                body = json.loads(error.read())
    except UNANSWERED:
        return {}
    return body


def readiness(port_file: Path) -> tuple[bool, str]:
    """Whether the process that wrote `port_file` says on `/readyz` that it is ready; else why."""
    try:
        port = int(port_file.read_text())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return True, ""
    except urllib.error.HTTPError as error:
        with error:
            body = json.loads(error.read())
        return False, str(body.get("reason") or f"state {body.get('state')}")
    except UNANSWERED as error:
        return False, f"/readyz: {error}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


DATA = ROOT / "data" / "market"
