"""An account as risk sees it now: equity, exposure, open risk, margin, open intents.

Built once a decision from the slices and the marks of this moment; approvals of the same decision
are added with :meth:`Book.approve`, so a later part sees the earlier ones. Worst case throughout:
positions and working entries count, UNKNOWN ones too (an order without an end is working).
"""

from dataclasses import dataclass, field
from decimal import Decimal

from domain.futures import initial_margin, sign
from domain.market_state import MarketState
from domain.policy_state import AccountPolicy
from domain.risk_state import (
    HOUR_US,
    ZERO,
    Approval,
    OpenPosition,
    OrdersState,
    OwnAccount,
    OwnState,
    PositionsAccount,
    PositionsState,
)
from domain.sizing import trade_risk, unit_costs
from schemas.trade import Side

SECOND_US = 1_000_000


@dataclass(slots=True)
class SymbolBook:
    """One symbol of the account. Notional at mark, risk at the current stop, both in USDT."""

    quantity: Decimal = ZERO
    """Signed quantity of the open position."""
    working: Decimal = ZERO
    """Quantity of open entries that may still fill."""
    entries: int = 0
    """Entries the open position is made of."""
    open_intent: bool = False
    """Guard A: an approved entry without an end."""
    notional: Decimal = ZERO
    risk: Decimal = ZERO
    margin: Decimal = ZERO
    unrealised: Decimal = ZERO
    mark: Decimal | None = None

    def add(self, notional: Decimal, risk: Decimal, margin: Decimal) -> None:
        self.notional += notional
        self.risk += risk
        self.margin += margin


@dataclass(slots=True)
class Book:
    """Sums over the account. `equity` None: the mark of position `unpriced` is not known."""

    cash: Decimal = ZERO
    equity: Decimal | None = ZERO
    unpriced: str | None = None
    gross: Decimal = ZERO
    risk: Decimal = ZERO
    margin: Decimal = ZERO
    slots: int = 0
    """Entries approved in the last 3,600 s of event time."""
    symbols: dict[str, SymbolBook] = field(default_factory=dict)

    def of(self, symbol: str) -> SymbolBook:
        """The symbol's part; an empty one, not kept, where nothing is open."""
        return self.symbols.get(symbol) or SymbolBook()

    def approve(
        self, *, symbol: str, quantity: Decimal, notional: Decimal, risk: Decimal, margin: Decimal
    ) -> None:
        """Count an entry that was approved a moment ago, in the same decision."""
        here = self.symbols.setdefault(symbol, SymbolBook())
        here.open_intent = True
        here.working += quantity
        here.add(notional, risk, margin)
        self.gross += notional
        self.risk += risk
        self.margin += margin
        self.slots += 1


def build_book(
    *,
    account: str,
    policy: AccountPolicy,
    now_us: int,
    own: OwnState,
    orders: OrdersState,
    positions: PositionsState,
    market: MarketState,
) -> Book:
    """The book of an account at `now_us` (event time, microseconds)."""
    book = Book()
    held = positions.accounts.get(account)
    mine = own.accounts.get(account)
    if held is not None:
        book.cash = held.cash
        for symbol, position in held.positions.items():
            here = book.symbols[symbol] = SymbolBook()
            stop = orders.stop_of(account, symbol, position.trade_id)
            _hold(
                here,
                symbol=symbol,
                position=position,
                stop=stop,
                mine=mine,
                policy=policy,
                market=market,
            )
    if mine is not None:
        _open_entries(
            book,
            account=account,
            mine=mine,
            held=held,
            policy=policy,
            now_us=now_us,
            orders=orders,
            market=market,
        )
    _sum(book)
    return book


def _costs(price: Decimal, symbol: str, policy: AccountPolicy, market: MarketState) -> Decimal:
    terms = market.terms(symbol)
    taker = terms.taker if terms else ZERO
    return unit_costs(entry=price, taker=taker, slippage_pct=policy.number("slippage_pct"))


def _hold(
    here: SymbolBook,
    *,
    symbol: str,
    position: OpenPosition,
    stop: Decimal | None,
    mine: OwnAccount | None,
    policy: AccountPolicy,
    market: MarketState,
) -> None:
    plan = mine.plans.get(symbol) if mine else None
    if stop is None and plan is not None:
        stop = plan.stop  # filled a moment ago: its stop is decided but not yet in the log
    quantity = position.quantity
    size, entry = abs(quantity), position.cost / quantity
    side: Side = "BUY" if quantity > ZERO else "SELL"
    costs = _costs(entry, symbol, policy, market)
    here.quantity, here.entries = quantity, max(1, position.entries)
    here.mark = market.mark(symbol)
    here.risk = trade_risk(side=side, quantity=size, entry=entry, stop=stop, costs=costs)
    if here.mark is not None:
        here.notional = size * here.mark
        here.margin = initial_margin(here.notional, plan.leverage if plan else 1)
        here.unrealised = quantity * here.mark - position.cost


def _open_entries(
    book: Book,
    *,
    account: str,
    mine: OwnAccount,
    held: PositionsAccount | None,
    policy: AccountPolicy,
    now_us: int,
    orders: OrdersState,
    market: MarketState,
) -> None:
    theirs = orders.accounts.get(account)
    release_us = int(policy.number("guard_release_s")) * SECOND_US
    since = now_us - HOUR_US
    released = 0
    for request, approval in mine.approvals.items():
        if approval.kind != "entry":
            continue
        ordered = theirs is not None and request in theirs.by_request
        if not ordered and now_us - approval.approved_us >= release_us:
            released += approval.approved_us > since
            continue
        here = book.symbols.setdefault(approval.symbol, SymbolBook())
        here.open_intent = True
        position = held.positions.get(approval.symbol) if held else None
        _work(here, approval, position, policy, market)
    book.slots = len(mine.slots) - _expired(mine.slots, since) - released


def _expired(slots: dict[str, int], since: int) -> int:
    """How many slots at the front are older than the window; few, each own record prunes them."""
    count = 0
    for at in slots.values():
        if at > since:
            break
        count += 1
    return count


def _work(
    here: SymbolBook,
    approval: Approval,
    position: OpenPosition | None,
    policy: AccountPolicy,
    market: MarketState,
) -> None:
    """Count what of an entry is not in the position yet. What it filled shows in the position
    itself, so quantity and position come from one topic and nothing is counted twice or missed."""
    now = position.quantity if position else ZERO
    filled = sign(approval.side) * (now - approval.position_before)
    working = approval.quantity - min(max(filled, ZERO), approval.quantity)
    mark = market.mark(approval.symbol) or approval.entry
    costs = _costs(approval.entry, approval.symbol, policy, market)
    here.working += working
    here.add(
        working * mark,
        trade_risk(
            side=approval.side,
            quantity=working,
            entry=approval.entry,
            stop=approval.stop,
            costs=costs,
        ),
        initial_margin(working * approval.entry, approval.leverage),
    )


def _sum(book: Book) -> None:
    equity = book.cash
    for symbol, here in book.symbols.items():
        if here.quantity and here.mark is None:
            book.unpriced = book.unpriced or symbol
        equity += here.unrealised
        book.gross += here.notional
        book.risk += here.risk
        book.margin += here.margin
    book.equity = None if book.unpriced else equity
