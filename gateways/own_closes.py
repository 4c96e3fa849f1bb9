"""Closes that the gateway ordered by itself, until the venue has said what became of each.

No decision made them, so no order of the ledger is UNKNOWN when an answer is lost: without a
question the venue would have closed a position that the log shows open for good. A close is asked
about when no request for it can arrive any more, and again until the answer holds its end and every
fill, after twice as long each time: a venue that is behind is not asked the more for it. At a
restart they are known from `control`, their answers from `venue.report`. Pure; wall times in
microseconds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from gateways.orders import LONG_AGO, Sender, SendRequest
from gateways.second_path import PREFIX
from schemas.envelope import Envelope
from schemas.halting import HaltClosed
from schemas.venue import Query, VenueEnded, VenueFilled, VenueFound, VenueItem, VenueReported

DOUBLED_MAX = 5
"""How often the pause between questions about a close is doubled."""


@dataclass(slots=True)
class _Close:
    account: str
    symbol: str
    since_us: int
    """When its request left, or its record was read: no request for it leaves later."""
    asked: int = 0
    asked_us: int = LONG_AGO


class OwnCloses:
    """Of one gateway partition. `name`: the gateway's source."""

    def __init__(self, name: str, window_ms: int, skew_ms: int) -> None:
        self._name, self._window_ms = name, window_ms
        self._apart_us = (window_ms + skew_ms) * 1000
        self._open: dict[str, _Close] = {}
        """Without an answer, by client order id."""
        self._fills: dict[str, dict[str, Decimal]] = {}
        self._settled: set[str] = set()
        """Kept for good: orders and answers are read again from the start at a restart."""

    @property
    def unanswered(self) -> int:
        """How many have no known end."""
        return len(self._open)

    def ordered(self, event: HaltClosed, wall_us: int) -> None:
        """A record of closes was written or read at `wall_us`; their requests leave right after it,
        signed before."""
        for item in event.data.items:
            client = item.client_order_id
            if client not in self._settled:
                new = _Close(event.partitionkey, item.symbol, wall_us)
                known = self._open.setdefault(client, new)
                known.since_us = max(known.since_us, wall_us)

    def on_report(self, event: Envelope) -> None:
        """Take what the venue says of them."""
        if isinstance(event, VenueReported) and event.data.delivered:
            for item in event.data.items:
                client = getattr(item, "client_order_id", None) or ""
                if client.startswith(PREFIX) and client not in self._settled:
                    self._said(client, item)

    def _said(self, client: str, item: VenueItem) -> None:
        if isinstance(item, VenueFilled):
            self._fill(client, (item,))
        elif isinstance(item, VenueEnded):
            if sum(self._fill(client, ()).values()) == Decimal(item.filled_quantity):
                self._settle(client)
        elif isinstance(item, VenueFound):
            self._fill(client, item.fills)
            if item.status is not None or (not item.known and self._in_vain(client)):
                self._settle(client)

    def _in_vain(self, client: str) -> bool:
        """Whether the venue was asked when no request for it could arrive any more."""
        each = self._open.get(client)
        return each is not None and each.asked_us >= each.since_us + self._apart_us

    def _fill(self, client: str, fills: Iterable[VenueFilled]) -> dict[str, Decimal]:
        known = self._fills.setdefault(client, {})
        known.update({fill.trade_id: Decimal(fill.quantity) for fill in fills})
        return known

    def _settle(self, client: str) -> None:
        self._settled.add(client)
        self._open.pop(client, None)
        self._fills.pop(client, None)

    def due(self, wall_us: int, epoch: int) -> Iterator[SendRequest]:
        """Questions to be sent at `wall_us`. Changes nothing."""
        sender = Sender(self._name, epoch, self._window_ms)
        for client, each in self._open.items():
            pause_us = self._apart_us << min(each.asked, DOUBLED_MAX)
            if wall_us >= max(each.since_us, each.asked_us) + pause_us:
                query = Query(client_order_id=client, symbol=each.symbol)
                yield sender.send(query, each.account, each.asked, wall_us=wall_us, live=None)

    def sent(self, action: SendRequest, wall_us: int) -> None:
        """A question left."""
        request = action.request.request
        each = self._open.get(request.client_order_id) if isinstance(request, Query) else None
        if each is not None:
            each.asked, each.asked_us = each.asked + 1, wall_us
