"""A log in memory whose broker can go away, as a producer sees it.

What was appended waits; part of it may be on the wire. While the broker is away nothing is
acknowledged; what was on the wire may have landed all the same.
"""

from collections import deque
from collections.abc import Callable, Iterable

from streams.log import Delivered
from streams.simulated.broker import Broker, InFlight, MemoryLog

Failed = Callable[[str], None]


class FailingMemoryLog(MemoryLog):
    """`away`: the broker does not answer. `wire`: how many appends a purge does not get hold of."""

    def __init__(self, broker: Broker, step: Callable[[], int] = int) -> None:
        super().__init__(broker, step)
        self.away = False
        self.wire = 0
        self.breaks_after = -1
        """Deliveries until the broker goes away by itself; negative: it does not."""
        self.failures: deque[Failed | None] = deque()

    def append(
        self,
        key: str,
        raw: bytes,
        message_key: str,
        delivered: Delivered,
        failed: Failed | None = None,
    ) -> None:
        super().append(key, raw, message_key, delivered)
        self.failures.append(failed)

    def deliver(self) -> bool:
        self.away |= self.breaks_after == 0
        if self.away or not self.flight:
            return False
        self.breaks_after -= 1
        self.failures.popleft()
        return super().deliver()

    def ends(self, keys: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, int]:
        if self.away:
            raise ConnectionError("the broker is away")
        return super().ends(keys)

    def flush(self) -> None:
        super().flush()
        if self.flight:
            raise ConnectionError("the broker is away")

    def purge(self) -> None:
        """Everything but what is on the wire fails."""
        while len(self.flight) > self.wire:
            self.flight.pop()
            failed = self.failures.pop()
            if failed is not None:
                failed("purged")

    def lose_the_wire(self, *, landed: bool) -> None:
        """The connection ends: what was on the wire fails, whether it landed or not."""
        while self.flight:
            append = self.flight.popleft()
            failed = self.failures.popleft()
            if landed:
                self.broker.place(InFlight(append.key, append.raw, append.message_key, _ignored))
            if failed is not None:
                failed("the connection was lost")


def _ignored(_offset: int) -> None:
    """The acknowledgement is lost."""
