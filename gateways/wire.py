"""How many requests may be on the wire without an answer: congestion control of one partition.

What waits at the gateway is not signed yet. What waits at a slow venue grows older than its window,
is refused, and is then asked about: without a limit a venue that was behind for a second gets more
to do than it can ever answer, and nothing comes to rest again. So the limit doubles with each round
of answers until the first that is late or stays out, grows by one a round from then on, and
shrinks, once a round, when an answer comes late (by a fifth) or stays out (by half). Late is a
quarter of the window more than the quickest of the last minute took, which is the way there and
back: the rest is left for a venue that slows down, and for exits behind what is on the wire.
"""

AT_FIRST = 16
LEAST = 4
MOST = 64
LATE = 4
"""Part of the window that an answer may take longer than the quickest one, and is not late."""
PERIOD_US = 30_000_000
"""The quickest answer of this period and of the one before: the way may become longer."""


class Wire:
    """Requests without an answer. Wall times and the window in microseconds."""

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._quickest_us = self._quickest_before_us = window_us
        self._period_us: int | None = None
        self._limit = float(AT_FIRST)
        self._shrunk_us: int | None = None
        """What left before says nothing about the limit as it is now, which grows slowly from then
        on: a little more was too much."""
        self._left: dict[str, int] = {}
        """Id of a request -> when it left, the oldest first."""

    @property
    def allowed(self) -> int:
        """How many requests may be without an answer."""
        return int(self._limit)

    def left(self, request_id: str, at_us: int, given_up_us: int) -> None:
        """A request left; those that left up to `given_up_us` are waited for no more."""
        if next(iter(self._left.values()), at_us) <= given_up_us:
            self._shrink(0.5, at_us, max(at for at in self._left.values() if at <= given_up_us))
            self._left = {k: at for k, at in self._left.items() if at > given_up_us}
        self._left[request_id] = at_us

    def answered(self, request_id: str | None, at_us: int) -> None:
        """The venue answered a request."""
        left_us = self._left.pop(request_id or "", None)
        if left_us is None:
            return
        if at_us - left_us > self._way_us(at_us, at_us - left_us) + self._window_us // LATE:
            self._shrink(0.8, at_us, left_us)
        else:
            step = 1.0 if self._shrunk_us is None else 1.0 / self._limit
            self._limit = min(float(MOST), self._limit + step)

    def room(self, given_up_us: int) -> int:
        """How many more may leave now, not counting those that left up to `given_up_us`."""
        return self.allowed - sum(at_us > given_up_us for at_us in self._left.values())

    def _way_us(self, now_us: int, took_us: int) -> int:
        if self._period_us is None or now_us >= self._period_us + PERIOD_US:
            self._quickest_before_us, self._quickest_us = self._quickest_us, self._window_us
            self._period_us = now_us
        self._quickest_us = min(self._quickest_us, took_us)
        return min(self._quickest_us, self._quickest_before_us)

    def _shrink(self, to: float, now_us: int, left_us: int) -> None:
        if self._shrunk_us is not None and left_us < self._shrunk_us:
            return
        self._limit = max(float(LEAST), self._limit * to)
        self._shrunk_us = now_us
