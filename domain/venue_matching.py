"""Matching at the simulated venue: an order that arrives, and a price that meets resting orders.

A `Matching` works on a scratch account and collects the items of one report. Rules: DEFINITIONS 8
and 10. `reference` of a fill is the price at the moment of the match, before costs: last for an
order that arrives, the level where one is met on the path, the point where price jumped over it.
"""

import hashlib
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal
from typing import Literal, NamedTuple

from domain.average_cost import EXACT
from domain.market_state import SymbolMarket
from domain.venue_book import SETTLEMENT_ASSET, Account, Resting
from domain.venue_filters import refusal
from domain.venue_pricing import listed, room, taker_price, to_tick, touch
from domain.venue_ticks import Levels, Printed, printed
from domain.venue_watch import liquidation_level
from schemas.market import Price
from schemas.scalars import micros, text, time_text
from schemas.trade import EndStatus, Side
from schemas.trusted import trusted
from schemas.venue import Place, VenueAccepted, VenueEnded, VenueFilled, VenueFunded, VenueItem

CLOSED = "position closed"


class Trade(NamedTuple):
    """What was traded; `reference` as the module says, `at` is the fill's own time."""

    quantity: Decimal
    price: Decimal
    reference: Decimal
    rule: str
    at: str
    liquidity: Literal["maker", "taker"] = "taker"


class Matching:
    """One decision for `account`; `items` is the report."""

    def __init__(self, name: str, account: Account, now: str, *, latency_us: int) -> None:
        self.name = name
        self.account = account.scratch()
        self.now = now
        self.later = time_text(micros(now) + latency_us)
        self.items: list[VenueItem] = []

    def emit(self, item: VenueItem) -> None:
        self.items.append(item)
        self.account.apply(item, self.now)

    # ------------------------------------------------------------------ an order arrives

    def place(
        self,
        place: Place,
        known: SymbolMarket | None,
        *,
        stale_s: int,
        halted: bool,
        levels: Levels | None = None,
    ) -> None:
        """Answer a new order: refused, or accepted and matched as far as it goes at once."""
        order = Resting.of(place)
        why = refusal(self.account, order, known, now=self.now, stale_s=stale_s)
        if not why and halted and not order.reducing:
            why = "the venue has halted this account: only reductions pass"
        if not why and known and order.time_in_force == "GTX" and self._marketable(order, known):
            why = f"post-only: limit price {place.limit_price} would trade at once"
        if why or known is None:
            self._end(order, "REJECTED", why)
            return
        queue = None
        if levels is not None and order.order_type == "LIMIT":
            step = listed(known).step
            queue = text(levels.queue(order.side, order.limit, micros(self.now), step))
        self.emit(
            trusted(
                VenueAccepted,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                order=place,
                queue=queue,
            )
        )
        order = self.account.orders[order.client_order_id]
        if order.order_type == "MARKET":
            rule = "market at trade" if known.point is None else "market at point"
            self._market(order, known, _last(known), rule, at=self.later)
        elif order.order_type == "LIMIT":
            self._limit_arrives(order, known)

    def refuse(self, place: Place, why: str) -> None:
        """Answer a new order with its end: it has no effect."""
        self._end(Resting.of(place), "REJECTED", why)

    def _marketable(self, order: Resting, known: SymbolMarket) -> bool:
        if order.order_type != "LIMIT":
            return False
        best = touch(_last(known), order.side, known)
        return order.limit >= best if order.side == "BUY" else order.limit <= best

    def _market(
        self, order: Resting, known: SymbolMarket, base: Decimal, rule: str, *, at: str
    ) -> None:
        """Trade at once around `base` and end.

        An entry takes what participation allows and its rest expires. A reduction is filled whole,
        whatever the volume, at the impact of all of it: nothing may trap a position.
        """
        if order.reducing:
            wanted = self._reducible(order)
            if not wanted:
                self._end(order, "EXPIRED", CLOSED)
                return
        else:
            used = self.account.used_in(order.symbol, self.now)
            wanted = min(order.remaining, room(known, used, self.now))
        if wanted:
            price = taker_price(base, order.side, wanted, known)
            self._fill(order, known, Trade(wanted, price, base, rule, at))
        if order.closing or not order.remaining:
            self._end(order, "FILLED", None)
        elif order.reducing:
            self._end(order, "CANCELED", f"reduce-only: {text(order.remaining)} more is not open")
        else:
            self._end(order, "EXPIRED", f"participation: no volume for {text(order.remaining)}")

    def _limit_arrives(self, order: Resting, known: SymbolMarket) -> None:
        """Marketable: taker, never worse than its limit. The rest rests, or ends (IOC, FOK)."""
        if self._marketable(order, known):
            free = room(known, self.account.used_in(order.symbol, self.now), self.now)
            wanted = min(self._reducible(order) if order.reducing else order.remaining, free)
            if wanted and not (order.time_in_force == "FOK" and wanted < order.remaining):
                last = _last(known)
                price = taker_price(last, order.side, wanted, known)
                better = min if order.side == "BUY" else max
                price = better(price, order.limit)
                trade = Trade(wanted, price, last, "limit taker", self.later)
                self._fill(order, known, trade)
        if order.time_in_force in ("IOC", "FOK") and order.remaining:
            why = f"{order.time_in_force}: {text(order.remaining)} not filled"
            self._end(order, "EXPIRED", why)
        else:
            self._settle_limit(order)

    def _settle_limit(self, order: Resting) -> None:
        if not order.remaining:
            self._end(order, "FILLED", None)
        elif order.reducing and not self._reducible(order):
            self._end(order, "CANCELED", f"reduce-only: {text(order.remaining)} more is not open")

    # ------------------------------------------------------------------ a price arrives

    def point(
        self,
        symbol: str,
        known: SymbolMarket,
        before: Decimal | None,
        trade: Printed | None = None,
    ) -> None:
        """Everything one price of a symbol does: stops met before liquidation, liquidation, other
        stops, targets, limits; stops in the order the path meets them, the others by arrival.
        `before`: mark of the point before, None if there is none. `trade`: the trade, on ticks.
        """
        mark, terms = known.mark, known.terms
        if mark is None or terms is None:
            return
        orders = [order for order in self.account.orders.values() if order.symbol == symbol]
        stops = [o for o in orders if o.order_type == "STOP_MARKET" and o.triggered(mark)]
        stops.sort(key=lambda order: -order.trigger if order.falls else order.trigger)
        for order in stops:
            self._liquidate(symbol, known, before, stop=order)
            self._trigger(order, known)
        self._liquidate(symbol, known, before, stop=None)
        for order in orders:
            if order.order_type == "TAKE_PROFIT_MARKET" and order.triggered(mark):
                self._trigger(order, known)
        for order in orders:
            if order.order_type != "LIMIT":
                continue
            if trade is not None:
                self._limit_printed(order, known, trade)
            elif order.through(_last(known), terms.tick):
                self._limit_fills(order, known, order.remaining, "limit through")

    def ticks(
        self, item: Price, known: SymbolMarket, before: Decimal | None, levels: Levels
    ) -> None:
        """Every trade of one instant, in order."""
        for trade in printed(item.trades or (), levels):
            mark = Decimal(item.mark) if item.mark else trade.price
            here = replace(known, last=trade.price, mark=mark)
            self.point(item.symbol, here, before, trade)
            before = mark

    def _trigger(self, order: Resting, known: SymbolMarket) -> None:
        """A stop fills at its trigger where the path of one candle meets it; across two candles at
        the point, on ticks at the trade. A target is never filled better than its trigger within a
        candle."""
        if order.client_order_id not in self.account.orders:
            return
        last = _last(known)
        name = "stop" if order.order_type == "STOP_MARKET" else "target"
        if known.point is None:
            base, rule = last, f"{name} at trade"
        elif known.point == 0:
            worse = min if order.side == "SELL" else max
            base = worse(order.trigger, last) if name == "stop" else last
            rule = f"{name} at point (gap)"
        elif known.mark == last:
            base, rule = order.trigger, f"{name} at trigger"
        else:
            # Mark met the trigger, last is somewhere else: only last can be traded at.
            base, rule = last, f"{name} at point (mark)"
        self._market(order, known, base, rule, at=self.now)

    def _limit_printed(self, order: Resting, known: SymbolMarket, trade: Printed) -> None:
        """A trade on ticks: beyond the limit it takes all of the order, at it what of the trade
        comes after the queue."""
        share = trade.share(order.side, order.limit, order.queue)
        if share is None:
            self._limit_fills(order, known, order.remaining, "limit through")
        elif share:
            step = listed(known).step
            share = EXACT.multiply((share / step).to_integral_value(ROUND_FLOOR), step)
            trade.given += self._limit_fills(order, known, share, "limit at its turn")

    def _limit_fills(
        self, order: Resting, known: SymbolMarket, most: Decimal, rule: str
    ) -> Decimal:
        """Fill at most `most` of a resting limit at its own price; the quantity filled."""
        if order.client_order_id not in self.account.orders:
            return Decimal(0)
        wanted = min(order.remaining, most)
        if order.reducing:
            reducible = self._reducible(order)
            if not reducible:
                self._end(order, "EXPIRED", CLOSED)
                return Decimal(0)
            wanted = min(wanted, reducible)
        wanted = min(wanted, room(known, self.account.used_in(order.symbol, self.now), self.now))
        if wanted:
            price = order.limit
            trade = Trade(wanted, price, price, rule, self.now, "maker")
            self._fill(order, known, trade)
            self._settle_limit(order)
        return wanted

    def _liquidate(
        self, symbol: str, known: SymbolMarket, before: Decimal | None, *, stop: Resting | None
    ) -> None:
        """Liquidate where mark has passed the level, if the path meets it before order `stop`.

        At the liquidation price; at the point where the level had moved over the mark (funding, a
        fill beyond it): the path never passed it, and its price would be better than the market.
        """
        held = self.account.positions.get(symbol)
        if held is None or known.terms is None or known.mark is None:
            return
        level, long = liquidation_level(held, known.terms), held.quantity > 0
        if level is None or (known.mark > level if long else known.mark < level):
            return
        if stop is not None and stop.side != held.side:
            first = stop.trigger >= level if long else stop.trigger <= level
            if first:
                return
        if before is not None and (before <= level if long else before >= level):
            level, rule = _last(known), "liquidation at point"
        else:
            rule = "liquidation"
        side: Side = "SELL" if long else "BUY"
        quantity = abs(held.quantity)
        base = to_tick(level, side, known.terms.tick)
        price = taker_price(base, side, quantity, known)
        trade = Trade(quantity, price, base, rule, self.now)
        self._traded(None, symbol, side, known, _digest(self.name, symbol, self.now), trade)
        for order in list(self.account.orders.values()):
            if order.symbol == symbol and order.reducing:
                self._end(order, "EXPIRED", "position liquidated")

    # ------------------------------------------------------------------ funding

    def funding(self, symbol: str, mark: Decimal, rate: str, settled_at: str) -> None:
        """-q m(T) rate (DEFINITIONS 3)."""
        quantity = self.account.positions[symbol].quantity
        amount = -EXACT.multiply(EXACT.multiply(quantity, mark), Decimal(rate))
        self.emit(
            VenueFunded(
                symbol=symbol,
                amount=text(amount),
                quantity=text(quantity),
                mark=text(mark),
                rate=rate,
                settled_at=settled_at,
            )
        )

    # ------------------------------------------------------------------ items

    def _reducible(self, order: Resting) -> Decimal:
        open_now = self.account.open_against(order.symbol, order.side)
        return open_now if order.closing else min(order.remaining, open_now)

    def _fill(self, order: Resting, known: SymbolMarket, trade: Trade) -> None:
        digest = _digest(self.name, order.client_order_id, str(order.fills))
        self._traded(order.client_order_id, order.symbol, order.side, known, digest, trade)

    def _traded(
        self, client_order_id: str | None, symbol: str, side: Side, known: SymbolMarket,
        digest: str, trade: Trade,
    ) -> None:  # fmt: skip
        terms = listed(known)
        share = terms.maker if trade.liquidity == "maker" else terms.taker
        notional = EXACT.multiply(trade.quantity, trade.price)
        self.emit(
            trusted(
                VenueFilled,
                client_order_id=client_order_id,
                symbol=symbol,
                side=side,
                trade_id=digest,
                quantity=text(trade.quantity),
                price=text(trade.price),
                fee=text(EXACT.multiply(notional, share)),
                fee_asset=SETTLEMENT_ASSET,
                liquidity=trade.liquidity,
                reference=text(trade.reference),
                filled_at=trade.at,
                rule=trade.rule,
            )
        )

    def _end(self, order: Resting, status: EndStatus, why: str | None) -> None:
        self.emit(
            trusted(
                VenueEnded,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                status=status,
                filled_quantity=text(order.filled),
                why=why[:500] if why else None,
            )
        )


def _last(known: SymbolMarket) -> Decimal:
    if known.last is None:
        raise ValueError("no price is known; an order without a price must have been refused")
    return known.last


def _digest(*parts: str) -> str:
    """A trade id: the same wherever and whenever it is computed."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]
