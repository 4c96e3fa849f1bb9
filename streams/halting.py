"""The gateway under a halt: file and signals watched, what was obeyed told on `control` (SAFE-6).

SIGUSR1 halts as ``./quantum halt`` does, and leaves the file behind for whoever is started next;
where no file can be written the process remembers it until SIGUSR2 or its end. The signals are
blocked in every thread and taken by one that does nothing else: no event loop is in their way.
"""

import logging
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from gateways.refusals import HaltsOrders
from gateways.second_path import Closing
from runtime.halt_file import Halt, HaltFile
from schemas.halting import (
    HaltClose,
    HaltClosed,
    HaltCloseData,
    HaltNoted,
    HaltNotedData,
    HaltState,
)
from schemas.ids import natural_id, part_id

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
SOURCE = "/worker"
WORKER = "gateway"


class HaltWatch:
    """The halt in force, asked before each order that leaves: file first, then what was signalled.

    `wake` is called when a signal came."""

    def __init__(self, file: HaltFile) -> None:
        self.file = file
        self.wake: Callable[[], None] = _nothing
        self._signalled: Halt | None = None

    def now(self) -> Halt | None:
        """The halt in force; None if there is none."""
        return self.file.look() or self._signalled

    def take(self, number: int) -> None:
        """Obey a signal."""
        if number == signal.SIGUSR2:
            self._signalled = None
        elif self.file.look() is None:
            at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            words = {"operator": "signal", "reason": "SIGUSR1 was sent to the gateway", "at": at}
            try:
                self.file.write("entries", **words)
            except OSError as error:
                logger.error("the halt is kept in memory only: %s", error)
                self._signalled = Halt("entries", **words, key=f"signal {at}")
        self.wake()

    def listen(self) -> None:
        """Take signals in a thread from now on; :func:`block_signals` was called before."""
        threading.Thread(target=self._listen, name="halt-signals", daemon=True).start()

    def _listen(self) -> None:
        while True:
            self.take(signal.sigwait(SIGNALS))


def _nothing() -> None:
    """Nobody sends yet."""


def block_signals() -> None:
    """Keep the halt's signals from ending the process or reaching a handler of somebody else. In
    the main thread, before any other is started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def stops(halt: Halt | None) -> tuple[HaltsOrders, str]:
    """What a halt stops, and why, as the gateway's core wants to know it."""
    if halt is None:
        return "", ""
    return ("all" if halt.mode == "all" else "entries"), halt.sentence()


def noted(halt: Halt, state: HaltState, instance: str, time: str, about: str = WORKER) -> HaltNoted:
    """What became of a halt, at event time `time`; `about`: the account that is flat."""
    return HaltNoted(
        id=natural_id("halt.noted", instance, halt.key, halt.mode, state, about),
        source=SOURCE,
        subject=about,
        time=time,
        partitionkey=about,
        data=HaltNotedData(
            state=state,
            instance=instance,
            mode=halt.mode,
            operator=halt.operator,
            reason=halt.reason,
            set_at=halt.at,
            key=halt.key,
            defect=halt.defect or None,
        ),
    )


def told(data: HaltNotedData) -> Halt:
    """The halt that a record is about."""
    words = {"operator": data.operator, "reason": data.reason, "at": data.set_at, "key": data.key}
    return Halt(data.mode, **words, defect=data.defect or "")


def ordered(closing: Closing, why: str, time: str) -> HaltClosed:
    """The record of closes that are about to be sent."""
    identity = natural_id("halt.close", *(place.client_order_id for place in closing.places))
    return HaltClosed(
        id=identity,
        source=SOURCE,
        subject=closing.account,
        time=time,
        partitionkey=closing.account,
        data=HaltCloseData(
            why=why,
            items=tuple(
                HaltClose(
                    id=part_id(identity, number),
                    client_order_id=place.client_order_id,
                    symbol=place.symbol,
                    side=place.side,
                    quantity=place.quantity,
                )
                for number, place in enumerate(closing.places)
            ),
        ),
    )
