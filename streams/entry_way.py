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
IDLE_S = 1.0
"""After so long without an entry nothing is known of the way: as at first."""


class EntryWay:
    """Entries of one gateway process that have left and are not known to have arrived. `monotonic`
    gives seconds. `on_room` is called, from any thread, when one that was turned away may leave."""

    def __init__(self, monotonic: Callable[[], float], on_room: Callable[[], None]) -> None:
        self._monotonic, self._on_room = monotonic, on_room
        self._lock = threading.Lock()
        self._limit = float(AT_FIRST)
        self.under_way = 0
        """Entries that have left and not arrived."""
        self._left_s = monotonic()
        self._shrunk_s: float | None = None
        """What left before says nothing about the limit as it is now. Until the first time the
        limit nearly doubles with each round."""
        self._turned_away = False

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return int(self._limit)

    def room(self) -> bool:
        """Whether one more may leave now."""
        with self._lock:
            if not self.under_way and self._monotonic() > self._left_s + IDLE_S:
                self._limit, self._shrunk_s = min(self._limit, float(AT_FIRST)), None
            free = self.under_way < self.limit
            self._turned_away = self._turned_away or not free
            return free

    def left(self) -> Delivered:
        """One leaves; returns what is to be called once, with the offset it has where it arrived,
        or with a negative one where it was lost."""
        with self._lock:
            self.under_way += 1
            used = self._half_full()
            left_s = self._left_s = self._monotonic()

        def arrived(offset: int) -> None:
            with self._lock:
                if offset >= 0:
                    self._measure(left_s, self._monotonic(), used=used or self._half_full())
                self.under_way -= 1
                wanted, self._turned_away = self._turned_away, False
            if wanted:
                self._on_room()

        return arrived

    def _half_full(self) -> bool:
        return 2 * self.under_way >= self.limit

    def _measure(self, left_s: float, now_s: float, *, used: bool) -> None:
        """`used`: the way was half full at least when it left or when it arrived. A lone entry that
        was quick says nothing about many at once."""
        if now_s - left_s > TARGET_S:
            if self._shrunk_s is None or left_s >= self._shrunk_s:
                self._limit = max(float(LEAST), self._limit / 2)
                self._shrunk_s = now_s
        elif used:
            step = 1.0 if self._shrunk_s is None else 1.0 / self._limit
            self._limit = min(float(MOST), self._limit + step)
