"""A positions source; results, prices and ticks are made by hand."""

from decimal import Decimal
from typing import Any

from domain.decider import OWN
from domain.positions import Positions
from domain.source import Source
from schemas.codec import decode, encode
from schemas.envelope import Envelope
from schemas.ids import client_order_id, natural_id
from schemas.market import ClockTicked, Price, PricesData, PricesObserved, TickData
from schemas.positions import PositionUpdated
from schemas.scalars import micros, time_text
from schemas.trade import (
    Accepted,
    Ended,
    ExecutionData,
    ExecutionItem,
    ExecutionReported,
    Filled,
    Funded,
    Transferred,
    Unknown,
)

START = micros("2021-05-19T10:30:00.000000Z")
RES = "trade.execution.res/0"
BTC, ETH = "BTCUSDT", "ETHUSDT"


class World:
    """`updates`: records of `trade.position.update` in order; `inputs`: all that was folded."""

    def __init__(self) -> None:
        self.source = Source(Positions(0, 1), 0, 1)
        self.source.epoch = 1
        self.us = START
        self.offsets: dict[str, int] = {}
        self.number = 0
        self.sequence = 0
        self.updates: list[PositionUpdated] = []
        self.inputs: list[tuple[str, int, Envelope]] = []
        fence = {"epoch": 1}
        self.source.validity[RES].admit_head("/gateway/0", fence["epoch"], None, True)
        self.tick()

    def give(self, key: str, event: Envelope) -> PositionUpdated | None:
        offset = self.offsets.get(key, 0)
        self.offsets[key] = offset + 1
        self.inputs.append((key, offset, event))
        if not self.source.fold(key, offset, event):
            return None
        answers = list(self.source.decide(key, event))
        for answer in answers:
            assert decode(encode(answer)) == answer
            assert isinstance(answer, PositionUpdated), answer
            self.updates.append(answer)
        return self.updates[-1] if answers else None

    def _fields(self, source: str, account: str = "main") -> dict[str, Any]:
        self.number += 1
        return {"id": natural_id(source, str(self.number)), "source": source, "subject": account,
                "time": time_text(self.us), "partitionkey": account}  # fmt: skip

    def tick(self, seconds: int = 0) -> PositionUpdated | None:
        self.us += seconds * 1_000_000
        event = ClockTicked(**self._fields("/feed"), data=TickData(candle_s=60))
        return self.give("clock/0", event)

    def price(self, **prices: str) -> None:
        self.us += 1_000_000
        items = tuple(Price(symbol=s, last=p) for s, p in prices.items())
        self.give("market/0", PricesObserved(**self._fields("/feed"), data=PricesData(items=items)))

    def result(self, *items: ExecutionItem, account: str = "main") -> PositionUpdated | None:
        self.sequence += 1
        event = ExecutionReported(
            **self._fields("/gateway/0", account), sequence=self.sequence, epoch=1,
            data=ExecutionData(items=items),
        )  # fmt: skip
        return self.give(RES, event)

    def fill(self, side: str, quantity: str, price: str, **changes: Any) -> Filled:
        """A fill with an id of its own; fee 0 unless given."""
        self.number += 1
        fields: dict[str, Any] = {
            "id": natural_id("fill", str(self.number)),
            "order_id": natural_id("order", str(self.number)),
            "client_order_id": client_order_id(str(self.number)),
            "symbol": BTC,
            "side": side,
            "trade_id": str(self.number),
            "quantity": quantity,
            "price": price,
            "fee": "0",
            "fee_asset": "USDT",
            "liquidity": "taker",
            "reference": price,
            "filled_at": time_text(self.us + 250_000),
            "rule": "test",
        }
        return Filled(**{**fields, **changes})

    def deposit(self, amount: str, asset: str = "USDT") -> PositionUpdated | None:
        self.number += 1
        identity = natural_id("transfer", str(self.number))
        item = Transferred(id=identity, transfer_id=identity, amount=amount, asset=asset)
        return self.result(item)

    def book(self, account: str = "main") -> Any:
        return self.source.slices["trade.execution.res"].accounts[account]

    def own(self) -> Any:
        return self.source.slices[OWN]


def funded(amount: str, symbol: str = BTC, key: str = "1") -> Funded:
    return Funded(
        id=natural_id("funding", symbol, key), symbol=symbol, amount=amount, quantity="0.037",
        mark="40000", rate="0.0001",
    )  # fmt: skip


def accepted(of: Filled) -> Accepted:
    return Accepted(
        id=natural_id("accepted", of.id), order_id=str(of.order_id),
        client_order_id=str(of.client_order_id), symbol=of.symbol,
    )  # fmt: skip


def unknown(of: Filled) -> Unknown:
    return Unknown(
        id=natural_id("unknown", of.id), order_id=str(of.order_id),
        client_order_id=str(of.client_order_id), symbol=of.symbol, attempt=0,
    )  # fmt: skip


def ended(of: Filled, status: str = "FILLED") -> Ended:
    return Ended(
        id=natural_id("ended", of.id), order_id=str(of.order_id),
        client_order_id=str(of.client_order_id), symbol=of.symbol,
        status=status,  # type: ignore[arg-type]
        filled_quantity=of.quantity,
    )  # fmt: skip


def kinds(update: PositionUpdated | None) -> list[str]:
    assert update is not None
    return [item.kind for item in update.data.items]


def item(update: PositionUpdated | None, kind: str, nth: int = 0) -> Any:
    assert update is not None
    return [i for i in update.data.items if i.kind == kind][nth]


def number(value: str) -> Decimal:
    return Decimal(value)
