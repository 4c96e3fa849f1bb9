"""Steps of the host's clock, seen by comparing it with the clock that never steps.

A clock that is slewed (NTP, up to 500 ppm) shows no step; one that is set, or a machine that was
suspended, does.
"""

import time
from collections.abc import Callable

STEP_S = 0.1
"""Half of what clocks may differ by (the gateway's skew): more than that is a step."""


class StepWatch:
    """Compares wall time with monotonic time since it was made, or since the last step."""

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_s, self._monotonic_s = wall_s, monotonic_s
        self._offset = min((self._read() for _ in range(5)), key=lambda read: read[1])[0]

    def _read(self) -> tuple[float, float]:
        """Wall time less monotonic time, too high by at most the second figure."""
        before = self._monotonic_s()
        wall = self._wall_s()
        return wall - before, self._monotonic_s() - before

    def stepped_s(self) -> float:
        """Seconds by which the clock was set since the last look, negative for back; 0.0 if it was
        not. A pause between two readings of ours is none."""
        offset, took = self._read()
        step = offset - self._offset
        if -STEP_S <= step <= STEP_S + took:
            return 0.0
        self._offset = offset
        return step
