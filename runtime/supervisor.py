"""Keeps processes running: starts them side by side, restarts the dead, stops services last.

One thread, the caller's, which must be the main thread (processes.spawn says why). Children live
in sessions of their own: a Ctrl-C in the terminal reaches the supervisor alone, which then stops
them in order; and the kernel kills them when the supervisor is killed.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, Protocol, TypedDict

from runtime import processes
from runtime.processes import Process, ServiceError
from runtime.service import Service

State = Literal["waiting", "starting", "running", "restarting", "stopped", "ended", "failed"]
BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Wait before the n-th restart in a row; the first is immediate."""
STEADY_S = 20.0
"""Having run this long, a process begins the row anew."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One process to keep running.

    ready: asked about every 50 ms while starting; True once it works; None: at once. It must
    answer quickly and not raise. progress: what changes as long as it gets on while it starts; a
    start that takes long is waited for while it does. restart: whether to start it again whenever
    it ends. finishes: exit code 0 means that its work is done, and it is not started again.
    log: file that takes stdout and stderr; None: nowhere. health_port: for `status`, if known.
    """

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] | None = None
    ready: Callable[[], bool] | None = None
    progress: Callable[[], object] | None = None
    restart: bool = True
    finishes: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 5.0
    log: Path | None = None
    health_port: int | None = None


class Spawn(Protocol):
    """Starts a child: :func:`runtime.processes.spawn`, or what does the same more quickly."""

    def __call__(
        self,
        argv: Sequence[str | Path],
        *,
        output: IO[bytes],
        env: Mapping[str, str] | None = None,
    ) -> Process: ...


class ProcessState(TypedDict):
    """What the state file says of one process. `since`: ISO 8601, UTC."""

    pid: int | None
    state: State
    restarts: int
    since: str
    exit_code: int | None
    health_port: int | None
    error: str | None


@dataclass
class _Child:
    spec: ProcessSpec | Service
    process: Process | None = None
    state: State = "waiting"
    since: str = ""
    restarts: int = 0
    in_a_row: int = 0
    exit_code: int | None = None
    error: str | None = None
    started: float = 0.0
    next_start: float = 0.0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        if isinstance(self.spec, Service):
            return self.spec.pid
        return self.process.pid if self.process and self.process.poll() is None else None

    def poll(self) -> int | None:
        if isinstance(self.spec, Service):
            return self.spec.exit_code
        return self.process.poll() if self.process else None

    def spawn(self, spawn: Spawn) -> None:
        if isinstance(self.spec, Service):
            self.spec.spawn()
            return
        target = self.spec.log or Path(os.devnull)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as output:
            self.process = spawn(self.spec.argv, env=self.spec.env, output=output)

    def is_ready(self) -> bool:
        if isinstance(self.spec, Service):
            return self.spec.ready()
        return self.spec.ready is None or self.spec.ready()

    def progress(self) -> object:
        """What changes while it gets on with its start; None where that is not known."""
        told = None if isinstance(self.spec, Service) else self.spec.progress
        return told() if told else None

    def ask_to_stop(self) -> None:
        """Signal a process without waiting for it; services go when nothing needs them."""
        if isinstance(self.spec, ProcessSpec) and self.pid is not None and self.process:
            self.process.send_signal(self.spec.stop_signal)

    def stop(self) -> None:
        if isinstance(self.spec, Service):
            self.spec.stop()
        elif self.process is not None:
            processes.end(self.process, self.spec.stop_grace_s)
        self.exit_code = self.poll()


class Supervisor:
    """Runs services and processes until told to stop.

    specs: services first, then what needs them. state_file: JSON, name -> ProcessState, replaced
    as a whole at every change. spawn: what starts processes (services start themselves).
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec | Service],
        state_file: Path,
        *,
        spawn: Spawn = processes.spawn,
    ) -> None:
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise ValueError(f"two processes of one name among {', '.join(names)}")
        self._children = [_Child(spec) for spec in specs]
        self._spawned_by = spawn
        self._state_file = state_file
        self._written = ""
        self._unwritten = False
        self._stopping = False

    def add(self, specs: Sequence[ProcessSpec | Service]) -> None:
        """More to keep running; they start at the next `start` or `check`."""
        taken = {child.name for child in self._children}
        for spec in specs:
            if spec.name in taken:
                raise ValueError(f"{spec.name} is supervised already")
            self._children.append(_Child(spec))

    def start(self, timeout_s: float = 60) -> None:
        """Start all that wait, side by side, until all are ready.

        ServiceError, after stopping everything, if one fails in a way that starting again will
        not mend, or if for `timeout_s` one is not ready and its progress has not changed.
        """
        moved = {child.name: (object(), time.monotonic()) for child in self._children}
        try:
            while True:
                self.check()
                failed = [child for child in self._children if child.state == "failed"]
                if failed:
                    raise ServiceError(failed[0].error or f"{failed[0].name} does not start")
                waiting = [child for child in self._children if not _settled(child)]
                if not waiting:
                    return
                for child in waiting:
                    if (progress := child.progress()) != moved[child.name][0]:
                        moved[child.name] = (progress, time.monotonic())
                limit = time.monotonic() - timeout_s
                late = [child.name for child in waiting if moved[child.name][1] < limit]
                if late:
                    raise ServiceError(
                        f"{', '.join(late)} not ready within {timeout_s:.0f} s, and no progress: "
                        f"see the logs beside {self._state_file}."
                    )
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """One round: notice who died, restart whose time has come, note who is ready."""
        if self._stopping:
            return
        for child in self._children:
            self._advance(child)
        self._write_state()

    def run(self, until: Callable[[], bool], *, every_s: float = 0.1) -> None:
        """`check` until `until()` is true."""
        while not until():
            self.check()
            time.sleep(every_s)

    def stop(self) -> None:
        """Stop all: processes side by side, then services, the last started first. A second call
        does nothing."""
        self._stopping = True
        live = [c for c in reversed(self._children) if c.state not in ("waiting", "stopped")]
        processes_first = sorted(live, key=lambda child: isinstance(child.spec, Service))
        for child in processes_first:
            child.ask_to_stop()
        for child in processes_first:
            child.stop()
            self._enter(child, "stopped")
            self._write_state()
        self._write_state()

    def state(self) -> dict[str, ProcessState]:
        """The content of the state file, now."""
        return {
            child.name: {
                "pid": child.pid,
                "state": child.state,
                "restarts": child.restarts,
                "since": child.since,
                "exit_code": child.exit_code,
                "health_port": (
                    None if isinstance(child.spec, Service) else child.spec.health_port
                ),
                "error": child.error,
            }
            for child in self._children
        }

    def pids(self) -> dict[str, int]:
        """Process ids of those that run, by name."""
        return {child.name: child.pid for child in self._children if child.pid is not None}

    def _advance(self, child: _Child) -> None:
        now = time.monotonic()
        if child.state in ("waiting", "restarting"):
            if now >= child.next_start:
                self._spawn(child)
            return
        if child.state in ("stopped", "ended", "failed"):
            return
        try:
            if child.state == "starting" and child.is_ready():
                self._enter(child, "running")
        except ServiceError as error:
            child.error = str(error)
        code = child.poll()
        if code is not None:
            self._ended(child, code, now)
        elif child.state == "running" and now - child.started > STEADY_S:
            child.in_a_row = 0

    def _spawn(self, child: _Child) -> None:
        child.started = time.monotonic()
        try:
            child.spawn(self._spawned_by)
        except (ServiceError, OSError) as error:
            child.error = str(error)
            if child.restarts == 0:  # wrong from the beginning: the caller must hear of it
                self._enter(child, "failed")
            else:
                self._again(child)
            return
        self._enter(child, "starting")

    def _ended(self, child: _Child, code: int, now: float) -> None:
        child.exit_code = code
        if isinstance(child.spec, ProcessSpec) and child.process is not None:
            processes.kill_group(child.process)  # what it started must not outlive it
            if not child.spec.restart or (child.spec.finishes and code == 0):
                self._enter(child, "ended")
                return
        elif child.state == "starting" and child.restarts == 0:
            self._enter(child, "failed")
            return
        if now - child.started > STEADY_S:
            child.in_a_row = 0
        self._again(child)

    def _again(self, child: _Child) -> None:
        pause = BACKOFF_S[min(child.in_a_row, len(BACKOFF_S) - 1)]
        child.in_a_row += 1
        child.restarts += 1
        child.next_start = time.monotonic() + pause
        log.warning(
            "restart", extra={"child": child.name, "code": child.exit_code, "pause_s": pause}
        )
        self._enter(child, "restarting")
        if pause == 0:
            self._spawn(child)

    def _enter(self, child: _Child, state: State) -> None:
        child.state = state
        child.since = datetime.now(UTC).isoformat(timespec="milliseconds")
        if state == "running":
            child.error = None

    def _write_state(self) -> None:
        text = json.dumps(self.state(), indent=1)
        if text == self._written:
            return
        aside = self._state_file.with_suffix(".new")
        try:
            self._state_file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(text)
            aside.replace(self._state_file)
        except OSError as error:  # a full disk must not end what is supervised; tried again
            if not self._unwritten:
                log.error("%s cannot be written: %s", self._state_file, error.strerror)
            self._unwritten = True
            return
        self._unwritten = False
        self._written = text


def read_state(state_file: Path) -> dict[str, ProcessState]:
    """What a supervisor wrote last; empty if there is nothing."""
    try:
        state: dict[str, ProcessState] = json.loads(state_file.read_text())
    except (OSError, ValueError):
        return {}
    return state


def _settled(child: _Child) -> bool:
    return child.state in ("running", "ended", "stopped")
