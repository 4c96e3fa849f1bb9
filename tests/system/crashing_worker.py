"""A worker that ends itself, as kill -9 would, at its own records: once at each boundary.

``python -m tests.system.crashing_worker risk --kafka … --folder …`` like `streams.worker`. Its
first start ends after folding a request and before the answer is appended; its second when the
broker has the answer and the process does not know; its third when it does know; later ones do not.
How many crashes it had stands in ``FOLDER/NAME.crashes``.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from streams import worker
from streams.buffered_log import PROBE
from streams.kafka_log import KafkaLog
from streams.log import Delivered

BOUNDARIES = ("before the append", "before the delivery", "after the delivery")
RECORD = {"control": (1, 1, 1)}
"""At which own record of a start it ends, boundary by boundary; control writes three in all."""
LATER = (2, 3, 4)
EXIT_CRASH = 137


class CrashingLog(KafkaLog):
    """The real log, until the record that is the last."""

    folder: Path
    processor: str
    crashes: int
    written = 0

    def append(
        self,
        key: str,
        raw: bytes,
        message_key: str,
        delivered: Delivered,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        notes = b'"type":"worker.' in raw[:200] or key == PROBE
        if notes or b'"type":"source.' in raw[:200]:
            super().append(key, raw, message_key, delivered, failed)
            return
        self.written += 1
        last = self.written == RECORD.get(self.processor, LATER)[self.crashes]
        if last and self.crashes == 0:
            self.crash()

        def acknowledged(offset: int) -> None:
            if last and self.crashes == 1:
                self.crash()
            delivered(offset)
            if last:
                self.crash()

        super().append(key, raw, message_key, acknowledged if last else delivered, failed)

    def crash(self) -> None:
        """End at once, having counted; nothing is flushed."""
        crashes_file(self.folder, self.processor).write_text(str(self.crashes + 1))
        os._exit(EXIT_CRASH)


def crashes_file(folder: Path, processor: str) -> Path:
    """Where a processor's crashes are counted."""
    return folder / f"{processor}.crashes"


def crashes(folder: Path, processor: str) -> int:
    """How often a processor has ended itself so far."""
    try:
        return int(crashes_file(folder, processor).read_text())
    except OSError:
        return 0


def main(arguments: list[str]) -> None:
    """Run the worker, on the crashing log as long as there are boundaries left."""
    CrashingLog.processor = arguments[0]
    CrashingLog.folder = Path(arguments[arguments.index("--folder") + 1])
    CrashingLog.crashes = crashes(CrashingLog.folder, CrashingLog.processor)
    if CrashingLog.crashes < len(BOUNDARIES):
        vars(worker)["KafkaLog"] = CrashingLog
    worker.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
