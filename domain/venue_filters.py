"""What the simulated venue refuses on arrival, and why: filters, margin, reduce-only, triggers.

Each check returns one line naming the value and the limit, or None. The order of checks is fixed.
"""

from decimal import Decimal

from domain.average_cost import EXACT
from domain.futures import bracket_of
from domain.market_state import InstrumentTerms, SymbolMarket
from domain.venue_book import SETTLEMENT_ASSET, Account, Resting
from domain.venue_pricing import age_s, taker_price
from schemas.scalars import text

CENTS = Decimal("0.01")


def refusal(
    account: Account, order: Resting, known: SymbolMarket | None, *, now: str, stale_s: int
) -> str | None:
    """Why `order` is refused, or None. `account` as it stands before the order."""
    if not account.transfers:
        return "unknown account: deposit first"
    if known is None or known.terms is None:
        return f"unknown symbol {order.symbol}: no filters, fees and brackets are listed"
    if known.last is None or known.mark is None:
        return f"no price of {order.symbol} is known"
    if order.order_type in ("MARKET", "LIMIT") and age_s(known, now) > stale_s:
        age = text(age_s(known, now))
        return f"last price of {order.symbol} is {age} s old, at most {stale_s} s are allowed"
    return (
        _shape(order)
        or _reduce(account, order)
        or _grid(order, known.terms)
        or _sizes(account, order, known.terms, known.last)
        or _band(order, known.terms, known.mark)
        or _crossed(order, known.mark)
        or _margin(account, order, known, known.terms)
    )


def _shape(order: Resting) -> str | None:
    if order.order_type == "LIMIT" and not order.limit:
        return "a LIMIT order needs a limit price"
    if order.order_type in ("STOP_MARKET", "TAKE_PROFIT_MARKET") and not order.trigger:
        return f"a {order.order_type} order needs a trigger price"
    if order.closing and not order.trigger:
        return f"close_position is for trigger orders, not {order.order_type}"
    return None


def _reduce(account: Account, order: Resting) -> str | None:
    if not order.reducing or account.open_against(order.symbol, order.side):
        return None
    held = account.positions.get(order.symbol)
    state = f"{text(held.quantity)} is open" if held else "nothing is open"
    return f"reduce-only {order.side} {order.symbol}: {state}, nothing to reduce"


def _grid(order: Resting, terms: InstrumentTerms) -> str | None:
    for name, price in (("limit", order.limit), ("trigger", order.trigger)):
        if EXACT.remainder(price, terms.tick):
            return f"{name} price {text(price)} is not a multiple of the tick {text(terms.tick)}"
    if not order.closing and EXACT.remainder(order.quantity, terms.step):
        return f"quantity {text(order.quantity)} is not a multiple of the step {text(terms.step)}"
    return None


def _sizes(account: Account, order: Resting, terms: InstrumentTerms, last: Decimal) -> str | None:
    """Minimum quantity and notional are for entries: a rest of a position can always be closed."""
    if order.closing:
        return None
    quantity = order.quantity
    if order.reducing:
        quantity = min(quantity, account.open_against(order.symbol, order.side))
    limit = order.order_type == "LIMIT"
    most = terms.quantity_max if limit else min(terms.quantity_max, terms.market_quantity_max)
    if quantity > most:
        return f"{order.order_type} quantity {text(quantity)} is above the maximum {text(most)}"
    if order.reducing:
        return None
    if quantity < terms.quantity_min:
        return f"quantity {text(quantity)} is below the minimum {text(terms.quantity_min)}"
    notional = EXACT.multiply(quantity, order.limit or order.trigger or last)
    if notional < terms.notional_min:
        return f"notional {text(notional)} is below the minimum {text(terms.notional_min)}"
    return None


def _band(order: Resting, terms: InstrumentTerms, mark: Decimal) -> str | None:
    """Percent price filter: a buyer not above, a seller not below the band around mark."""
    if not order.limit:
        return None
    share = terms.price_band_pct / 100
    bound = mark * (1 + share if order.side == "BUY" else 1 - share)
    shown = f"limit price {text(order.limit)} is outside the price band"
    if order.side == "BUY" and order.limit > bound:
        return f"{shown}: a buyer pays at most {text(bound)}"
    if order.side == "SELL" and order.limit < bound:
        return f"{shown}: a seller takes at least {text(bound)}"
    return None


def _crossed(order: Resting, mark: Decimal) -> str | None:
    if not order.trigger or not order.triggered(mark):
        return None
    return f"would trigger immediately: trigger {text(order.trigger)}, mark {text(mark)}"


def _margin(
    account: Account, order: Resting, known: SymbolMarket, terms: InstrumentTerms
) -> str | None:
    """Initial margin of what the order opens, at its leverage, against the available balance."""
    opened = order.quantity - account.open_against(order.symbol, order.side)
    if order.reducing or opened <= 0 or known.last is None:
        return None
    price = order.limit or taker_price(
        order.trigger or known.last, order.side, order.quantity, known
    )
    held = account.positions.get(order.symbol)
    leverage = order.leverage or (held.leverage if held else 1)
    notional = EXACT.multiply(opened, price)
    open_notional = abs(held.cost) if held and held.side == order.side else Decimal(0)
    most = bracket_of(notional + open_notional, terms).leverage_max
    if leverage > most:
        return f"leverage {leverage} is above {most}, the maximum for {text(notional)} USDT"
    needed = EXACT.divide(notional, Decimal(leverage))
    free = account.available()
    if needed > free:
        shown = [text(value.quantize(CENTS, context=EXACT)) for value in (needed, free)]
        return f"margin {shown[0]} {SETTLEMENT_ASSET} is needed, {shown[1]} is available"
    return None
