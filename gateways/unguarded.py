"""What the venue may hold open without a stop, while nobody decides: a stop ended, an entry filled.

With Kafka, execution places a stop within milliseconds of either. Without it nobody does, and the
gateway may have lost it a while before it notices, so both are remembered for that long. Wall times
in microseconds.
"""

from collections.abc import Iterable, Iterator, Mapping

from gateways.orders import LiveOrder
from schemas.trade import Ended, ExecutionItem, Filled

UNPLACED_US = 2_000_000
"""How long after an entry's first fill a stop may be missing (DEFINITIONS 5)."""
KEPT_US = 15_000_000
"""Longer than the gateway takes to notice that Kafka is away."""


class Unguarded:
    """By account and symbol, in the order of time. `orders`: those without an end, by id."""

    def __init__(self, orders: Mapping[str, LiveOrder]) -> None:
        self._orders = orders
        self._since: dict[tuple[str, str], tuple[int, int, str]] = {}
        """When it was told, when it is due, and the id of what told it."""

    def take(self, items: Iterable[ExecutionItem], wall_us: int) -> None:
        """Remember what may be open without a stop from now on. Before orders that ended go."""
        for item in items:
            if not isinstance(item, Ended | Filled):
                continue
            live = self._orders.get(item.order_id or "")
            if live is None:
                continue
            place = (live.account, live.order.symbol)
            if isinstance(item, Filled):
                if not live.order.reduce_only:
                    self._since.setdefault(place, (wall_us, wall_us + UNPLACED_US, item.id))
            elif _protects(live) and item.status != "FILLED":
                self._since.pop(place, None)
                self._since[place] = (wall_us, wall_us, item.id)

    def stops(self) -> dict[str, LiveOrder]:
        """Stops without an end that are to stay, by order id."""
        return {i: o for i, o in self._orders.items() if _protects(o)}

    def forget_old(self, wall_us: int) -> None:
        """While execution decides: what it has long dealt with."""
        while self._since:
            place = next(iter(self._since))
            if self._since[place][0] > wall_us - KEPT_US:
                return
            del self._since[place]

    def due(self, wall_us: int) -> Iterator[tuple[str, str, str]]:
        """While nobody decides: account, symbol and cause of what has no stop by now. Each is given
        once."""
        for place, (_, due_us, cause) in list(self._since.items()):
            if wall_us >= due_us:
                del self._since[place]
                if not any((o.account, o.order.symbol) == place for o in self.stops().values()):
                    yield *place, cause


def _protects(live: LiveOrder) -> bool:
    return live.order.purpose == "stop" and live.cancel is None
