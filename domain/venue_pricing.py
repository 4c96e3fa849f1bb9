"""Prices and volumes at the simulated venue: spread, impact, participation (DEFINITIONS 9, 10).

The model is ours and is printed with every report. All arithmetic is Decimal in a fixed context
(`ln` and `sqrt` are correctly rounded there), so it is the same on every platform.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from domain.market_state import ClosedCandle, InstrumentTerms, SymbolMarket
from schemas.scalars import micros
from schemas.trade import Side

ARITHMETIC = Context(prec=28)
FINE = Decimal("1E-12")
RANGE_TO_SIGMA = ARITHMETIC.multiply(2, ARITHMETIC.sqrt(ARITHMETIC.ln(Decimal(2))))
"""2 sqrt(ln 2): Parkinson 1980, range of a random walk to its deviation."""
PARTICIPATION = Decimal("0.1")
CANDLE_US = 60_000_000
GAP_US = 2 * CANDLE_US
STALE_LIVE_S = 5


def sigma(candle: ClosedCandle | None) -> Decimal:
    """Volatility of a candle as a fraction of price: ln(H/L) / (2 sqrt(ln 2)); 0 if unknown."""
    if candle is None or candle.high <= candle.low:
        return Decimal(0)
    spread = ARITHMETIC.ln(ARITHMETIC.divide(candle.high, candle.low))
    return ARITHMETIC.divide(spread, RANGE_TO_SIGMA).quantize(FINE, context=ARITHMETIC)


def impact(quantity: Decimal, candle: ClosedCandle | None) -> Decimal:
    """Square-root impact sigma sqrt(Q/V) as a fraction of price (Donier & Bonart 2015).

    `candle` is the previous closed one. Without volume (a close must be priced all the same) the
    order counts as the whole of the volume: one sigma.
    """
    if candle is None or not candle.volume:
        return sigma(candle)
    share = ARITHMETIC.sqrt(ARITHMETIC.divide(quantity, candle.volume))
    return ARITHMETIC.multiply(sigma(candle), share).quantize(FINE, context=ARITHMETIC)


def to_tick(price: Decimal, side: Side, tick: Decimal) -> Decimal:
    """`price` on the tick grid, rounded against `side` (a buyer pays up), at least one tick."""
    rounding = ROUND_CEILING if side == "BUY" else ROUND_FLOOR
    return max(ARITHMETIC.divide(price, tick).to_integral_value(rounding) * tick, tick)


def taker_price(base: Decimal, side: Side, quantity: Decimal, known: SymbolMarket) -> Decimal:
    """What a taker gets who meets the book around `base`: half spread and impact against him."""
    terms = listed(known)
    cost = terms.half_spread + impact(quantity, known.candle)
    return to_tick(base * (1 + cost if side == "BUY" else 1 - cost), side, terms.tick)


def touch(base: Decimal, side: Side, known: SymbolMarket) -> Decimal:
    """The best price on the other side for `side`: ask for a buyer, bid for a seller."""
    terms = listed(known)
    share = terms.half_spread
    return to_tick(base * (1 + share if side == "BUY" else 1 - share), side, terms.tick)


def room(known: SymbolMarket, used: Decimal, now: str) -> Decimal:
    """What an account may still trade in this candle: 10 % of the previous closed candle's volume,
    less `used`, floored to the step. 0 after a zero-volume candle and in a gap (last candle closed
    more than two intervals ago): nothing is interpolated."""
    candle = known.candle
    if candle is None or not candle.volume:
        return Decimal(0)
    if micros(now) - micros(candle.opened_at) - CANDLE_US > GAP_US:
        return Decimal(0)
    step = listed(known).step
    free = max(candle.volume * PARTICIPATION - used, Decimal(0))
    return (free / step).to_integral_value(ROUND_FLOOR) * step


def age_s(known: SymbolMarket, now: str) -> Decimal:
    """Seconds of event time since the last price."""
    return Decimal(micros(now) - micros(known.at)) / 1_000_000


def stale_after_s(candle_s: int) -> int:
    """Age in seconds above which a price is stale: 5 s live, two candle intervals in replay."""
    return max(STALE_LIVE_S, 2 * candle_s)


def listed(known: SymbolMarket) -> InstrumentTerms:
    """Filters, fees and brackets of a symbol that orders were accepted for."""
    if known.terms is None:
        raise ValueError("no filters, fees and brackets are known for this symbol; list it first")
    return known.terms
