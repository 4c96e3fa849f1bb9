"""Filters, fees and brackets for a symbol that none are shipped for: assumed, dated, printed.

Everything here is this project's choice and says so in the record's `origin`, so that a report
shows it beside the figures it made (DEFINITIONS 2: "others 0.65 % flat; printed").
"""

from decimal import Decimal

import numpy as np

from gateways.candles import PRICES, CandleFileError, Candles
from schemas.market import Bracket, Instrument

PLACES_MAX = 10
STEP_USDT = 1
"""A quantity step is worth at most this much at the median close."""
QUANTITY_USDT = 10_000_000
HALF_SPREAD_BP = "5"
MMR_PCT = "0.65"
LEVERAGE_MAX = 50
ORIGIN = (
    "assumed, no table is shipped: tick is the finest decimal place of the data, step is worth at "
    "most 1 USDT, half spread 5 bp, maintenance 0.65 % flat, taker 0.05 %, maker 0.02 %"
)


def assumed_instrument(candles: Candles, *, as_of: str) -> Instrument:
    """A table for the candles' symbol. `as_of`: canonical time. Raises CandleFileError for prices
    of more than 10 decimal places."""
    places = _places(candles)
    close = float(np.median(candles.close))
    step = _power_below(STEP_USDT / close)
    largest = _power_below(QUANTITY_USDT / close) * 10
    return Instrument(
        symbol=candles.symbol,
        tick=_text(Decimal(1).scaleb(-places)),
        step=_text(step),
        quantity_min=_text(step),
        quantity_max=_text(largest),
        market_quantity_max=_text(largest),
        notional_min="5",
        price_band_pct="5",
        maker_fee_pct="0.02",
        taker_fee_pct="0.05",
        half_spread_bp=HALF_SPREAD_BP,
        brackets=(Bracket(mmr_pct=MMR_PCT, cum="0", leverage_max=LEVERAGE_MAX),),
        as_of=as_of,
        origin=ORIGIN,
    )


def _places(candles: Candles) -> int:
    """Decimal places that hold every price."""
    columns = [getattr(candles, name) for name in PRICES]
    for places in range(PLACES_MAX + 1):
        scale = 10.0**places
        if all(np.array_equal(np.rint(c * scale) / scale, c) for c in columns):
            return places
    raise CandleFileError(
        f"{candles.path}: prices have more than {PLACES_MAX} decimal places; round them to the "
        f"tick {candles.symbol} had"
    )


def _power_below(value: float) -> Decimal:
    """The largest power of ten not above `value`."""
    return Decimal(1).scaleb(int(np.floor(np.log10(value))))


def _text(value: Decimal) -> str:
    return f"{value:f}"
