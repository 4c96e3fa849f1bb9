"""Silence is a fault: the age of the last message of each stream, and what it means (EXEC-7).

Wall time, because event time may stand still for good reasons: a file feed is paced by a barrier
and by `--speed`, so its streams are not expected at any time. With a live clock a tick is due each
second; prices are expected once there were any. Reports of the venue are expected while a request
that has left waits for one, whatever feeds the system: an entry that was held back waits for
nobody, and would hold itself back for ever.
"""

import time
from collections.abc import Callable, Mapping

from schemas.topics import CLOCK, MARKET, VENUE_REPORT

SILENT_S = 5.0
AGAIN_S = 10.0
"""Between two catch-ups of one stream."""
WATCHED = (CLOCK.name, MARKET.name, VENUE_REPORT.name)


class Silence:
    """Watches the streams of one worker. `live`: whether the clock is a live one; `waits`: whether
    a request that has left waits for the venue. `clock`: monotonic seconds."""

    def __init__(
        self,
        live: Callable[[], bool],
        waits: Callable[[], bool] = bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live, self._waits, self._clock = live, waits, clock
        self._heard: dict[str, float] = {}
        self._since: dict[str, float] = {}
        """When each stream that is expected began to be."""
        self._caught_up: dict[str, float] = {}

    def heard(self, topic: str) -> None:
        """A message of a topic came."""
        self._heard[topic] = self._clock()

    def ages(self) -> dict[str, float]:
        """Seconds since the last message of each watched stream that had one."""
        now = self._clock()
        return {topic: now - self._heard[topic] for topic in WATCHED if topic in self._heard}

    def silent(self) -> dict[str, float]:
        """Streams that are expected and have said nothing for too long, with how long."""
        now, found = self._clock(), {}
        for topic, expected in self._expected().items():
            if not expected:
                self._since.pop(topic, None)
                continue
            began = self._since.setdefault(topic, now)
            age = now - max(began, self._heard.get(topic, began))
            if age > SILENT_S:
                found[topic] = age
        return found

    def _expected(self) -> Mapping[str, bool]:
        live = self._live()
        return {
            CLOCK.name: live,
            MARKET.name: live and MARKET.name in self._heard,
            VENUE_REPORT.name: self._waits(),
        }

    def to_catch_up(self) -> list[str]:
        """Silent streams that are to be read anew now, if the broker has more of them."""
        now = self._clock()
        due = [t for t in self.silent() if now - self._caught_up.get(t, -AGAIN_S) >= AGAIN_S]
        self._caught_up.update(dict.fromkeys(due, now))
        return due
