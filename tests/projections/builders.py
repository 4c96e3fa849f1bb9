"""Logs made directly from the schemas: records and stories of trades, emergencies and deletions."""

from collections import defaultdict
from typing import Any

from schemas import control, market, positions, sources, trade, venue
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.ids import client_order_id, natural_id, part_id, record_id
from schemas.policy import Policy
from schemas.reasons import EntryReason
from schemas.scalars import micros, time_text
from schemas.topics import (
    CLOCK,
    COMMANDS_CONTROL,
    CONTROL,
    EXECUTION_RES,
    MARKET,
    ORDER,
    POSITION_UPDATE,
    SIGNAL,
    SIGNAL_SAFE,
    VENUE_REPORT,
    Topic,
    partition_of,
)
from tests.projections.publishing import Written

PARTITIONS = 2
START = micros("2021-05-19T11:00:00.000000Z")
SYMBOL = "BTCUSDT"


class Log:
    """Builds records in order, with sources, epochs and sequences as the workers would."""

    def __init__(self) -> None:
        self.messages: list[Written] = []
        self.now = START
        self._epochs: dict[str, int] = defaultdict(int)
        self._sequences: dict[str, int] = defaultdict(int)
        self._made = 0

    @property
    def time(self) -> str:
        return time_text(self.now)

    def later(self, seconds: float = 1) -> None:
        self.now += int(seconds * 1_000_000)

    def outside(self, topic: Topic, cls: Any, data: Any, key: str = "market") -> Envelope:
        """An event without epoch, from the feed or a person."""
        self._made += 1
        event: Envelope = cls(
            id=natural_id(topic.name, str(self._made)),
            source="/feed",
            subject=key,
            time=self.time,
            partitionkey=key,
            data=data,
        )
        self.write(topic, key, encode(event))
        return event

    def fence(self, processor: str, topic: Topic, partition: int = 0) -> int:
        """A new epoch of a source; returns it."""
        name = f"/{processor}/{partition}"
        self._epochs[name] += 1
        data = sources.FencedData(build="test", configuration="test", topic_ids={})
        event = sources.SourceFenced(
            id=record_id(name, processor, f"fence {self._epochs[name]}"),
            source=name,
            subject=processor,
            time=self.time,
            partitionkey=processor,
            epoch=self._epochs[name],
            data=data,
        )
        self.write(topic, processor, encode(event), partition)
        return self._epochs[name]

    def own(
        self, processor: str, topic: Topic, account: str, cls: Any, data: Any, **envelope: Any
    ) -> Envelope:
        """A record of a source, with the next sequence of its epoch (or as `envelope` says)."""
        partition = partition_of(account, PARTITIONS) if topic.keyed else 0
        name = f"/{processor}/{partition}"
        if not self._epochs[name]:
            self.fence(processor, topic, partition)
        if "sequence" not in envelope:
            self._sequences[name] += 1
        self._made += 1
        cause = natural_id("cause", str(self._made))
        fields = {
            "id": record_id(name, account, cause),
            "source": name,
            "subject": account,
            "time": self.time,
            "partitionkey": account,
            "sequence": self._sequences[name],
            "epoch": self._epochs[name],
            "causationid": cause,
            "correlationid": cause,
            "data": data,
        } | envelope
        event: Envelope = cls(**fields)
        self.write(topic, account, encode(event), partition)
        return event

    def write(self, topic: Topic, key: str, value: bytes, partition: int | None = None) -> None:
        if partition is None:
            partition = partition_of(key, PARTITIONS) if topic.keyed else 0
        self.messages.append(Written(topic.name, partition, key.encode(), value))

    # ------------------------------------------------------------------ stories

    def tick(self, price: str = "40000") -> None:
        """A price point and a tick of the clock."""
        self.later(60)
        prices = (market.Price(symbol=SYMBOL, last=price),)
        self.outside(MARKET, market.PricesObserved, market.PricesData(point=0, items=prices))
        self.outside(CLOCK, market.ClockTicked, market.TickData(candle_s=60), "clock")

    def open_account(self, account: str, version: int = 1) -> None:
        data = control.PolicyChangedData(items=(self.change(account, version),))
        self.own("control", CONTROL, account, control.PolicyChanged, data)

    def change(self, account: str, version: int) -> control.PolicyChange:
        return control.PolicyChange(
            id=natural_id("change", account, str(version)),
            account=account,
            version=version,
            operator="ana",
            reason="test",
            before={},
            after={"max_leverage": 20 + version},
            policy=Policy(max_leverage=20 + version),
            origins={"max_leverage": version},
            trading_state="ACTIVE",
        )

    def judge(self, account: str, *, approved: bool) -> str:
        """A signal and its verdict; returns the id of the verdict's part."""
        self._made += 1
        signal = natural_id("signal", str(self._made))
        item = trade.Signal(
            id=signal, symbol=SYMBOL, side="BUY", confidence="0.7", origin="baseline"
        )
        data = trade.SignalData(items=(item,))
        self.outside(SIGNAL, trade.SignalPublished, data, account)
        code = EntryReason.COOLDOWN
        failure = trade.Failure(code=code, sentence="Cooldown: 5 s", value="5", limit="180")
        plan = trade.Plan(
            quantity="0.02", order_type="MARKET", leverage=3, risk_usdt="12.5", regime="NORMAL"
        )
        verdict = trade.Verdict(
            id=part_id(signal, 9),
            request_id=signal,
            symbol=SYMBOL,
            side="BUY",
            kind="entry",
            verdict="approved" if approved else "rejected",
            reason=None if approved else code,
            failures=() if approved else (failure,),
            limits=(trade.Limit(name="cooldown_s", value="180"),),
            figures={"equity": "10000.50"},
            plan=plan if approved else None,
            origin="baseline",
            confidence="0.7",
            policy_version=1,
        )
        self.judged(account, verdict)
        return verdict.id

    def judged(self, account: str, *items: Any) -> None:
        self.own("risk", SIGNAL_SAFE, account, trade.SignalJudged, trade.VerdictData(items=items))

    def order(self, account: str, side: str, purpose: str, quantity: str = "0.02") -> str:
        """An order as decided; returns its id."""
        self._made += 1
        identity = natural_id("order", str(self._made))
        item = trade.Order(
            id=identity,
            client_order_id=client_order_id(identity),
            symbol=SYMBOL,
            side=side,  # type: ignore[arg-type]
            order_type="MARKET",
            time_in_force="GTC",
            quantity=quantity,
            reduce_only=purpose != "entry",
            purpose=purpose,  # type: ignore[arg-type]
            approved_at=self.time,
            approval_stale_s=30,
            policy_version=1,
        )
        self.decided(account, item)
        return identity

    def decided(self, account: str, *items: Any) -> None:
        data = trade.OrderData(items=items)
        self.own("execution", ORDER, account, trade.OrderDecided, data)

    def reported(self, account: str, *items: Any) -> None:
        data = trade.ExecutionData(items=items)
        self.own("gateway", EXECUTION_RES, account, trade.ExecutionReported, data)

    def updated(self, account: str, *items: Any) -> None:
        data = positions.PositionData(items=items)
        self.own("positions", POSITION_UPDATE, account, positions.PositionUpdated, data)

    def accepted(self, order: str) -> trade.Accepted:
        return trade.Accepted(
            id=natural_id("accepted", order),
            order_id=order,
            client_order_id=client_order_id(order),
            symbol=SYMBOL,
        )

    def filled(
        self, order: str, side: str, price: str, quantity: str = "0.02", n: int = 0
    ) -> trade.Filled:
        return trade.Filled(
            id=natural_id("fill", order, str(n)),
            order_id=order,
            client_order_id=client_order_id(order),
            symbol=SYMBOL,
            side=side,  # type: ignore[arg-type]
            trade_id=f"v{n}",
            quantity=quantity,
            price=price,
            fee="0.3205",
            fee_asset="USDT",
            liquidity="taker",
            reference=price,
            filled_at=self.time,
            rule="market",
        )

    def ended(self, order: str, status: str = "FILLED", quantity: str = "0.02") -> trade.Ended:
        return trade.Ended(
            id=natural_id("ended", order),
            order_id=order,
            client_order_id=client_order_id(order),
            symbol=SYMBOL,
            status=status,  # type: ignore[arg-type]
            filled_quantity=quantity,
        )

    def position(
        self, trade_id: str, quantity: str, price: str | None, opened: str
    ) -> positions.PositionItem:
        self._made += 1
        return positions.PositionItem(
            id=natural_id("position", str(self._made)),
            symbol=SYMBOL,
            trade_id=trade_id,
            quantity=quantity,
            cost="0" if price is None else "800.10",
            average_entry=price,
            realised="0",
            fees="0.3205",
            funding="0",
            opened_at=opened,
            entry_at=opened,
        )

    def order_end(self, order: str) -> positions.OrderEndItem:
        return positions.OrderEndItem(
            id=natural_id("order end", order),
            order_id=order,
            symbol=SYMBOL,
            status="FILLED",
            filled_quantity="0.02",
        )

    def equity(self, equity: str = "10000.25") -> positions.EquityItem:
        self._made += 1
        return positions.EquityItem(
            id=natural_id("equity", str(self._made)),
            transfers="10000",
            realised="1.5",
            fees="1.25",
            funding="0",
            unrealised="0",
            equity=equity,
            gross="800",
            marks={SYMBOL: "40010.5"},
        )

    def trade(self, account: str, *, close: bool = True) -> str:
        """A whole trade, flat to flat (or left open); returns its id."""
        self.judge(account, approved=False)
        self.judge(account, approved=True)
        entry = self.order(account, "BUY", "entry")
        self.tick()
        halves = [self.filled(entry, "BUY", "40005.1", "0.01", n) for n in (0, 1)]
        self.reported(account, self.accepted(entry))
        self.reported(account, *halves, self.ended(entry))
        opened = self.time
        identity = halves[0].id
        self.updated(
            account,
            self.position(identity, "0.02", "40005.1", opened),
            self.order_end(entry),
            self.equity(),
        )
        stop = self.order(account, "SELL", "stop")
        self.reported(account, self.accepted(stop))
        self.report_of_venue(account)
        if not close:
            return identity
        self.tick("40100")
        self.reported(account, self.filled(stop, "SELL", "40100"), self.ended(stop))
        closed = positions.TradeClosedItem(
            id=natural_id("closed", identity),
            trade_id=identity,
            symbol=SYMBOL,
            side="BUY",
            quantity_max="0.02",
            entry_average="40005.1",
            exit_average="40100",
            realised="1.898",
            fees="0.6410",
            funding="-0.01",
            net="1.247",
            opened_at=opened,
            closed_at=self.time,
            exit_order_id=stop,
        )
        flat = self.position(identity, "0", None, opened)
        self.updated(account, closed, flat, self.order_end(stop), self.equity("10001.5"))
        return identity

    def report_of_venue(self, account: str) -> None:
        item = venue.VenueAccepted(client_order_id="qt1", symbol=SYMBOL)
        data = venue.VenueReportData(delivered=True, items=(item,))
        self.own("venue", VENUE_REPORT, account, venue.VenueReported, data)

    def emergency(self, account: str, version: int = 2) -> str:
        """Activated, five steps, flat, reset; returns its id."""
        self._made += 1
        identity = natural_id("emergency", str(self._made))
        stop = control.EmergencyStopData(operator="ana", reason="drill")
        self.outside(COMMANDS_CONTROL, control.EmergencyStop, stop, account)
        activated = control.EmergencyActivatedData(
            emergency_id=identity, activated_at=self.time, items=(self.change(account, version),)
        )
        self.own("control", CONTROL, account, control.EmergencyActivated, activated)
        names = ("block", "cancel_entries", "close", "confirm", "cancel_protection")
        for number, name in enumerate(names, 1):
            self.later()
            step = trade.EmergencyStep(
                id=part_id(identity, number),
                emergency_id=identity,
                step=number,
                name=name,  # type: ignore[arg-type]
                attempt=0,
            )
            self.decided(account, step)
        flat = trade.Flat(id=part_id(identity, 10), emergency_id=identity)
        self.decided(account, flat)
        reset = control.EmergencyWasResetData(
            emergency_id=identity,
            flat_id=flat.id,
            drawdown_epoch=1,
            items=(self.change(account, version + 1),),
        )
        self.own("control", CONTROL, account, control.EmergencyWasReset, reset)
        return identity

    def delete(self, account: str, trade_id: str, reason: str = "a drill") -> None:
        """A trade deleted by a person, at the time of the log."""
        self._made += 1
        item = control.TradeDeletion(
            id=natural_id("deletion", str(self._made)),
            trade_id=trade_id,
            operator="ana",
            reason=reason,
        )
        self.own(
            "control",
            CONTROL,
            account,
            control.TradeDeleted,
            control.TradeDeletedData(items=(item,)),
        )

    def refuse_command(self, account: str) -> None:
        self._made += 1
        data = control.CommandRejectedData(
            command_id=natural_id("command", str(self._made)),
            command_type="command.policy.set.v1",
            operator="ana",
            code="STALE_VERSION",
            sentence="the policy is at version 3, the command expected 2",
            value="2",
            limit="3",
        )
        self.own("control", CONTROL, account, control.CommandRejected, data)
