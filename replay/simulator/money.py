"""Books of an account from execution results alone, held against what `positions` says.

DEFINITIONS 3: E = transfers + realised - fees + funding + sum q (m - average entry), equivalently
transfers - sum of fills' signed q p - fees + funding + sum q m, exactly.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Any

from replay.simulator.found import BrokenPromise, items_of
from schemas.envelope import Envelope

PRECISION = 60


class Books:
    """All accounts. Feed it valid `trade.execution.res` and `trade.position.update` records."""

    def __init__(self) -> None:
        self.accounts: dict[str, _Book] = defaultdict(_Book)

    def reported(self, offset: int, event: Envelope) -> None:
        """A valid record of `trade.execution.res`."""
        results = self.accounts[event.partitionkey].results
        results.extend((offset, item) for item in items_of(event))

    def updated(self, key: str, offset: int, event: Envelope) -> None:
        """A valid record of `trade.position.update`. Raises BrokenPromise where a figure is not
        what the results up to its basis make."""
        book = self.accounts[event.partitionkey]
        number = key.rpartition("/")[2]
        with localcontext(prec=PRECISION):
            book.fold((event.basis or {}).get(f"trade.execution.res/{number}", 0))
            for item in items_of(event):
                if item.kind == "position" and Decimal(item.quantity) != book.open[item.symbol]:
                    raise BrokenPromise(
                        f"{key} offset {offset}: position {item.symbol} of {event.partitionkey} is "
                        f"{item.quantity}, results make {book.open[item.symbol]}"
                    )
                if item.kind == "equity":
                    book.check(item, f"{key} offset {offset}: {event.partitionkey}")

    def nav(self, account: str, marks: Mapping[str, Decimal]) -> Decimal:
        """Equity over transfers, of all results that were reported."""
        book = self.accounts[account]
        with localcontext(prec=PRECISION):
            book.fold(1 << 62)
            own, transferred = book.own(), Decimal(book.sums["transferred"])
            held = sum((q * marks[s] for s, q in book.open.items() if q), Decimal(0))
            return (own + held) / transferred


class _Book:
    def __init__(self) -> None:
        self.results: deque[tuple[int, Any]] = deque()
        self.seen: set[str] = set()
        self.sums: Counter[str] = Counter()
        self.open: dict[str, Decimal] = defaultdict(Decimal)

    def fold(self, upto: int) -> None:
        while self.results and self.results[0][0] < upto:
            item = self.results.popleft()[1]
            if item.id in self.seen:
                continue
            self.seen.add(item.id)
            if item.kind in ("transferred", "funded"):
                self.sums[item.kind] += Decimal(item.amount)  # type: ignore[assignment]
            elif item.kind == "filled":
                signed = Decimal(item.quantity) * (1 if item.side == "BUY" else -1)
                self.sums["cash"] -= signed * Decimal(item.price)  # type: ignore[assignment]
                self.sums["fees"] += Decimal(item.fee)  # type: ignore[assignment]
                self.open[item.symbol] += signed

    def own(self) -> Decimal:
        """Equity less what open positions are worth."""
        sums = self.sums
        return Decimal(sums["transferred"] + sums["cash"] - sums["fees"] + sums["funded"])

    def check(self, item: Any, where: str) -> None:
        worth = {s: q * Decimal(item.marks.get(s, 0)) for s, q in self.open.items() if q}
        sums = self.sums
        made = {
            "transfers": sums["transferred"],
            "fees": sums["fees"],
            "funding": sums["funded"],
            "gross": sum(map(abs, worth.values())),
            "equity": self.own() + sum(worth.values()),
        }
        for name, value in made.items():
            if Decimal(getattr(item, name)) != value:
                raise BrokenPromise(
                    f"{where}: {name} is {getattr(item, name)}, results make {value}"
                )
