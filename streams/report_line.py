"""The short way of progress reports: a socket between the workers and the feed of one machine.

A feed waits for reports tens of thousands of times a run, and by way of Kafka each costs the broker
two requests. So the feed listens on a Unix socket in the folder it shares with the workers, and who
finds it there tells it directly. Kafka has a full report of everybody each second all the same,
and all of them where there is no such socket: workers on other machines, a path too long for one.

What was sent on such a socket before something else happened is there to be read when that has
happened. :meth:`ReportLines.take` goes on until nothing is there any more, so whoever is about to
fence a source is heard before whatever its predecessor says afterwards (decision 0004).
"""

import contextlib
import logging
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

logger = logging.getLogger(__name__)
FILE = "feed.sock"
CONNECT_S = 0.5
PIECE = 65_536


class ReportLine:
    """A worker's end. `folder` is that of its logs, which it shares with the feed.

    A feed that does not read is no reason to wait: the line is given up, and Kafka has the
    reports."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._socket: socket.socket | None = None

    @property
    def open(self) -> bool:
        """Whether a feed listens, as far as is known."""
        return self._socket is not None

    def connect(self) -> bool:
        """Look for a feed if there is no line to one yet; whether one was found just now."""
        if self._socket is not None or not self._path.exists():
            return False
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.settimeout(CONNECT_S)
        try:
            found.connect(str(self._path))
        except OSError:  # what a feed left behind that is gone, or a path too long
            found.close()
            return False
        found.setblocking(False)
        self._socket = found
        return True

    def send(self, raw: bytes) -> bool:
        """Hand over one report, JSON without line ends; False, and the line is closed, where that
        does not work at once."""
        if self._socket is None:
            return False
        line = raw + b"\n"
        with contextlib.suppress(OSError):
            if self._socket.send(line) == len(line):
                return True
        self.close()
        return False

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@dataclass(slots=True)
class _Caller:
    """One connection: who it is, and what of a report has come so far."""

    socket: socket.socket
    incarnation: str = ""
    worker: str = ""
    rest: bytes = b""


class ReportLines:
    """The feed's end. Where the folder's path is too long for a socket nobody can call, and the
    log says so."""

    def __init__(self, folder: Path) -> None:
        self._selector = selectors.DefaultSelector()
        self._callers: dict[int, _Caller] = {}
        self.incarnations: set[str] = set()
        """Processes that report here: what they say in Kafka is older."""
        self.workers: set[str] = set()
        """Workers with such a process."""
        self._path = folder / FILE
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        try:
            self._listener.bind(str(self._path))
            self._path.chmod(0o600)
            self._listener.listen(64)
        except OSError as error:
            logger.warning("workers report by Kafka alone, no socket in %s: %s", folder, error)
            return
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def take(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Reports that are there, and what comes while they are taken; waits for the first one."""
        while ready := self._selector.select(timeout_s):
            timeout_s = 0
            for key, _ in ready:
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    yield from self._read(self._callers[key.fd])

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            caller, _ = self._listener.accept()
            caller.setblocking(False)
            self._callers[caller.fileno()] = _Caller(caller)
            self._selector.register(caller, selectors.EVENT_READ)

    def _read(self, caller: _Caller) -> Iterator[dict[str, Any]]:
        try:
            piece = caller.socket.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._hang_up(caller)
            return
        *lines, caller.rest = (caller.rest + piece).split(b"\n")
        for line in lines:
            try:
                report: dict[str, Any] = orjson.loads(line)
                who = report["worker"], report["incarnation"]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                logger.warning("somebody wrote what is no report into %s: %.80r", self._path, line)
                self._hang_up(caller)
                return
            if who != (caller.worker, caller.incarnation):
                caller.worker, caller.incarnation = who
                self._know()
            yield report

    def _hang_up(self, caller: _Caller) -> None:
        self._selector.unregister(caller.socket)
        del self._callers[caller.socket.fileno()]
        caller.socket.close()
        self._know()

    def _know(self) -> None:
        self.incarnations = {each.incarnation for each in self._callers.values()} - {""}
        self.workers = {each.worker for each in self._callers.values()} - {""}

    def close(self) -> None:
        """Hang up on everybody."""
        for caller in list(self._callers.values()):
            self._hang_up(caller)
        self._selector.close()
        self._listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
