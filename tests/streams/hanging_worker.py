"""A worker that hangs when told to: its event loop, or whoever holds its shell's lock.

``python -m tests.streams.hanging_worker risk --kafka … --folder …`` like `streams.worker`. The file
``FOLDER/NAME.hang`` says what is to hang: `loop` or `lock`.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streams import worker
from streams.app import create_app


def hanging(orders: Path) -> Callable[..., Any]:
    """`create_app` with a beat that hangs once the file `orders` is there."""

    def create(**given: Any) -> Any:
        beat, shell = given["beat"], given["receive"].__self__.shell

        def hold() -> None:
            with shell.lock:
                threading.Event().wait()

        def beat_or_hang() -> None:
            beat()
            if not orders.exists():
                return
            if orders.read_text() == "loop":
                threading.Event().wait()
            threading.Thread(target=hold, daemon=True).start()

        return create_app(**{**given, "beat": beat_or_hang})

    return create


def main(arguments: list[str]) -> None:
    """Run the worker."""
    folder = Path(arguments[arguments.index("--folder") + 1])
    vars(worker)["create_app"] = hanging(folder / f"{arguments[0]}.hang")
    worker.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
