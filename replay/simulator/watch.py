"""What must hold at every record that comes into the log, judged as it comes (DESIGN, protocol).

Valid records only, in append order, with two instants each: when it was decided (`began`) and when
the log had it (`at`), both in microseconds of the virtual clock that nobody in the system can see.
Of a log that real processes wrote (:mod:`replay.simulator.recorded`) the first is not known.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gateways.second_path import PREFIX
from replay.simulator.brakes import Brakes
from replay.simulator.falls import Falls
from replay.simulator.found import BrokenPromise, Judge, Placed
from replay.simulator.halts import Halts
from replay.simulator.money import Books
from schemas.control import EmergencyActivated, EmergencyWasReset, PolicyChanged
from schemas.envelope import Envelope
from schemas.halting import HaltClosed, HaltNoted
from schemas.market import PricesObserved
from schemas.positions import PositionUpdated
from schemas.scalars import micros
from schemas.sources import SourceHalted
from schemas.topics import CONTROL
from schemas.trade import ExecutionReported, Order, OrderDecided, SignalJudged, Verdict
from schemas.validity import SequenceGap
from schemas.venue import CancelRequest, Place, VenueReported, VenueRequested

WAYS = {"entry": "entry", "exit_signal": "exit"}
"""Purposes of orders that carry a verdict out, and the kind of that verdict."""
WINDOW_US = 1_000_000
"""W: how long the venue takes a request after it was signed."""
ROUNDED = Decimal("1.02")
"""What fees, slippage and steps may make of a limit between a verdict and the venue."""


@dataclass(slots=True)
class Stop:
    """An emergency of one account. `until`: instant and offset of its reset."""

    identity: str
    offset: int
    at: int
    until: int = 1 << 62
    until_offset: int = 1 << 62
    flat_at: int = 1 << 62


@dataclass(slots=True)
class AtVenue:
    """An account as the venue's own reports make it."""

    open: dict[str, Decimal] = field(default_factory=dict)
    working: dict[str, tuple[str, Decimal]] = field(default_factory=dict)
    """Entries that may still fill: client order id to symbol and quantity."""


class Watch:
    """All promises of one log. `window_us` is W; `slack_us` how far the clocks of gateway and venue
    stand apart; `late_us` how long after a record of `control` an entry may still be signed, where
    the instant at which the log had it is not known exactly. `signed`: what the gateway's clock
    showed, to the instant it showed it; None: its clock is the one of `at`."""

    def __init__(
        self, *, window_us: int = WINDOW_US, late_us: int = 0, one_clock: bool = False
    ) -> None:
        self.judge = Judge()
        self.window_us = window_us
        self.slack_us = 0
        self.late_us = late_us
        self.signed: dict[int, int] | None = None if one_clock else {}
        self.verdicts: dict[str, tuple[str, Verdict]] = {}
        self.orders: dict[str, tuple[str, Order]] = {}
        self.ordered: dict[str, Decimal] = {}
        """What was ordered of each verdict."""
        self.stops: dict[str, list[Stop]] = {}
        self.venue: dict[str, AtVenue] = {}
        self.filled: dict[str, Decimal] = {}
        self.accepted: set[str] = set()
        self.sent: dict[str, int] = {}
        self.marks: dict[str, Decimal] = {}
        self.span: dict[str, tuple[Decimal, Decimal]] = {}
        self.books = Books()
        self.brakes = Brakes()
        self.falls = Falls()
        self.halts = Halts()
        self.exposure_pct = Decimal(0)
        """The largest worst case at an acceptance, in percent of what the policy allows."""

    def look(self, record: Placed, began: int, at: int) -> Envelope | None:
        """Judge a record that was just appended; its event if it is valid. BrokenPromise."""
        try:
            event = self.judge.valid(record)
        except SequenceGap as gap:
            raise BrokenPromise(f"{record.key} offset {record.offset}: {gap}") from gap
        if event is not None:
            self.see(record.key, record.offset, event, began, at)
        return event

    def see(self, key: str, offset: int, event: Envelope, began: int | None, at: int) -> None:
        """Judge a valid record. BrokenPromise."""
        topic = key.rpartition("/")[0]
        if isinstance(event, SourceHalted):
            raise BrokenPromise(f"a decision of {event.source} failed: {event.data.error}")
        if topic == CONTROL.name:
            self._controlled(event, offset, at)
        elif isinstance(event, PricesObserved):
            self._prices(event)
        elif isinstance(event, SignalJudged):
            self._judged(event)
        elif isinstance(event, OrderDecided):
            self._decided(event, at)
        elif isinstance(event, VenueRequested):
            self._requested(event)
        elif isinstance(event, VenueReported):
            self._reported(event, began, at)
        elif isinstance(event, ExecutionReported):
            self.books.reported(offset, event)
        elif isinstance(event, PositionUpdated):
            self.books.updated(key, offset, event)
            self.falls.updated(event)

    def latched(self, account: str) -> Stop | None:
        """The emergency of an account that was not reset."""
        stops = self.stops.get(account)
        return stops[-1] if stops and stops[-1].until_offset == 1 << 62 else None

    def at_rest(self, accounts: Iterable[str]) -> None:
        """Nothing is on its way: each brake has tripped that had to. `accounts`: all there are."""
        free = [account for account in accounts if not self.latched(account)]
        self.brakes.at_rest({account: self.books.nav(account, self.marks) for account in free})
        self.falls.at_rest()

    # ------------------------------------------------------------------ control, market

    def _controlled(self, event: Envelope, offset: int, at: int) -> None:
        self.brakes.take(event, offset, at)
        self.falls.found(event)
        if isinstance(event, EmergencyActivated | EmergencyWasReset | PolicyChanged):
            for change in event.data.items:
                self.falls.limits(change.account, change.policy)
        if isinstance(event, EmergencyActivated | EmergencyWasReset):
            self._stop(event, offset, at)
        elif isinstance(event, HaltClosed):
            self.halts.ordered(event)
        elif isinstance(event, HaltNoted):
            account = self.venue.get(event.partitionkey, AtVenue())
            self.halts.noted(event, any(account.open.values()))

    def _stop(self, event: EmergencyActivated | EmergencyWasReset, offset: int, at: int) -> None:
        for change in event.data.items:
            stops = self.stops.setdefault(change.account, [])
            if isinstance(event, EmergencyActivated):
                if self.latched(change.account):
                    raise BrokenPromise(f"{change.account} was stopped twice without a reset")
                stops.append(Stop(event.data.emergency_id, offset, at))
            elif not stops or stops[-1].identity != event.data.emergency_id:
                raise BrokenPromise(f"{change.account} was reset without its emergency")
            elif stops[-1].flat_at > at:
                raise BrokenPromise(f"{change.account} was reset before it was flat")
            else:
                stops[-1].until, stops[-1].until_offset = at, offset

    def _prices(self, event: PricesObserved) -> None:
        for item in event.data.items:
            price = Decimal(item.mark or item.last)
            self.marks[item.symbol] = price
            low, high = self.span.get(item.symbol, (price, price))
            self.span[item.symbol] = min(low, price), max(high, price)
        self.falls.prices(event, self.marks)

    # ------------------------------------------------------------------ decisions

    def _blocked_by(self, event: Envelope) -> str:
        """What forbade new risk as a decision knew it, by its basis; empty if nothing did."""
        after = (event.basis or {}).get("control/0", 0)
        for stop in self.stops.get(event.partitionkey, ()):
            if stop.offset < after <= stop.until_offset:
                return "the emergency"
        return self.brakes.known_at(event.partitionkey, after)

    def _judged(self, event: SignalJudged) -> None:
        blocked = self._blocked_by(event)
        for verdict in event.data.items:
            if verdict.id in self.verdicts:
                raise BrokenPromise(f"verdict {verdict.id} was given twice")
            self.verdicts[verdict.id] = event.partitionkey, verdict
            if blocked and verdict.verdict == "approved" and verdict.kind == "entry":
                raise BrokenPromise(f"{event.source} approved an entry against {blocked}")

    def _decided(self, event: OrderDecided, at: int) -> None:
        blocked = self._blocked_by(event)
        for item in event.data.items:
            if item.kind == "order":
                self._ordered(event.partitionkey, item)
                if blocked and not item.reduce_only:
                    raise BrokenPromise(
                        f"risk was increased after {blocked} in its basis: {event.source} "
                        f"sequence {event.sequence}"
                    )
            elif item.kind == "flat":
                stop = self.latched(event.partitionkey)
                if stop is not None and stop.identity == item.emergency_id:
                    stop.flat_at = min(stop.flat_at, at)
                if any(self.venue.get(event.partitionkey, AtVenue()).open.values()):
                    raise BrokenPromise(f"{event.partitionkey} is called flat and is not")

    def _ordered(self, account: str, order: Order) -> None:
        if order.client_order_id in self.orders:
            raise BrokenPromise(f"order {order.client_order_id} was decided twice")
        self.orders[order.client_order_id] = account, order
        way = WAYS.get(order.purpose)
        if order.purpose != "entry" and not order.reduce_only:
            raise BrokenPromise(f"{order.purpose} {order.client_order_id} may increase risk")
        if way is None or (order.request_id is None and order.reduce_only):
            return  # a protection, a close by rule, or a close that is tried again
        known = self.verdicts.get(order.request_id or "")
        if known is None or known[1].plan is None:
            raise BrokenPromise(f"order {order.client_order_id} has no approval")
        verdict, plan = known[1], known[1].plan
        total = self.ordered.get(verdict.id, Decimal(0)) + Decimal(order.quantity)
        self.ordered[verdict.id] = total
        same = (account, order.symbol, order.side) == (known[0], verdict.symbol, verdict.side)
        if verdict.kind != way or not same or (way == "entry" and total > Decimal(plan.quantity)):
            raise BrokenPromise(f"order {order.client_order_id} is not what was approved")

    # ------------------------------------------------------------------ the venue

    def _requested(self, event: VenueRequested) -> None:
        place = event.data.request
        stamp = micros(event.data.sent_at)
        at = stamp if self.signed is None else self.signed.get(stamp)
        if at is None:
            raise BrokenPromise(f"a request of {event.source} has a stamp of no clock")
        if isinstance(place, Place | CancelRequest):
            self.halts.requested(place, at)
        if not isinstance(place, Place) or place.reduce_only:
            return
        client = place.client_order_id
        for stop in self.stops.get(event.partitionkey, ()):
            if stop.at + self.late_us < at < stop.until:
                raise BrokenPromise(
                    f"request for entry {client} began {_ms(at - stop.at)} after the emergency was "
                    "in the log"
                )
        if why := self.brakes.through(event.partitionkey, at - self.late_us, at):
            raise BrokenPromise(f"request for entry {client} began after {why} was in the log")
        before = self.sent.get(client)
        if before is not None and abs(at - before) <= self.window_us - self.slack_us:
            raise BrokenPromise(
                f"entry {client} was sent again {_ms(at - before)} after the first request, which "
                "may still be accepted"
            )
        self.sent[client] = at

    def _reported(self, event: VenueReported, began: int | None, at: int) -> None:
        account = self.venue.setdefault(event.partitionkey, AtVenue())
        entered: Order | None = None
        for item in event.data.items:
            if item.kind == "accepted":
                entered = self._accepted(event.partitionkey, item, began, at) or entered
            elif item.kind == "filled":
                self._fill(account, item)
            elif item.kind == "ended":
                account.working.pop(item.client_order_id, None)
        if entered is not None:
            self._exposed(event.partitionkey, account, entered)

    def _accepted(self, account: str, item: Any, began: int | None, at: int) -> Order | None:
        client = item.client_order_id
        if client in self.accepted:
            raise BrokenPromise(f"order {client} was accepted twice")
        self.accepted.add(client)
        if client.startswith(PREFIX):
            self.halts.accepted[client] = account
            return None
        known = self.orders.get(client)
        if known is None or known[0] != account:
            raise BrokenPromise(f"the venue has order {client}, which nobody decided")
        order = known[1]
        if order.reduce_only:
            return None
        for stop in self.stops.get(account, ()):
            last = stop.at + self.window_us + self.slack_us
            if began is not None and last < began < stop.until:
                raise BrokenPromise(
                    f"entry {client} was accepted {_ms(began - stop.at)} after the emergency"
                )
            if stop.flat_at < at < stop.until:
                raise BrokenPromise(f"entry {client} was accepted after flat was recorded")
        self.venue[account].working[client] = order.symbol, Decimal(order.quantity)
        return order

    def _fill(self, account: AtVenue, item: Any) -> None:
        quantity = Decimal(item.quantity)
        signed = quantity if item.side == "BUY" else -quantity
        account.open[item.symbol] = account.open.get(item.symbol, Decimal(0)) + signed
        client = item.client_order_id
        if client is None:
            return
        if client.startswith(PREFIX):
            self.halts.filled[client] += quantity  # type: ignore[assignment]
            return
        known = self.orders.get(client)
        total = self.filled[client] = self.filled.get(client, Decimal(0)) + quantity
        if known is None or (not known[1].close_position and total > Decimal(known[1].quantity)):
            raise BrokenPromise(f"{client} filled {total}, more than was ordered")
        if client in account.working:
            symbol, left = account.working[client]
            account.working[client] = symbol, left - quantity

    def _exposed(self, name: str, account: AtVenue, order: Order) -> None:
        """Worst case at an acceptance: positions and all that may still fill, at mark, against the
        limits the verdict was given under. Prices may have moved since by what the run shows."""
        verdict = self.verdicts[order.request_id or ""][1]
        limits = {limit.name: Decimal(limit.value) for limit in verdict.limits if _numeric(limit)}
        equity = Decimal(verdict.figures["equity"])
        each: dict[str, Decimal] = {s: abs(q) for s, q in account.open.items()}
        for symbol, left in account.working.values():
            each[symbol] = each.get(symbol, Decimal(0)) + left
        moved = max((high / low for low, high in self.span.values()), default=Decimal(1)) * ROUNDED
        worth = {s: q * self.marks.get(s, Decimal(0)) for s, q in each.items()}
        most = {
            "gross exposure": (sum(worth.values()), equity * limits["max_gross_pct"] / 100),
            f"exposure in {order.symbol}": (
                worth.get(order.symbol, Decimal(0)),  # nothing, if it ended unfilled at once
                limits["max_position_usd"],
            ),
        }
        for what, (value, limit) in most.items():
            if limit:
                self.exposure_pct = max(self.exposure_pct, value / limit * 100)
            if value > limit * moved:
                raise BrokenPromise(
                    f"{what} of {name} is {value:.2f} USDT with {order.client_order_id}, its "
                    f"verdict allowed {limit:.2f}"
                )


def _numeric(limit: Any) -> bool:
    return limit.name in ("max_gross_pct", "max_position_usd")


def _ms(us: int) -> str:
    return f"{us / 1000:.0f} ms"
