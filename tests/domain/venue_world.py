"""A venue with one listed symbol and a market that a test moves by hand."""

from typing import Any

from domain.source import Source
from domain.venue import Venue
from domain.venue_book import Account
from domain.venue_faults import FaultPlan
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.market import (
    Bracket,
    Candle,
    CandlesClosed,
    CandlesData,
    ClockTicked,
    Funding,
    FundingData,
    FundingSettled,
    Instrument,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
    TickData,
)
from schemas.scalars import micros, time_text
from schemas.venue import (
    CancelRequest,
    Deposit,
    Place,
    Query,
    ReadAccount,
    VenueReported,
    VenueRequestData,
    VenueRequested,
)

START = micros("2021-05-19T12:00:00.000000Z")
SECOND = 1_000_000
BTC = "BTCUSDT"
ETH = "ETHUSDT"


def instrument(symbol: str, **changes: Any) -> Instrument:
    fields: dict[str, Any] = {
        "symbol": symbol,
        "tick": "0.1",
        "step": "0.001",
        "quantity_min": "0.001",
        "quantity_max": "1000",
        "market_quantity_max": "120",
        "notional_min": "5",
        "price_band_pct": "5",
        "maker_fee_pct": "0.02",
        "taker_fee_pct": "0.05",
        "half_spread_bp": "1",
        "brackets": (
            Bracket(notional_max="50000", mmr_pct="0.4", cum="0", leverage_max=125),
            Bracket(notional_max="250000", mmr_pct="0.5", cum="50", leverage_max=100),
            Bracket(mmr_pct="1", cum="1300", leverage_max=50),
        ),
        "as_of": "2021-05-01T00:00:00.000000Z",
        "origin": "test",
    }
    return Instrument(**{**fields, **changes})


class World:
    """`items`: parts of the last report; `reports`: all of them. Prices step by 10 s."""

    def __init__(self, *, faults: FaultPlan | None = None, deposit: str = "10000") -> None:
        self.source = Source(Venue(0, 1, faults=faults or FaultPlan()), 0, 1)
        self.reports: list[VenueReported] = []
        self.us = START
        self.offsets = {"market/0": 0, "clock/0": 0, "venue.request/0": 0}
        self.numbers = 0
        self.send(InstrumentsListed, InstrumentsData(items=(instrument(BTC), instrument(ETH))))
        self.send(ClockTicked, TickData(candle_s=60), key="clock/0")
        if deposit:
            self.deposit(deposit)
        self.numbers = 0

    # ------------------------------------------------------------------ outside events

    def event(self, kind: type[Envelope], data: Any, **fields: Any) -> Envelope:
        self.numbers += 1
        defaults = {
            "id": natural_id(kind.__name__, str(self.numbers), str(self.us)),
            "source": "/feed",
            "subject": "market",
            "time": time_text(self.us),
            "partitionkey": "market",
            "data": data,
        }
        return kind(**{**defaults, **fields})

    def send(self, kind: type[Envelope], data: Any, *, key: str = "market/0", **fields: Any) -> Any:
        """Fold an outside event and decide on it; parts of the one report, or an empty tuple."""
        event = self.event(kind, data, **fields)
        offset = self.offsets[key]
        self.offsets[key] += 1
        if not self.source.fold(key, offset, event):
            return ()
        answers = list(self.source.decide(key, event))
        assert all(isinstance(answer, VenueReported) for answer in answers), answers
        self.reports.extend(answers)  # type: ignore[arg-type]
        assert len({answer.partitionkey for answer in answers}) == len(answers)
        return answers[0].data.items if answers else ()  # type: ignore[attr-defined]

    def price(
        self, last: str, *, symbol: str = BTC, point: int | None = 1, mark: str | None = None
    ) -> Any:
        """The next point, 10 s later; `point` 1: within a candle, 0: across two candles."""
        self.us += 10 * SECOND
        data = PricesData(point=point, items=(Price(symbol=symbol, last=last, mark=mark),))
        return self.send(PricesObserved, data)

    def candle(self, *, high: str, low: str, volume: str, symbol: str = BTC) -> None:
        """A candle that closes now."""
        candle = Candle(
            symbol=symbol, interval="1m", opened_at=time_text(self.us - 60 * SECOND),
            open=low, high=high, low=low, close=high, volume=volume,
        )  # fmt: skip
        self.send(CandlesClosed, CandlesData(warm_up=False, items=(candle,)))

    def calm(self, last: str = "40000", volume: str = "1000", symbol: str = BTC) -> None:
        """A price, and a closed candle without range: no impact, room of a tenth of `volume`."""
        self.price(last, symbol=symbol)
        self.candle(high=last, low=last, volume=volume, symbol=symbol)

    def wait(self, seconds: int) -> None:
        self.us += seconds * SECOND
        self.send(ClockTicked, TickData(candle_s=60), key="clock/0")

    def funding(self, rate: str, *, later_us: int = 0, symbol: str = BTC) -> Any:
        self.us += later_us
        data = FundingData(items=(Funding(symbol=symbol, rate=rate, interval_h=8),))
        return self.send(FundingSettled, data)

    # ------------------------------------------------------------------ requests

    def request(self, request: Any, *, account: str = "main", attempt: int = 0) -> Any:
        data = VenueRequestData(
            request=request, attempt=attempt, sent_at=time_text(self.us), window_ms=1000
        )
        return self.send(
            VenueRequested, data, key="venue.request/0", source="/gateway/0", subject=account,
            partitionkey=account,
        )  # fmt: skip

    def deposit(self, amount: str, *, transfer: str = "opening/main", account: str = "main") -> Any:
        deposit = Deposit(transfer_id=transfer, amount=amount, asset="USDT")
        return self.request(deposit, account=account)

    def place(
        self, key: str, side: str, quantity: str, *, account: str = "main", attempt: int = 0,
        **fields: Any,
    ) -> Any:  # fmt: skip
        """An order; MARKET, GTC, no reduce-only, leverage 10 unless told."""
        defaults: dict[str, Any] = {
            "client_order_id": key, "symbol": BTC, "side": side, "order_type": "MARKET",
            "time_in_force": "GTC", "quantity": quantity, "reduce_only": False,
            "close_position": False, "leverage": 10,
        }  # fmt: skip
        return self.request(Place(**{**defaults, **fields}), account=account, attempt=attempt)

    def limit(self, key: str, side: str, quantity: str, price: str, **fields: Any) -> Any:
        return self.place(key, side, quantity, order_type="LIMIT", limit_price=price, **fields)

    def stop(self, key: str, side: str, trigger: str, **fields: Any) -> Any:
        """A stop that closes the position."""
        protect: dict[str, Any] = {"order_type": "STOP_MARKET", "trigger_price": trigger}
        protect |= {"reduce_only": True, "close_position": True}
        return self.place(key, side, fields.pop("quantity", "1"), **{**protect, **fields})

    def target(self, key: str, side: str, trigger: str, **fields: Any) -> Any:
        return self.stop(key, side, trigger, order_type="TAKE_PROFIT_MARKET", **fields)

    def cancel(self, key: str, *, account: str = "main") -> Any:
        return self.request(CancelRequest(client_order_id=key, symbol=BTC), account=account)

    def query(self, key: str, *, account: str = "main") -> Any:
        return self.request(Query(client_order_id=key, symbol=BTC), account=account)[0]

    def read(self, *, account: str = "main") -> Any:
        return self.request(ReadAccount(step_id="step"), account=account)[0]

    # ------------------------------------------------------------------ the book

    def account(self, name: str = "main") -> Account:
        found: Account = self.source.slices["own"].account(name)
        return found

    def open(self, symbol: str = BTC) -> str:
        held = self.account().positions.get(symbol)
        return str(held.quantity) if held else "0"


def kinds(items: Any) -> list[str]:
    """Kinds of items; an end with its status."""
    return [item.status if item.kind == "ended" else item.kind for item in items]
