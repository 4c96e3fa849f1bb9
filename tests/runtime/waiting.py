"""Waiting for what another process does."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    """Return when it is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
        time.sleep(0.01)
