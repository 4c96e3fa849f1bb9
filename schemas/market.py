"""Market and clock: facts from outside, source `/feed`, no epoch, sequence or basis."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Envelope, Model
from schemas.scalars import DecimalText, Line, Positive, Symbol, Time, Unsigned

Mmr = Unsigned


class Print(Model):
    """One trade as a tick feed has it. `aggressor`: side of the taker, who met a resting order."""

    price: Positive
    quantity: Positive
    aggressor: Literal["BUY", "SELL"]


class Price(Model):
    """One symbol at one instant. `mark` is left out where the data has none: mark := last then.
    `trades`: tick feeds only, all trades of this instant in order; `last` is the last one's price.
    """

    symbol: Symbol
    last: Positive
    mark: Positive | None = None
    trades: Annotated[tuple[Print, ...], Field(min_length=1, max_length=10_000)] | None = None


class PricesData(Model):
    """Prices of all symbols at one instant. `point` 0..5 is the place on a candle's path
    (DEFINITIONS 10); left out for ticks. Point 0 is a step across two candles."""

    point: Annotated[int, Field(ge=0, le=5)] | None = None
    items: tuple[Price, ...]


class PricesObserved(Envelope):
    type: Literal["market.prices.observed.v1"] = "market.prices.observed.v1"
    data: PricesData


class Candle(Model):
    """A closed candle. `time` of its event is its close, `opened_at` its open."""

    symbol: Symbol
    interval: Literal["1m"]
    opened_at: Time
    open: Positive
    high: Positive
    low: Positive
    close: Positive
    volume: Unsigned


class CandlesData(Model):
    """`warm_up`: history for indicators only; nothing is traded on it."""

    warm_up: bool
    items: tuple[Candle, ...]


class CandlesClosed(Envelope):
    type: Literal["market.candles.closed.v1"] = "market.candles.closed.v1"
    data: CandlesData


class Funding(Model):
    """A funding settlement: rate for `interval_h` hours, positive: longs pay."""

    symbol: Symbol
    rate: DecimalText
    interval_h: Annotated[int, Field(ge=1, le=24)]


class FundingData(Model):
    items: tuple[Funding, ...]


class FundingSettled(Envelope):
    type: Literal["market.funding.settled.v1"] = "market.funding.settled.v1"
    data: FundingData


class Bracket(Model):
    """Maintenance bracket: to `notional_max` USDT (none: no limit), rate in percent, `cum` USDT."""

    notional_max: Positive | None = None
    mmr_pct: Unsigned
    cum: Unsigned
    leverage_max: Annotated[int, Field(ge=1, le=125)]


class Instrument(Model):
    """Filters, fees and brackets of one symbol at one venue, as of `as_of`, from `origin`."""

    symbol: Symbol
    tick: Positive
    step: Positive
    quantity_min: Positive
    quantity_max: Positive
    market_quantity_max: Positive
    notional_min: Positive
    price_band_pct: Positive
    maker_fee_pct: Unsigned
    taker_fee_pct: Unsigned
    half_spread_bp: Unsigned
    brackets: tuple[Bracket, ...]
    as_of: Time
    origin: Line


class InstrumentsData(Model):
    items: tuple[Instrument, ...]


class InstrumentsListed(Envelope):
    type: Literal["market.instruments.listed.v1"] = "market.instruments.listed.v1"
    data: InstrumentsData


class TickData(Model):
    """`candle_s`: candle interval in seconds a replayed tick stands for; 1 live."""

    candle_s: Annotated[int, Field(ge=1, le=31_536_000)]


class ClockTicked(Envelope):
    type: Literal["clock.ticked.v1"] = "clock.ticked.v1"
    data: TickData
