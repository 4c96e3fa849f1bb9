"""Starts processes that run modules of this checkout by forking one that has imported them."""

import contextlib
import ctypes
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from runtime import processes
from runtime.processes import Process

PR_SET_CHILD_SUBREAPER = 36
IMPORT_S, FORK_S = 30.0, 1.0
"""How long the first fork server may take to import, and each to fork. Whoever is later is not
waited for: a new interpreter is started."""
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
    """Starts what is ``python -P -m MODULE …`` in an environment by a fork.

    Whatever cannot be forked is started as a new interpreter: other commands, another environment,
    a system without subreapers, a fork server that does not answer (the next one imports meanwhile,
    and is used once it has). For the main thread only, as `processes.spawn`.

    modules: what the fork server imports. output: where it says why it ended.
    """

    def __init__(self, modules: Sequence[str], env: Mapping[str, str], output: Path) -> None:
        self._modules = modules
        self._env = dict(env)
        self._output = output
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._imported = False
        self._patience_s = IMPORT_S
        self._usable = sys.platform == "linux"

    @property
    def pid(self) -> int | None:
        """Process id of the fork server while it runs."""
        return self._server.pid if self._server and self._server.poll() is None else None

    def start(self) -> None:
        """Let a fork server import, without waiting for it; nothing while one runs, or where none
        can be used. Call now and then: one that was killed is replaced."""
        if not self._usable or self.pid is not None:
            return
        if self._server is not None:
            try:
                self._has_imported()  # one that never had would be started for ever
            except UnusableError as error:
                self._give_up(error)
                return
            self.stop()
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else nobody learns how a child ended
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-P", "-m", "runtime.fork_server", str(theirs.fileno())]
        with theirs, self._output.open("ab") as output:
            self._server = processes.spawn(
                [*argv, str(self._output), *self._modules],
                env=self._env,
                output=output,
                pass_fds=[theirs.fileno()],
            )
        self._channel, self._imported = ours, False

    def stop(self) -> None:
        """End the fork server, with what it has not finished forking; what began runs on."""
        self._patience_s = 0.0  # the next one is not waited for
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._server is not None:
            group = self._server.pid
            processes.kill_group(self._server)
            self._server.wait()
            self._server = None
            with contextlib.suppress(ChildProcessError):
                while True:  # of the group, whatever became ours
                    os.waitpid(-group, 0)

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        output: IO[bytes],
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """As :func:`runtime.processes.spawn`."""
        words = [str(part) for part in argv]
        if self._can_fork(words, env):
            _adopt(True)
            try:
                if self._has_imported():
                    return self._fork(words, output)
            except (OSError, ValueError) as error:
                log.error("the fork server does not answer (%s): another is started", error)
                self.stop()
            except UnusableError as error:
                self._give_up(error)
            finally:
                _adopt(False)
            self.start()
        return processes.spawn(argv, output=output, env=env)

    def _give_up(self, error: UnusableError) -> None:
        log.error("no forks: %s (%s says more)", error, self._output)
        self.stop()
        self._usable = False

    def _can_fork(self, words: list[str], env: Mapping[str, str] | None) -> bool:
        return (
            self._channel is not None
            and threading.current_thread() is threading.main_thread()
            and words[:3] == [sys.executable, "-P", "-m"]
            and dict(os.environ if env is None else env) == self._env
        )

    def _has_imported(self) -> bool:
        """Whether it is ready to fork; the first one is waited for. UnusableError if it never
        will be."""
        assert self._channel is not None
        if self._imported:
            return True
        if not select.select([self._channel], [], [], self._patience_s)[0]:
            return False
        told = self._channel.recv(32)
        if not told:
            raise UnusableError("the fork server ended while it imported")
        if int(told) != 1:
            raise UnusableError(f"{int(told)} threads run after the imports, a fork would have one")
        self._imported = True
        self._channel.settimeout(FORK_S)
        return True

    def _fork(self, words: list[str], output: IO[bytes]) -> Forked:
        assert self._channel is not None
        waits, go = os.pipe()
        try:
            try:
                request = [json.dumps(words).encode()]
                socket.send_fds(self._channel, request, [output.fileno(), waits])
            finally:
                os.close(waits)
            answer = self._channel.recv(32)
            if not answer:
                raise ConnectionError("it is gone")
            child = Forked(int(answer))
            try:
                child.poll()
            except ChildProcessError:
                raise UnusableError("what it forks is no child of this process") from None
            os.write(go, b"!")
            return child
        finally:
            os.close(go)  # who has not been told to begin ends


def _adopt(ours: bool) -> None:
    """Whether orphans below this process become its children; only while it waits for one."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_CHILD_SUBREAPER, int(ours), 0, 0, 0)
