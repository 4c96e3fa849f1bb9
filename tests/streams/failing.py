"""A log in memory whose broker can go away, as a producer sees it.

What was appended waits; part of it may be on the wire. While the broker is away nothing is
acknowledged; what was on the wire may have landed all the same.
"""

from collections.abc import Callable, Iterable

from streams.simulated.broker import Broker, InFlight, MemoryLog


class FailingMemoryLog(MemoryLog):
    """`away`: the broker does not answer."""

    def __init__(self, broker: Broker, step: Callable[[], int] = int) -> None:
        super().__init__(broker, step)
        self.away = False
        self.breaks_after = -1
        """Deliveries until the broker goes away by itself; negative: it does not."""

    def deliver(self) -> bool:
        self.away |= self.breaks_after == 0
        if self.away or not self.flight:
            return False
        self.breaks_after -= 1
        return super().deliver()

    def ends(self, keys: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, int]:
        if self.away:
            raise ConnectionError("the broker is away")
        return super().ends(keys)

    def flush(self) -> None:
        super().flush()
        if self.flight:
            raise ConnectionError("the broker is away")

    def lose_the_wire(self, *, landed: bool) -> None:
        """The connection ends: what was on the wire fails, whether it landed or not."""
        while self.flight:
            append = self.flight.popleft()
            if landed:
                self.broker.place(InFlight(append.key, append.raw, append.message_key, _ignored))
            if append.failed is not None:
                append.failed("the connection was lost")


def _ignored(_offset: int) -> None:
    """The acknowledgement is lost."""
