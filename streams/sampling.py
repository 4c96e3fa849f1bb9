"""Where a worker's time goes: a thread that looks at all stacks every few milliseconds.

On only where `QUANTUM_PROFILE` names a folder; one file a process there, rewritten every second:
``samples, percent, function`` for the functions on top of a stack (self) and anywhere on one (in).
A waiting thread counts for nothing: its topmost frame is one of :data:`WAITING`.
"""

import collections
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType

EVERY_S = 0.004
WRITE_S = 1.0
SHOWN = 70
WAITING = (
    *("wait", "poll", "select", "_batch", "run", "_serve", "_beat", "_look", "accept", "get"),
    *("_worker", "_end", "list_topics"),
)


def start(name: str) -> None:
    """Sample this process if `QUANTUM_PROFILE` says so."""
    folder = os.environ.get("QUANTUM_PROFILE")
    if folder:
        target = Path(folder) / f"{name}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=_look, args=(target,), name="sampling", daemon=True).start()


def _look(target: Path) -> None:
    alone: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()
    written, samples = time.monotonic(), 0
    while True:
        time.sleep(EVERY_S)
        samples += 1
        for frame in sys._current_frames().values():
            if frame.f_code.co_name not in WAITING:
                alone[_where(frame)] += 1
                within.update({_where(each) for each in _stack(frame)})
        if time.monotonic() - written > WRITE_S:
            written = time.monotonic()
            target.write_text(_table("self", alone, samples) + _table("in", within, samples))


def _stack(frame: FrameType | None) -> list[FrameType]:
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _where(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_qualname}"


def _table(title: str, counts: collections.Counter[str], samples: int) -> str:
    lines = [f"{title} ({samples} samples)"]
    lines += [f"{n:7} {100 * n / samples:5.1f} % {where}" for where, n in counts.most_common(SHOWN)]
    return "\n".join(lines) + "\n\n"
