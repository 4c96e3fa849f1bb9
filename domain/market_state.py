"""Slice of `market` that most deciders share: last prices, last closed candle, instruments, regime.

An unknown price is None and means no decision, never 0. Old news (a candle or price not later than
what is folded for its symbol) changes nothing.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Generic, TypeVar

from domain.regime import HourlyRange
from schemas.envelope import Envelope
from schemas.market import (
    CandlesClosed,
    FundingSettled,
    Instrument,
    InstrumentsListed,
    PricesObserved,
)
from schemas.scalars import EPOCH_TEXT

if TYPE_CHECKING:
    from domain.skipping import Outside


@dataclass(slots=True)
class BracketLine:
    """Maintenance bracket as numbers: notional up to `notional_max` (None: no limit)."""

    notional_max: Decimal | None
    mmr: Decimal
    """Maintenance margin rate as a fraction."""
    cum: Decimal
    leverage_max: int


@dataclass(slots=True)
class InstrumentTerms:
    """Filters, fees (fractions) and brackets of one symbol as numbers."""

    symbol: str
    tick: Decimal
    step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    market_quantity_max: Decimal
    notional_min: Decimal
    price_band_pct: Decimal
    maker: Decimal
    taker: Decimal
    half_spread: Decimal
    """Half the spread as a fraction of price."""
    brackets: tuple[BracketLine, ...]
    as_of: str

    @classmethod
    def of(cls, listed: Instrument) -> "InstrumentTerms":
        return cls(
            symbol=listed.symbol,
            tick=Decimal(listed.tick),
            step=Decimal(listed.step),
            quantity_min=Decimal(listed.quantity_min),
            quantity_max=Decimal(listed.quantity_max),
            market_quantity_max=Decimal(listed.market_quantity_max),
            notional_min=Decimal(listed.notional_min),
            price_band_pct=Decimal(listed.price_band_pct),
            maker=Decimal(listed.maker_fee_pct) / 100,
            taker=Decimal(listed.taker_fee_pct) / 100,
            half_spread=Decimal(listed.half_spread_bp) / 10_000,
            brackets=tuple(
                BracketLine(
                    Decimal(b.notional_max) if b.notional_max else None,
                    Decimal(b.mmr_pct) / 100,
                    Decimal(b.cum),
                    b.leverage_max,
                )
                for b in listed.brackets
            ),
            as_of=listed.as_of,
        )


@dataclass(slots=True)
class ClosedCandle:
    """The last closed 1 m candle of a symbol."""

    opened_at: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(slots=True)
class SymbolMarket:
    """What is known of one symbol."""

    last: Decimal | None = None
    mark: Decimal | None = None
    """Mark price; mark := last where the data has none."""
    at: str = EPOCH_TEXT
    point: int | None = None
    candle: ClosedCandle | None = None
    terms: InstrumentTerms | None = None
    hourly: HourlyRange = field(default_factory=HourlyRange)


@dataclass(slots=True)
class Marked:
    """The mark of one symbol, and its last candle: what tells old news from new."""

    mark: Decimal | None = None
    at: str = EPOCH_TEXT
    opened_at: str = ""


Known = TypeVar("Known", bound=Marked)


@dataclass(slots=True)
class Marks(ABC, Generic[Known]):
    """What slices share that need marks and the time only. They say what is kept of a symbol: in
    the type of `symbols`, and by :meth:`blank`."""

    time: str = EPOCH_TEXT
    symbols: dict[str, Known] = field(default_factory=dict)

    @abstractmethod
    def blank(self) -> Known:
        """A symbol of which nothing is known."""

    def seen(self, known: Known) -> None:
        """A later price was folded."""

    def fold(self, event: Envelope) -> bool:
        """Fold a market event; True if anything in it was news, as in :class:`MarketState`."""
        news = isinstance(event, InstrumentsListed)
        if isinstance(event, PricesObserved):
            for price in event.data.items:
                known = self._of(price.symbol)
                if event.time > known.at:
                    known.mark, known.at = Decimal(price.mark or price.last), event.time
                    self.seen(known)
                    news = True
        elif isinstance(event, CandlesClosed):
            for candle in event.data.items:
                known = self._of(candle.symbol)
                if candle.opened_at > known.opened_at:
                    known.opened_at, news = candle.opened_at, True
        elif isinstance(event, InstrumentsListed):
            for item in event.data.items:
                self._of(item.symbol)
        else:
            news = isinstance(event, FundingSettled) and event.time >= self.time
        if news and event.time > self.time:
            self.time = event.time
        return news

    def skip(self, outside: "Outside") -> None:
        """Take over what folding everything up to a place would have left."""
        self.time = outside.market_time
        for symbol, known in self.symbols.items():
            last = outside.last(symbol)
            if last is not None:
                known.mark, known.at = last.price, last.at
            known.opened_at = outside.opened_at(symbol)

    def mark(self, symbol: str) -> Decimal | None:
        known = self.symbols.get(symbol)
        return known.mark if known else None

    def _of(self, symbol: str) -> Known:
        known = self.symbols.get(symbol)
        if known is None:
            known = self.symbols[symbol] = self.blank()
        return known


@dataclass(slots=True)
class MarksState(Marks[Marked]):
    """Slice of `market` for deciders that need marks and the time only."""

    symbols: dict[str, Marked] = field(default_factory=dict)

    def blank(self) -> Marked:
        return Marked()


@dataclass(slots=True)
class MarketState:
    """Slice of `market`. `time`: the latest market time folded (warm-up candles included)."""

    time: str = EPOCH_TEXT
    symbols: dict[str, SymbolMarket] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        """Fold a market event; True if anything in it was news."""
        if isinstance(event, PricesObserved):
            news = self._prices(event)
        elif isinstance(event, CandlesClosed):
            news = self._candles(event)
        elif isinstance(event, InstrumentsListed):
            for item in event.data.items:
                self.of(item.symbol).terms = InstrumentTerms.of(item)
            news = True
        else:
            news = isinstance(event, FundingSettled) and event.time >= self.time
        if news and event.time > self.time:
            self.time = event.time
        return news

    def skip(self, outside: "Outside") -> None:
        """Take over what folding everything up to a place would have left. The symbols are listed,
        and no data has marks of its own."""
        self.time = outside.market_time
        for symbol, known in self.symbols.items():
            last = outside.last(symbol)
            if last is not None:
                known.last = known.mark = last.price
                known.at, known.point = last.at, last.point
            known.candle = outside.candle(symbol)
            outside.hourly(symbol, known.hourly)

    def of(self, symbol: str) -> SymbolMarket:
        """The symbol's entry, made when it is first heard of."""
        known = self.symbols.get(symbol)
        if known is None:
            known = self.symbols[symbol] = SymbolMarket()
        return known

    def mark(self, symbol: str) -> Decimal | None:
        known = self.symbols.get(symbol)
        return known.mark if known else None

    def terms(self, symbol: str) -> InstrumentTerms | None:
        known = self.symbols.get(symbol)
        return known.terms if known else None

    def _prices(self, event: PricesObserved) -> bool:
        news = False
        for item in event.data.items:
            known = self.of(item.symbol)
            if event.time <= known.at:
                continue
            known.last = Decimal(item.last)
            known.mark = Decimal(item.mark) if item.mark else known.last
            known.at, known.point = event.time, event.data.point
            news = True
        return news

    def _candles(self, event: CandlesClosed) -> bool:
        news = False
        for item in event.data.items:
            known = self.of(item.symbol)
            if known.candle and item.opened_at <= known.candle.opened_at:
                continue
            candle = known.candle = ClosedCandle(
                item.opened_at,
                Decimal(item.open),
                Decimal(item.high),
                Decimal(item.low),
                Decimal(item.close),
                Decimal(item.volume),
            )
            known.hourly.fold(item.opened_at, candle.high, candle.low, candle.close)
            news = True
        return news
