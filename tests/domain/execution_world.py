"""A world for tests of the execution decider: events in, decided parts out.

One account, one source. Whatever is sent is kept, so that it can be folded again in another order.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from domain.execution import Execution
from domain.execution_results import OpenPosition, ResultAccount
from domain.execution_state import OwnAccount, OwnOrder
from domain.source import Source
from schemas.codec import decode, encode
from schemas.control import (
    EmergencyActivated,
    EmergencyActivatedData,
    EmergencyWasReset,
    EmergencyWasResetData,
    PolicyChange,
    PolicyChanged,
    PolicyChangedData,
)
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id
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
from schemas.policy import Policy
from schemas.scalars import micros, text, time_text
from schemas.sources import FencedData, SourceFenced
from schemas.topics import partition_of
from schemas.trade import (
    Accepted,
    Ended,
    ExecutionData,
    ExecutionReported,
    Filled,
    OpenQuantity,
    OrderDecided,
    Plan,
    ReadBack,
    SignalJudged,
    Transferred,
    Unknown,
    Verdict,
    VerdictData,
)
from schemas.trade_commands import CommandJudged, CommandJudgedData, Instruction

ACCOUNT = "main"
PARTITIONS = 8
PARTITION = partition_of(ACCOUNT, PARTITIONS)
START = micros("2021-05-19T12:00:00.000000Z")
SECOND = 1_000_000
BTC, ETH = "BTCUSDT", "ETHUSDT"


class World:
    """Event time starts at noon and moves with :meth:`tick` and :meth:`prices`."""

    def __init__(self, **policy: Any) -> None:
        self.source = Source(Execution(PARTITION, PARTITIONS), PARTITION, PARTITIONS)
        self.log: list[tuple[str, int, Envelope]] = []
        self.records: list[OrderDecided] = []
        self.us = START
        self.count = 0
        self.sequences: dict[str, int] = {}
        self.policy = Policy()
        self.version = 0
        self.emergency_id: str | None = None
        for key, name in (
            (self._key("trade.signal.safe"), "/risk"),
            (self._key("trade.execution.res"), "/gateway"),
        ):
            self._fence(key, f"{name}/{PARTITION}")
        self._fence("control/0", "/control/0")
        self.change(**policy)
        self.list_instruments()
        self.tick()
        self.report(Transferred(id=self._id(), transfer_id="a", amount="10000", asset="USDT"))

    # ------------------------------------------------------------------ plumbing

    def _key(self, topic: str) -> str:
        return f"{topic}/{PARTITION}"

    def _id(self) -> str:
        self.count += 1
        return natural_id("test", str(self.count))

    def _fence(self, key: str, source: str) -> None:
        data = FencedData(build="b", configuration="c", topic_ids={})
        self._send(
            key,
            SourceFenced(
                id=self._id(), source=source, subject=ACCOUNT, time=self.time,
                partitionkey=ACCOUNT, epoch=1, data=data,
            ),
        )  # fmt: skip

    def _head(self, source: str | None = None) -> dict[str, Any]:
        head: dict[str, Any] = {
            "id": self._id(),
            "source": source or "/feed",
            "subject": ACCOUNT,
            "time": self.time,
            "partitionkey": ACCOUNT,
        }
        if source is not None:
            self.sequences[source] = self.sequences.get(source, 0) + 1
            head |= {"epoch": 1, "sequence": self.sequences[source]}
        return head

    def _send(self, key: str, event: Envelope) -> list[Any]:
        """Fold and decide; the items of the record, if there was one."""
        offset = self.source.positions[key]
        self.log.append((key, offset, event))
        if not self.source.fold(key, offset, event):
            return []
        items: list[Any] = []
        for record in self.source.decide(key, event):
            assert isinstance(record, OrderDecided), record
            assert decode(encode(record)) == record
            self.records.append(record)
            items += record.data.items
        for ordinal, item in enumerate(items):
            assert item.id == part_id(self.records[-1].id, ordinal)
        return items

    @property
    def time(self) -> str:
        return time_text(self.us)

    # ------------------------------------------------------------------ outside

    def list_instruments(self) -> None:
        items = tuple(
            Instrument(
                symbol=symbol, tick="0.1", step="0.001", quantity_min="0.001", quantity_max="1000",
                market_quantity_max="100", notional_min="5", price_band_pct="5",
                maker_fee_pct="0.02", taker_fee_pct="0.05", half_spread_bp="1",
                brackets=(Bracket(mmr_pct="0.4", cum="0", leverage_max=125),),
                as_of=self.time, origin="test",
            )
            for symbol in (BTC, ETH)
        )  # fmt: skip
        self._send("market/0", InstrumentsListed(**self._head(), data=InstrumentsData(items=items)))

    def prices(self, after_s: float = 1, **prices: str) -> list[Any]:
        """A price point; names of symbols as given."""
        self.us += int(after_s * SECOND)
        items = tuple(Price(symbol=symbol, last=price) for symbol, price in prices.items())
        return self._send("market/0", PricesObserved(**self._head(), data=PricesData(items=items)))

    def tick(self, after_s: float = 1) -> list[Any]:
        self.us += int(after_s * SECOND)
        return self._send("clock/0", ClockTicked(**self._head(), data=TickData(candle_s=60)))

    def candle(self, opened_at: str, high: str, low: str, close: str) -> None:
        item = Candle(
            symbol=BTC, interval="1m", opened_at=opened_at, open=close, high=high, low=low,
            close=close, volume="100",
        )  # fmt: skip
        data = CandlesData(warm_up=False, items=(item,))
        self._send("market/0", CandlesClosed(**self._head(), data=data))

    def hours(self, half_range: str, hours: int = 14, level: str = "40000") -> None:
        """Closed hours whose true range is twice `half_range`, before now."""
        half, mid = Decimal(half_range), Decimal(level)
        for hour in range(hours):
            opened = time_text(self.us - (hours - hour) * 3600 * SECOND)[:14] + "59:00.000000Z"
            self.candle(opened, text(mid + half), text(mid - half), level)

    # ------------------------------------------------------------------ control

    def _change(self, **fields: Any) -> PolicyChange:
        self.policy = Policy(**{**self.policy.model_dump(), **fields})
        self.version += 1
        return PolicyChange(
            id=self._id(), account=ACCOUNT, version=self.version, operator="me", reason="test",
            before={}, after={}, policy=self.policy, origins={}, trading_state="ACTIVE",
        )  # fmt: skip

    def change(self, **fields: Any) -> list[Any]:
        data = PolicyChangedData(items=(self._change(**fields),))
        return self._send("control/0", PolicyChanged(**self._head("/control/0"), data=data))

    def stop(self) -> list[Any]:
        """The emergency stop."""
        self.emergency_id = self._id()
        change = self._change(emergency_mode=True, emergency_id=self.emergency_id)
        data = EmergencyActivatedData(
            emergency_id=self.emergency_id, activated_at=self.time, items=(change,)
        )
        return self._send("control/0", EmergencyActivated(**self._head("/control/0"), data=data))

    def stop_again(self) -> list[Any]:
        """The activation once more, in another record."""
        assert self.emergency_id is not None
        data = EmergencyActivatedData(
            emergency_id=self.emergency_id, activated_at=self.time, items=(self._change(),)
        )
        return self._send("control/0", EmergencyActivated(**self._head("/control/0"), data=data))

    def reset(self) -> list[Any]:
        assert self.emergency_id is not None
        change = self._change(emergency_mode=False, emergency_id=None)
        data = EmergencyWasResetData(
            emergency_id=self.emergency_id, flat_id=self._id(), drawdown_epoch=2, items=(change,)
        )
        return self._send("control/0", EmergencyWasReset(**self._head("/control/0"), data=data))

    # ------------------------------------------------------------------ verdicts

    def verdict(
        self, side: str = "BUY", symbol: str = BTC, *, kind: str = "entry",
        verdict: str = "approved", quantity: str = "0.03", limit: str | None = None,
        stop: str | None = "39200",
        target: str | None = "41600", leverage: int = 10, regime: str = "NORMAL",
    ) -> Verdict:  # fmt: skip
        exit_ = kind == "exit"
        plan = Plan.model_validate(
            {
                "quantity": quantity,
                "order_type": "LIMIT" if limit else "MARKET",
                "limit_price": limit,
                "stop_price": None if exit_ else stop,
                "target_price": None if exit_ else target,
                "leverage": 1 if exit_ else leverage,
                "risk_usdt": "30",
                "regime": regime,
            }
        )
        return Verdict.model_validate(
            {
                "id": self._id(), "request_id": self._id(), "symbol": symbol, "side": side,
                "kind": kind, "verdict": verdict, "origin": "test", "confidence": "0.9",
                "plan": plan if verdict == "approved" else None, "policy_version": self.version,
            }
        )  # fmt: skip

    def judge(self, *verdicts: Verdict, age_s: int = 0) -> list[Any]:
        """A record of risk; returns the items of its one answer."""
        head = self._head(f"/risk/{PARTITION}")
        head["time"] = time_text(self.us - age_s * SECOND)
        before = len(self.records)
        items = self._send(
            self._key("trade.signal.safe"), SignalJudged(**head, data=VerdictData(items=verdicts))
        )
        assert len(self.records) == before + 1, "a request is answered by exactly one record"
        return items

    # ------------------------------------------------------------------ judged commands

    def instruct(self, action: str, symbol: str = BTC, **more: Any) -> list[Any]:
        """One approved instruction of a person; the items of its one answer."""
        item = Instruction.model_validate(
            {"id": self._id(), "action": action, "symbol": symbol, **more}
        )
        data = CommandJudgedData(
            command_id=self._id(), command_type="command.test.v1", operator="ann", reason="why",
            verdict="approved", items=(item,), figures={}, policy_version=self.version,
        )  # fmt: skip
        before = len(self.records)
        head = self._head(f"/risk/{PARTITION}")
        items = self._send(self._key("trade.signal.safe"), CommandJudged(**head, data=data))
        assert len(self.records) == before + 1, "a request is answered by exactly one record"
        return items

    # ------------------------------------------------------------------ results

    def report(self, *items: Any) -> list[Any]:
        return self._send(
            self._key("trade.execution.res"),
            ExecutionReported(
                **self._head(f"/gateway/{PARTITION}"), data=ExecutionData(items=items)
            ),
        )

    def accepted(self, order: Any) -> Accepted:
        return Accepted(
            id=self._id(), order_id=order.id, client_order_id=order.client_order_id,
            symbol=order.symbol,
        )  # fmt: skip

    def filled(self, order: Any, quantity: str, price: str = "40000") -> Filled:
        return Filled(
            id=self._id(), order_id=order.id, client_order_id=order.client_order_id,
            symbol=order.symbol, side=order.side, trade_id=str(self.count), quantity=quantity,
            price=price, fee="0", fee_asset="USDT", liquidity="taker", reference=price,
            filled_at=self.time, rule="test",
        )  # fmt: skip

    def foreign(self, side: str, quantity: str, symbol: str = BTC, price: str = "40000") -> Filled:
        """A fill that no order of ours made: a liquidation or a manual trade."""
        return Filled.model_validate(
            {
                "id": self._id(), "symbol": symbol, "side": side, "trade_id": str(self.count),
                "quantity": quantity, "price": price, "fee": "0", "fee_asset": "USDT",
                "liquidity": "taker", "reference": price, "filled_at": self.time, "rule": "test",
            }
        )  # fmt: skip

    def ended(self, order: Any, status: str = "FILLED", filled: str = "0") -> Ended:
        return Ended.model_validate(
            {
                "id": self._id(), "order_id": order.id, "client_order_id": order.client_order_id,
                "symbol": order.symbol, "status": status, "filled_quantity": filled,
            }
        )  # fmt: skip

    def ended_id(self, cancel: Any, status: str) -> Ended:
        """The end of the order that a cancel names."""
        return self.ended(self.own.orders[cancel.order_id], status)

    def unknown(self, order: Any, attempt: int = 1) -> Unknown:
        return Unknown(
            id=self._id(), order_id=order.id, client_order_id=order.client_order_id,
            symbol=order.symbol, attempt=attempt,
        )  # fmt: skip

    def read_back(self, step: Any, **open_: str) -> ReadBack:
        positions = tuple(OpenQuantity(symbol=s, quantity=q) for s, q in open_.items())
        return ReadBack(id=self._id(), step_id=step.id, positions=positions, open_orders=())

    def fill_whole(
        self, order: Any, quantity: str | None = None, price: str = "40000"
    ) -> list[Any]:
        """Accepted, filled and ended in one report, as a MARKET order is."""
        amount = quantity or order.quantity
        return self.report(
            self.accepted(order),
            self.filled(order, amount, price),
            self.ended(order, filled=amount),
        )

    def enter(self, symbol: str = BTC, side: str = "BUY", **more: Any) -> tuple[Any, Any, Any]:
        """An open position whose stop and target rest: (entry, stop, target)."""
        (entry,) = self.judge(self.verdict(side, symbol, **more))
        stop, target = self.fill_whole(entry)
        self.report(self.accepted(stop), self.accepted(target))
        return entry, stop, target

    # ------------------------------------------------------------------ what is

    @property
    def own(self) -> OwnAccount:
        return self.source.slices["own"].accounts.get(ACCOUNT) or OwnAccount()

    @property
    def results(self) -> ResultAccount:
        found: ResultAccount = self.source.slices["trade.execution.res"].accounts[ACCOUNT]
        return found

    @property
    def position(self) -> OpenPosition | None:
        return self.results.positions.get(BTC)

    def open_orders(self) -> list[OwnOrder]:
        return [o for o in self.own.orders.values() if o.id not in self.results.ended]

    def folded(self, order: list[str]) -> str:
        """Digest of the state when whole topics are folded one after the other: names of topics,
        and `own` for own records, each at most once."""
        other = Source(Execution(PARTITION, PARTITIONS), PARTITION, PARTITIONS)
        for name in order:
            if name == "own":
                for record in self.records:
                    other.fold_own(record)
            for key, offset, event in self.log:
                if key.startswith(f"{name}/"):
                    other.fold(key, offset, event)
        return other.digest()


def kinds(items: list[Any]) -> list[str]:
    """What the items are, in words: order purposes, cancel reasons, drop reasons, step names."""
    words: dict[str, Callable[[Any], str]] = {
        "order": lambda i: i.purpose,
        "cancel": lambda i: f"cancel {i.why}",
        "dropped": lambda i: i.why,
        "step": lambda i: f"{i.step} {i.name} {i.attempt}",
        "flat": lambda _: "flat",
    }
    return [words[item.kind](item) for item in items]
