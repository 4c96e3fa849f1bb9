"""Outside events as clients publish them, made one after the other: for simulations and tests.

Event time moves with each price or tick; ids are natural keys of a count, so that the same script
publishes the same bytes.
"""

from decimal import Decimal
from typing import Any

from schemas.control import (
    EmergencyReset,
    EmergencyResetData,
    EmergencyStop,
    EmergencyStopData,
    PolicySet,
    PolicySetData,
    SymbolPause,
    SymbolPauseData,
    SymbolResume,
)
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id
from schemas.instruments import load_instruments
from schemas.market import (
    Candle,
    CandlesClosed,
    CandlesData,
    ClockTicked,
    FundingData,
    FundingSettled,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
    TickData,
)
from schemas.market import Funding as FundingItem
from schemas.safety import HfosMode, HfosSet, HfosSetData
from schemas.scalars import micros, text, time_text
from schemas.trade import Intent, IntentData, IntentPublished, Signal, SignalData, SignalPublished
from schemas.trade_commands import (
    AccountFlatten,
    AccountFlattenData,
    OrderCancel,
    OrderCancelData,
    PositionClose,
    PositionCloseData,
    PositionReduce,
    PositionReduceData,
)

BTC, ETH = "BTCUSDT", "ETHUSDT"
START_US = micros("2021-05-19T12:00:00.000000Z")
WHO: dict[str, str] = {"operator": "anna", "reason": "crash test"}
Fed = tuple[str, Envelope]
"""Topic and event of one record from outside."""


class Script:
    """Makes outside events. `us`: event time now, microseconds since 1970."""

    def __init__(self) -> None:
        self.us = START_US
        self.count = 0

    def event(self, kind: Any, source: str, about: str, data: Any) -> Any:
        """An event of class `kind`, about an account or a topic, at this time."""
        self.count += 1
        return kind(
            id=natural_id("crash", str(self.count)),
            source=source,
            subject=about,
            time=time_text(self.us),
            partitionkey=about,
            data=data,
        )

    # ------------------------------------------------------------------ the feed

    def instruments(self, *symbols: str) -> Fed:
        data = InstrumentsData(items=load_instruments(*(symbols or (BTC,))))
        return "market", self.event(InstrumentsListed, "/feed", "market", data)

    def warm_up(self, price: str, range_pct: str, symbol: str = BTC, volume: str = "1000") -> Fed:
        """Sixteen closed hours before the start, each with that true range."""
        middle = Decimal(price)
        half = middle * Decimal(range_pct) / 200
        items = tuple(
            Candle(
                symbol=symbol,
                interval="1m",
                opened_at=time_text(self.us - hours * 3_600_000_000 + 59 * 60_000_000),
                open=price,
                high=text(middle + half),
                low=text(middle - half),
                close=price,
                volume=volume,
            )
            for hours in range(16, 0, -1)
        )
        data = CandlesData(warm_up=True, items=items)
        return "market", self.event(CandlesClosed, "/feed", "market", data)

    def closed(self, prices: dict[str, str], volume: str) -> Fed:
        """The candles of the minute that ends now, at one price each."""
        items = tuple(self._minute(s, price, price, volume) for s, price in prices.items())
        data = CandlesData(warm_up=False, items=items)
        return "market", self.event(CandlesClosed, "/feed", "market", data)

    def wick(self, symbol: str, price: str, low: str) -> Fed:
        """The candle of the minute that ends now, with a fall that is over."""
        items = (self._minute(symbol, price, low, "1000"),)
        data = CandlesData(warm_up=False, items=items)
        return "market", self.event(CandlesClosed, "/feed", "market", data)

    def _minute(self, symbol: str, price: str, low: str, volume: str) -> Candle:
        return Candle(
            symbol=symbol,
            interval="1m",
            opened_at=time_text(self.us - 60_000_000),
            open=price,
            high=price,
            low=low,
            close=price,
            volume=volume,
        )

    def price(self, last: str, after_s: int = 15) -> Fed:
        self.us += after_s * 1_000_000
        return self.prices({BTC: last})

    def prices(self, prices: dict[str, str]) -> Fed:
        items = tuple(Price(symbol=symbol, last=last) for symbol, last in prices.items())
        return "market", self.event(PricesObserved, "/feed", "market", PricesData(items=items))

    def funding(self, symbol: str, rate: str) -> Fed:
        data = FundingData(items=(FundingItem(symbol=symbol, rate=rate, interval_h=8),))
        return "market", self.event(FundingSettled, "/feed", "market", data)

    def tick(self, after_s: int = 0, candle_s: int = 60) -> Fed:
        self.us += after_s * 1_000_000
        return "clock", self.event(ClockTicked, "/feed", "clock", TickData(candle_s=candle_s))

    # ------------------------------------------------------------------ people

    def policy(self, account: str, version: int, **changes: Any) -> Fed:
        data = PolicySetData(
            expected_version=version,
            profile=None if version else "production",
            changes=changes,
            **WHO,
        )
        return "commands.control", self.event(PolicySet, "/person", account, data)

    def stop(self, account: str) -> Fed:
        data = EmergencyStopData(**WHO)
        return "commands.control", self.event(EmergencyStop, "/person", account, data)

    def reset(self, account: str) -> Fed:
        data = EmergencyResetData(**WHO)
        return "commands.control", self.event(EmergencyReset, "/person", account, data)

    def pause(self, account: str, symbol: str, *, resume: bool = False) -> Fed:
        data = SymbolPauseData(symbol=symbol, **WHO)
        kind = SymbolResume if resume else SymbolPause
        return "commands.control", self.event(kind, "/person", account, data)

    def hfos(self, account: str, mode: HfosMode) -> Fed:
        data = HfosSetData(mode=mode, **WHO)
        return "commands.control", self.event(HfosSet, "/hfos", account, data)

    def close(self, account: str, symbol: str) -> Fed:
        data = PositionCloseData(symbol=symbol, **WHO)
        return "commands.trade", self.event(PositionClose, "/person", account, data)

    def flatten(self, account: str) -> Fed:
        data = AccountFlattenData(**WHO)
        return "commands.trade", self.event(AccountFlatten, "/person", account, data)

    def reduce(self, account: str, percent: str) -> Fed:
        data = PositionReduceData(percent=percent, **WHO)
        return "commands.trade", self.event(PositionReduce, "/person", account, data)

    def cancel(self, account: str, symbol: str) -> Fed:
        data = OrderCancelData(symbol=symbol, operator="anna", reason="crash test")
        return "commands.trade", self.event(OrderCancel, "/person", account, data)

    # ------------------------------------------------------------------ signals

    def signal(self, account: str, side: str, confidence: str = "0.9", symbol: str = BTC) -> Fed:
        identity = natural_id("crash signal", account, str(self.count))
        item = Signal(
            id=part_id(identity, 0),
            symbol=symbol,
            side=side,  # type: ignore[arg-type]
            confidence=confidence,
            origin="probe",
        )
        data = SignalData(items=(item,))
        return "trade.signal.v5", self.event(SignalPublished, "/probe", account, data)

    def intent(self, account: str, side: str, symbol: str, limit_price: str) -> Fed:
        """A LIMIT entry that may rest."""
        identity = natural_id("crash intent", account, str(self.count))
        item = Intent(
            id=part_id(identity, 0),
            symbol=symbol,
            side=side,  # type: ignore[arg-type]
            confidence="0.9",
            origin="desk",
            limit_price=limit_price,
        )
        data = IntentData(items=(item,))
        return "trade.intent", self.event(IntentPublished, "/desk", account, data)
