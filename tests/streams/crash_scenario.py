"""The small scenario of the crash tests: outside events, fed one at a time.

Accounts alpha and hot stand on partition 0, main on partition 1. alpha and hot are stopped out by
one price (one fact, two records of one source). Then an emergency, entries refused, a reset, an
entry again, a policy change, a rejected command and an opposite signal.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from schemas.control import (
    EmergencyReset,
    EmergencyResetData,
    EmergencyStop,
    EmergencyStopData,
    PolicySet,
    PolicySetData,
)
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id
from schemas.instruments import load_instruments
from schemas.market import (
    Candle,
    CandlesClosed,
    CandlesData,
    ClockTicked,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
    TickData,
)
from schemas.scalars import micros, text, time_text
from schemas.trade import Signal, SignalData, SignalPublished

PARTITIONS = 2
ALPHA, HOT, MAIN = "alpha", "hot", "main"
BTC = "BTCUSDT"
START_US = micros("2021-05-19T12:00:00.000000Z")
Fed = tuple[str, Envelope]


class Script:
    """Makes outside events; event time moves with each price."""

    def __init__(self) -> None:
        self.us = START_US
        self.count = 0

    def _event(self, kind: Any, source: str, about: str, data: Any, time: str = "") -> Any:
        self.count += 1
        return kind(
            id=natural_id("crash", str(self.count)),
            source=source,
            subject=about,
            time=time or time_text(self.us),
            partitionkey=about,
            data=data,
        )

    def instruments(self) -> Fed:
        data = InstrumentsData(items=load_instruments(BTC))
        return "market", self._event(InstrumentsListed, "/feed", "market", data)

    def warm_up(self, price: str, range_pct: str) -> Fed:
        """Fifteen closed hours before the start, each with that true range."""
        middle = Decimal(price)
        half = middle * Decimal(range_pct) / 200
        items = tuple(
            Candle(
                symbol=BTC,
                interval="1m",
                opened_at=time_text(self.us - hours * 3_600_000_000 + 59 * 60_000_000),
                open=price,
                high=text(middle + half),
                low=text(middle - half),
                close=price,
                volume="1000",
            )
            for hours in range(16, 0, -1)
        )
        data = CandlesData(warm_up=True, items=items)
        return "market", self._event(CandlesClosed, "/feed", "market", data)

    def price(self, last: str, after_s: int = 15) -> Fed:
        self.us += after_s * 1_000_000
        data = PricesData(items=(Price(symbol=BTC, last=last),))
        return "market", self._event(PricesObserved, "/feed", "market", data)

    def tick(self, after_s: int = 0) -> Fed:
        self.us += after_s * 1_000_000
        return "clock", self._event(ClockTicked, "/feed", "clock", TickData(candle_s=60))

    def policy(self, account: str, version: int, **changes: Any) -> Fed:
        data = PolicySetData(
            expected_version=version,
            operator="anna",
            reason="crash test",
            profile=None if version else "production",
            changes=changes,
        )
        return "commands.control", self._event(PolicySet, "/person", account, data)

    def stop(self, account: str) -> Fed:
        data = EmergencyStopData(operator="anna", reason="crash test")
        return "commands.control", self._event(EmergencyStop, "/person", account, data)

    def reset(self, account: str) -> Fed:
        data = EmergencyResetData(operator="anna", reason="crash test")
        return "commands.control", self._event(EmergencyReset, "/person", account, data)

    def signal(self, account: str, side: str, confidence: str = "0.9") -> Fed:
        identity = natural_id("crash signal", account, str(self.count))
        item = Signal(
            id=part_id(identity, 0),
            symbol=BTC,
            side=side,  # type: ignore[arg-type]
            confidence=confidence,
            origin="probe",
        )
        return "trade.signal.v5", self._event(
            SignalPublished, "/probe", account, SignalData(items=(item,))
        )


def scenario() -> Iterator[Fed]:
    """All outside events, in order."""
    s = Script()
    yield s.instruments()
    yield s.warm_up("40000", "1")
    yield s.price("40000")
    yield s.tick()
    quick = {"cooldown_s": 0}
    for account in (ALPHA, HOT, MAIN):
        yield s.policy(account, 0, **quick)
    yield s.signal(ALPHA, "BUY")
    yield s.signal(HOT, "BUY")
    yield s.price("40010")
    yield s.signal(MAIN, "BUY", "0.3")
    yield s.signal(MAIN, "SELL")
    yield s.price("39000")
    yield s.tick()
    yield s.signal(ALPHA, "SELL")
    yield s.signal(MAIN, "BUY")
    yield s.stop(ALPHA)
    yield s.signal(ALPHA, "BUY")
    yield s.price("38900")
    yield s.tick()
    yield s.reset(ALPHA)
    yield s.reset(HOT)
    yield s.policy(ALPHA, 3, max_leverage=5)
    yield s.signal(ALPHA, "BUY")
    yield s.policy(HOT, 9, max_leverage=5)
    yield s.price("38950", 45)
    yield s.tick()
    yield s.signal(MAIN, "SELL")
