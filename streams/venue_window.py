"""The venue's shell looks at wall time, its decider never does: a request that arrives later than
its window after it was signed is refused, whatever it asks for (DESIGN, the outside world)."""

import time

from schemas.envelope import Envelope
from schemas.scalars import micros
from schemas.venue import VenueRequested

FUTURE_MS = 1_000
"""How far ahead a request's stamp may be, as exchanges have it: after the host's clock was set back
what was signed before would be admitted long after its window."""


def outside_window(event: Envelope, at_us: int | None = None) -> str | None:
    """Why a request is not admitted, or None. `at_us`: wall time now, by this machine."""
    if not isinstance(event, VenueRequested):
        return None
    late_ms = (
        (time.time_ns() // 1000 if at_us is None else at_us) - micros(event.data.sent_at)
    ) // 1000
    if late_ms < -FUTURE_MS:
        return f"signed {-late_ms} ms in the future, at most {FUTURE_MS} are allowed"
    if late_ms <= event.data.window_ms:
        return None
    allowed = event.data.window_ms
    return f"outside the receive window: {late_ms} ms after it was signed, at most {allowed}"
