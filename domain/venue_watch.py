"""Where a price matters to the simulated venue: where it came from, the levels that wait for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from domain.average_cost import EXACT
from domain.futures import liquidation_price
from domain.market_state import InstrumentTerms, MarketState, SymbolMarket
from domain.skipping import Outside
from domain.venue_book import Account, Position, Resting
from domain.venue_ticks import Levels
from schemas.envelope import Envelope
from schemas.market import PricesObserved
from schemas.scalars import micros

BELOW_ALL = Decimal(-1)
ABOVE_ALL = Decimal("Infinity")


@dataclass(slots=True)
class VenueMarket(MarketState):
    """Slice of `market`, with the mark of the point before the last: where the path came from.
    `levels`: what traded at each price of a symbol that ticks are fed of."""

    before: dict[str, Decimal] = field(default_factory=dict)
    levels: dict[str, Levels] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        if isinstance(event, PricesObserved):
            for item in event.data.items:
                known = self.symbols.get(item.symbol)
                if known and known.mark is not None and event.time > known.at:
                    self.before[item.symbol] = known.mark
                if item.trades and (known is None or event.time > known.at):
                    levels = self.levels.setdefault(item.symbol, Levels())
                    levels.fold(item.trades, micros(event.time))
        return MarketState.fold(self, event)

    def skip(self, outside: Outside) -> None:
        """Take over what folding everything up to a place would have left. No ticks were skipped:
        records of trades are never folded in bulk."""
        MarketState.skip(self, outside)
        for symbol in self.symbols:
            before = outside.before(symbol)
            if before is not None:
                self.before[symbol] = before


def liquidation_level(held: Position, terms: InstrumentTerms) -> Decimal | None:
    """Mark at which an isolated position is liquidated; None where no price above 0 does it."""
    with localcontext(EXACT):
        return liquidation_price(
            side=held.side,
            quantity=abs(held.quantity),
            entry=held.entry,
            isolated_margin=held.isolated,
            terms=terms,
        )


@dataclass(slots=True)
class Watch:
    """Prices at which something of a symbol happens, over accounts: the cheap look at a point."""

    terms: object
    """The terms it was made with: another listing makes it void."""
    mark_low: Decimal = BELOW_ALL
    mark_high: Decimal = ABOVE_ALL
    last_low: Decimal = BELOW_ALL
    last_high: Decimal = ABOVE_ALL

    def touched(self, last: Decimal, mark: Decimal) -> bool:
        return (
            mark <= self.mark_low
            or mark >= self.mark_high
            or last <= self.last_low
            or last >= self.last_high
        )

    def add(self, order: Resting, tick: Decimal) -> None:
        if order.order_type == "LIMIT":
            if order.side == "BUY":
                self.last_low = max(self.last_low, order.limit - tick)
            else:
                self.last_high = min(self.last_high, order.limit + tick)
        elif order.falls:
            self.mark_low = max(self.mark_low, order.trigger)
        else:
            self.mark_high = min(self.mark_high, order.trigger)

    def add_liquidation(self, held: Position, level: Decimal | None) -> None:
        if level is None:
            return
        if held.quantity > 0:
            self.mark_low = max(self.mark_low, level)
        else:
            self.mark_high = min(self.mark_high, level)


def watch_of(accounts: Iterable[Account], symbol: str, known: SymbolMarket) -> Watch:
    """What `accounts` wait for in a symbol."""
    watch = Watch(known.terms)
    if known.terms is None:
        return watch
    for account in accounts:
        for order in account.orders.values():
            if order.symbol == symbol:
                watch.add(order, known.terms.tick)
        held = account.positions.get(symbol)
        if held:
            watch.add_liquidation(held, liquidation_level(held, known.terms))
    return watch
