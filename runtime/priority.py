"""Who goes first where processor time is short: what trades, before what makes tables."""

import contextlib
import os
from pathlib import Path

STEPS = {"projector": 10, "rebuild": 10}
"""How far what can take a whole processor, and nobody waits for, stands back behind all others, in
steps of nice: each leaves four fifths of the share. No worker that trades does: it would be late
with a change of policy (POL-4); a short way keeps emergencies quick (streams/entry_way.py)."""
AUTOGROUP = Path("/proc/self/autogroup")


def stand_back(worker: str) -> None:
    """Let others go first: this thread, and those that it starts from now on.

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
