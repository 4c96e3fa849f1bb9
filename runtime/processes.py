"""Child processes that end with us: own session, killed by the kernel when their starter dies."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import IO, Protocol

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_random = SystemRandom()


class ServiceError(RuntimeError):
    """A process or service cannot start or go on; the text names the cause and the remedy."""


class Process(Protocol):
    """A child: :class:`subprocess.Popen`, or one that a fork server started."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...


def spawn(
    argv: Sequence[str | Path],
    *,
    output: int | IO[bytes],
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    owner: tuple[int, int] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that a Ctrl-C in the terminal reaches only us.

    The kernel sends it `death_signal` when this process is gone, however it went. The kernel ties
    that to the thread that forks, hence: from the main thread only (RuntimeError otherwise).
    `owner` is (uid, gid) to become, without supplementary groups. `output` takes stdout and stderr.
    `pass_fds`: descriptors that the child keeps.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("processes are started from the main thread only")
    parent = os.getpid()

    user, group = owner or (None, None)
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forking beside threads
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent, death_signal),  # noqa: PLW1509 - two system calls
            pass_fds=pass_fds,
            user=user,
            group=group,
            extra_groups=None if owner is None else [],
        )


def die_with(parent: int, death_signal: signal.Signals) -> None:
    """Of this process, a child of `parent`: be sent a signal when that is gone, or end now."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:  # it died between fork and prctl
        os._exit(1)


def stop(process: Process, stop_signal: signal.Signals, grace_s: float) -> int | None:
    """Signal, wait up to `grace_s` seconds, then SIGKILL the whole group. Returns the exit code."""
    if process.poll() is None:
        process.send_signal(stop_signal)
    return end(process, grace_s)


def end(process: Process, grace_s: float) -> int | None:
    """Wait up to `grace_s` seconds for a process that was signalled, then SIGKILL the group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    kill_group(process)
    return process.wait()


def kill_group(process: Process) -> None:
    """SIGKILL to the child and to all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process of this id exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return not Path("/proc/self").exists()


def began(pid: int) -> str | None:
    """When a process began: boot of the machine and clock ticks since. No two processes of one id
    have the same. None where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
    return f"{boot}/{ticks}"


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A free port outside the range from which the system takes ports for outgoing connections.

    Inside it, a client that reconnects to a killed server can be given the server's own port, is
    then connected to itself, and the server cannot come back.
    """
    try:
        lowest, highest = map(
            int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        )
    except (OSError, ValueError):
        lowest, highest = 32768, 60999
    usable = range(15_000, lowest) if lowest > 16_000 else range(min(highest + 1, 65_000), 65_536)
    for _ in range(200):
        port = _random.choice(usable)
        if port_is_free(port):
            return port
    raise ServiceError(
        f"No free port in {usable.start}-{usable.stop - 1} on 127.0.0.1: stop other programs, or "
        "set QUANTUM_KAFKA_PORT and QUANTUM_POSTGRES_PORT."
    )


def wait_until_free(port: int, timeout_s: float) -> bool:
    """Wait for a port that its last owner may just be giving back."""
    deadline = time.monotonic() + timeout_s
    while not port_is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
