"""Who goes first where processor time is short: what stops and exits need, before what opens."""

import contextlib
import os
from pathlib import Path

STEPS = {"signals": 5, "risk": 5, "positions": 5, "projector": 10, "rebuild": 10}
"""How far workers, and what makes tables anew, stand back behind the broker, `control`, `safety`,
`execution`, `gateway` and the venue, in steps of nice: each leaves four fifths of the share."""
AUTOGROUP = Path("/proc/self/autogroup")


def stand_back(worker: str) -> None:
    """Let others go first; call it before any thread is started, threads inherit it.

    Kernels that weigh sessions rather than processes (autogroup) have a figure of their own for
    that; where neither can be set, nothing happens: it is about speed alone.
    """
    steps = STEPS.get(worker, 0)
    if not steps:
        return
    with contextlib.suppress(OSError):
        os.nice(steps)
    with contextlib.suppress(OSError):
        AUTOGROUP.write_text(str(steps))
