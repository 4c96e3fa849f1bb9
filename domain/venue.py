"""The simulated venue: a pure decider run as a separate party (FEATURES EXEC-3, DEFINITIONS 8-10).

Every request gets one report. A price gives a report to each account one of whose levels it meets
(trigger, limit, liquidation), with everything it did there; a funding settlement one to each
account that holds the symbol. The book is a fold of the venue's own reports.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import Any

from domain.average_cost import EXACT
from domain.clock_state import ClockState, now
from domain.decider import OWN, Decision, Read, Slices
from domain.market_state import MarketState, SymbolMarket
from domain.venue_answers import cancelled, credited, found, read_back
from domain.venue_book import Account, VenueBook
from domain.venue_faults import NO_FAULTS, FaultPlan
from domain.venue_matching import Matching
from domain.venue_pricing import stale_after_s
from domain.venue_ticks import looks
from domain.venue_watch import ABOVE_ALL, BELOW_ALL, VenueMarket, watch_of
from domain.waits import Level, Waits
from schemas.envelope import Envelope
from schemas.market import FundingSettled, PricesObserved
from schemas.scalars import micros
from schemas.topics import CLOCK, MARKET, VENUE_REPORT, VENUE_REQUEST
from schemas.trusted import trusted
from schemas.venue import (
    CancelRequest,
    Deposit,
    Place,
    Query,
    VenueReportData,
    VenueReported,
    VenueRequested,
)

Touched = tuple[str, SymbolMarket, list[tuple[Decimal, Decimal]]]
"""A symbol in which something may happen, and the (last, mark) to look at."""
LATENCY_MS = 250
FUNDING_APART_US = 60_000_000
"""Settlements of a symbol closer than this are one: stamps jitter."""


@dataclass(slots=True)
class RequestState:
    """Slice of `venue.request`: empty, all that a request changes is in the report it gets."""


class Venue:
    """Decider of `venue.report`. `latency_ms`: from a request's event time to its fills."""

    name = "venue"
    output = VENUE_REPORT
    reads: tuple[Read, ...] = (Read(VENUE_REQUEST, request=True), Read(MARKET), Read(CLOCK))
    waits_on = frozenset({OWN})
    asks_about: tuple[type[Envelope], ...] = (PricesObserved, FundingSettled)

    def __init__(
        self,
        partition: int,
        partitions: int,
        *,
        faults: FaultPlan = NO_FAULTS,
        latency_ms: int = LATENCY_MS,
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.faults = faults
        self.latency_us = latency_ms * 1000

    # ------------------------------------------------------------------ folds

    def begin(self, topic: str) -> Any:
        if topic == OWN:
            return VenueBook()
        if topic == MARKET.name:
            return VenueMarket()
        return ClockState() if topic == CLOCK.name else RequestState()

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        if topic == OWN:
            if isinstance(event, VenueReported):
                state.fold(event.partitionkey, event.data.items, event.time)
            return True
        if topic == VENUE_REQUEST.name:
            return isinstance(event, VenueRequested)
        return bool(state.fold(event))

    def tidy(self, slices: Slices) -> None:
        """Nothing two slices hold against each other: closed orders stay known for queries."""

    # ------------------------------------------------------------------ facts

    def waits(self, slices: Slices) -> Waits:
        """Levels of resting orders and liquidations; settlements of what is held."""
        book, levels = slices[OWN], []
        for symbol, known in slices[MARKET.name].symbols.items():
            watch = watch_of(book.accounts.values(), symbol, known)
            low = max(watch.mark_low, watch.last_low)
            high = min(watch.mark_high, watch.last_high)
            if low > BELOW_ALL or high < ABOVE_ALL:
                below = low if low > BELOW_ALL else None
                levels.append(Level(symbol, below, high if high < ABOVE_ALL else None))
        held = {symbol for account in book.accounts.values() for symbol in account.positions}
        return Waits(levels=levels, funding=frozenset(held))

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        book: VenueBook = slices[OWN]
        if isinstance(fact, PricesObserved):
            touched = self._touched(book, slices[MARKET.name], fact)
            if not touched:
                return ()
            return [name for name in sorted(book.accounts) if self._meets(book, name, touched)]
        if isinstance(fact, FundingSettled):
            symbols = [item.symbol for item in fact.data.items]
            return [
                name
                for name in sorted(book.accounts)
                if any(_due(book.accounts[name], symbol, fact.time) for symbol in symbols)
            ]
        return ()

    def _touched(self, book: VenueBook, market: MarketState, fact: PricesObserved) -> list[Touched]:
        """Symbols with news in `fact` at which a level of any account is met: the cheap look."""
        touched = []
        for item in fact.data.items:
            known = market.symbols.get(item.symbol)
            if known is None or known.at != fact.time or known.last is None or known.mark is None:
                continue
            watch = book.watches.get(item.symbol)
            if watch is None or watch.terms is not known.terms:
                watch = watch_of(book.accounts.values(), item.symbol, known)
                book.watches[item.symbol] = watch
            where = looks(item, known)
            if any(watch.touched(last, mark) for last, mark in where):
                touched.append((item.symbol, known, where))
        return touched

    def _meets(self, book: VenueBook, name: str, touched: list[Touched]) -> bool:
        account = book.accounts[name]
        for symbol, known, where in touched:
            watch = watch_of([account], symbol, known)
            if any(watch.touched(last, mark) for last, mark in where):
                return True
        return False

    # ------------------------------------------------------------------ decisions

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        with localcontext(EXACT):  # Whatever the caller's context, the figures are the same.
            return self._decide(slices, cause, account)

    def _decide(self, slices: Slices, cause: Envelope, account: str) -> Decision | None:
        book: VenueBook = slices[OWN]
        market: VenueMarket = slices[MARKET.name]
        time = now(slices, cause)
        matching = Matching(account, book.account(account), time, latency_us=self.latency_us)
        if isinstance(cause, VenueRequested):
            return self._answer(slices, cause, account, matching)
        if isinstance(cause, PricesObserved):
            for symbol, item in sorted({item.symbol: item for item in cause.data.items}.items()):
                known, before = market.symbols.get(symbol), market.before.get(symbol)
                if known is None or known.at != cause.time:
                    continue
                if item.trades:
                    matching.ticks(item, known, before, market.levels[symbol])
                else:
                    matching.point(symbol, known, before)
        elif isinstance(cause, FundingSettled):
            for settled in sorted(cause.data.items, key=lambda item: item.symbol):
                mark = market.mark(settled.symbol)
                if mark is not None and _due(matching.account, settled.symbol, cause.time):
                    matching.funding(settled.symbol, mark, settled.rate, cause.time)
        return _report(account, matching.items) if matching.items else None

    def _answer(
        self, slices: Slices, cause: VenueRequested, account: str, matching: Matching
    ) -> Decision:
        request = cause.data.request
        known: Account = slices[OWN].account(account)
        if isinstance(request, Place):
            return self._place(slices, cause, account, matching, request)
        if isinstance(request, CancelRequest):
            item = cancelled(known, request)
        elif isinstance(request, Query):
            item = found(known, request.client_order_id, request.symbol)
        elif isinstance(request, Deposit):
            item = credited(known, request)
        else:
            item = read_back(known, request)
        return _report(account, [item])

    def _place(
        self, slices: Slices, cause: VenueRequested, account: str, matching: Matching, place: Place
    ) -> Decision:
        """A known id has no second effect: it is answered with what became of it."""
        first = cause.data.attempt == 0
        if first and self.faults.lost_request(place.client_order_id):
            return _report(account, [], delivered=False)
        known: Account = slices[OWN].account(account)
        if place.client_order_id in known.known:
            return _report(account, [found(known, place.client_order_id, place.symbol)])
        here = slices[MARKET.name].symbols.get(place.symbol)
        if self.faults.refused(place.client_order_id):
            matching.refuse(place, "refused on purpose: the fault plan of this venue")
            return _report(account, matching.items)
        thin = not place.reduce_only and self.faults.thin(place.client_order_id)
        if thin and here is not None and here.candle is not None:
            here = replace(here, candle=replace(here.candle, volume=Decimal(place.quantity) * 5))
        matching.place(
            place,
            here,
            stale_s=stale_after_s(slices[CLOCK.name].candle_s),
            halted=account in slices.halted,
            levels=slices[MARKET.name].levels.get(place.symbol),
        )
        lost = first and self.faults.lost_answer(place.client_order_id)
        return _report(account, matching.items, delivered=not lost)


def _due(account: Account, symbol: str, settled_at: str) -> bool:
    """A position held before the settlement, which was not paid yet."""
    held = account.positions.get(symbol)
    if held is None or held.opened_at >= settled_at:
        return False
    paid = account.funded.get(symbol)
    return paid is None or micros(settled_at) - micros(paid) > FUNDING_APART_US


def _report(account: str, items: list[Any], *, delivered: bool = True) -> Decision:
    symbols = {getattr(item, "symbol", None) for item in items}
    shared = symbols.pop() if len(symbols) == 1 else None
    data = trusted(VenueReportData, delivered=delivered, items=tuple(items))
    return Decision(VenueReported, account, data, shared)
