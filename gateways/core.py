"""The gateway's pure core: what to send, what to record, and when. No I/O, no clock of its own.

It is the state machine of class Gateway in the protocol model. Two rules carry everything:
an order is sent again only when the venue, asked after the window of every earlier request for it,
does not know it; and an order's end is recorded only when no request for it can still be accepted.

The shell around it feeds every input in, asks :meth:`GatewayCore.due` what is to be done, does it,
and says so with :meth:`GatewayCore.sent`. `due` changes nothing. At a restart: own records up to
the fence (`on_own`), `fenced_at` with the ends, control, `trade.order` up to its end, and only then
`venue.report` from the start.
"""

from collections.abc import Iterable
from typing import Literal

from domain.policy_state import ControlState
from gateways import reports
from gateways.ledger import Ledger
from gateways.orders import (
    Action,
    Errand,
    Fate,
    LiveOrder,
    Report,
    Sender,
    SendRequest,
    place,
    request_key,
    sent_at_us,
)
from gateways.refusals import HaltsOrders, refused
from gateways.unguarded import Unguarded
from schemas.control import EmergencyActivated, EmergencyWasReset, PolicyChanged
from schemas.envelope import Envelope
from schemas.ids import record_id
from schemas.scalars import EPOCH_TEXT
from schemas.topics import ORDER, partition_of
from schemas.trade import (
    Cancel,
    EmergencyStep,
    Ended,
    ExecutionData,
    ExecutionItem,
    ExecutionReported,
    Order,
    OrderDecided,
)
from schemas.trusted import trusted
from schemas.venue import (
    CancelRequest,
    Deposit,
    Place,
    Query,
    ReadAccount,
    VenueReported,
    VenueRequest,
)

OPENING = "opening/"


class GatewayCore:
    """One account partition. `window_ms` is W, `skew_ms` how far the venue's clock may be off.

    `halt` and `halt_why` are set by the shell from the halt file (SAFE-6): "entries" ends orders
    that increase risk and were not sent, "all" ends every order and sends nothing but questions.
    """

    def __init__(
        self, partition: int, partitions: int, *, window_ms: int = 1000, skew_ms: int = 200,
        venue: str = "simulated",
    ) -> None:  # fmt: skip
        self.partition, self.partitions, self.venue = partition, partitions, venue
        self.name = f"/gateway/{partition}"
        self.window_ms, self.window_us, self.skew_us = window_ms, window_ms * 1000, skew_ms * 1000
        self.control = ControlState()
        self.now = EPOCH_TEXT
        """Event time: the latest of market and clock."""
        self.epoch = 1
        self.halt: HaltsOrders = ""
        self.halt_why = "the halt file is there"
        self._fenced = False
        self._old_below = 0
        self._ordinal = 0
        self._ledger = Ledger(venue, self.window_us, self.skew_us)
        self.unguarded = Unguarded(self._ledger.orders)
        self._chain: tuple[str, str | None] = ("", None)

    # ------------------------------------------------------------------ inputs

    def on_order(self, event: Envelope, offset: int | None = None) -> None:
        """Fold a valid record of `trade.order`. `offset` is needed once `fenced_at` was given ends.

        Raises ValueError when two orders have one client order id.
        """
        if not isinstance(event, OrderDecided):
            return
        if self._old_below and offset is None:
            raise ValueError("orders older than the fence are told by their offset: give `offset`")
        old = offset is not None and offset < self._old_below
        for item in event.data.items:
            self._ordinal += 1
            if isinstance(item, Order):
                self._ledger.add(item, event, self._ordinal, old=old)
            elif isinstance(item, Cancel):
                live = self._ledger.orders.get(item.order_id)
                if live is not None and live.cancel is None:
                    live.cancel, live.cancel_ordinal = item, self._ordinal
                    self._ledger.sort(live)
            elif isinstance(item, EmergencyStep) and item.name == "confirm":
                asked = ReadAccount(step_id=item.id)
                self._ledger.run(event.partitionkey, asked, self._ordinal)

    def on_control(self, event: Envelope) -> None:
        """Fold a valid record of `control`; an account of this partition seen for the first time is
        opened at the venue with its first deposit."""
        self.control.fold(event)
        if not isinstance(event, PolicyChanged | EmergencyActivated | EmergencyWasReset):
            return
        for change in event.data.items:
            transfer, account = OPENING + change.account, change.account
            if partition_of(account, self.partitions) != self.partition:
                continue
            amount = change.policy.start_equity_usdt
            self._ledger.run(account, Deposit(transfer_id=transfer, amount=amount, asset="USDT"), 0)

    def on_market(self, event: Envelope) -> None:
        """Event time from `market`."""
        self.now = max(self.now, event.time)

    def on_clock(self, event: Envelope) -> None:
        """Event time from `clock`."""
        self.now = max(self.now, event.time)

    def on_own(self, event: Envelope) -> None:
        """Fold an own valid record: at a restart, or the echo of one just written."""
        if isinstance(event, ExecutionReported):
            news = [item for item in event.data.items if item.id not in self._ledger.reported]
            self._ledger.apply(event.partitionkey, news)

    def fenced_at(self, wall_us: int, ends: dict[str, int] | None = None, epoch: int = 1) -> None:
        """The own fence was appended and read back at `wall_us`. Every order known now, and every
        order below the end of `trade.order` in `ends` (topic/partition -> next offset), may have
        been sent by an earlier process and still be on the wire: it is UNKNOWN until asked about.
        Nothing is due before this was called."""
        self._fenced = True
        self._ledger.fence_us, self.epoch = wall_us, epoch
        self._old_below = (ends or {}).get(f"{ORDER.name}/{self.partition}", 0)
        for live in self._ledger.orders.values():
            self._ledger.make_old(live)

    def on_report(self, event: Envelope, wall_us: int) -> ExecutionData | None:
        """Items to record for a report of the venue; None if it brings nothing new."""
        if not isinstance(event, VenueReported) or not event.data.delivered:
            return None
        account = event.partitionkey
        self._ledger.wire.answered(event.causationid, wall_us)
        items: list[ExecutionItem] = []
        for said in event.data.items:
            for item in self._ledger.translated(said, account, event.causationid):
                if item.id not in self._ledger.reported:
                    self._ledger.reported.add(item.id)
                    items.append(item)
        if not items:
            return None
        self._chain = (event.id, self._ledger.correlation(items))
        self.unguarded.take(items, wall_us)
        self._ledger.apply(account, items)
        return trusted(ExecutionData, items=tuple(items))

    # ------------------------------------------------------------------ what is to be done

    def wants(self, wall_us: int) -> Literal["", "safe", "risky"]:
        """Whether `due` has something to say, and whether an entry may be among it: a cheap look,
        for who has to ask the broker before an entry leaves."""
        if not self._fenced:
            return ""
        room = self._ledger.wire.room(wall_us - self.window_us)
        first, entries = self._ledger.queue(wall_us - self.window_us)
        free = dict[str, bool]()
        if not all(self._waits(live, room, free) for live in entries):
            return "risky"
        for each in first:
            if isinstance(each, Errand):
                found = room > 0
            elif not each.accepted and each.fate is Fate.READY:
                found = not self._waits(each, room, free)
            else:
                found = bool(self._due_order(each, wall_us, room))
            if found:
                return "safe"
        return ""

    def due(self, wall_us: int) -> list[Action]:
        """Everything that is to be done at `wall_us`, in the order of the log; of what may wait, as
        much as there is room for among the requests without an answer. Changes nothing."""
        if not self._fenced:
            return []
        room = self._ledger.wire.room(wall_us - self.window_us)
        first, entries = self._ledger.queue(wall_us - self.window_us)
        found: list[tuple[int, Action]] = []
        for each in first:
            if isinstance(each, LiveOrder):
                acts = self._due_order(each, wall_us, room)
            elif room > 0:
                send = self._send(each.request, each.account, each.attempt, wall_us)
                acts = [(each.ordinal, send)]
            else:
                continue
            found += acts
            room -= sum(isinstance(action, SendRequest) for _, action in acts)
        free = dict[str, bool]()
        for live in entries:
            if room <= 0 and self._waits(live, room, free):
                continue
            acts = self._due_order(live, wall_us, room)
            found += acts
            room -= sum(isinstance(action, SendRequest) for _, action in acts)
        found.sort(key=lambda pair: pair[0])
        return [action for _, action in found]

    def next_due_us(self, wall_us: int) -> int | None:
        """A wall time not later than the next at which `due` may have more to say; None: never, as
        far as is known now."""
        return self._ledger.next_due_us(wall_us)

    def sent(self, action: Action, wall_us: int) -> None:
        """Note that an action of `due` was done: a request left, or a report was recorded. For a
        request t0 is the later of `wall_us` and its own stamp."""
        if isinstance(action, Report):
            self._ledger.apply(
                action.account, [i for i in action.items if i.id not in self._ledger.reported]
            )
            return
        request, at_us = action.request.request, max(wall_us, sent_at_us(action))
        self._ledger.wire.left(action.request_id, at_us, at_us - self.window_us)
        if action.order_id is None:
            errand = self._ledger.errands.get((action.account, request_key(request)))
            if errand is not None:
                errand.attempt, errand.sent_us = errand.attempt + 1, at_us
            return
        live = self._ledger.orders.get(action.order_id)
        if live is None:
            return
        if isinstance(request, Place):
            live.fate, live.t0_us = Fate.SENT, at_us
        elif isinstance(request, CancelRequest):
            live.cancels, live.cancelled_us = live.cancels + 1, at_us
        elif isinstance(request, Query):
            live.asked, live.asked_us, live.query_id = live.asked + 1, at_us, action.request_id

    @property
    def unresolved(self) -> int:
        """Orders without answer or end that do not rest, cancels without result, deposits and
        read-backs without answer: while it is not 0, event time stands still. Cancels that a halt
        of every order holds back are not waited for."""
        restless = self._ledger.restless.values()
        held = self.halt == "all" and sum(live.rests(cancelled=True) for live in restless)
        return len(restless) - held + len(self._ledger.errands)

    @property
    def awaited(self) -> int:
        """Orders and errands of which the venue was told, or may have been, and owes an answer: of
        `unresolved` those that have left."""
        told = (o for o in self._ledger.restless.values() if o.fate is not Fate.READY)
        orders = sum(bool(order.cancels) or not order.accepted for order in told)
        return orders + sum(errand.attempt > 0 for errand in self._ledger.errands.values())

    def unreported(self, items: Iterable[ExecutionItem]) -> tuple[ExecutionItem, ...]:
        """Those that are not in the log yet, by their natural ids."""
        return tuple(item for item in items if item.id not in self._ledger.reported)

    def asked(self, order_id: str, *, anew: bool) -> bool:
        """Whether an answer about an order is owed; `anew`: ask, also where it rests."""
        return self._ledger.asked(order_id, anew=anew)

    def entries(self, account: str) -> list[LiveOrder]:
        """Orders of an account without an end that may increase its risk."""
        known = self._ledger.orders.values()
        return [o for o in known if o.account == account and not o.order.reduce_only]

    # ------------------------------------------------------------------ records

    def record(
        self,
        data: ExecutionData,
        account: str,
        cause: Envelope | None,
        after: dict[str, int] | None,
        sequence: int,
        epoch: int,
        time: str | None = None,
    ) -> ExecutionReported:
        """The record of items. Its id is made from the first item's natural id, never from that of
        the venue's report: that one depends on how often this gateway was started, and with it
        would the ids of all orders that follow. `time` defaults to that of the venue's report, or
        to event time."""
        reported = isinstance(cause, VenueReported)
        key = data.items[0].id
        correlation = (cause.correlationid or cause.id) if cause is not None else None
        if cause is not None and cause.id == self._chain[0]:
            correlation = self._chain[1] or correlation
        symbols = {getattr(item, "symbol", None) for item in data.items}
        symbol = symbols.pop() if len(symbols) == 1 else None
        return trusted(
            ExecutionReported,
            id=record_id(self.name, account, key),
            source=self.name,
            subject=f"{account}/{symbol}" if symbol else account,
            time=time or (cause.time if cause is not None and reported else self.now),
            partitionkey=account,
            sequence=sequence,
            epoch=epoch,
            causationid=cause.id if cause is not None else None,
            correlationid=correlation,
            after=after,
            data=data,
        )

    # ------------------------------------------------------------------ orders

    def _send(
        self,
        request: VenueRequest,
        account: str,
        attempt: int,
        wall_us: int,
        live: LiveOrder | None = None,
    ) -> SendRequest:
        sender = Sender(self.name, self.epoch, self.window_ms)
        return sender.send(request, account, attempt, wall_us=wall_us, live=live)

    def _due_order(self, live: LiveOrder, wall_us: int, room: int) -> list[tuple[int, Action]]:
        order, account = live.order, live.account
        if not live.accepted and live.fate is Fate.READY:
            if room <= 0 and self._waits(live, room, {}):
                return []
            end = self._refused(live)
            if end is not None:
                return [(live.ordinal, Report(account, (end,), live.cause))]
            send = self._send(place(order), account, live.attempt, wall_us, live)
            return [(live.ordinal, send)]
        out: list[tuple[int, Action]] = []
        unanswered = not live.accepted and wall_us > live.t0_us + self.window_us
        if unanswered and live.told_unknown < live.attempt:
            item = reports.unknown(order, live.attempt)
            out.append((live.ordinal, Report(account, (item,), live.cause)))
        again = live.cancels == 0 or (
            room > -self._ledger.wire.allowed
            and live.cancelled_again(wall_us, self.window_us, self.skew_us)
        )
        if live.cancel is not None and again and self.halt != "all":
            cancel = CancelRequest(client_order_id=order.client_order_id, symbol=order.symbol)
            send = self._send(cancel, account, live.cancels, wall_us, live)
            out.append((live.cancel_ordinal, send))
        least = 0 if live.cancel is None else -self._ledger.wire.allowed
        if room > least and wall_us >= self._ask_from(live):
            query = Query(client_order_id=order.client_order_id, symbol=order.symbol)
            out.append((live.ordinal, self._send(query, account, live.asked, wall_us, live)))
        return out

    def _waits(self, live: LiveOrder, room: int, free: dict[str, bool]) -> bool:
        """Whether an order that was not sent has to wait for room on the wire: an entry that is
        still wanted, and a protection when there is twice too little. A close never waits.

        free: accounts that may open trades, as found so far in one look over many orders."""
        if room > 0 or live.cancel is not None or self.halt:
            return False
        if live.order.reduce_only:
            return room <= -self._ledger.wire.allowed and live.rests_by_type()
        if live.account not in free:
            policy = self.control.accounts.get(live.account)
            free[live.account] = policy is not None and policy.can_open_new_trades()
        return free[live.account]

    def _ask_from(self, live: LiveOrder) -> int:
        """Wall time from which the venue may be asked about an order that was sent. The answer "no
        such order" proves something only when no request for it can be accepted any more."""
        again = live.asked_us + self.window_us
        if live.ask_now:
            return again
        if live.accepted and live.rests_by_type():
            return 1 << 62
        return max(again, live.t0_us + self.window_us + self.skew_us)

    def _refused(self, live: LiveOrder) -> Ended | None:
        """The end of an order that is not on the wire and is not to be sent; None: send it."""
        return refused(
            live.order,
            live.account,
            cancel=live.cancel,
            policy=self.control.accounts.get(live.account),
            halt=self.halt,
            halt_why=self.halt_why,
            now=self.now,
        )
