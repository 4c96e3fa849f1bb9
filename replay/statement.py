"""Statements: what an account did each UTC day, in sums that tie to the equity identity.

A day of an account is all that records of that day's event time did to it; its closing equity is
marked at the last prices before midnight. For every day, to the last digit:

    closing equity = opening equity + transfers + realised - fees + funding + change of unrealised

Money in USDT; fees in other assets are valued as the positions processor valued them when they
were paid (DEFINITIONS 3), and listed in their own asset as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, localcontext

from domain.average_cost import EXACT
from domain.market_state import MarketState
from replay.log import LogRecord
from schemas.envelope import Envelope
from schemas.positions import EquityItem, PositionItem, PositionUpdated, TradeClosedItem
from schemas.scalars import dec, text
from schemas.topics import CLOCK, EXECUTION_RES, MARKET, ORDER, POSITION_UPDATE
from schemas.trade import ExecutionReported, Filled, Funded, Order, OrderDecided, Transferred

ZERO = Decimal(0)
SETTLEMENT = "USDT"
TOPICS = (MARKET, CLOCK, ORDER, EXECUTION_RES, POSITION_UPDATE)
"""Topics that a statement is made of."""
Row = dict[str, str]


class StatementError(ValueError):
    """Sums that do not tie: the text names account, day and both figures."""


@dataclass(slots=True)
class _Books:
    """Cumulative figures of an account, as told with its last update of a day."""

    transfers: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    open: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    """Signed quantity and cost of each open position, by symbol."""


@dataclass(slots=True)
class _Day:
    """What happened on a day; `books`: as of its last update, None without one."""

    books: _Books | None = None
    fills: int = 0
    volume: Decimal = ZERO
    trades: int = 0
    paid: dict[str, Decimal] = field(default_factory=dict)
    """Fees by asset."""
    funded: Decimal = ZERO
    moved: Decimal = ZERO


@dataclass(slots=True)
class AccountStatement:
    """An account's days and lines. Every row is text, column by column."""

    account: str
    days: list[Row] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)
    trades: list[Row] = field(default_factory=list)
    funding: list[Row] = field(default_factory=list)
    transfers: list[Row] = field(default_factory=list)
    fees: list[Row] = field(default_factory=list)

    def tables(self) -> dict[str, list[Row]]:
        """Every table by name."""
        names = ("days", "fills", "trades", "funding", "transfers", "fees")
        return {name: getattr(self, name) for name in names}


COLUMNS: dict[str, tuple[str, ...]] = {
    "days": (
        "account", "day", "opening_equity", "transfers", "realised", "fees", "funding",
        "unrealised_change", "closing_equity", "pnl", "closing_unrealised", "fills", "volume",
        "trades_closed", "marks",
    ),
    "fills": (
        "account", "day", "time", "filled_at", "symbol", "side", "quantity", "price", "notional",
        "fee", "fee_asset", "liquidity", "kind", "order_id", "client_order_id", "trade_id", "rule",
        "id",
    ),
    "trades": (
        "account", "day", "symbol", "side", "quantity_max", "entry_average", "exit_average",
        "realised", "fees", "funding", "net", "opened_at", "closed_at", "trade_id",
    ),
    "funding": ("account", "day", "time", "symbol", "quantity", "mark", "rate", "amount", "id"),
    "transfers": ("account", "day", "time", "kind", "asset", "amount", "transfer_id", "id"),
    "fees": ("account", "day", "asset", "amount"),
}  # fmt: skip
"""Columns of each table, in the order in which they are written."""


class Statements:
    """Fold the valid records of :data:`TOPICS` in, in append order; then ask :meth:`accounts`."""

    def __init__(self) -> None:
        self._market = MarketState()
        self._day = ""
        self._marks: dict[str, dict[str, Decimal]] = {}
        """Last marks of each day that has ended."""
        self._days: dict[str, dict[str, _Day]] = {}
        self._lines: dict[str, AccountStatement] = {}
        self._books: dict[str, _Books] = {}
        """As of each account's last update."""
        self._kinds: dict[str, str] = {}
        """Purpose of each order."""
        self._times: dict[str, str] = {}
        """Event time of results not answered by a position update yet."""
        self._seen: set[str] = set()

    @classmethod
    def of(cls, records: Iterable[LogRecord]) -> "Statements":
        """The statements of a log's records."""
        made = cls()
        for record in records:
            if record.valid and record.event is not None:
                made.fold(record.event)
        return made

    def fold(self, event: Envelope) -> None:
        """Fold a valid event in; types that have no part in a statement change nothing."""
        with localcontext(EXACT):
            if event.type.startswith(("market.", "clock.")):
                self._time(event)
            elif isinstance(event, OrderDecided):
                items = (item for item in event.data.items if isinstance(item, Order))
                self._kinds.update((item.id, item.purpose) for item in items)
            elif isinstance(event, ExecutionReported):
                self._results(event)
            elif isinstance(event, PositionUpdated):
                self._update(event)

    def _time(self, event: Envelope) -> None:
        day = event.time[:10]
        if self._day and day > self._day:
            marks = {s: m.mark for s, m in self._market.symbols.items() if m.mark is not None}
            self._marks[self._day] = marks
        self._day = max(self._day, day)
        self._market.fold(event)

    def _of(self, account: str, time: str) -> _Day:
        return self._days.setdefault(account, {}).setdefault(time[:10], _Day())

    def _statement(self, account: str) -> AccountStatement:
        return self._lines.setdefault(account, AccountStatement(account))

    # ------------------------------------------------------------------ results

    def _results(self, event: ExecutionReported) -> None:
        account = event.partitionkey
        day, lines = self._of(account, event.time), self._statement(account)
        self._times[event.id] = event.time
        head = {"account": account, "day": event.time[:10]}
        for item in event.data.items:
            if item.id in self._seen:
                continue
            if isinstance(item, Filled | Funded | Transferred):
                self._seen.add(item.id)
            if isinstance(item, Filled):
                self._fill(day, item)
                lines.fills.append(head | _fill_row(event, item, self._kind(item)))
            elif isinstance(item, Funded):
                day.funded += dec(item.amount)
                lines.funding.append(head | _row("funding", item, time=event.time))
            elif isinstance(item, Transferred):
                if item.asset == SETTLEMENT:
                    day.moved += dec(item.amount)
                kind = "withdrawal" if dec(item.amount) < 0 else "deposit"
                lines.transfers.append(head | _row("transfers", item, time=event.time, kind=kind))

    def _fill(self, day: _Day, fill: Filled) -> None:
        day.fills += 1
        day.volume += dec(fill.quantity) * dec(fill.price)
        day.paid[fill.fee_asset] = day.paid.get(fill.fee_asset, ZERO) + dec(fill.fee)

    def _kind(self, fill: Filled) -> str:
        """Purpose of the fill's order; `liquidation` and `manual` are none of ours."""
        if fill.order_id is not None:
            return self._kinds.get(fill.order_id, "unknown")
        return "liquidation" if "liquidation" in fill.rule else "manual"

    # ------------------------------------------------------------------ updates

    def _update(self, event: PositionUpdated) -> None:
        """An update belongs to the day of the results it answers."""
        account = event.partitionkey
        time = self._times.pop(event.causationid or "", event.time)
        day = self._of(account, time)
        books = self._books.get(account) or _Books()
        held = dict(books.open)
        for item in event.data.items:
            if isinstance(item, PositionItem):
                held[item.symbol] = dec(item.quantity), dec(item.cost)
                if not held[item.symbol][0]:
                    del held[item.symbol]
            elif isinstance(item, TradeClosedItem):
                day.trades += 1
                row = _row("trades", item)
                self._statement(account).trades.append(
                    {"account": account, "day": time[:10], **row}
                )
            elif isinstance(item, EquityItem):
                books = _Books(
                    dec(item.transfers), dec(item.realised), dec(item.fees), dec(item.funding)
                )
        now = _Books(books.transfers, books.realised, books.fees, books.funding, held)
        day.books = self._books[account] = now

    # ------------------------------------------------------------------ asking

    def accounts(self, account: str | None = None) -> list[AccountStatement]:
        """Statements by account (all, or one), with all days from the first record to the log's
        last day. Raises StatementError where sums do not tie."""
        with localcontext(EXACT):
            for name in self._days:
                if account in (None, name):
                    self._close(name)
        return [s for n, s in sorted(self._lines.items()) if account in (None, n)]

    def _close(self, account: str) -> None:
        lines = self._statement(account)
        lines.days, lines.fees = [], []
        days = self._days[account]
        before, unrealised = _Books(), ZERO
        for name in _calendar(min(days), max(self._day, *days)):
            day = days.get(name) or _Day()
            books, marks = day.books or before, self._marks_of(name)
            now = _unrealised(books, marks)
            _check(account, name, day, before, books)
            row = _day_row(day, before, books, (unrealised, now), marks)
            lines.days.append({"account": account, "day": name, **row})
            for asset, amount in sorted(day.paid.items()):
                lines.fees.append(
                    {"account": account, "day": name, "asset": asset, "amount": text(amount)}
                )
            before, unrealised = books, now

    def _marks_of(self, day: str) -> dict[str, Decimal]:
        """Marks at the end of a day: of the last day with prices up to it, or the last known."""
        if day in self._marks:
            return self._marks[day]
        if day >= self._day:
            return {s: m.mark for s, m in self._market.symbols.items() if m.mark is not None}
        return self._marks.get(max((d for d in self._marks if d < day), default=""), {})


def _calendar(first: str, last: str) -> Iterable[str]:
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    while day <= end:
        yield day.isoformat()
        day += timedelta(days=1)


def _unrealised(books: _Books, marks: dict[str, Decimal]) -> Decimal:
    """Sum of q m - cost; a symbol without a price stays at its cost."""
    open_now = books.open.items()
    return sum((q * marks[s] - cost for s, (q, cost) in open_now if s in marks), ZERO)


def _equity(books: _Books, unrealised: Decimal) -> Decimal:
    return books.transfers + books.realised - books.fees + books.funding + unrealised


def _check(account: str, name: str, day: _Day, before: _Books, told: _Books) -> None:
    """The lines of a day must sum to what the positions processor told."""
    pairs = [
        ("funding", day.funded, told.funding - before.funding),
        ("transfers", day.moved, told.transfers - before.transfers),
    ]
    if set(day.paid) <= {SETTLEMENT}:
        pairs.append(("fees", day.paid.get(SETTLEMENT, ZERO), told.fees - before.fees))
    for what, lines, books in pairs:
        if lines != books:
            raise StatementError(
                f"{account} {name}: {what} are {text(lines)} by their lines and {text(books)} by "
                "the position updates: wait until the positions worker is up to date "
                "(./quantum status), else run ./quantum verify"
            )


def _day_row(
    day: _Day,
    before: _Books,
    books: _Books,
    unrealised: tuple[Decimal, Decimal],
    marks: dict[str, Decimal],
) -> Row:
    opening, closing = _equity(before, unrealised[0]), _equity(books, unrealised[1])
    moved = books.transfers - before.transfers
    shown = {s: text(marks[s]) for s in sorted(books.open) if s in marks}
    return {
        "opening_equity": text(opening),
        "transfers": text(moved),
        "realised": text(books.realised - before.realised),
        "fees": text(books.fees - before.fees),
        "funding": text(books.funding - before.funding),
        "unrealised_change": text(unrealised[1] - unrealised[0]),
        "closing_equity": text(closing),
        "pnl": text(closing - opening - moved),
        "closing_unrealised": text(unrealised[1]),
        "fills": str(day.fills),
        "volume": text(day.volume),
        "trades_closed": str(day.trades),
        "marks": " ".join(f"{s}={mark}" for s, mark in shown.items()),
    }


def _fill_row(event: Envelope, fill: Filled, kind: str) -> Row:
    notional = text(dec(fill.quantity) * dec(fill.price))
    return _row("fills", fill, time=event.time, kind=kind, notional=notional)


def _row(table: str, item: object, **given: str) -> Row:
    """The columns of a table that an item has, as text; `given` ones come first."""
    names = [name for name in COLUMNS[table] if name not in ("account", "day")]
    return {n: given[n] if n in given else str(getattr(item, n) or "") for n in names}
