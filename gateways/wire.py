"""How many requests may be on the wire without an answer: congestion control of one partition.

What waits at the gateway is not signed yet. What waits at a slow venue grows older than its window,
is refused, and is then asked about: without a limit a venue that was behind for a second gets more
to do than it can ever answer, and nothing comes to rest again. So the limit grows by one with each
answer and is halved when answers stay out, as a TCP sender does it.
"""

AT_FIRST = 16
LEAST = 4
MOST = 64


class Wire:
    """Requests without an answer. Wall times in microseconds."""

    def __init__(self) -> None:
        self.allowed = AT_FIRST
        self._left: dict[str, int] = {}
        """Id of a request -> when it left, the oldest first."""

    def left(self, request_id: str, at_us: int, given_up_us: int) -> None:
        """A request left; those that left up to `given_up_us` are waited for no more."""
        oldest = next(iter(self._left.values()), at_us)
        if oldest <= given_up_us:
            self.allowed = max(LEAST, self.allowed // 2)
            self._left = {k: at for k, at in self._left.items() if at > given_up_us}
        self._left[request_id] = at_us

    def answered(self, request_id: str | None) -> None:
        """The venue answered a request."""
        if self._left.pop(request_id or "", None) is not None:
            self.allowed = min(MOST, self.allowed + 1)

    def room(self, given_up_us: int) -> int:
        """How many more may leave now, not counting those that left up to `given_up_us`."""
        return self.allowed - sum(at_us > given_up_us for at_us in self._left.values())
