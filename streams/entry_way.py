"""How many entries may be on their way to the venue at once: congestion control of the way out.

An entry that has left its gateway cannot be called back, so what is on the way when an emergency is
declared still reaches the venue. On a crowded machine the way is a queue (the client's, the
broker's) that takes what it is given: in a burst the slowest hundredth of the entries was under way
for 0.75 s. So the number on the way is limited by how long the last ones took, and where they take
longer than half of what an emergency has (SAFE-8; the barrier may take the other half), it shrinks
until one is followed by the next. Exits, cancels and protections leave at once, as ever.
"""

import threading
from collections.abc import Callable

from streams.log import Delivered

TARGET_S = 0.025
LEAST, AT_FIRST, MOST = 1, 4, 64


class EntryWay:
    """Entries of one gateway process that have left and are not known to have arrived. `monotonic`
    gives seconds. `on_room` is called, from any thread, when one that was turned away may leave."""

    def __init__(self, monotonic: Callable[[], float], on_room: Callable[[], None]) -> None:
        self._monotonic, self._on_room = monotonic, on_room
        self._lock = threading.Lock()
        self._limit = float(AT_FIRST)
        self._under_way = 0
        self._shrunk_s: float | None = None
        """What left before says nothing about the limit as it is now. Until the first time the
        limit doubles with each round."""
        self._turned_away = False

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return int(self._limit)

    def room(self) -> bool:
        """Whether one more may leave now."""
        with self._lock:
            free = self._under_way < self.limit
            self._turned_away = self._turned_away or not free
            return free

    def left(self) -> Delivered:
        """One leaves; returns what is to be called once, when it has arrived or is lost."""
        with self._lock:
            self._under_way += 1
            left_s = self._monotonic()

        def arrived(_offset: int) -> None:
            with self._lock:
                self._under_way -= 1
                self._measure(left_s, self._monotonic())
                wanted, self._turned_away = self._turned_away, False
            if wanted:
                self._on_room()

        return arrived

    def _measure(self, left_s: float, now_s: float) -> None:
        if now_s - left_s > TARGET_S:
            if self._shrunk_s is None or left_s >= self._shrunk_s:
                self._limit = max(float(LEAST), self._limit / 2)
                self._shrunk_s = now_s
            return
        step = 1.0 if self._shrunk_s is None else 1.0 / self._limit
        self._limit = min(float(MOST), self._limit + step)
