"""One account's figures, folded from its verdicts, orders, results and position updates.

Each figure is fed by one topic, so it does not matter in which order topics arrive; what belongs
together across topics (a closed trade and the purpose of the order that closed it) is joined when
asked for. Money in USDT as Decimal, percentages 0-100.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from gateways.second_path import PREFIX as HALT_PREFIX
from replay.equity_curve import Points, Step, curve_of
from schemas.policy import Policy
from schemas.positions import EquityItem, PositionItem, TradeClosedItem
from schemas.safety import HfosMode, Hold, Level
from schemas.scalars import dec
from schemas.trade import Dropped, Ended, Filled, Funded, Order, Transferred, Unknown, Verdict

ZERO, ONE = Decimal(0), Decimal(1)
PROTECTIVE = ("stop", "target")
CURVE_POINTS = 400


@dataclass(slots=True)
class FillSum:
    """All fills of one order: quantity, notional at arrival, fees, cost against arrival."""

    quantity: Decimal = ZERO
    arrival: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Decimal = ZERO

    @property
    def slippage_pct(self) -> Decimal:
        """DEFINITIONS 9: 100 s (VWAP - arrival) / arrival; positive is cost."""
        return 100 * self.cost / self.arrival if self.arrival else ZERO


@dataclass(slots=True)
class Nav:
    """Unitised net asset value (DEFINITIONS 6): units change only by transfers."""

    units: Decimal = ZERO
    value: Decimal = ONE
    high: Decimal = ONE
    transfers: Decimal = ZERO
    drawdown_pct: Decimal = ZERO
    drawdown_max_pct: Decimal = ZERO
    """Over all epochs, from these observations."""

    def observe(self, equity: Decimal, transfers: Decimal) -> None:
        moved = transfers - self.transfers
        if moved:
            before = (equity - moved) / self.units if self.units else ONE
            if before > 0:
                self.units += moved / before
            self.transfers = transfers
        if self.units <= 0:
            return
        self.value = equity / self.units
        self.high = max(self.high, self.value)
        self.drawdown_pct = 100 * (1 - self.value / self.high)
        self.drawdown_max_pct = max(self.drawdown_max_pct, self.drawdown_pct)

    def new_epoch(self) -> None:
        """A reset of an emergency: the high-water mark is the value now."""
        self.high, self.drawdown_pct = self.value, ZERO


@dataclass(slots=True)
class OpenPosition:
    """An open position, marked. `stop`, `target`: resting triggers; None where nothing rests."""

    symbol: str
    side: str
    quantity: Decimal
    entry: Decimal
    mark: Decimal
    unrealised: Decimal
    opened_at: str
    trade_id: str
    stop: Decimal | None
    target: Decimal | None

    @property
    def unrealised_pct(self) -> Decimal:
        """Unrealised P&L in percent of the position's exposure at entry."""
        exposure = self.quantity * self.entry
        return 100 * self.unrealised / exposure if exposure else ZERO


@dataclass(slots=True)
class AccountSummary:
    """Figures of one account. Fold parts in with the `on_` methods."""

    name: str
    points: Mapping[str, Points] | None = field(default_factory=dict)
    """All prices of the run by symbol; None where they are not folded in."""
    steps: list[Step] = field(default_factory=list)
    """Equity records, in order; none without prices between them."""
    policy: Policy | None = None
    policy_version: int = 0
    trading_state: str = "ACTIVE"
    governor: Level = "NORMAL"
    holds: tuple[Hold, ...] = ()
    hfos: HfosMode = "NORMAL"
    flash_crashes: int = 0
    high_told: Decimal = ZERO
    """The high-water mark of NAV that safety told last: it looks at every price."""
    drawdown_told_pct: Decimal = ZERO
    """The deepest drawdown safety told of, over all epochs."""
    signals: int = 0
    intents: int = 0
    confidence_sum: Decimal = ZERO
    approved_entries: int = 0
    approved_exits: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """By the first failing check."""
    failures: Counter[str] = field(default_factory=Counter)
    """By every failing check."""
    orders: dict[str, Order] = field(default_factory=dict)
    protection: dict[str, list[str]] = field(default_factory=dict)
    """Stops and targets by the trade they protect."""
    ended: dict[str, Ended] = field(default_factory=dict)
    fills_of: dict[str, FillSum] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    fills: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    liquidations: int = 0
    unknown: int = 0
    stops_widened: int = 0
    emergencies: int = 0
    emergency_open: bool = False
    fees_by_asset: dict[str, Decimal] = field(default_factory=dict)
    funding_payments: int = 0
    transferred: Decimal = ZERO
    equity_last: EquityItem | None = None
    positions: dict[str, PositionItem] = field(default_factory=dict)
    halt_fills: set[tuple[str, str]] = field(default_factory=set)
    """Symbol and time of fills of `halt --flatten`."""
    trades: list[TradeClosedItem] = field(default_factory=list)
    nav: Nav = field(default_factory=Nav)
    curve: deque[Decimal] = field(default_factory=lambda: deque(maxlen=CURVE_POINTS))

    @property
    def exists(self) -> bool:
        """Whether a policy opened it, or anything was ordered, filled or booked for it."""
        booked = self.equity_last is not None
        return self.policy is not None or booked or bool(self.orders) or self.fills > 0

    # ------------------------------------------------------------------ folding

    def on_verdict(self, verdict: Verdict) -> None:
        if verdict.verdict == "approved":
            if verdict.kind == "exit":
                self.approved_exits += 1
            else:
                self.approved_entries += 1
            return
        self.rejected[str(verdict.reason or "UNSAID")] += 1
        self.failures.update(str(failure.code) for failure in verdict.failures)

    def on_order(self, order: Order) -> None:
        self.orders[order.id] = order
        if order.owner_id and order.purpose in PROTECTIVE:
            resting = self.protection.setdefault(order.owner_id, [])
            before = self.orders.get(order.replaces or "")
            if order.purpose == "stop" and before and _wider(order, before):
                self.stops_widened += 1
            resting.append(order.id)

    def on_dropped(self, item: Dropped) -> None:
        self.dropped[item.why] += 1

    def on_fill(self, fill: Filled) -> None:
        self.fills += 1
        self.rules[fill.rule] += 1
        self.fees_by_asset[fill.fee_asset] = self.fees_by_asset.get(fill.fee_asset, ZERO) + dec(
            fill.fee
        )
        if fill.order_id is None:
            self.liquidations += "liquidation" in fill.rule
            if (fill.client_order_id or "").startswith(HALT_PREFIX):
                self.halt_fills.add((fill.symbol, fill.filled_at))
            return
        total = self.fills_of.setdefault(fill.order_id, FillSum())
        quantity, arrival = dec(fill.quantity), dec(fill.reference)
        side = 1 if fill.side == "BUY" else -1
        total.quantity += quantity
        total.arrival += quantity * arrival
        total.cost += quantity * (dec(fill.price) - arrival) * side
        total.fees += dec(fill.fee)

    def on_result(self, item: Ended | Unknown | Funded | Transferred) -> None:
        if isinstance(item, Ended):
            self.ended[item.order_id] = item
        elif isinstance(item, Unknown):
            self.unknown += 1
        elif isinstance(item, Funded):
            self.funding_payments += 1
        else:
            self.transferred += dec(item.amount)

    def on_position(self, item: PositionItem) -> None:
        if dec(item.quantity):
            self.positions[item.symbol] = item
        else:
            self.positions.pop(item.symbol, None)

    def on_trade_closed(self, item: TradeClosedItem) -> None:
        self.trades.append(item)

    def on_equity(self, time_us: int, item: EquityItem) -> None:
        if self.points is not None:
            held = {symbol: float(each.quantity) for symbol, each in self.positions.items()}
            self.steps.append(Step.of(time_us, item, held))
        self.equity_last = item
        self.nav.observe(dec(item.equity), dec(item.transfers))
        self.curve.append(dec(item.equity))

    # ------------------------------------------------------------------ asking

    @property
    def drawdown_pct(self) -> Decimal:
        """Fall of NAV, as of the last position update, below the epoch's high."""
        if not self.high_told:
            return self.nav.drawdown_pct
        return max(100 * (1 - self.nav.value / self.high_told), ZERO)

    @property
    def drawdown_max_pct(self) -> Decimal | None:
        """The deepest there was, over all epochs (DEFINITIONS 6 and 11): from position updates,
        what safety saw, and every price. None where prices are not folded in."""
        if self.points is None:
            return None
        walked = Decimal(f"{curve_of(self.steps, self.points).max_drawdown_pct:.9f}")
        told = (self.nav.drawdown_max_pct, self.drawdown_told_pct, self.drawdown_pct)
        return max(walked, *told)

    def booked(self, name: str) -> Decimal:
        """`transfers`, `realised`, `fees` or `funding` as of the last position update."""
        return dec(getattr(self.equity_last, name)) if self.equity_last else ZERO

    def equity(self, marks: dict[str, Decimal]) -> Decimal:
        """E at `marks` (DEFINITIONS 3): transfers + realised - fees + funding + unrealised."""
        cash = self.booked("transfers") + self.booked("realised")
        return cash - self.booked("fees") + self.booked("funding") + self.unrealised(marks)

    def unrealised(self, marks: dict[str, Decimal]) -> Decimal:
        return sum((p.unrealised for p in self.open_positions(marks)), ZERO)

    def gross(self, marks: dict[str, Decimal]) -> Decimal:
        """Sum of absolute notionals at mark."""
        return sum((p.quantity * p.mark for p in self.open_positions(marks)), ZERO)

    def open_positions(self, marks: dict[str, Decimal]) -> list[OpenPosition]:
        """Open positions by symbol, marked at `marks`, else at their entry."""
        return [self._marked(item, marks) for _, item in sorted(self.positions.items())]

    def _marked(self, item: PositionItem, marks: dict[str, Decimal]) -> OpenPosition:
        quantity, cost = dec(item.quantity), dec(item.cost)
        entry = dec(item.average_entry) if item.average_entry else cost / quantity
        mark = marks.get(item.symbol, entry)
        return OpenPosition(
            symbol=item.symbol,
            side="LONG" if quantity > 0 else "SHORT",
            quantity=abs(quantity),
            entry=entry,
            mark=mark,
            unrealised=quantity * mark - cost,
            opened_at=item.opened_at,
            trade_id=item.trade_id,
            stop=self._trigger(item.trade_id, "stop"),
            target=self._trigger(item.trade_id, "target"),
        )

    def _trigger(self, trade_id: str, purpose: str) -> Decimal | None:
        for order_id in reversed(self.protection.get(trade_id, ())):
            order = self.orders[order_id]
            if order.purpose == purpose and order_id not in self.ended and order.trigger_price:
                return dec(order.trigger_price)
        return None

    @property
    def approved(self) -> int:
        return self.approved_entries + self.approved_exits

    @property
    def net(self) -> Decimal:
        """Sum of the closed trades' net results."""
        return sum((dec(t.net) for t in self.trades), ZERO)

    def exit_kind(self, trade: TradeClosedItem) -> str:
        """Purpose of the order that closed a trade; of fills that no decision made: `halt` for what
        the gateway closed by itself, else `liquidation`."""
        if trade.exit_order_id is None:
            halted = (trade.symbol, trade.closed_at) in self.halt_fills
            return "halt" if halted else "liquidation"
        order = self.orders.get(trade.exit_order_id)
        return order.purpose if order else "unknown"

    def exits(self) -> dict[str, int]:
        """Closed trades by kind of exit."""
        return dict(Counter(self.exit_kind(trade) for trade in self.trades).most_common())

    @property
    def wins(self) -> int:
        return sum(dec(t.net) > 0 for t in self.trades)

    @property
    def profit_factor(self) -> Decimal | None:
        """Net wins over net losses (DEFINITIONS 11); None without losses."""
        results = [dec(t.net) for t in self.trades]
        lost = -sum((r for r in results if r < 0), ZERO)
        return sum((r for r in results if r > 0), ZERO) / lost if lost else None

    @property
    def fill_rate_pct(self) -> Decimal | None:
        """Average filled share of ended orders that were meant to fill (stops and targets only
        rest and do not count). None before the first such end."""
        shares = [
            min(dec(end.filled_quantity) / dec(order.quantity), ONE)
            for order_id, end in self.ended.items()
            if (order := self.orders.get(order_id)) and order.purpose not in PROTECTIVE
        ]
        return 100 * sum(shares, ZERO) / len(shares) if shares else None

    def slippage(self, purposes: tuple[str, ...] | None = None) -> FillSum:
        """All fills of orders of these purposes (all by default), weighted by notional."""
        total = FillSum()
        for order_id, part in self.fills_of.items():
            order = self.orders.get(order_id)
            if purposes is None or (order is not None and order.purpose in purposes):
                total.quantity += part.quantity
                total.arrival += part.arrival
                total.cost += part.cost
                total.fees += part.fees
        return total

    @property
    def slippage_max_pct(self) -> Decimal:
        """The worst order's slippage."""
        return max((part.slippage_pct for part in self.fills_of.values()), default=ZERO)

    @property
    def confidence_average(self) -> Decimal | None:
        count = self.signals + self.intents
        return self.confidence_sum / count if count else None


def _wider(order: Order, before: Order) -> bool:
    """Whether a stop stands farther from the market than the one it replaces."""
    if not (order.trigger_price and before.trigger_price):
        return False
    now, then = dec(order.trigger_price), dec(before.trigger_price)
    return now < then if order.side == "SELL" else now > then
