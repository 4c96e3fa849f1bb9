"""What the embedded broker and database have in common: one child process that owns one folder."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from runtime import processes
from runtime.processes import ServiceError

LOG_LIMIT_BYTES = 5_000_000


class Service(ABC):
    """A server as a child process, with all its state in `folder`.

    `prepare` may run in a thread; what starts the process is for the main thread only
    (processes.spawn). Addresses stay the same for as long as the object lives.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_before = 0
        self._claim: int | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Everything before the first start that takes time: downloads, formatting. Idempotent."""

    @abstractmethod
    def _start_process(self) -> None:
        """Settle addresses and `_launch`."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers clients now. Raises ServiceError if the process has ended."""

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self.is_running() else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of a process that has ended, negative for a signal."""
        return self._process.poll() if self._process else None

    def is_running(self) -> bool:
        """Whether the process lives (not whether it answers: `ready`)."""
        return self._process is not None and self._process.poll() is None

    def prepare(self) -> None:
        """Do ahead what takes time before a first start; nothing if it was done. ServiceError."""
        with self._claimed():
            self._prepare()

    def spawn(self) -> None:
        """Start without waiting for it to answer; nothing while it runs. Raises ServiceError."""
        if not self.is_running():
            with self._claimed():
                self._prepare()
                self._start_process()

    def start(self, timeout_s: float = 60) -> None:
        """Start and wait until it answers. Raises ServiceError."""
        self.spawn()
        with self._claimed():
            self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until it answers. ServiceError if it ends or takes longer; then nothing runs."""
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            if time.monotonic() > deadline:
                self.kill()
                raise ServiceError(
                    f"{self.name} did not answer within {timeout_s:.0f} s: see {self.log}."
                )
            time.sleep(0.02)

    def stop(self, grace_s: float = 15) -> None:
        """End it in an orderly way; SIGKILL after `grace_s` seconds."""
        if self._process is not None:
            processes.stop(self._process, self.stop_signal, grace_s)
        self._release()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            processes.kill_group(self._process)
            self._process.wait()

    def restart(self) -> None:
        """Stop it, if it runs, and start it again at the same address."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[None]:
        """Own the folder: from the first start until `stop`, or for this block if nothing runs.

        The lock goes with this process, however it ends, and its server with it.
        """
        if self._claim is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            claim = os.open(self.folder / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(claim)
                raise ServiceError(
                    f"Another {self.name} uses {self.folder}: end it, or set QUANTUM_DATA to "
                    "another folder."
                ) from None
            self._claim = claim
        try:
            yield
        finally:
            if not self.is_running():
                self._release()

    def _release(self) -> None:
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def _launch(
        self,
        argv: list[str],
        *,
        env: Mapping[str, str] | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_name(f"{self.name}.log.1"))
        with self.log.open("ab") as output:
            self._log_before = output.tell()
            self._process = processes.spawn(
                argv,
                output=output,
                env=env,
                cwd="/",
                owner=owner,
                death_signal=self.death_signal,
            )

    def _said(self) -> str:
        """What the process wrote since it was started last, at most 100 kB."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_before)
                return log.read(100_000).decode(errors="replace")
        except OSError:
            return ""
