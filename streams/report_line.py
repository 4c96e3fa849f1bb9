"""The short way of progress reports: a socket by which workers tell the feed of their machine.

A feed waits for reports tens of thousands of times a run, and by way of Kafka each costs the broker
two requests. So the feed has a Unix socket in the folder it shares with the workers, and who finds
it there sends datagrams. They lie in one queue, in the order in which they were sent, as messages
of the one partition of `progress` do: so who says that it is about to fence a source stands in
front of whatever its predecessor says afterwards (decision 0004).

Kafka has four reports of everybody a second all the same, and all of them where there is no such
socket: workers on other machines, a path too long for one, a feed that does not read.
"""

import contextlib
import logging
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

logger = logging.getLogger(__name__)
FILE = "feed.sock"
SIZE_MAX = 65_536
PATIENCE_S = 0.05
"""How long a worker waits where the queue is full: ten datagrams on many kernels."""


class ReportLine:
    """A worker's end. `folder` is that of its logs, which it shares with the feed.

    A feed that does not read is no reason to wait for long: the line is given up, and Kafka has the
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
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        found.settimeout(PATIENCE_S)
        try:
            found.connect(str(self._path))
        except OSError:  # what a feed left behind that is gone, or a path too long
            found.close()
            return False
        self._socket = found
        return True

    def send(self, raw: bytes) -> bool:
        """Hand over one report: when it returns it lies in the feed's queue. False, and the line is
        closed, where there is no feed or, after 50 ms, no place."""
        if self._socket is None:
            return False
        with contextlib.suppress(OSError):
            self._socket.send(raw)
            return True
        self.close()
        return False

    def close(self) -> None:
        """Give it up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class ReportLines:
    """The feed's end. Where the folder's path is too long for a socket nobody can call, and the
    log says so."""

    def __init__(self, folder: Path) -> None:
        self.workers: set[str] = set()
        """Workers that were heard here."""
        self._heard: dict[str, int] = {}
        self._path = folder / FILE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        try:
            self._socket.bind(str(self._path))
            self._path.chmod(0o600)
        except OSError as error:
            logger.warning("workers report by Kafka alone, no socket in %s: %s", folder, error)

    def take(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Reports that are there, in the order in which they were sent, and what comes while they
        are taken; waits for the first one."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return
        while True:
            try:
                raw = self._socket.recv(SIZE_MAX)
            except BlockingIOError:
                return
            try:
                report: dict[str, Any] = orjson.loads(raw)
                self._heard[report["incarnation"]] = report["line"]
                self.workers.add(report["worker"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                logger.warning("somebody wrote what is no report to %s: %.80r", self._path, raw)
                continue
            yield report

    def has(self, report: dict[str, Any]) -> bool:
        """Whether a report from Kafka is of a process that tells the feed here: then it is older
        than what was heard. `line` counts how often a process has given its line up."""
        given_up: int = report.get("line", 0)
        return self._heard.get(report["incarnation"], -1) >= given_up

    def close(self) -> None:
        """Hear nobody any more."""
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
