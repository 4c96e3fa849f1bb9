"""Starts processes that run modules of this checkout by forking one that has imported them."""

import ctypes
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from runtime import processes
from runtime.processes import Process

PR_SET_CHILD_SUBREAPER = 36
IMPORT_S, FORK_S = 30.0, 5.0
"""How long a fork server may take to import, and then to fork; a full machine included."""
_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger(__name__)


class UnusableError(RuntimeError):
    """This system, or what is imported, does not allow for forks."""


class Forked:
    """A child that a fork server started, as :class:`subprocess.Popen` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it; nothing if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Forks:
    """Starts what is ``python -P -m MODULE …`` with the supervisor's environment by a fork.

    Whatever cannot be forked is started as a new interpreter: other commands, another Python
    environment, a system without subreapers, a fork server that was killed (the next one is
    started at once and used from then on). For the main thread only, as `processes.spawn`.

    modules: what the fork server imports. output: where it says why it ended.
    """

    def __init__(self, modules: Sequence[str], env: Mapping[str, str], output: Path) -> None:
        self._modules = modules
        self._env = dict(env)
        self._output = output
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._imported = False
        self._usable = sys.platform == "linux"

    @property
    def pid(self) -> int | None:
        """Process id of the fork server while it runs."""
        return self._server.pid if self._server and self._server.poll() is None else None

    def start(self) -> None:
        """Begin to import, without waiting for it; nothing where that cannot be used."""
        if not self._usable or self.pid is not None:
            return
        self.stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-P", "-m", "runtime.fork_server", str(theirs.fileno())]
        with theirs, self._output.open("ab") as output:
            self._server = processes.spawn(
                [*argv, *self._modules], env=self._env, output=output, pass_fds=[theirs.fileno()]
            )
        ours.settimeout(IMPORT_S)
        self._channel, self._imported = ours, False

    def stop(self) -> None:
        """End the fork server; what it forked runs on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._server is not None:
            processes.kill_group(self._server)
            self._server.wait()
            self._server = None

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        output: IO[bytes],
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """As :func:`runtime.processes.spawn`."""
        words = [str(part) for part in argv]
        settings = dict(os.environ if env is None else env)
        if self._can_fork(words, settings):
            try:
                return self._fork(words, settings, output)
            except (OSError, ValueError) as error:
                log.error("the fork server does not answer (%s)", error)
                self.stop()
                self.start()
            except UnusableError as error:
                log.warning("the fork server cannot be used: %s", error)
                self.stop()
                self._usable = False
        return processes.spawn(argv, output=output, env=env)

    def _can_fork(self, words: list[str], env: Mapping[str, str]) -> bool:
        if self._channel is None or words[:3] != [sys.executable, "-P", "-m"]:
            return False
        return _of_python(env) == _of_python(self._env)

    def _fork(self, words: list[str], env: Mapping[str, str], output: IO[bytes]) -> Forked:
        assert self._channel is not None
        if not self._imported:
            threads = int(self._channel.recv(32))
            if threads != 1:
                raise UnusableError(f"it has {threads} threads, of which a fork would have one")
            self._imported = True
            self._channel.settimeout(FORK_S)
        request = json.dumps({"argv": words, "env": dict(env)}).encode()
        _adopt(True)
        try:
            socket.send_fds(self._channel, [request], [output.fileno()])
            child = Forked(int(self._channel.recv(32)))
        finally:
            _adopt(False)
        try:
            child.poll()
        except ChildProcessError:
            raise UnusableError("what it forks is no child of this process") from None
        return child


def _adopt(ours: bool) -> None:
    """Whether orphans below this process become its children; only while it waits for one."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, int(ours), 0, 0, 0) != 0:
        raise UnusableError(f"no subreaper: {os.strerror(ctypes.get_errno())}")


def _of_python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}
