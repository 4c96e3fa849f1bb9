"""What the gateway knows: orders without an end, errands, and what was reported of all the others.

Everything reported is folded here, whether it was just made from a report of the venue or read back
from the log at a restart, so both give the same state.
"""

from gateways import reports
from gateways.orders import LONG_AGO, Early, Errand, Fate, LiveOrder, request_key
from gateways.wire import Wire
from schemas.ids import client_order_id
from schemas.scalars import dec
from schemas.trade import (
    Accepted,
    Ended,
    ExecutionItem,
    Filled,
    Order,
    OrderDecided,
    ReadBack,
    Transferred,
    Unknown,
)
from schemas.venue import (
    CancelRefused,
    Deposit,
    ReadAccount,
    VenueAccepted,
    VenueEnded,
    VenueFilled,
    VenueFound,
    VenueFunded,
    VenueItem,
    VenueReadBack,
    VenueTransferred,
)

OUR_PREFIX = client_order_id("")[:2]
"""What every client order id of ours begins with."""


class Ledger:
    """State of one gateway partition. `venue` names the venue in natural ids, `window_us` is W,
    `skew_us` how far the venue's clock may be off."""

    def __init__(self, venue: str, window_us: int, skew_us: int) -> None:
        self.venue = venue
        self._window_us, self._longest_us = window_us, window_us + skew_us
        self.fence_us = LONG_AGO
        self.orders: dict[str, LiveOrder] = {}
        self.restless: dict[str, LiveOrder] = {}
        """Orders about which something is or may be to be done; the others rest at the venue."""
        self.errands: dict[tuple[str, str], Errand] = {}
        """By account and transfer or step."""
        self.reported: set[str] = set()
        """Ids of all items ever reported. This and `_closed` are kept for good: the venue's reports
        and the orders are read again from the start at every restart, and a report may come any
        number of times, at any distance."""
        self._closed: dict[str, str] = {}
        """Client order id -> order id of ended orders."""
        self._clients: dict[str, str] = {}
        self._early: dict[str, Early] = {}
        self._early_clients: set[str] = set()
        self.wire = Wire(window_us)

    def add(self, order: Order, event: OrderDecided, ordinal: int, *, old: bool) -> None:
        client = order.client_order_id
        known = self._closed.get(client) or self._clients.get(client)
        if known is not None:
            if known != order.id:
                raise ValueError(
                    f"orders {known} and {order.id} have one client order id {client}: "
                    f"it must be {client_order_id(order.id)}, a hash of the order's own id"
                )
            return
        live = LiveOrder(order, event.partitionkey, event, ordinal)
        self.orders[order.id] = live
        self._clients[client] = order.id
        early = self._early.pop(order.id, None)
        if early is not None:
            live.accepted = early.accepted
            live.attempt = live.told_unknown = early.attempt
            live.fills, live.ask_now = early.fills, early.ask_now
        if client in self._early_clients:
            self._early_clients.discard(client)
            old = True
        if old or early is not None:
            self.make_old(live)
        self.sort(live)

    def asked(self, order_id: str, *, anew: bool) -> bool:
        known = self.orders.get(order_id) or self._early.get(order_id)
        if known is None:
            return False
        known.ask_now |= anew
        if anew and isinstance(known, LiveOrder):
            self.sort(known)
        return known.ask_now

    def make_old(self, live: LiveOrder) -> None:
        live.fate, live.t0_us = Fate.UNKNOWN, max(live.t0_us, self.fence_us)
        live.attempt = max(live.attempt, 0)

    def run(self, account: str, request: Deposit | ReadAccount, ordinal: int) -> None:
        """Remember an errand, unless it is known or was reported."""
        if isinstance(request, Deposit):
            done = reports.transfer_id(self.venue, account, request.transfer_id)
        else:
            done = reports.read_back_id(request.step_id)
        if done not in self.reported:
            errand = Errand(account, request, ordinal)
            self.errands.setdefault((account, request_key(request)), errand)

    def sort(self, live: LiveOrder) -> None:
        if live.rests():
            self.restless.pop(live.order.id, None)
        else:
            self.restless[live.order.id] = live

    def queue(self, late_us: int) -> tuple[list[LiveOrder | Errand], list[LiveOrder]]:
        """What gets room on the wire first, by rank and place in the log, and then entries that
        were not sent, in the order of the log. Of errands those that left up to `late_us`."""
        first: list[LiveOrder | Errand] = []
        entries: list[LiveOrder] = []
        for live in self.restless.values():
            if live.accepted or live.fate is not Fate.READY or live.order.reduce_only:
                first.append(live)
            else:
                entries.append(live)
        first += [errand for errand in self.errands.values() if errand.sent_us <= late_us]
        first.sort(key=lambda each: (each.rank, each.ordinal))
        entries.sort(key=lambda live: live.ordinal)
        return first, entries

    def next_due_us(self, wall_us: int) -> int | None:
        """See :meth:`gateways.core.GatewayCore.next_due_us`."""
        times: list[int] = []
        for live in self.restless.values():
            times += [live.t0_us + self._window_us + 1, live.t0_us + self._longest_us]
            times += [live.asked_us + self._window_us, live.asked_us + self._longest_us]
            times += [live.cancelled_us + self._window_us]
        times += [errand.sent_us + self._window_us for errand in self.errands.values()]
        return min((time for time in times if time > wall_us), default=None)

    # ------------------------------------------------------------------ reports

    def translated(
        self, said: VenueItem, account: str, causationid: str | None
    ) -> list[ExecutionItem]:
        if isinstance(said, VenueTransferred):
            return [reports.transferred(said, self.venue, account)]
        if isinstance(said, VenueFunded):
            return [reports.funded(said, self.venue, account)]
        if isinstance(said, VenueReadBack):
            pending = (account, said.step_id) in self.errands
            return [reports.read_back(said)] if pending else []
        client = said.client_order_id
        if isinstance(said, VenueFilled) and client is None:
            return [reports.filled(said, self.venue, account, None)]
        assert client is not None
        order_id = self._clients.get(client) or self._closed.get(client)
        if order_id is None:
            return self._foreign(said, account, client)
        live = self.orders.get(order_id)
        if isinstance(said, VenueAccepted):
            return [reports.accepted(order_id, client, said.symbol)]
        if isinstance(said, VenueFilled):
            fill = reports.filled(said, self.venue, account, order_id)
            if live is not None:
                live.fills[fill.id] = dec(fill.quantity)
            return [fill]
        if isinstance(said, VenueEnded):
            return self._ends(said, order_id, live)
        if isinstance(said, CancelRefused):
            if live is not None and live.accepted:
                live.ask_now = True
                self.sort(live)
            return []
        return self._found(said, account, order_id, live, causationid)

    def _ends(
        self, said: VenueEnded, order_id: str, live: LiveOrder | None
    ) -> list[ExecutionItem]:  # fmt: skip
        """The end of an order whose fills are all told. Where it filled more, an answer with some
        of them was lost: the venue is asked, and its answer has every fill and the end."""
        if live is None or dec(said.filled_quantity) == live.filled():
            return [reports.ended(said, order_id)]
        live.accepted = live.ask_now = True
        self.sort(live)
        return []

    def _foreign(self, said: VenueItem, account: str, client: str) -> list[ExecutionItem]:
        """An order we do not know. One of ours that is not read yet (an earlier process sent it) is
        asked about when it is; of others (closes of our own, manual trades) fills count, told at
        once or in the answer to a question, and nothing else does."""
        if client.startswith(OUR_PREFIX):
            self._early_clients.add(client)
            return []
        fills: tuple[VenueFilled, ...] = ()
        if isinstance(said, VenueFilled):
            fills = (said,)
        elif isinstance(said, VenueFound):
            fills = said.fills
        return [reports.filled(fill, self.venue, account, None) for fill in fills]

    def _found(
        self, said: VenueFound, account: str, order_id: str, live: LiveOrder | None,
        causationid: str | None,
    ) -> list[ExecutionItem]:  # fmt: skip
        """The answer to a query. "Not known" counts only as the answer to the latest one, and if
        that was asked when nothing was on the wire: an older one may have been overtaken by a
        resend, one that could not wait by the request itself."""
        if live is None:
            return []
        if not said.known:
            if not live.accepted and live.query_id and causationid == live.query_id:
                live.query_id = ""
                if live.asked_us >= live.t0_us + self._longest_us:
                    live.fate, live.attempt, live.ask_now = Fate.READY, live.attempt + 1, False
            return []
        live.ask_now, live.query_id = False, ""
        items: list[ExecutionItem] = []
        if said.status != "REJECTED":
            items.append(reports.accepted(order_id, said.client_order_id, said.symbol))
        items += [reports.filled(fill, self.venue, account, order_id) for fill in said.fills]
        if said.status is not None:
            items.append(reports.ended(said, order_id))
        self.sort(live)
        return items

    def correlation(self, items: list[ExecutionItem]) -> str | None:
        for item in items:
            live = self.orders.get(getattr(item, "order_id", None) or "")
            if live is not None:
                return live.cause.correlationid or live.cause.id
        return None

    def apply(self, account: str, items: list[ExecutionItem]) -> None:
        """Fold reported items, wherever they come from."""
        for item in items:
            self.reported.add(item.id)
            if isinstance(item, Ended):
                self._closed[item.client_order_id] = item.order_id
                self._clients.pop(item.client_order_id, None)
                self.orders.pop(item.order_id, None)
                self.restless.pop(item.order_id, None)
                self._early.pop(item.order_id, None)
            elif isinstance(item, Transferred):
                self.errands.pop((account, item.transfer_id), None)
            elif isinstance(item, ReadBack):
                self.errands.pop((account, item.step_id), None)
            elif isinstance(item, Accepted | Filled | Unknown) and item.order_id is not None:
                self._note(item, item.order_id, item.client_order_id or "")

    def _note(self, item: Accepted | Filled | Unknown, order_id: str, client: str) -> None:
        if client in self._closed:
            return
        live = self.orders.get(order_id)
        if live is None:
            early = self._early.setdefault(order_id, Early())
            early.accepted = early.accepted or not isinstance(item, Unknown)
            if isinstance(item, Filled):
                early.fills[item.id] = dec(item.quantity)
            if isinstance(item, Unknown):
                early.attempt = max(early.attempt, item.attempt)
            return
        if isinstance(item, Unknown):
            live.told_unknown = max(live.told_unknown, item.attempt)
            if not live.accepted and live.attempt <= item.attempt:
                live.fate, live.attempt = Fate.UNKNOWN, item.attempt
        else:
            live.accepted = True
            if isinstance(item, Filled):
                live.fills[item.id] = dec(item.quantity)
        self.sort(live)
