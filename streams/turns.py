"""Who has the shell when several threads want it, and what it has on its way to the log."""

import threading

GATE_S = 0.05
"""Longest that a record waits for a control record that waits for the lock."""


class Precedence:
    """The shell's lock, at which control records go first.

    A lock goes to whoever asks first, and a thread that has just given it back nearly always is: so
    while a control record waits, the threads of other lanes do not ask.
    """

    def __init__(self, lock: "threading.RLock") -> None:
        self._lock = lock
        self._calm = threading.Event()
        self._calm.set()

    def acquire(self, *, first: bool) -> None:
        """Take the lock. Not `first`: call it without holding the lock."""
        if first:
            self._calm.clear()
            self._lock.acquire()
            self._calm.set()
            return
        if not self._calm.is_set():
            self._calm.wait(GATE_S)
        self._lock.acquire()


class Underway:
    """Records that were appended and are not delivered yet, and where the outputs end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._ends: dict[str, int] = {}

    def begin(self) -> None:
        """A record is about to be appended."""
        with self._lock:
            self._count += 1

    def delivered(self, output: str, offset: int) -> bool:
        """A record lies in the log; True if it was the last one."""
        with self._lock:
            self._count -= 1
            self._ends[output] = max(self._ends.get(output, 0), offset + 1)
            return self._count == 0

    def answer_for(self, ends: dict[str, int]) -> None:
        """Count what others wrote before as written."""
        with self._lock:
            self._ends |= ends

    def ends(self) -> dict[str, int] | None:
        """Next offsets of the outputs; None while something is not delivered."""
        with self._lock:
            return None if self._count else dict(self._ends)
