"""Closed trades of a backtest as rows, and what each fill cost, from the run's records.

A trade is flat to flat (DEFINITIONS 3). Money in USDT as Decimal; R is net P&L over the risk that
the gate approved for the entry, costs included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateways.candles import Candles
from replay.account_summary import AccountSummary
from replay.memory_log import Stored
from schemas.positions import TradeClosedItem
from schemas.scalars import dec, micros, text
from schemas.trade import (
    ExecutionReported,
    Filled,
    Order,
    OrderDecided,
    SignalJudged,
)

MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class TradeRow:
    """One closed trade. `risk`: USDT approved for its entry, None where no verdict of ours opened
    it. `stop`, `target`: the last triggers that rested before it closed."""

    trade_id: str
    symbol: str
    side: str
    quantity: Decimal
    entry: Decimal
    exit: Decimal
    opened_us: int
    closed_us: int
    opened_at: str
    closed_at: str
    net: Decimal
    fees: Decimal
    funding: Decimal
    exit_kind: str
    risk: Decimal | None
    stop: Decimal | None
    target: Decimal | None

    @property
    def sign(self) -> int:
        """+1 for a long, -1 for a short."""
        return 1 if self.side == "LONG" else -1

    @property
    def r(self) -> float | None:
        """Net P&L in multiples of the approved risk."""
        return float(self.net / self.risk) if self.risk else None

    @property
    def held_s(self) -> int:
        """Seconds from first fill to flat."""
        return (self.closed_us - self.opened_us) // 1_000_000

    def json(self) -> dict[str, Any]:
        """Money as canonical text, statistics as numbers."""
        r = self.r
        return {
            "trade_id": self.trade_id,
            "symbol": self.symbol,
            "side": self.side,
            "quantity": text(self.quantity),
            "entry": text(self.entry),
            "exit": text(self.exit),
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "held_s": self.held_s,
            "net": text(self.net),
            "fees": text(self.fees),
            "funding": text(self.funding),
            "exit_kind": self.exit_kind,
            "r": None if r is None else round(r, 4),
        }


@dataclass(frozen=True, slots=True)
class FillCost:
    """What one fill cost: its fee, and how much worse than its reference price it was. `trade_id`:
    the flat-to-flat trade it belongs to."""

    time_us: int
    fee: Decimal
    slippage: Decimal
    trade_id: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Candles in which a trade ended by its stop or target and both lay in the candle's range.

    `net`: of those trades as they were filled; `net_opposite`: had the other level been met first,
    at its trigger, with the same fees."""

    count: int
    net: Decimal
    net_opposite: Decimal


def trade_rows(records: Sequence[Stored], account: AccountSummary) -> list[TradeRow]:
    """Closed trades of `account` in the order in which they closed."""
    risks: dict[str, Decimal] = {}
    opened_by: dict[str, str] = {}
    levels: dict[str, list[tuple[str, Order]]] = {}
    for stored in records:
        event = stored.event
        if event.partitionkey != account.name:
            continue
        if isinstance(event, SignalJudged):
            risks.update((v.id, dec(v.plan.risk_usdt)) for v in event.data.items if v.plan)
        elif isinstance(event, ExecutionReported):
            for item in event.data.items:
                if isinstance(item, Filled) and item.order_id:
                    opened_by[item.id] = item.order_id
        elif isinstance(event, OrderDecided):
            for part in event.data.items:
                if isinstance(part, Order) and part.purpose in ("stop", "target"):
                    levels.setdefault(part.owner_id or "", []).append((event.time, part))
    rows = []
    for trade in account.trades:
        order = account.orders.get(opened_by.get(trade.trade_id, ""))
        risk = risks.get(order.request_id or "") if order else None
        rested = [o for t, o in levels.get(trade.trade_id, ()) if t <= trade.closed_at]
        rows.append(_row(trade, account.exit_kind(trade), risk, rested))
    return rows


def _row(
    trade: TradeClosedItem, exit_kind: str, risk: Decimal | None, rested: list[Order]
) -> TradeRow:
    return TradeRow(
        trade_id=trade.trade_id,
        symbol=trade.symbol,
        side="LONG" if trade.side == "BUY" else "SHORT",
        quantity=dec(trade.quantity_max),
        entry=dec(trade.entry_average),
        exit=dec(trade.exit_average),
        opened_us=micros(trade.opened_at),
        closed_us=micros(trade.closed_at),
        opened_at=trade.opened_at,
        closed_at=trade.closed_at,
        net=dec(trade.net),
        fees=dec(trade.fees),
        funding=dec(trade.funding),
        exit_kind=exit_kind,
        risk=risk,
        stop=_trigger(rested, "stop"),
        target=_trigger(rested, "target"),
    )


def _trigger(rested: list[Order], purpose: str) -> Decimal | None:
    prices = [o.trigger_price for o in rested if o.purpose == purpose and o.trigger_price]
    return dec(prices[-1]) if prices else None


def fill_costs(records: Sequence[Stored], account: str) -> list[FillCost]:
    """Cost of each fill, in order of time."""
    costs = []
    held: dict[str, Decimal] = {}
    trade: dict[str, str] = {}
    for stored in records:
        event = stored.event
        if not isinstance(event, ExecutionReported) or event.partitionkey != account:
            continue
        for item in event.data.items:
            if not isinstance(item, Filled):
                continue
            sign = 1 if item.side == "BUY" else -1
            before = held.get(item.symbol, Decimal(0))
            held[item.symbol] = before + sign * dec(item.quantity)
            if not before:
                trade[item.symbol] = item.id
            worse = sign * (dec(item.price) - dec(item.reference)) * dec(item.quantity)
            costs.append(FillCost(micros(event.time), dec(item.fee), worse, trade[item.symbol]))
    return costs


def ambiguous(rows: Sequence[TradeRow], candles: Sequence[Candles]) -> Ambiguous:
    """Trades whose last candle held both of their levels (DEFINITIONS 10)."""
    series = {c.symbol: c for c in candles}
    count, net, opposite = 0, Decimal(0), Decimal(0)
    for row in rows:
        if row.exit_kind not in ("stop", "target") or row.stop is None or row.target is None:
            continue
        if not _both_inside(row, series[row.symbol]):
            continue
        other = row.target if row.exit_kind == "stop" else row.stop
        count += 1
        net += row.net
        opposite += row.net + row.sign * row.quantity * (other - row.exit)
    return Ambiguous(count, net, opposite)


def _both_inside(row: TradeRow, candles: Candles) -> bool:
    opened = row.closed_us // MINUTE_US * 60_000
    at = int(candles.ts_ms.searchsorted(opened))
    if at >= len(candles) or int(candles.ts_ms[at]) != opened:
        return False
    levels = (float(row.stop or 0), float(row.target or 0))
    return bool(candles.low[at] <= min(levels) and max(levels) <= candles.high[at])
