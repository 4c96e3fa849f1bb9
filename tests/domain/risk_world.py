"""Given / when / then for the risk decider: a `Source` of it and the facts around it.

Prices: BTCUSDT 40,000 and ETHUSDT 2,500, true range 2 % of price in each of 15 warm-up hours, so
the stop is 2 % away in the NORMAL regime. The account has 10,000 USDT unless a test says otherwise.
"""

from decimal import Decimal
from typing import Any

from domain.decider import OWN
from domain.risk import Risk
from domain.source import Source
from schemas.control import PolicyChange, PolicyChanged, PolicyChangedData
from schemas.envelope import Envelope
from schemas.ids import client_order_id, natural_id
from schemas.market import (
    Bracket,
    Candle,
    CandlesClosed,
    CandlesData,
    ClockTicked,
    Instrument,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
    TickData,
)
from schemas.policy import Policy, RlV3Live
from schemas.positions import (
    EquityItem,
    OrderEndItem,
    PositionData,
    PositionItem,
    PositionUpdated,
    TradeClosedItem,
)
from schemas.scalars import micros, text, time_text
from schemas.topics import partition_of
from schemas.trade import (
    Dropped,
    Ended,
    ExecutionData,
    ExecutionReported,
    Intent,
    IntentData,
    IntentPublished,
    Order,
    OrderData,
    OrderDecided,
    Signal,
    SignalData,
    SignalPublished,
    Unknown,
    Verdict,
)

ACCOUNT = "main"
START = "2021-05-19T12:00:00.000000Z"
PRICES = {"BTCUSDT": "40000", "ETHUSDT": "2500"}
CONFIDENT = "0.8"
FAR: dict[str, Any] = {"max_size_pct": "500", "max_position_usd": "50000", "risk_target_pct": "4"}
"""A policy under which the other size limits do not bind."""


def later(seconds: float, time: str = START) -> str:
    """`time` moved by seconds of event time."""
    return time_text(micros(time) + int(seconds * 1_000_000))


def instrument(symbol: str, **changes: Any) -> Instrument:
    fields: dict[str, Any] = {
        "symbol": symbol, "tick": "0.01", "step": "0.001", "quantity_min": "0.001",
        "quantity_max": "1000", "market_quantity_max": "120", "notional_min": "5",
        "price_band_pct": "5", "maker_fee_pct": "0.02", "taker_fee_pct": "0.05",
        "half_spread_bp": "1", "as_of": "2021-05-01T00:00:00.000000Z", "origin": "test",
        "brackets": (
            Bracket(notional_max="50000", mmr_pct="0.4", cum="0", leverage_max=125),
            Bracket(notional_max="250000", mmr_pct="0.5", cum="50", leverage_max=100),
            Bracket(mmr_pct="1", cum="1300", leverage_max=50),
        ),
    }  # fmt: skip
    return Instrument(**fields | changes)


class RiskWorld:
    """The decider under test and what happened so far. `now` is the time of what comes next."""

    def __init__(
        self,
        *,
        equity: str | None = "10000",
        warm: bool = True,
        instruments: dict[str, dict[str, Any]] | None = None,
        account: str = ACCOUNT,
        **policy: Any,
    ) -> None:
        self.account = account
        self.partition = partition_of(account, 8)
        self.source = Source(Risk(self.partition, 8), self.partition, 8)
        self.source.epoch = 1
        self.now = START
        self._count = 0
        self.log: list[tuple[str, Envelope]] = []
        """All that was folded, in order, own records included (key `OWN`)."""
        self.cash = Decimal(0)
        listed = {s: {} for s in PRICES} if instruments is None else instruments
        if listed:
            items = tuple(instrument(s, **c) for s, c in listed.items())
            self.fact("market", InstrumentsListed, InstrumentsData(items=items), "/feed")
        if warm:
            self.warm()
        self.prices()
        self.tick()
        self.policy(**policy)
        if equity is not None:
            self.deposit(equity)

    # ------------------------------------------------------------ plumbing

    def event(self, kind: Any, data: Any, source: str, **more: Any) -> Any:
        self._count += 1
        fields = {
            "id": natural_id("test", str(self._count)), "source": source, "subject": self.account,
            "time": self.now, "partitionkey": self.account, "data": data,
        }  # fmt: skip
        return kind(**fields | more)

    def fact(self, topic: str, kind: Any, data: Any, source: str = "/test", **more: Any) -> None:
        self.fold(topic, self.event(kind, data, source, **more))

    def fold(self, topic: str, event: Envelope) -> bool:
        places = (f"{topic}/{self.partition}", f"{topic}/0")
        key = next(place for place in places if place in self.source.positions)
        self.log.append((key, event))
        return self.source.fold(key, self.source.positions[key], event)

    # ------------------------------------------------------------ given

    def warm(self) -> None:
        """Fifteen closed hours, up to 11:00, with a true range of 2 % and a volume of 1,000."""
        for hours in range(16, 1, -1):
            opened = later(-hours * 3600 + 59 * 60)
            self.candles(opened, volume="1000", warm_up=True)

    def candles(self, opened: str, *, volume: str, warm_up: bool = False, pct: str = "2") -> None:
        items = []
        for symbol, price in PRICES.items():
            middle, half = Decimal(price), Decimal(price) * Decimal(pct) / 200
            high, low = text(middle + half), text(middle - half)
            items.append(
                Candle(
                    symbol=symbol, interval="1m", opened_at=opened, open=price, high=high, low=low,
                    close=price, volume=volume,
                )
            )  # fmt: skip
        data = CandlesData(warm_up=warm_up, items=tuple(items))
        self.fact("market", CandlesClosed, data, "/feed", time=later(60, opened))

    def prices(
        self, time: str | None = None, marks: dict[str, str] | None = None, **last: str
    ) -> None:
        items = tuple(
            Price(symbol=symbol, last=last.get(symbol, price), mark=(marks or {}).get(symbol))
            for symbol, price in PRICES.items()
        )
        self.fact("market", PricesObserved, PricesData(items=items), "/feed", time=time or self.now)

    def tick(self, seconds: float = 0, *, candle_s: int = 60) -> None:
        """Let time pass: one tick, prices unchanged."""
        self.now = later(seconds, self.now)
        self.fact("clock", ClockTicked, TickData(candle_s=candle_s), "/feed")

    def wait(self, seconds: float) -> None:
        """Let time pass with fresh prices at its end."""
        self.now = later(seconds, self.now)
        self.prices()
        self.tick()

    def policy(self, **changes: Any) -> None:
        section = {k: changes.pop(k) for k in list(changes) if k not in Policy.model_fields}
        policy = Policy(**changes, rl_v3_live=RlV3Live(**section))
        change = PolicyChange(
            id=natural_id("policy", str(self._count)), account=self.account, version=1,
            operator="test", reason="test", before={}, after={}, policy=policy,
            origins={"max_position_usd": 1} if "max_position_usd" in changes else {},
            trading_state="ACTIVE",
        )  # fmt: skip
        self.fact("control", PolicyChanged, PolicyChangedData(items=(change,)))

    def equity_item(self) -> EquityItem:
        return EquityItem(
            id=natural_id("equity", str(self._count)), transfers=text(self.cash), realised="0",
            fees="0", funding="0", unrealised="0", equity=text(self.cash), gross="0", marks={},
        )  # fmt: skip

    def deposit(self, amount: str) -> None:
        self.cash += Decimal(amount)
        self.updated()

    def updated(self, *items: Any) -> None:
        data = PositionData(items=(*items, self.equity_item()))
        self.fact("trade.position.update", PositionUpdated, data)

    def position(
        self,
        symbol: str,
        quantity: str,
        price: str,
        *,
        entry_at: str | None = None,
        trade: str = "t",
    ) -> PositionItem:
        """What a position update says: `quantity` signed, bought or sold at `price`."""
        size = Decimal(quantity)
        return PositionItem(
            id=natural_id("position", str(self._count), symbol), symbol=symbol,
            trade_id=natural_id(trade, symbol), quantity=quantity,
            cost=text(size * Decimal(price)), average_entry=price, realised="0", fees="0",
            funding="0", opened_at=entry_at or self.now, entry_at=entry_at or self.now,
        )  # fmt: skip

    def holds(self, symbol: str, quantity: str, price: str | None = None, **more: Any) -> None:
        self.updated(self.position(symbol, quantity, price or PRICES[symbol], **more))

    def closed(self, symbol: str, *, closed_at: str | None = None, trade: str = "t") -> None:
        item = TradeClosedItem(
            id=natural_id("closed", str(self._count)), trade_id=natural_id(trade, symbol),
            symbol=symbol, side="BUY", quantity_max="1", entry_average="1", exit_average="1",
            realised="0", fees="0", funding="0", net="0", opened_at=START,
            closed_at=closed_at or self.now,
        )  # fmt: skip
        flat = self.position(symbol, "0", "1", trade=trade, entry_at=START)
        self.updated(flat.model_copy(update={"average_entry": None}), item)

    # ------------------------------------------------------------ what execution and venue do

    def order(self, verdict: Verdict, **changes: Any) -> Order:
        """The order that carries a verdict out."""
        assert verdict.plan is not None
        identity = natural_id("order", verdict.id)
        exits = verdict.kind == "exit"
        fields: dict[str, Any] = {
            "id": identity, "client_order_id": client_order_id(identity), "symbol": verdict.symbol,
            "side": verdict.side, "order_type": verdict.plan.order_type, "time_in_force": "GTC",
            "quantity": verdict.plan.quantity, "limit_price": verdict.plan.limit_price,
            "reduce_only": exits, "purpose": "exit_signal" if exits else "entry",
            "request_id": verdict.id, "approved_at": self.now, "approval_stale_s": 30,
            "policy_version": 1, "leverage": verdict.plan.leverage,
        }  # fmt: skip
        return Order(**fields | changes)

    def ordered(self, *items: Any) -> None:
        self.fact("trade.order", OrderDecided, OrderData(items=items))

    def stop(self, symbol: str, trigger: str, *, trade: str = "t", name: str = "stop") -> Order:
        identity = natural_id(name, symbol)
        return Order(
            id=identity, client_order_id=client_order_id(identity), symbol=symbol, side="SELL",
            order_type="STOP_MARKET", time_in_force="GTC", quantity="1", trigger_price=trigger,
            reduce_only=True, close_position=True, purpose="stop",
            owner_id=natural_id(trade, symbol), approved_at=self.now, approval_stale_s=30,
            policy_version=1,
        )  # fmt: skip

    def dropped(self, verdict: Verdict, why: Any = "STALE") -> None:
        item = Dropped(
            id=natural_id("drop", verdict.id), request_id=verdict.id, symbol=verdict.symbol, why=why
        )
        self.ordered(item)

    def order_end(self, order: Order, filled: str = "0", status: Any = "CANCELED") -> OrderEndItem:
        return OrderEndItem(
            id=natural_id("end", order.id), order_id=order.id, symbol=order.symbol, status=status,
            filled_quantity=filled,
        )  # fmt: skip

    def results(self, *items: Any) -> None:
        self.fact("trade.execution.res", ExecutionReported, ExecutionData(items=items))

    def unknown(self, order: Order) -> Unknown:
        return Unknown(
            id=natural_id("unknown", order.id), order_id=order.id, symbol=order.symbol,
            client_order_id=order.client_order_id, attempt=1,
        )  # fmt: skip

    def ended(self, order: Order, filled: str = "0") -> Ended:
        return Ended(
            id=natural_id("ended", order.id), order_id=order.id, symbol=order.symbol,
            client_order_id=order.client_order_id, status="CANCELED", filled_quantity=filled,
        )  # fmt: skip

    # ------------------------------------------------------------ when

    def signal(self, symbol: str = "BTCUSDT", side: Any = "BUY", **more: Any) -> Signal:
        self._count += 1
        fields = {"id": natural_id("part", str(self._count)), "symbol": symbol, "side": side}
        return Signal(**fields | {"confidence": CONFIDENT, "origin": f"o{self._count}"} | more)

    def intent(self, symbol: str = "BTCUSDT", side: Any = "BUY", **more: Any) -> Intent:
        self._count += 1
        fields = {"id": natural_id("part", str(self._count)), "symbol": symbol, "side": side}
        return Intent(**fields | {"confidence": CONFIDENT, "origin": f"o{self._count}"} | more)

    def judge(self, *parts: Signal | Intent, time: str | None = None) -> tuple[Verdict, ...]:
        """Publish one record with these parts and return its verdicts."""
        signals = tuple(part for part in parts if isinstance(part, Signal))
        intents = tuple(part for part in parts if isinstance(part, Intent))
        topic = "trade.signal.v5" if signals else "trade.intent"
        kind = SignalPublished if signals else IntentPublished
        data = SignalData(items=signals) if signals else IntentData(items=intents)
        event = self.event(kind, data, "/test", time=time or self.now)
        assert self.fold(topic, event)
        (record,) = self.source.decide(f"{topic}/{self.partition}", event)
        self.log.append((OWN, record))
        assert record.type == "trade.signal.judged.v1", record
        return record.data.items  # type: ignore[attr-defined,no-any-return]

    def command(self, kind: Any, **data: Any) -> Any:
        """A person's command; the data of the record that answers it."""
        model = kind.model_fields["data"].annotation
        fields = {"operator": "ann", "reason": "test", **data}
        event = self.event(kind, model(**fields), "/hand")
        assert self.fold("commands.trade", event)
        (record,) = self.source.decide(f"commands.trade/{self.partition}", event)
        self.log.append((OWN, record))
        assert record.type == "trade.command.judged.v1", record
        return record.data  # type: ignore[attr-defined]

    def ask(self, symbol: str = "BTCUSDT", side: Any = "BUY", **more: Any) -> Verdict:
        """Publish one signal and return its verdict."""
        time = more.pop("time", None)
        return self.judge(self.signal(symbol, side, **more), time=time)[0]

    def propose(self, symbol: str = "BTCUSDT", side: Any = "BUY", **more: Any) -> Verdict:
        """Publish one intent and return its verdict."""
        return self.judge(self.intent(symbol, side, **more))[0]

    def enter(self, symbol: str = "BTCUSDT", side: Any = "BUY", **more: Any) -> Verdict:
        """A signal that is approved, ordered and filled at once."""
        verdict = self.ask(symbol, side, **more)
        assert verdict.plan is not None, verdict.failures
        order = self.order(verdict)
        self.ordered(order)
        sign = "" if side == "BUY" else "-"
        filled = self.position(symbol, sign + verdict.plan.quantity, PRICES[symbol])
        self.updated(filled, self.order_end(order, verdict.plan.quantity, "FILLED"))
        return verdict


def codes(verdict: Verdict) -> list[str]:
    """Codes of the failing checks, in order."""
    return [failure.code.value for failure in verdict.failures]


def failure(verdict: Verdict, code: str) -> tuple[str | None, str | None, str | None]:
    """Value, limit and shortfall of a failing check."""
    found = next(f for f in verdict.failures if f.code == code)
    return found.value, found.limit, found.shortfall
