"""Callbacks that wait for records on disk: how many, not each, so that memory does not grow."""

import threading
from collections import deque

from streams.log import Delivered


def ignored(_offset: int) -> None:
    """For records whose place nobody wants to know."""


class Owed:
    """Callbacks of records that are not in the log yet, by partition, in order. Those of one
    partition do the same, whichever record they came with, but for :func:`ignored`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, deque[tuple[Delivered, int]]] = {}

    def add(self, key: str, delivered: Delivered) -> None:
        """One record more that waits."""
        with self._lock:
            owed = self._of.setdefault(key, deque())
            if owed and (owed[-1][0] is ignored) == (delivered is ignored):
                owed[-1] = (delivered, owed[-1][1] + 1)
            else:
                owed.append((delivered, 1))

    def settle(self, key: str, offset: int) -> None:
        """The next one of a partition lies at `offset` in the log."""
        with self._lock:
            owed = self._of[key]
            delivered, count = owed[0]
            if count > 1:
                owed[0] = (delivered, count - 1)
            else:
                owed.popleft()
        delivered(offset)
