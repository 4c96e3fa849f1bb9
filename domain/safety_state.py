"""Slices of the safety decider: books by account, prices of the last minutes, own standing.

Equity is base + sum of quantity x mark, where `base` is what the last position update told less the
marks it was told with. So it can be seen at every price, and at any time of the last six minutes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import NamedTuple

from domain.average_cost import EXACT, ZERO
from domain.market_state import Marked, Marks
from domain.points import POINT_S
from domain.safety_levels import KEPT_US, Seen, nav_of, units_after
from domain.skipping import Outside
from schemas.envelope import Envelope
from schemas.positions import EquityItem, PositionItem, PositionUpdated
from schemas.safety import SAFETY_TYPES, FlashCrashDetected, Hold, Level
from schemas.scalars import dec, micros

SECOND_US = 1_000_000
POINT_US = POINT_S * SECOND_US


class BookAt(NamedTuple):
    """What an account held from a time on: equity = `base` + sum of quantity x mark."""

    at: int
    base: Decimal
    units: Decimal
    held: tuple[tuple[str, Decimal], ...]


@dataclass(slots=True)
class Book:
    """One account as position updates told it. `told`: marks they were told with."""

    transfers: Decimal = ZERO
    units: Decimal = ZERO
    equity: Decimal = ZERO
    base: Decimal = ZERO
    held: dict[str, Decimal] = field(default_factory=dict)
    """Open quantities, signed."""
    told: dict[str, Decimal] = field(default_factory=dict)
    before: list[BookAt] = field(default_factory=list)
    """What was held in the last minutes, oldest first; the last entry is what is held now."""
    changed: bool = False
    """Whether the last record told more than equity at other marks."""
    closed: bool = False
    """Whether the last record closed the last open position."""


@dataclass(slots=True)
class Books:
    """Slice of `trade.position.update`."""

    accounts: dict[str, Book] = field(default_factory=dict)

    def fold(self, event: Envelope) -> bool:
        """Fold a record; True if it told equity."""
        if not isinstance(event, PositionUpdated):
            return False
        equity: EquityItem | None = None
        moved: list[PositionItem] = []
        for item in event.data.items:
            if isinstance(item, EquityItem):
                equity = item
            elif isinstance(item, PositionItem):
                moved.append(item)
        if equity is None:
            return False
        book = self.accounts.get(event.partitionkey)
        if book is None:
            book = self.accounts[event.partitionkey] = Book()
        with localcontext(EXACT):
            _fold(book, equity, moved, event.time)
        return True


def _fold(book: Book, told: EquityItem, moved: list[PositionItem], time: str) -> None:
    open_before = bool(book.held)
    for item in moved:
        quantity = dec(item.quantity)
        if quantity:
            book.held[item.symbol] = quantity
        else:
            book.held.pop(item.symbol, None)
    book.equity, transfers = dec(told.equity), dec(told.transfers)
    amount = transfers - book.transfers
    if amount:
        book.units = units_after(book.units, book.equity - amount, amount)
        book.transfers = transfers
    book.told = {symbol: dec(mark) for symbol, mark in told.marks.items()}
    book.base = book.equity - sum(
        (quantity * book.told[symbol] for symbol, quantity in book.held.items()), ZERO
    )
    book.changed = bool(moved or amount)
    book.closed = open_before and not book.held
    at = micros(time)
    entry = BookAt(at, book.base, book.units, tuple(book.held.items()))
    if not book.before or entry[1:] != book.before[-1][1:]:
        if book.before and book.before[-1].at >= at:
            entry = entry._replace(at=book.before[-1].at)
            book.before[-1] = entry
        else:
            book.before.append(entry)
        while len(book.before) > 1 and book.before[1].at <= at - KEPT_US:
            del book.before[0]


@dataclass(slots=True)
class Watched(Marked):
    """One symbol: its last price, and those of the last minutes, at most one a second."""

    recent: list[Seen] = field(default_factory=list)
    """Time and mark, oldest first, with the one that held at the beginning."""


@dataclass(slots=True)
class SafetyMarket(Marks[Watched]):
    """Slice of `market`: marks of the last six minutes."""

    symbols: dict[str, Watched] = field(default_factory=dict)
    outside: Outside | None = field(default=None, compare=False, repr=False)
    """Runs that fold in bulk: where prices are looked up when they are wanted."""

    def blank(self) -> Watched:
        return Watched()

    def seen(self, known: Watched) -> None:
        assert known.mark is not None
        at, recent = micros(known.at), known.recent
        if recent and at - recent[-1].at < SECOND_US:
            recent[-1] = Seen(recent[-1].at, known.mark)
            return
        recent.append(Seen(at, known.mark))
        while len(recent) > 1 and recent[1].at <= at - KEPT_US:
            del recent[0]

    def skip(self, outside: Outside) -> None:
        """Take over what folding everything up to a place would have left; what is rarely asked for
        (:meth:`settle`) only when it is."""
        Marks.skip(self, outside)
        self.outside = outside

    def lately(self, symbol: str, kept_us: int) -> Sequence[Seen]:
        """Prices of a symbol that were seen last, oldest first: at least those of the last
        `kept_us`, with the one that held at their beginning."""
        known = self.symbols.get(symbol)
        if known is None:
            return ()
        if self.outside is None:
            return known.recent
        return [Seen(*seen) for seen in self.outside.recent(symbol, kept_us)]

    def settle(self) -> None:
        """Look up the prices of the last minutes, if they were skipped."""
        if self.outside is not None:
            for symbol, known in self.symbols.items():
                known.recent = [Seen(*seen) for seen in self.outside.recent(symbol, KEPT_US)]
            self.outside = None


@dataclass(slots=True)
class OwnStanding:
    """What own records said last of an account."""

    level: Level
    drawdown: Level
    holds: tuple[Hold, ...]
    epoch: int
    high: Decimal
    day: str
    day_nav: Decimal


@dataclass(slots=True)
class SafetyOwn:
    """Slice of own records."""

    accounts: dict[str, OwnStanding] = field(default_factory=dict)
    flashes: int = 0

    def fold(self, event: Envelope) -> bool:
        if not isinstance(event, SAFETY_TYPES):
            return False
        told = event.data
        self.flashes += isinstance(event, FlashCrashDetected)
        self.accounts[event.partitionkey] = OwnStanding(
            level=told.level,
            drawdown=told.drawdown,
            holds=told.holds,
            epoch=told.drawdown_epoch,
            high=dec(told.high_water_mark),
            day=told.day,
            day_nav=dec(told.day_nav),
        )
        return True


# ---------------------------------------------------------------------- across slices


def equity_at(book: BookAt | Book, marks: dict[str, Decimal]) -> Decimal:
    """Equity at marks; KeyError for a held symbol without one. Call it in :data:`EXACT`."""
    held: Iterable[tuple[str, Decimal]] = book.held.items() if isinstance(book, Book) else book.held
    return sum((quantity * marks[symbol] for symbol, quantity in held), book.base)


def marks_now(book: Book, market: SafetyMarket) -> dict[str, Decimal]:
    """Marks of what is held; the one it was told with stands in for an unknown one."""
    return {symbol: market.mark(symbol) or book.told[symbol] for symbol in book.held}


def nav_line(book: Book, market: SafetyMarket, since_us: int) -> list[Seen]:
    """NAV at every price and every change of the book from a time on, with what held at its
    beginning; in order of time. Call it in :data:`EXACT`."""
    marks = dict(book.told)
    begun: Seen | None = None
    line: list[Seen] = []
    for at, held in _states(book, market, marks):
        seen = Seen(max(at, since_us), nav_of(equity_at(held, marks), held.units))
        if at <= since_us:
            begun = seen
        else:
            line.append(seen)
    return line if begun is None else [begun, *line]


def nav_before(book: Book, market: SafetyMarket, since_us: int, before_us: int) -> Seen | None:
    """The last of :func:`nav_line` before a time later than `since_us`."""
    if (quick := _state_before(book, market, before_us)) is not None:
        at, held, marks = quick
        return Seen(max(at, since_us), nav_of(equity_at(held, marks), held.units))
    marks = dict(book.told)
    last: tuple[int, BookAt, dict[str, Decimal]] | None = None
    for at, held in _states(book, market, marks):
        if at >= before_us:
            break
        last = at, held, dict(marks)
    if last is None:
        return None
    at, held, marks = last
    return Seen(max(at, since_us), nav_of(equity_at(held, marks), held.units))


def _state_before(
    book: Book, market: SafetyMarket, before_us: int
) -> tuple[int, BookAt, dict[str, Decimal]] | None:
    """The last of :func:`_states` before a time, and its marks, looked up from the end; None where
    that one is left out, or there is none."""
    held = next((entry for entry in reversed(book.before) if entry.at < before_us), None)
    if held is None or held.units <= ZERO:
        return None
    marks, last = dict(book.told), held.at
    for symbol in {symbol for entry in book.before for symbol, _ in entry.held}:
        for seen in reversed(market.lately(symbol, POINT_US)):
            if seen.at < before_us:
                marks[symbol], last = seen.nav, max(last, seen.at)
                break
    return (last, held, marks) if all(s in marks for s, _ in held.held) else None


def _states(
    book: Book, market: SafetyMarket, marks: dict[str, Decimal]
) -> Iterator[tuple[int, BookAt]]:
    """The book after the last change of each time, in order, `marks` brought up to it; left out
    where there is nothing to value yet, or no price for it."""
    market.settle()
    symbols = {symbol for entry in book.before for symbol, _ in entry.held}
    changes: list[tuple[int, int, str, Decimal | BookAt]] = [
        (entry.at, 1, "", entry) for entry in book.before
    ]
    for symbol in sorted(symbols & market.symbols.keys()):
        changes += [(seen.at, 0, symbol, seen.nav) for seen in market.symbols[symbol].recent]
    changes.sort(key=lambda change: change[:3])
    held: BookAt | None = None
    for n, (at, _, symbol, value) in enumerate(changes):
        if isinstance(value, BookAt):
            held = value
        else:
            marks[symbol] = value
        if n + 1 < len(changes) and changes[n + 1][0] == at:
            continue
        if held is not None and held.units > ZERO and all(s in marks for s, _ in held.held):
            yield at, held
