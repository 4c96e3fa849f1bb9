"""Event time: the clock's slice, and `now`."""

from dataclasses import dataclass
from typing import Any

from domain.skipping import Outside
from schemas.envelope import Envelope
from schemas.market import ClockTicked
from schemas.scalars import EPOCH_TEXT


@dataclass(slots=True)
class ClockState:
    """The last tick. `candle_s` is the spacing a replayed tick stands for (1 live)."""

    time: str = EPOCH_TEXT
    candle_s: int = 1

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, ClockTicked) or event.time <= self.time:
            return False
        self.time, self.candle_s = event.time, event.data.candle_s
        return True

    def skip(self, outside: Outside) -> None:
        """Take over the last tick up to a place."""
        if outside.clock_time > self.time:
            self.time, self.candle_s = outside.clock_time, outside.candle_s


def now(slices: Any, cause: Envelope) -> str:
    """The time of a decision: the latest of the last tick, the last market time and the cause's own
    time where the cause is a decided record (what people write into a time is not trusted)."""
    latest = ""
    clock, market = slices.get("clock"), slices.get("market")
    if clock is not None:
        latest = clock.time
    if market is not None and market.time > latest:
        latest = market.time
    if (cause.epoch is not None or cause.source == "/feed") and cause.time > latest:
        latest = cause.time
    return latest or cause.time
