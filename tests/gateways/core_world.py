"""A gateway core with hand-made orders, policies and reports; wall time is moved by the test."""

from typing import Any

from domain.policy_state import trading_state
from gateways.core import GatewayCore
from gateways.orders import Action, Report, SendRequest
from schemas.control import PolicyChange, PolicyChanged, PolicyChangedData
from schemas.envelope import Envelope
from schemas.ids import client_order_id, natural_id, part_id
from schemas.market import ClockTicked, TickData
from schemas.policy import profile_policy
from schemas.scalars import micros, time_text
from schemas.trade import (
    Cancel,
    EmergencyStep,
    ExecutionData,
    Order,
    OrderData,
    OrderDecided,
    OrderItem,
)
from schemas.venue import (
    CancelRefused,
    CancelRequest,
    Deposit,
    Place,
    Query,
    ReadAccount,
    VenueAccepted,
    VenueEnded,
    VenueFilled,
    VenueFound,
    VenueItem,
    VenueReportData,
    VenueReported,
    VenueTransferred,
)

WINDOW_US = 1_000_000
SKEW_US = 200_000
START = micros("2021-05-19T12:00:00.000000Z")
WALL = 1_800_000_000_000_000
MAIN = "main"


def order(name: str, **changes: Any) -> Order:
    """An entry at MARKET, unless changed. Its ids are made from `name`."""
    identity = natural_id("order", name)
    fields: dict[str, Any] = {
        "id": identity,
        "client_order_id": client_order_id(identity),
        "symbol": "BTCUSDT",
        "side": "BUY",
        "order_type": "MARKET",
        "time_in_force": "IOC",
        "quantity": "0.03",
        "reduce_only": False,
        "purpose": "entry",
        "approved_at": time_text(START),
        "approval_stale_s": 30,
        "policy_version": 1,
    }
    return Order(**{**fields, **changes})


def stop(name: str) -> Order:
    """A resting protective stop."""
    return order(
        name, side="SELL", order_type="STOP_MARKET", time_in_force="GTC", trigger_price="39000",
        reduce_only=True, close_position=True, purpose="stop", owner_id=natural_id("trade"),
    )  # fmt: skip


def cancel(of: Order, why: str = "replaced") -> Cancel:
    return Cancel(
        id=natural_id("cancel", of.id),
        order_id=of.id,
        client_order_id=of.client_order_id,
        symbol=of.symbol,
        why=why,  # type: ignore[arg-type]
    )


def confirm(name: str = "confirm") -> EmergencyStep:
    step, emergency = natural_id("step", name), natural_id("emergency")
    return EmergencyStep(id=step, emergency_id=emergency, step=4, name="confirm", attempt=0)


class World:
    """`sent`: requests that left; `log`: records of `trade.execution.res` as written."""

    def __init__(self, *, funded: bool = True, fenced: bool = True) -> None:
        self.wall = WALL
        self.us = START
        self.numbers = 0
        self.sent: list[SendRequest] = []
        self.log: list[Envelope] = []
        self.inputs: list[Envelope] = []
        self.core = GatewayCore(0, 1)
        if fenced:
            self.core.fenced_at(self.wall)
        self.tick()
        if funded:
            self.policy()
            self.pump()
            opening = VenueTransferred(transfer_id="opening/main", amount="10000", asset="USDT")
            self.report(opening)
            self.sent.clear()

    # ------------------------------------------------------------------ inputs

    def fields(self, source: str, account: str = MAIN) -> dict[str, Any]:
        self.numbers += 1
        identity = natural_id("test", source, str(self.numbers))
        time = time_text(self.us)
        return {"id": identity, "source": source, "subject": account, "time": time,
                "partitionkey": account}  # fmt: skip

    def tick(self, seconds: float = 0) -> None:
        """Event time passes."""
        self.us += int(seconds * 1_000_000)
        event = ClockTicked(**self.fields("/feed"), data=TickData(candle_s=60))
        self.inputs.append(event)
        self.core.on_clock(event)

    def policy(self, **changes: Any) -> None:
        before = self.core.control.accounts.get(MAIN)
        version = before.version + 1 if before else 1
        policy = profile_policy("production").model_copy(update=changes)
        fields = self.fields("/control/0")
        change = PolicyChange(
            id=part_id(fields["id"], 0), account=MAIN, version=version, operator="anna",
            reason="test", before={}, after={}, policy=policy, origins={},
            trading_state=trading_state(policy),
        )  # fmt: skip
        event = PolicyChanged(**fields, data=PolicyChangedData(items=(change,)))
        self.inputs.append(event)
        self.core.on_control(event)

    def decide(self, *items: OrderItem) -> OrderDecided:
        event = OrderDecided(**self.fields("/execution/0"), data=OrderData(items=items))
        self.inputs.append(event)
        self.core.on_order(event)
        return event

    def report(
        self, *items: VenueItem, delivered: bool = True, answers: SendRequest | None = None
    ) -> ExecutionData | None:
        """A record of the venue arrives; what it leads to is written."""
        data = VenueReportData(delivered=delivered, items=items)
        cause = answers.request_id if answers else None
        event = VenueReported(**self.fields("/venue/0"), causationid=cause, data=data)
        self.inputs.append(event)
        return self.deliver(event)

    def deliver(self, event: Envelope) -> ExecutionData | None:
        found = self.core.on_report(event, self.wall)
        if found is not None:
            self._write(found, event.partitionkey, event)
        return found

    # ------------------------------------------------------------------ the shell's part

    def pump(self, after_s: float = 0) -> list[Action]:
        """Wall time passes, then everything due is done."""
        self.wall += int(after_s * 1_000_000)
        done: list[Action] = []
        while due := self.core.due(self.wall):
            for action in due:
                if isinstance(action, Report):
                    data = ExecutionData(items=action.items)
                    self._write(data, action.account, action.cause)
                else:
                    self.sent.append(action)
                self.core.sent(action, self.wall)
                done.append(action)
        return done

    def _write(self, data: ExecutionData, account: str, cause: Envelope) -> None:
        number = len(self.log) + 1
        record = self.core.record(data, account, cause, {"clock/0": 1}, number, 1)
        self.log.append(record)

    def restart(self, *, lose: int = 0) -> None:
        """The process dies and another one fences, reading everything again in the order of the
        design. `lose` last own records were never written."""
        self.log = self.log[: len(self.log) - lose]
        self.core = GatewayCore(0, 1)
        for record in self.log:
            self.core.on_own(record)
        ends = {"trade.order/0": len(self.inputs)}
        self.core.fenced_at(self.wall, ends, epoch=self.core.epoch + 1)
        for offset, event in enumerate(self.inputs):
            if isinstance(event, PolicyChanged):
                self.core.on_control(event)
            elif isinstance(event, ClockTicked):
                self.core.on_clock(event)
            else:
                self.core.on_order(event, offset)
        for event in self.inputs:
            if isinstance(event, VenueReported):
                self.deliver(event)
        self.sent.clear()

    # ------------------------------------------------------------------ what a test looks at

    def requests(self, kind: type[Place | CancelRequest | Query | Deposit | ReadAccount]) -> int:
        """How many requests of a kind left."""
        return sum(isinstance(action.request.request, kind) for action in self.sent)

    def last(
        self, kind: type[Place | CancelRequest | Query | Deposit | ReadAccount]
    ) -> SendRequest:
        return [a for a in self.sent if isinstance(a.request.request, kind)][-1]

    def items(self, kind: str) -> list[Any]:
        """Items of a kind in all records written."""
        return [item for r in self.log for item in r.data.items if item.kind == kind]  # type: ignore[attr-defined]


def accepted(of: Order) -> VenueAccepted:
    return VenueAccepted(client_order_id=of.client_order_id, symbol=of.symbol)


def ended(of: Order, status: str = "FILLED") -> VenueEnded:
    return VenueEnded(
        client_order_id=of.client_order_id,
        symbol=of.symbol,
        status=status,  # type: ignore[arg-type]
        filled_quantity=of.quantity if status == "FILLED" else "0",
    )


def fill(of: Order | None, trade_id: str = "t1") -> VenueFilled:
    return VenueFilled(
        client_order_id=of.client_order_id if of else None,
        symbol="BTCUSDT",
        side=of.side if of else "SELL",
        trade_id=trade_id,
        quantity=of.quantity if of else "0.03",
        price="40000",
        fee="0.6",
        fee_asset="USDT",
        liquidity="taker",
        reference="40000",
        filled_at=time_text(START),
        rule="test",
    )


def found(
    of: Order, *, status: str | None = None, fills: tuple[VenueFilled, ...] = ()
) -> VenueFound:
    return VenueFound(
        client_order_id=of.client_order_id,
        symbol=of.symbol,
        known=True,
        resting=status is None,
        fills=fills,
        status=status,  # type: ignore[arg-type]
        filled_quantity=of.quantity if fills else "0",
    )


def not_found(of: Order) -> VenueFound:
    return VenueFound(
        client_order_id=of.client_order_id, symbol=of.symbol, known=False, resting=False, fills=(),
        filled_quantity="0",
    )  # fmt: skip


def refused_cancel(of: Order) -> CancelRefused:
    return CancelRefused(client_order_id=of.client_order_id, symbol=of.symbol, why="not open")
