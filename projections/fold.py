"""Events to row changes: pure, in memory, one batch or the whole log.

A change of a row holds only the columns that an event feeds. Changes of one key are merged here by
the same rules by which Postgres merges them into the table (:mod:`projections.writing`), so folding
a log at once or in batches, in whatever order topics arrive, leaves the same rows.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from projections.changes import EXACT, Changes
from projections.limits import limits_id
from schemas import control, positions, trade
from schemas.envelope import Envelope
from schemas.scalars import dec
from schemas.topics import CONTROL, EXECUTION_RES, ORDER, POSITION_UPDATE, SIGNAL_SAFE


class Fold(Changes):
    """Row changes of a run of valid events.

    `seen_fills`: ids of fills that were counted before this fold began, so that a fill reported
    twice is counted once.
    """

    def __init__(self, seen_fills: Iterable[str] = ()) -> None:
        super().__init__()
        self.seen_fills: set[Any] = set(seen_fills)

    def fold(self, topic: str, event: Envelope) -> None:
        """Fold a valid event of `topic` in; types that feed no table there change nothing."""
        handler = _HANDLERS.get((topic, event.type))
        if handler is not None:
            handler(self, event)

    # ------------------------------------------------------------------ trade.signal.safe

    def _judged(self, event: trade.SignalJudged) -> None:
        for v in event.data.items:
            limits = [limit.model_dump(mode="json", exclude_none=True) for limit in v.limits]
            limits_key = self._limit_set(event.partitionkey, limits)
            self.append(
                "intents",
                v.id,
                request_id=v.request_id,
                account=event.partitionkey,
                symbol=v.symbol,
                side=v.side,
                kind=v.kind,
                verdict=v.verdict,
                reason=None if v.reason is None else v.reason.value,
                origin=v.origin,
                confidence=dec(v.confidence),
                label=v.label,
                policy_version=v.policy_version,
                decided_at=event.time,
                failures=[f.model_dump(mode="json", exclude_none=True) for f in v.failures],
                limits_id=limits_key,
                figures=v.figures,
                plan=None if v.plan is None else v.plan.model_dump(mode="json", exclude_none=True),
                record_id=event.id,
            )

    def _limit_set(self, account: str, limits: list[dict[str, Any]]) -> str:
        key = limits_id(account, limits)
        self.append("limit_sets", key, account=account, limits=limits)
        return key

    # ------------------------------------------------------------------ trade.order

    def _decided(self, event: trade.OrderDecided) -> None:
        for item in event.data.items:
            if isinstance(item, trade.Order):
                self._order(event, item)
            elif isinstance(item, trade.Cancel):
                self.set("orders", item.order_id, cancel_why=item.why, cancelled_at=event.time)
            elif isinstance(item, trade.EmergencyStep):
                step = {
                    "id": item.id,
                    "step": item.step,
                    "name": item.name,
                    "attempt": item.attempt,
                    "time": event.time,
                }
                self.set("emergencies", item.emergency_id, steps=(step,))
            elif isinstance(item, trade.Flat):
                self.set("emergencies", item.emergency_id, flat_id=item.id, flat_at=event.time)

    def _order(self, event: Envelope, order: trade.Order) -> None:
        self.set(
            "orders",
            order.id,
            account=event.partitionkey,
            symbol=order.symbol,
            client_order_id=order.client_order_id,
            side=order.side,
            order_type=order.order_type,
            time_in_force=order.time_in_force,
            quantity=dec(order.quantity),
            limit_price=_number(order.limit_price),
            trigger_price=_number(order.trigger_price),
            reduce_only=order.reduce_only,
            close_position=order.close_position,
            leverage=order.leverage,
            purpose=order.purpose,
            owner_id=order.owner_id,
            request_id=order.request_id,
            approved_at=order.approved_at,
            replaces=order.replaces,
            policy_version=order.policy_version,
            note=order.note,
            decided_at=event.time,
        )

    # ------------------------------------------------------------------ trade.execution.res

    def _reported(self, event: trade.ExecutionReported) -> None:
        for item in event.data.items:
            if isinstance(item, trade.Filled):
                self._fill(event, item)
            elif isinstance(item, trade.Accepted):
                self.set("orders", item.order_id, accepted_at=event.time, unknown=False)
            elif isinstance(item, trade.Unknown):
                self.set("orders", item.order_id, unknown=True)
            elif isinstance(item, trade.Ended):
                self.set(
                    "orders",
                    item.order_id,
                    unknown=False,
                    status=item.status,
                    ended_at=event.time,
                    end_quantity=dec(item.filled_quantity),
                    end_why=item.why,
                )

    def _fill(self, event: Envelope, fill: trade.Filled) -> None:
        if fill.id in self.seen_fills:
            return
        self.seen_fills.add(fill.id)
        quantity, price, fee = dec(fill.quantity), dec(fill.price), dec(fill.fee)
        self.append(
            "fills",
            fill.id,
            account=event.partitionkey,
            order_id=fill.order_id,
            client_order_id=fill.client_order_id,
            symbol=fill.symbol,
            side=fill.side,
            venue_trade_id=fill.trade_id,
            quantity=quantity,
            price=price,
            fee=fee,
            fee_asset=fill.fee_asset,
            liquidity=fill.liquidity,
            reference=dec(fill.reference),
            filled_at=fill.filled_at,
            rule=fill.rule,
            record_id=event.id,
        )
        if fill.order_id is not None:
            self.set(
                "orders",
                fill.order_id,
                unknown=False,
                filled_quantity=quantity,
                filled_cost=EXACT.multiply(quantity, price),
                fees=fee,
                filled_at=fill.filled_at,
            )

    # ------------------------------------------------------------------ trade.position.update

    def _updated(self, event: positions.PositionUpdated) -> None:
        account = event.partitionkey
        for item in event.data.items:
            if isinstance(item, positions.PositionItem):
                self._position(event, item)
            elif isinstance(item, positions.TradeClosedItem):
                self._closed(account, item)
            elif isinstance(item, positions.OrderEndItem):
                self.set("orders", item.order_id, settled_at=event.time)
            else:
                self._equity(event, item)

    def _position(self, event: Envelope, item: positions.PositionItem) -> None:
        quantity = dec(item.quantity)
        average = _number(item.average_entry)
        realised, fees, funding = dec(item.realised), dec(item.fees), dec(item.funding)
        totals = {
            "realised": realised,
            "fees": fees,
            "funding": funding,
            "opened_at": item.opened_at,
            "entry_at": item.entry_at,
        }
        self.set(
            "positions",
            event.partitionkey,
            item.symbol,
            trade_id=item.trade_id,
            quantity=quantity,
            cost=dec(item.cost),
            average_entry=average,
            updated_at=event.time,
            **totals,
        )
        if not quantity:  # its end stands in the item that closes the trade
            self.set("trades", item.trade_id, open_quantity=quantity)
            return
        self.set(
            "trades",
            item.trade_id,
            account=event.partitionkey,
            symbol=item.symbol,
            side="BUY" if quantity > 0 else "SELL",
            quantity=abs(quantity),
            open_quantity=quantity,
            entry_average=average,
            net=EXACT.add(EXACT.subtract(realised, fees), funding),
            **totals,
        )

    def _closed(self, account: str, item: positions.TradeClosedItem) -> None:
        self.set(
            "trades",
            item.trade_id,
            account=account,
            symbol=item.symbol,
            side=item.side,
            quantity=dec(item.quantity_max),
            open_quantity=Decimal(0),
            entry_average=dec(item.entry_average),
            exit_average=dec(item.exit_average),
            realised=dec(item.realised),
            fees=dec(item.fees),
            funding=dec(item.funding),
            net=dec(item.net),
            opened_at=item.opened_at,
            closed_at=item.closed_at,
            exit_order_id=item.exit_order_id,
        )

    def _equity(self, event: Envelope, item: positions.EquityItem) -> None:
        account = event.partitionkey
        self.append(
            "equity",
            item.id,
            account=account,
            time=event.time,
            transfers=dec(item.transfers),
            realised=dec(item.realised),
            fees=dec(item.fees),
            funding=dec(item.funding),
            unrealised=dec(item.unrealised),
            equity=dec(item.equity),
            gross=dec(item.gross),
            marks=item.marks,
            record_id=event.id,
        )
        for symbol, mark in item.marks.items():
            self.set("positions", account, symbol, mark=dec(mark), marked_at=event.time)

    # ------------------------------------------------------------------ control

    def _policies(self, event: Any) -> None:
        for change in event.data.items:
            self.append(
                "policy_snapshots",
                change.account,
                change.version,
                operator=change.operator,
                reason=change.reason,
                changed_at=event.time,
                trading_state=change.trading_state,
                before=change.before,
                after=change.after,
                policy=change.policy.model_dump(mode="json"),
                origins=change.origins,
                record_id=event.id,
            )

    def _activated(self, event: control.EmergencyActivated) -> None:
        self._policies(event)
        change = next(iter(event.data.items), None)
        self.set(
            "emergencies",
            event.data.emergency_id,
            account=event.partitionkey,
            activated_at=event.data.activated_at,
            operator=change and change.operator,
            reason=change and change.reason,
        )

    def _was_reset(self, event: control.EmergencyWasReset) -> None:
        self._policies(event)
        change = next(iter(event.data.items), None)
        self.set(
            "emergencies",
            event.data.emergency_id,
            reset_at=event.time,
            reset_operator=change and change.operator,
            reset_reason=change and change.reason,
            reset_flat_id=event.data.flat_id,
            drawdown_epoch=event.data.drawdown_epoch,
        )

    def _deleted(self, event: control.TradeDeleted) -> None:
        for item in event.data.items:
            self.set(
                "trades",
                item.trade_id,
                deleted_at=event.time,
                deleted_by=item.operator,
                deleted_reason=item.reason,
            )

    def _rejected(self, event: control.CommandRejected) -> None:
        self.append(
            "commands_rejected",
            event.id,
            account=event.partitionkey,
            time=event.time,
            **event.data.model_dump(mode="json"),
        )


_HANDLERS: dict[tuple[str, str], Callable[[Fold, Any], None]] = {
    (SIGNAL_SAFE.name, "trade.signal.judged.v1"): Fold._judged,
    (ORDER.name, "trade.order.decided.v1"): Fold._decided,
    (EXECUTION_RES.name, "trade.execution.reported.v1"): Fold._reported,
    (POSITION_UPDATE.name, "trade.position.updated.v1"): Fold._updated,
    (CONTROL.name, "policy.changed.v2"): Fold._policies,
    (CONTROL.name, "emergency.activated.v2"): Fold._activated,
    (CONTROL.name, "emergency.reset.v2"): Fold._was_reset,
    (CONTROL.name, "trade.deleted.v1"): Fold._deleted,
    (CONTROL.name, "command.rejected.v1"): Fold._rejected,
}


def _number(value: str | None) -> Decimal | None:
    return None if value is None else dec(value)
