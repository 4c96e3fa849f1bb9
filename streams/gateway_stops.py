"""The gateway's second stop path: halts are obeyed, told, and what is open is closed (SAFE-6).

Everything here runs under the shell's lock.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from gateways.orders import SendRequest
from gateways.second_path import Closing
from runtime.halt_file import Halt
from schemas.envelope import Envelope
from schemas.halting import HaltState
from schemas.topics import partition_of
from schemas.venue import CancelRequest, Place
from streams import halting
from streams.gateway_source import GatewaySource

logger = logging.getLogger(__name__)


class Outward(Protocol):
    """What the shell does for it."""

    partitions: int
    gateways: dict[int, GatewaySource]

    def event_time(self) -> str: ...
    def send(self, source: GatewaySource, action: SendRequest, t0_us: int) -> None: ...
    def tell(self, event: Envelope) -> None:
        """Append an outside record to `control`."""

    def keep(self, event: Envelope) -> bool:
        """The same, and True only once it cannot get lost any more."""


def no_halt() -> Halt | None:
    """Where no halt file is watched."""
    return None


class Stops:
    """`halt`: the halt in force. `instance`: this gateway among others, in records."""

    def __init__(self, shell: Outward, halt: Callable[[], Halt | None], instance: str) -> None:
        self.halt = halt
        self.obeyed: Halt | None = None
        self._shell, self._instance = shell, instance
        self._lifted: set[str] = set()
        """Keys of halts that were told as lifted."""

    def look(self) -> Halt | None:
        """The halt in force; what is new about it is told to the cores and to the log."""
        halt, before = self.halt(), self.obeyed
        self._tell_what_was_lifted(halt)
        if halt == before:
            return halt
        self.obeyed = halt
        self.apply(self._shell.gateways)
        if before is not None and (halt is None or halt.key != before.key):
            logger.warning("lifted: %s", before.sentence())
            self._lifted.add(before.key)
            self._note(before, "lifted")
        if halt is not None:
            logger.warning("obeyed: %s", halt.sentence())
            self._note(halt, "set")
        return halt

    def apply(self, gateways: Mapping[int, GatewaySource]) -> None:
        """Tell the cores what is halted, and why."""
        for source in gateways.values():
            source.core.halt, source.core.halt_why = halting.stops(self.obeyed)

    def keeps(self, action: SendRequest) -> bool:
        """The last look before a request leaves: whether a halt, maybe of this very moment, keeps
        it. Questions always go."""
        request = action.request.request
        if not isinstance(request, Place | CancelRequest):
            return False
        halt = self.look()
        return halt is not None and (action.risk_increasing or halt.mode == "all")

    def _tell_what_was_lifted(self, halt: Halt | None) -> None:
        """Halts that were lifted while no gateway ran here, or before their record was in the log:
        what a process had on the wire when it died may land long after its successor began."""
        source = next(iter(self._shell.gateways.values()), None)
        for data in list(source.halts.values()) if source else ():
            here = data.instance == self._instance and data.key not in self._lifted
            obeyed = {each.key for each in (halt, self.obeyed) if each is not None}
            if here and data.key not in obeyed:
                self._lifted.add(data.key)
                self._note(halting.told(data), "lifted")

    def _note(self, halt: Halt, state: HaltState, about: str = halting.WORKER) -> None:
        time = self._shell.event_time()
        self._shell.tell(halting.noted(halt, state, self._instance, time, about))

    # ------------------------------------------------------------------ closing

    def close(self, t0_us: int, *, alone: bool) -> bool:
        """Close what is to be closed by ourselves: under `halt --flatten` everything that the venue
        shows; `alone`, which is without Kafka, what stands without a stop. Under `halt --all`
        nothing leaves; what stands without a stop is closed once it is lifted. True if anything
        left."""
        acted = False
        mode = self.obeyed.mode if self.obeyed is not None else ""
        for source in self._shell.gateways.values():
            source.watch_over(t0_us, alone=alone)
            if self.obeyed is not None and mode == "flatten":
                source.second.begin(self.obeyed.key, self._accounts(source))
            elif source.second.busy and not (alone and source.second.of_symbols):
                source.second.end()
            for question in list(source.closes.due(t0_us, source.epoch)):
                self._shell.send(source, question, t0_us)
                source.closes.sent(question, t0_us)
                acted = True
            if mode == "all":
                continue
            for action in source.second.due(t0_us, source.epoch):
                acted |= self._act(source, action, t0_us)
            for account in source.flat:
                logger.warning("%s is flat, as the venue says", account)
                if self.obeyed is not None:
                    self._note(self.obeyed, "flat", account)
            source.flat.clear()
        return acted

    def _act(self, source: GatewaySource, action: SendRequest | Closing, t0_us: int) -> bool:
        if isinstance(action, Closing):
            why = self.obeyed.sentence() if self.obeyed else action.cause
            record = halting.ordered(action, why, source.core.now)
            if not self._shell.keep(record):
                return False  # an order is durable before it leaves, or does not leave (EXEC-1)
            source.closes.ordered(record, t0_us)
            for request in source.second.requests(action, t0_us, source.epoch):
                self._shell.send(source, request, t0_us)
        else:
            self._shell.send(source, action, t0_us)
        source.second.sent(action, t0_us)
        return True

    def _accounts(self, source: GatewaySource) -> list[str]:
        known, count = source.core.control.accounts, self._shell.partitions
        return [name for name in known if partition_of(name, count) == source.partition]
