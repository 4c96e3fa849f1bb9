"""The safety decider: drawdown, daily loss and flash crash of each account (SAFE-3, 4, 9).

It looks at every price while something is open, at every record that changes an account's money,
and at ticks for what has a time: a new day, the end of a flash crash. Each record carries the whole
standing; the governor's STOP makes `control` activate the emergency stop, so the policy keeps one
writer. A level needs nobody's consent and no person's attention: what it asks for is in the record.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from domain.average_cost import EXACT, ZERO
from domain.clock_state import ClockState, now
from domain.decider import OWN, Decision, Read, Slices
from domain.policy_state import AccountPolicy, ControlState
from domain.safety_levels import (
    FLASH_WINDOW_US,
    GRID_PCT,
    HUNDRED,
    KEPT_US,
    LAG_MAX_S,
    Seen,
    Thresholds,
    against,
    bounds,
    calm,
    drawdown_level,
    fall_pct,
    flash_fall,
    holds_of,
    level_of,
    nav_of,
    window,
)
from domain.safety_state import (
    Book,
    Books,
    OwnStanding,
    SafetyMarket,
    SafetyOwn,
    equity_at,
    marks_now,
    nav_before,
    nav_line,
)
from domain.waits import EquityBound, Waits
from schemas.control import EmergencyWasReset, PolicyChanged
from schemas.envelope import Envelope
from schemas.market import ClockTicked, PricesObserved
from schemas.positions import PositionUpdated
from schemas.safety import (
    DrawdownEpochOpened,
    EquityMarked,
    EquityMarkedData,
    FlashCrashDetected,
    FlashCrashDetectedData,
    GovernorLevelChanged,
    GovernorLevelChangedData,
    Level,
    Observation,
    Standing,
)
from schemas.scalars import micros, text, time_text
from schemas.topics import CLOCK, CONTROL, MARKET, POSITION_UPDATE, partition_of
from schemas.trade import Limit

LIMITS = (
    "governor_warn_pct", "governor_reducing_pct", "drawdown_stop_pct", "daily_loss_pct",
    "flash_fall_pct", "flash_move_pct", "flash_rearm_pct",
)  # fmt: skip
"""Policy fields in the order of :class:`~domain.safety_levels.Thresholds`."""
DAY_US = 86_400_000_000
EARLY = Decimal("1E-9")
"""Share by which equity is waited for early: NAVs are rounded."""


class Safety:
    """One source an account partition, all writing to `control`."""

    name = "safety"
    output = CONTROL
    reads: tuple[Read, ...] = (Read(POSITION_UPDATE), Read(CONTROL), Read(MARKET), Read(CLOCK))
    waits_on = frozenset({OWN, POSITION_UPDATE.name, CONTROL.name})
    asks_about: tuple[type[Envelope], ...] = (
        PositionUpdated, PricesObserved, ClockTicked, PolicyChanged, EmergencyWasReset,
        DrawdownEpochOpened,
    )  # fmt: skip
    equity_last = True

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition, self.partitions = partition, partitions

    def begin(self, topic: str) -> Any:
        states = {
            OWN: SafetyOwn,
            POSITION_UPDATE.name: Books,
            CONTROL.name: ControlState,
            MARKET.name: SafetyMarket,
            CLOCK.name: ClockState,
        }
        return states[topic]()

    def evolve(self, topic: str, state: Any, event: Envelope) -> bool:
        return bool(state.fold(event))

    def tidy(self, slices: Slices) -> None:
        """Nothing to take out: closed positions leave the books by themselves."""

    def asks(self, slices: Slices, fact: Envelope) -> Iterable[str]:
        """Of a price, accounts that hold something; of an update its own if it changed the book; of
        a tick those with a new day or a flash crash to end; of control those it names."""
        books: dict[str, Book] = slices[POSITION_UPDATE.name].accounts
        if isinstance(fact, PricesObserved):
            return sorted(name for name, book in books.items() if book.held)
        if isinstance(fact, PositionUpdated):
            book = books.get(fact.partitionkey)
            return (fact.partitionkey,) if book is not None and book.changed else ()
        if isinstance(fact, ClockTicked):
            day, own = fact.time[:10], slices[OWN].accounts
            return sorted(
                name
                for name, standing in own.items()
                if standing.day < day or "flash_crash" in standing.holds
            )
        if isinstance(fact, EmergencyWasReset | DrawdownEpochOpened | PolicyChanged):
            here = partition_of(fact.partitionkey, self.partitions) == self.partition
            return (fact.partitionkey,) if here and fact.partitionkey in books else ()
        return ()

    def waits(self, slices: Slices) -> Waits:
        """The equity at which something changes, moves that may be a flash crash, the next day."""
        waits = Waits()
        books: dict[str, Book] = slices[POSITION_UPDATE.name].accounts
        equities: list[EquityBound] = []
        moves: list[tuple[str, Decimal]] = []
        for name, own in slices[OWN].accounts.items():
            waits.wake_at(micros(f"{own.day}T00:00:00.000000Z") + DAY_US)
            policy = slices[CONTROL.name].accounts.get(name)
            book = books.get(name)
            if "flash_crash" in own.holds:
                waits.every_tick = True
            if policy is None or book is None or not book.held:
                continue
            limits = thresholds(policy)
            equities.append(_equity_bound(book, own, limits))
            if "flash_crash" not in own.holds:
                moves += [(symbol, limits.flash_move) for symbol in book.held]
        waits.bounds, waits.moves = equities, moves
        return waits

    def decide(
        self, slices: Slices, cause: Envelope, account: str, record_id: str
    ) -> Decision | None:
        """The account's new standing, if anything of it changed."""
        policy = slices[CONTROL.name].accounts.get(account)
        book = slices[POSITION_UPDATE.name].accounts.get(account)
        if policy is None or book is None or book.units <= ZERO:
            return None
        with localcontext(EXACT):
            return _Look(slices, cause, policy, book).decision()


def thresholds(policy: AccountPolicy) -> Thresholds:
    """An account's limits as numbers, percent."""
    return Thresholds(*(policy.number(name) for name in LIMITS))


def _equity_bound(book: Book, own: OwnStanding, limits: Thresholds) -> EquityBound:
    """Equity at which the next look finds something, a hair early."""
    with localcontext(EXACT):
        navs = bounds(
            drawdown=own.drawdown,
            high=own.high,
            day_nav=own.day_nav,
            daily_loss="daily_loss" in own.holds,
            limits=limits,
        )
        below, above = navs
        return EquityBound(
            book.base,
            dict(book.held),
            None if below is None else below * book.units + abs(below) * book.units * EARLY,
            None if above is None else above * book.units - abs(above) * book.units * EARLY,
        )


@dataclass(slots=True)
class _Flash:
    """What a flash crash was seen by."""

    fall: Decimal
    peak: Seen
    moved: dict[str, str]
    met_at: int


class _Look:
    """One look at one account. Made and used in the context :data:`EXACT`."""

    def __init__(self, slices: Slices, cause: Envelope, policy: AccountPolicy, book: Book) -> None:
        self.cause, self.policy, self.book = cause, policy, book
        self.market: SafetyMarket = slices[MARKET.name]
        self.own: OwnStanding | None = slices[OWN].accounts.get(policy.account)
        self.now = now(slices, cause)
        self.limits = thresholds(policy)
        self.marks = marks_now(book, self.market)
        self.equity = equity_at(book, self.marks)
        self.nav = nav_of(self.equity, book.units)

    def decision(self) -> Decision | None:
        own, nav, epoch = self.own, self.nav, self.policy.drawdown_epoch
        fresh = own is None or own.epoch != epoch
        before: Level = own.level if own else "NORMAL"
        high = nav if own is None or fresh else max(own.high, nav)
        new_day = own is None or (isinstance(self.cause, ClockTicked) and own.day < self.now[:10])
        day = self.now[:10] if own is None or new_day else own.day
        day_nav = nav if own is None or new_day else own.day_nav
        drawdown = fall_pct(nav, high)
        was: Level = "NORMAL" if own is None or fresh else own.drawdown
        reached = drawdown_level(was, drawdown, self.limits)
        loss = fall_pct(nav, day_nav)
        held = own.holds if own else ()
        daily = loss >= self.limits.daily or ("daily_loss" in held and not new_day)
        found = self._flash() if "flash_crash" not in held else None
        flash = found is not None or ("flash_crash" in held and not self._is_over())
        holds = holds_of(reached, daily_loss=daily, flash_crash=flash)
        figures = {
            "level": level_of(reached, holds),
            "before": before,
            "drawdown": reached,
            "holds": holds,
            "drawdown_epoch": epoch,
            "units": text(self.book.units),
            "high_water_mark": text(high),
            "drawdown_pct": text(drawdown),
            "day": day,
            "day_nav": text(day_nav),
            "day_loss_pct": text(loss),
            "gross": text(self._gross()),
        }
        changed = figures["level"] != before or holds != held or (own and reached != own.drawdown)
        if found is not None:
            return self._record(FlashCrashDetected, _flash_data(self, found, figures))
        if changed:
            data = GovernorLevelChangedData(
                **self._common(figures), sentence=self._sentence(figures, held)
            )
            return self._record(GovernorLevelChanged, data)
        why = self._why_marked(fresh, new_day, high)
        if why is None:
            return None
        return self._record(EquityMarked, EquityMarkedData(**self._common(figures), why=why))

    def _why_marked(self, fresh: bool, new_day: bool, high: Decimal) -> Any:
        """Why a look without any change of level is kept; None: it is not."""
        own = self.own
        if own is None:
            return "opened"
        if fresh:
            return "epoch"
        if new_day:
            return "day"
        if self.book.closed and self.policy.is_emergency_mode() and self._updated():
            return "flat"
        return "high" if high >= own.high * (1 + GRID_PCT / HUNDRED) and high > own.high else None

    def _updated(self) -> bool:
        return isinstance(self.cause, PositionUpdated)

    def _record(self, event: Any, data: Standing) -> Decision:
        return Decision(event, self.policy.account, data)

    def _common(self, figures: dict[str, Any]) -> dict[str, Any]:
        return {**figures, "observed": self._observed(), "limits": self._limits()}

    def _limits(self) -> tuple[Limit, ...]:
        return tuple(self.policy.limit(name) for name in LIMITS)

    def _observed(self) -> tuple[Observation, ...]:
        """This look and the one before it: the last other time at which a price or the book was
        seen in the last minutes."""
        here = Observation(time=self.now, equity=text(self.equity), nav=text(self.nav))
        at = micros(self.now)
        before = nav_before(self.book, self.market, at - KEPT_US, at)
        return (here,) if before is None else (_seen(before, self.book), here)

    def _gross(self) -> Decimal:
        return sum((abs(q) * self.marks[s] for s, q in self.book.held.items()), ZERO)

    # ------------------------------------------------------------------ flash crash

    def _flash(self) -> _Flash | None:
        """A flash crash that is seen now: NAV fell, and a held symbol moved against the book."""
        if not isinstance(self.cause, PricesObserved | PositionUpdated) or not self.book.held:
            return None
        at = micros(self.now)
        moved = self._moved(at)
        if not moved:
            return None
        line = nav_line(self.book, self.market, at - KEPT_US)
        if not line:
            return None
        fall, peak = flash_fall(line)
        if fall < self.limits.flash_fall:
            return None
        return _Flash(fall, peak, moved, self._met_since(line))

    def _met_since(self, line: list[Seen]) -> int:
        """The first of the looks up to now that fulfil it without a break."""
        met = line[-1].at
        for n in range(len(line) - 1, 0, -1):
            fell = flash_fall(line[:n])[0] >= self.limits.flash_fall
            if not fell or not self._moved(line[n - 1].at):
                break
            met = line[n - 1].at
        return met

    def _moved(self, at: int) -> dict[str, str]:
        """Held symbols that moved against the book within the window up to a time, in percent."""
        moved: dict[str, str] = {}
        for symbol, quantity in self.book.held.items():
            seen = window(self.market.lately(symbol, FLASH_WINDOW_US), at)
            share = against(quantity, seen, seen[-1]) if seen else ZERO
            if share >= self.limits.flash_move and share > ZERO:
                moved[symbol] = text(share)
        return moved

    def _is_over(self) -> bool:
        """Whether the flash crash that holds the account is over: looked at by ticks."""
        if not isinstance(self.cause, ClockTicked):
            return False
        at = micros(self.now)
        line = nav_line(self.book, self.market, at - KEPT_US)
        return calm(line, at, self.limits.flash_rearm)

    # ------------------------------------------------------------------ words

    def _sentence(self, figures: dict[str, Any], held: tuple[str, ...]) -> str:
        """What happened, with the figures that a person asks for first."""
        limits = self.limits
        now = figures["level"]
        was = figures["before"]
        parts = [f"governor {was} to {now}" if now != was else f"governor stays {now}"]
        drawdown, loss = figures["drawdown_pct"], figures["day_loss_pct"]
        level = figures["drawdown"]
        limit = {"WARN": limits.warn, "REDUCING": limits.reducing, "STOP": limits.stop}.get(level)
        parts.append(
            f"drawdown {short(drawdown)} %"
            + (f", limit {text(limit)} %" if limit is not None else "")
        )
        if "daily_loss" in figures["holds"] or "daily_loss" in held:
            parts.append(f"loss of the day {short(loss)} %, limit {text(limits.daily)} %")
        if "flash_crash" in held and "flash_crash" not in figures["holds"]:
            parts.append("the flash crash is over")
        return "; ".join(parts)


def _flash_data(look: _Look, found: _Flash, figures: dict[str, Any]) -> FlashCrashDetectedData:
    symbols = ", ".join(f"{symbol} {short(share)} %" for symbol, share in found.moved.items())
    lag_s = Decimal(micros(look.now) - found.met_at) / 1_000_000
    late = (
        f"detected {short(text(lag_s))} s late, limit {LAG_MAX_S} s; " if lag_s > LAG_MAX_S else ""
    )
    sentence = (
        f"{late}NAV fell {short(text(found.fall))} % within 60 s (limit "
        f"{text(look.limits.flash_fall)} %); against the book: {symbols}"
    )
    return FlashCrashDetectedData(
        **look._common(figures),
        sentence=sentence[:500],
        fall_pct=text(found.fall),
        peak_nav=text(found.peak.nav),
        peak_at=time_text(found.peak.at),
        moved=found.moved,
        met_at=time_text(found.met_at),
        lag_s=text(lag_s),
    )


def _seen(seen: Seen, book: Book) -> Observation:
    """An earlier look: units then, and so its equity, are those of the book then."""
    held = next((entry for entry in reversed(book.before) if entry.at <= seen.at), book.before[0])
    return Observation(
        time=time_text(seen.at), equity=text(seen.nav * held.units), nav=text(seen.nav)
    )


def short(figure: str) -> str:
    """A percentage with at most two digits after the point, as a person reads it."""
    return text(Decimal(figure).quantize(Decimal("0.01")))
