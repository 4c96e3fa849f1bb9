"""Flash crashes as prices and books of the log make them, held against what safety found (SAFE-4).

Judged apart from the code that detects them: at a price at which the equity of an account stands
below its highest of the last minute by its limit, and a symbol it holds has moved against it by its
limit, safety must have found a flash crash. What depends on the order in which two partitions were
read is left out: what happened before the book last changed, and a book that is too young.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

from replay.simulator.found import BrokenPromise
from schemas.envelope import Envelope
from schemas.policy import Policy
from schemas.positions import PositionUpdated
from schemas.safety import FlashCrashDetected, GovernorLevelChanged
from schemas.scalars import micros

SECOND_US = 1_000_000
WINDOW_US = 60 * SECOND_US
KNOWN_US = 4 * SECOND_US
"""A book that is older than this was read by safety before the price that is looked at."""
LATE_US = 15 * SECOND_US
"""How long after a fall it may be found at most (SAFE-4): by a safety that was away meanwhile."""
HAIR = Decimal("1.001")
"""A fall counts where it is over its limit by this factor."""
PRECISION = 60


@dataclass(frozen=True, slots=True)
class Fall:
    """From the first price that fulfils both limits to the last; event time in microseconds."""

    begin: int
    end: int
    worst_pct: Decimal

    def __str__(self) -> str:
        lasted = (self.end - self.begin) / SECOND_US
        return f"fell {self.worst_pct:.2f} % in a minute and stood so for {lasted:.0f} s"


@dataclass(slots=True)
class _Account:
    """`line`: time, equity and marks of each price since the book last changed."""

    policy: Policy | None = None
    held: dict[str, Decimal] = field(default_factory=dict)
    base: Decimal | None = None
    line: list[tuple[int, Decimal, dict[str, Decimal]]] = field(default_factory=list)
    fall: Fall | None = None
    falls: list[Fall] = field(default_factory=list)
    found: list[list[int]] = field(default_factory=list)
    """Begin and end of each flash crash that safety found."""

    def anew(self) -> None:
        """Prices so far say nothing any more."""
        self.line.clear()
        self._ended()

    def price(self, at: int, marks: Mapping[str, Decimal]) -> None:
        """Look at one price."""
        if self.base is None or not self.held or not all(s in marks for s in self.held):
            return
        mine = {symbol: marks[symbol] for symbol in self.held}
        equity = self.base + sum((q * mine[s] for s, q in self.held.items()), Decimal(0))
        self.line.append((at, equity, mine))
        while self.line[0][0] < at - WINDOW_US:
            del self.line[0]
        fell = self._fell()
        if fell is None:
            self._ended()
        elif self.fall is None:
            self.fall = Fall(at, at, fell)
        else:
            self.fall = Fall(self.fall.begin, at, max(self.fall.worst_pct, fell))

    def _fell(self) -> Decimal | None:
        """By how much, in percent, if it fulfils both limits."""
        if self.policy is None:
            return None
        at, equity, mine = self.line[-1]
        if at - self.line[0][0] < KNOWN_US:
            return None
        peak = max(each for _, each, _ in self.line)
        if peak <= 0:
            return None
        fell = (peak - equity) / peak * 100
        if fell < Decimal(self.policy.flash_fall_pct) * HAIR:
            return None
        least = Decimal(self.policy.flash_move_pct) * HAIR
        for symbol, quantity in self.held.items():
            seen = [marks[symbol] for _, _, marks in self.line]
            far = max(seen) if quantity > 0 else min(seen)
            if abs(mine[symbol] / far - 1) * 100 >= least:
                return fell
        return None

    def _ended(self) -> None:
        if self.fall is not None:
            self.falls.append(self.fall)
        self.fall = None

    def missed(self) -> Fall | None:
        """One that was to be found and was not."""
        falls = [*self.falls, self.fall] if self.fall is not None else self.falls
        for fall in falls:
            last = fall.end + LATE_US
            if not any(begin <= last and fall.begin <= end for begin, end in self.found):
                return fall
        return None


class Falls:
    """All accounts of one log; feed it valid records in append order."""

    def __init__(self) -> None:
        self.accounts: dict[str, _Account] = {}
        self.prices_at = 0

    def of(self, account: str) -> _Account:
        return self.accounts.setdefault(account, _Account())

    def limits(self, account: str, policy: Policy) -> None:
        """A policy that holds from now on."""
        known = self.of(account)
        known.policy = policy
        known.anew()

    def found(self, event: Envelope) -> None:
        """A record of safety: a flash crash begins, goes on or is over."""
        if not isinstance(event, FlashCrashDetected | GovernorLevelChanged):
            return
        found, at = self.of(event.partitionkey).found, micros(event.time)
        on = "flash_crash" in event.data.holds
        lasts = bool(found) and found[-1][1] == 1 << 62
        if on and not lasts:
            found.append([at, 1 << 62])
        elif lasts and not on:
            found[-1][1] = at

    def updated(self, event: PositionUpdated) -> None:
        """A book, and what it is worth at its marks."""
        known = self.of(event.partitionkey)
        changed = False
        told: Any = None
        for item in event.data.items:
            if item.kind == "position":
                known.held[item.symbol] = Decimal(item.quantity)
                if not known.held[item.symbol]:
                    del known.held[item.symbol]
                changed = True
            elif item.kind == "equity":
                told = item
        if told is None:
            return
        with localcontext(prec=PRECISION):
            worth = (q * Decimal(told.marks[s]) for s, q in known.held.items())
            base = Decimal(told.equity) - sum(worth, Decimal(0))
        if changed or base != known.base:
            known.base = base
            known.anew()

    def prices(self, event: Envelope, marks: Mapping[str, Decimal]) -> None:
        """Prices of all symbols as this record leaves them; one that is older than the last says
        nothing."""
        at = micros(event.time)
        if at <= self.prices_at:
            return
        self.prices_at = at
        with localcontext(prec=PRECISION):
            for known in self.accounts.values():
                known.price(at, marks)

    def at_rest(self) -> None:
        """Everything was read: whatever was to be found was."""
        for account, known in self.accounts.items():
            if fall := known.missed():
                raise BrokenPromise(f"{account} {fall}: no flash crash was found")
