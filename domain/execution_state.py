"""Slices of the execution decider: market, approvals, own orders (results: `execution_results`).

Each is a fold of one topic alone. What two of them hold against each other (an order and its end,
an approval and its answer) is taken out by :func:`tidy`, pair by pair, so that the state is the
same in whatever order the topics were folded.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from domain.execution_results import ResultAccount, Results
from domain.market_state import MarketState
from domain.skipping import Outside
from schemas.envelope import Envelope
from schemas.market import PricesObserved
from schemas.scalars import micros
from schemas.trade import (
    Cancel,
    Dropped,
    EmergencyStep,
    Flat,
    Order,
    OrderDecided,
    Regime,
    SignalJudged,
)
from schemas.trade_commands import CommandJudged

ZERO = Decimal(0)
PROTECTIVE = ("stop", "target")
CLOSING = (
    "exit_signal", "exit_time", "exit_unprotected", "exit_stop_failed", "emergency_close",
    "exit_command",
)  # fmt: skip
REDUCING = (*CLOSING, "reduce_command")
"""Purposes that only take away from a position; a reduction leaves the rest to its stop."""
MARKS_KEPT_US = 60_000_000
"""How far back marks are remembered, for stops that have been crossed for some time."""


# ---------------------------------------------------------------------- market


@dataclass(slots=True)
class ExecutionMarket(MarketState):
    """The market slice with the marks of the last minute: how long a trigger has been crossed."""

    marks: dict[str, list[tuple[int, Decimal]]] = field(default_factory=dict)
    """Symbol to (time in microseconds, mark), oldest first."""
    outside: Outside | None = field(default=None, compare=False, repr=False)
    """Runs that fold in bulk: where marks are looked up when they are wanted."""

    def fold(self, event: Envelope) -> bool:
        """Fold a market event; True if anything in it was news."""
        if not MarketState.fold(self, event):
            return False
        if isinstance(event, PricesObserved):
            at = micros(event.time)
            for item in event.data.items:
                known = self.symbols[item.symbol]
                if known.at == event.time and known.mark is not None:
                    self._remember(item.symbol, at, known.mark)
        return True

    def skip(self, outside: Outside) -> None:
        """Take over what folding everything up to a place would have left; marks of the last minute
        (:meth:`settle`) only when they are asked for."""
        MarketState.skip(self, outside)
        self.outside = outside

    def settle(self) -> None:
        """Look up the marks of the last minute, if they were skipped."""
        if self.outside is not None:
            for symbol in self.symbols:
                recent = self.outside.recent(symbol)
                if recent:
                    self.marks[symbol] = recent
            self.outside = None

    def _remember(self, symbol: str, at: int, mark: Decimal) -> None:
        marks = self.marks.get(symbol)
        if marks is None:
            marks = self.marks[symbol] = []
        if marks and marks[-1][0] >= at:
            return
        marks.append((at, mark))
        while len(marks) > 1 and marks[1][0] <= at - MARKS_KEPT_US:
            del marks[0]


# ---------------------------------------------------------------------- trade.signal.safe


@dataclass(slots=True)
class Approved:
    """What must be known of an approval after its order: an order carries no stop and target."""

    stop: Decimal | None
    target: Decimal | None
    regime: Regime
    risk: Decimal
    """Loss at the stop with costs, USDT."""
    leverage: int


@dataclass(slots=True)
class Approvals:
    """Slice of `trade.signal.safe`: account to verdict id to approval, as long as its order is not
    over. Judged commands are answered and not kept."""

    accounts: dict[str, dict[str, Approved]] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set, repr=False)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, SignalJudged):
            return isinstance(event, CommandJudged)
        for verdict in event.data.items:
            plan = verdict.plan
            if verdict.verdict == "approved" and plan is not None:
                approved = Approved(
                    stop=Decimal(plan.stop_price) if plan.stop_price else None,
                    target=Decimal(plan.target_price) if plan.target_price else None,
                    regime=plan.regime,
                    risk=Decimal(plan.risk_usdt),
                    leverage=plan.leverage,
                )
                self.accounts.setdefault(event.partitionkey, {})[verdict.id] = approved
                self.dirty.add(event.partitionkey)
        return True


# ---------------------------------------------------------------------- own records


@dataclass(slots=True)
class OwnOrder:
    """An order of ours that has no end yet, or that opened a position which is still open."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    order_type: str
    purpose: str
    owner_id: str | None
    request_id: str | None
    trigger: Decimal | None
    regime: Regime | None
    replaces: str | None
    at: int
    """Event time it was decided at, in microseconds."""
    cancelled: bool = False
    """A cancel was decided; the gateway repeats it until the order has its end."""
    unwanted: bool = False
    """Of an entry: a person closed its symbol; what it still fills is closed too."""


@dataclass(slots=True)
class Care:
    """What was decided for the last trade of a symbol: protection, and whether it is closed."""

    trade_id: str
    stop_id: str | None = None
    target_id: str | None = None
    closing: str | None = None
    """Purpose of the close that was decided; it stays until the trade is flat."""
    closes: int = 0


@dataclass(slots=True)
class Emergency:
    """How far an emergency stop has come (DEFINITIONS 7)."""

    id: str
    closes: int = 0
    """Attempts of step 3."""
    closed_at: int = 0
    """Event time of the last one, microseconds."""
    confirms: int = 0
    confirm_id: str | None = None
    """The last step 4, as long as no order was decided after it."""
    sweeps: int = 0
    swept: str | None = None
    """The step 4 after which protection was cancelled."""
    flat: bool = False
    """`flat` was recorded and no order was decided after it."""


@dataclass(slots=True)
class OwnAccount:
    """One account in the own records."""

    orders: dict[str, OwnOrder] = field(default_factory=dict)
    care: dict[str, Care] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    """Verdicts whose order is over, or that led to none, until the approval is seen as well."""
    emergency: Emergency | None = None


@dataclass(slots=True)
class OwnRecords:
    """Slice of own records."""

    accounts: dict[str, OwnAccount] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set, repr=False)

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, OrderDecided):
            return False
        account = self.accounts.get(event.partitionkey)
        if account is None:
            account = self.accounts[event.partitionkey] = OwnAccount()
        at = micros(event.time)
        for item in event.data.items:
            if isinstance(item, Order):
                _order(account, item, at)
            elif isinstance(item, Cancel):
                known = account.orders.get(item.order_id)
                if known is not None:
                    known.cancelled = True
                    known.unwanted = item.why == "closed_by_command"
            elif isinstance(item, Dropped):
                account.released.add(item.request_id)
            elif isinstance(item, EmergencyStep | Flat):
                _emergency(account, item, at)
        self.dirty.add(event.partitionkey)
        return True


def _order(account: OwnAccount, item: Order, at: int) -> None:
    account.orders[item.id] = OwnOrder(
        id=item.id,
        client_order_id=item.client_order_id,
        symbol=item.symbol,
        side=item.side,
        order_type=item.order_type,
        purpose=item.purpose,
        owner_id=item.owner_id,
        request_id=item.request_id,
        trigger=Decimal(item.trigger_price) if item.trigger_price else None,
        regime=item.regime,
        replaces=item.replaces,
        at=at,
    )
    if account.emergency is not None:
        account.emergency.confirm_id = None
        account.emergency.flat = False
    if item.owner_id is None:
        return
    care = account.care.get(item.symbol)
    if care is None or care.trade_id != item.owner_id:
        care = account.care[item.symbol] = Care(item.owner_id)
    if item.purpose == "stop":
        care.stop_id = item.id
    elif item.purpose == "target":
        care.target_id = item.id
    elif item.purpose in CLOSING:
        care.closing, care.closes = item.purpose, care.closes + 1


def _emergency(account: OwnAccount, item: EmergencyStep | Flat, at: int) -> None:
    known = account.emergency
    if known is None or known.id != item.emergency_id:
        known = account.emergency = Emergency(item.emergency_id)
    if isinstance(item, Flat):
        known.flat = True
    elif item.name == "close":
        known.closes, known.closed_at = known.closes + 1, at
    elif item.name == "confirm":
        known.confirms, known.confirm_id = known.confirms + 1, item.id
    elif item.name == "cancel_protection":
        known.sweeps, known.swept = known.sweeps + 1, known.confirm_id


# ---------------------------------------------------------------------- across slices


def tidy(own: OwnRecords, results: Results, approvals: Approvals) -> None:
    """Take out ended orders with their ends, and approvals whose order is over.

    An order stays while it is among those that made an open position larger: its plan holds the
    stop and the target. Pairs leave both slices together, so the order of folding does not matter.
    """
    if own.dirty or results.dirty or approvals.dirty:
        for name in own.dirty | results.dirty | approvals.dirty:
            known = own.accounts.get(name)
            if known is not None:
                _tidy_account(known, results.accounts.get(name), approvals.accounts.get(name))
        own.dirty.clear()
        results.dirty.clear()
        approvals.dirty.clear()


def _tidy_account(
    own: OwnAccount, results: ResultAccount | None, approvals: dict[str, Approved] | None
) -> None:
    if results is not None and results.ended:
        kept = {order for p in results.positions.values() for order in p.orders}
        for order in [o for o in own.orders.values() if o.id in results.ended]:
            if order.id in kept:
                continue
            del own.orders[order.id]
            results.ended.discard(order.id)
            if order.request_id is not None:
                own.released.add(order.request_id)
    if approvals and own.released:
        for request in [r for r in approvals if r in own.released]:
            del approvals[request]
            own.released.discard(request)
