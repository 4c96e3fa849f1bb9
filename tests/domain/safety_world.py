"""Position updates, prices, ticks and policies by hand, for safety and control together."""

from decimal import Decimal
from typing import Any

from domain.control import Control
from domain.safety import Safety
from domain.source import Source
from schemas.codec import decode, encode
from schemas.control import EmergencyReset, EmergencyResetData, PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.market import ClockTicked, Price, PricesData, PricesObserved, TickData
from schemas.positions import EquityItem, PositionData, PositionItem, PositionUpdated
from schemas.safety import HfosSet, HfosSetData
from schemas.scalars import micros, text, time_text
from schemas.sources import FencedData, SourceFenced
from schemas.trade import EmergencyStep, Flat, OrderData, OrderDecided

START = "2021-05-19T10:00:00.000000Z"
SYMBOLS = ("BTCUSDT", "ETHUSDT")


class SafetyWorld:
    """One account with a book of its own making. `told`: what safety and control wrote, in order.

    Equity is `cash` + sum q (mark - entry); every change of it is told as positions would."""

    def __init__(self, equity: str = "10000", **policy: Any) -> None:
        self.safety = Source(Safety(0, 1), 0, 1)
        self.control = Source(Control(0, 1), 0, 1)
        self.safety.epoch = self.control.epoch = 1
        self.us = micros(START)
        self.told: list[Envelope] = []
        self.number = self.sequence = self.orders = 0
        self.ends: dict[str, int] = {}
        self.cash = self.transfers = Decimal(0)
        self.held: dict[str, tuple[Decimal, Decimal]] = {}
        self.marks: dict[str, Decimal] = {}
        about = FencedData(build="t", configuration="t", topic_ids={})
        for source in (self.safety, self.control):
            self.give("control/0", SourceFenced.opening(source.name, 1, about))
        self.give("trade.position.update/0", SourceFenced.opening("/positions/0", 1, about))
        self.give("trade.order/0", SourceFenced.opening("/execution/0", 1, about))
        self.tick(0)
        self.command(
            PolicySet,
            PolicySetData(expected_version=0, operator="ann", reason="opens", changes=policy),
        )
        self.transfer(equity)

    # ------------------------------------------------------------------ delivering

    def give(self, key: str, event: Envelope) -> None:
        """Deliver a record to both, and what they answer, until nothing more is said."""
        queue = [(key, event)]
        while queue:
            key, event = queue.pop(0)
            offset = self.ends.get(key, 0)
            self.ends[key] = offset + 1
            for source in (self.control, self.safety):
                if key in source.positions and source.fold(key, offset, event):
                    for answer in source.decide(key, event):
                        assert decode(encode(answer)) == answer
                        self.told.append(answer)
                        queue.append((source.output, answer))

    def fields(self, source: str) -> dict[str, Any]:
        self.number += 1
        return {"id": natural_id(source, str(self.number)), "source": source, "subject": "main",
                "time": time_text(self.us), "partitionkey": "main"}  # fmt: skip

    def command(self, cls: Any, data: Any) -> None:
        self.give("commands.control/0", cls(**self.fields("/ann"), data=data))

    def reset(self, reason: str = "reviewed") -> None:
        self.command(EmergencyReset, EmergencyResetData(operator="ann", reason=reason))

    def set(self, **changes: Any) -> None:
        version = self.safety.slices["control"].accounts["main"].version
        self.command(
            PolicySet,
            PolicySetData(
                expected_version=version, operator="ann", reason="changes", changes=changes
            ),
        )

    def hfos(self, mode: Any) -> None:
        self.command(HfosSet, HfosSetData(mode=mode, operator="hfos", reason="its model says so"))

    def flat(self) -> None:
        """The `flat` of the emergency that is active, as execution records it."""
        self._execution(Flat(id=self._item_id(), emergency_id=self._emergency()))

    def closing(self) -> None:
        """A step of it: something is closed once more."""
        self._execution(
            EmergencyStep(
                id=self._item_id(), emergency_id=self._emergency(), step=3, name="close", attempt=2
            )
        )

    def _emergency(self) -> str:
        found: str | None = self.policy.policy.emergency_id
        assert found is not None
        return found

    def _item_id(self) -> str:
        return natural_id("item", str(self.orders + 1))

    def _execution(self, item: EmergencyStep | Flat) -> None:
        self.orders += 1
        event = OrderDecided(
            **self.fields("/execution/0"), sequence=self.orders, epoch=1,
            data=OrderData(items=(item,)),
        )  # fmt: skip
        self.give("trade.order/0", event)

    # ------------------------------------------------------------------ market

    def tick(self, seconds: int = 60) -> None:
        self.us += seconds * 1_000_000
        self.give("clock/0", ClockTicked(**self.fields("/feed"), data=TickData(candle_s=60)))

    def price(self, seconds: int = 10, **prices: str) -> None:
        self.us += seconds * 1_000_000
        self.marks.update((s, Decimal(p)) for s, p in prices.items())
        items = tuple(Price(symbol=s, last=p) for s, p in prices.items())
        self.give("market/0", PricesObserved(**self.fields("/feed"), data=PricesData(items=items)))

    # ------------------------------------------------------------------ the book

    def transfer(self, amount: str) -> None:
        self.cash += Decimal(amount)
        self.transfers += Decimal(amount)
        self.update()

    def hold(self, symbol: str, quantity: str, *, fee: str = "0") -> None:
        """Have this much of a symbol from now on, bought or sold at its mark."""
        before, entry = self.held.pop(symbol, (Decimal(0), Decimal(0)))
        mark = self.marks[symbol]
        self.cash += before * (mark - entry) - Decimal(fee)
        if Decimal(quantity):
            self.held[symbol] = (Decimal(quantity), mark)
        self.update(symbol)

    def close_all(self, *, fee: str = "0") -> None:
        for symbol in list(self.held):
            self.hold(symbol, "0", fee=fee)

    @property
    def equity(self) -> Decimal:
        return self.cash + sum(
            (q * (self.marks[s] - entry) for s, (q, entry) in self.held.items()), Decimal(0)
        )

    def update(self, *symbols: str) -> None:
        """Tell the book as the positions processor does."""
        self.sequence += 1
        time = time_text(self.us)
        items: list[Any] = []
        for symbol in symbols:
            quantity, entry = self.held.get(symbol, (Decimal(0), Decimal(0)))
            items.append(
                PositionItem(
                    id=natural_id("p", str(self.sequence)), symbol=symbol,
                    trade_id=natural_id("t", symbol), quantity=text(quantity),
                    cost=text(quantity * entry), realised="0", fees="0", funding="0",
                    opened_at=time, entry_at=time,
                )
            )  # fmt: skip
        gross = sum((abs(q) * self.marks[s] for s, (q, _) in self.held.items()), Decimal(0))
        items.append(
            EquityItem(
                id=natural_id("e", str(self.sequence)), transfers=text(self.transfers),
                realised=text(self.cash - self.transfers), fees="0", funding="0",
                unrealised=text(self.equity - self.cash), equity=text(self.equity),
                gross=text(gross), marks={s: text(self.marks[s]) for s in self.held},
            )
        )  # fmt: skip
        event = PositionUpdated(
            **self.fields("/positions/0"), sequence=self.sequence, epoch=1,
            data=PositionData(items=tuple(items)),
        )  # fmt: skip
        self.give("trade.position.update/0", event)

    # ------------------------------------------------------------------ asking

    @property
    def policy(self) -> Any:
        return self.safety.slices["control"].accounts["main"]

    @property
    def state(self) -> str:
        return str(self.policy.trading_state())

    def of(self, kind: str) -> list[Any]:
        """Records of a type, by a part of its name."""
        return [event for event in self.told if kind in event.type]
