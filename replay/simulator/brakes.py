"""What stops an account beside its emergency: the governor, an AI-HFOS, a halt (SAFE-3 to 6, 9).

Judged from the records alone, without the code that decided: what was in force for whoever had
read `control` up to a place, and at an instant; whether what safety says of itself adds up; and at
rest, whether an account stands below a limit that nobody acted on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from replay.simulator.found import BrokenPromise
from schemas.control import EmergencyActivated, EmergencyWasReset, PolicyChanged
from schemas.envelope import Envelope
from schemas.policy import Policy
from schemas.safety import (
    SAFETY_TYPES,
    DrawdownEpochOpened,
    FlashCrashDetected,
    GovernorLevelChanged,
    HfosModeChanged,
    Standing,
)

GRID = Decimal("0.06")
"""Percentage points by which an account may stand below a limit unnoticed: recorded highs are on a
grid of 0.05."""
ROUNDING = Decimal("1E-6")


@dataclass(frozen=True, slots=True)
class Brake:
    """What holds an account from a record of `control` on. `why` is empty where nothing does."""

    offset: int
    at: int
    why: str


@dataclass(slots=True)
class Braked:
    """One account. `line`: what held it, record by record; `standing`: what safety said last."""

    line: list[Brake] = field(default_factory=list)
    standing: Standing | None = None
    holds: tuple[str, ...] = ()
    stop: bool = False
    hfos: str = "NORMAL"
    epoch: int = 0
    policy: Policy | None = None

    def why(self) -> str:
        """Why no new risk is allowed now; empty if it is."""
        held = list(self.holds)
        if self.stop:
            held.append("the governor's STOP")
        if self.hfos == "REDUCING":
            held.append("AI-HFOS mode REDUCING")
        return ", ".join(held)


class Brakes:
    """All accounts of one log; feed it valid records in append order."""

    def __init__(self) -> None:
        self.accounts: dict[str, Braked] = {}

    def take(self, event: Envelope, offset: int, at: int) -> None:
        """A valid record of `control`. Raises BrokenPromise where its figures do not add up."""
        if isinstance(event, EmergencyActivated | EmergencyWasReset | PolicyChanged):
            for change in event.data.items:
                known = self._of(change.account)
                known.policy = change.policy
                if isinstance(event, EmergencyWasReset):
                    self._new_epoch(known, event.data.drawdown_epoch)
                self._mark(known, offset, at)
            return
        known = self._of(event.partitionkey)
        if isinstance(event, DrawdownEpochOpened):
            self._new_epoch(known, event.data.drawdown_epoch)
        elif isinstance(event, HfosModeChanged):
            known.hfos = event.data.mode
        elif isinstance(event, SAFETY_TYPES):
            _adds_up(event)
            known.standing = event.data
            if isinstance(event, GovernorLevelChanged | FlashCrashDetected):
                self._level(known, event.data)
        else:
            return
        self._mark(known, offset, at)

    def _of(self, account: str) -> Braked:
        return self.accounts.setdefault(account, Braked())

    def _level(self, known: Braked, told: Standing) -> None:
        """A level that was found in an earlier drawdown epoch is void, other holds are not."""
        late = told.drawdown_epoch < known.epoch
        known.holds = tuple(hold for hold in told.holds if not (late and hold == "drawdown"))
        known.stop = told.level == "STOP" and not late

    def _new_epoch(self, known: Braked, epoch: int) -> None:
        known.epoch, known.stop = epoch, False
        known.holds = tuple(hold for hold in known.holds if hold != "drawdown")

    def _mark(self, known: Braked, offset: int, at: int) -> None:
        known.line.append(Brake(offset, at, known.why()))

    # ------------------------------------------------------------------ what was in force

    def known_at(self, account: str, after: int) -> str:
        """Why whoever had read `control` up to (not with) an offset may not increase risk."""
        return self._last(account, lambda brake: brake.offset < after)

    def through(self, account: str, begin: int, end: int) -> str:
        """The same of the log as it was from one instant to another; empty if risk was allowed at
        some moment of it."""
        line = self.accounts[account].line if account in self.accounts else []
        free = any(begin <= brake.at < end and not brake.why for brake in line)
        return "" if free else self._last(account, lambda brake: brake.at < begin)

    def _last(self, account: str, counts: Callable[[Brake], bool]) -> str:
        known = self.accounts.get(account)
        for brake in reversed(known.line if known else ()):
            if counts(brake):
                return brake.why
        return ""

    # ------------------------------------------------------------------ at rest

    def at_rest(self, navs: Mapping[str, Decimal]) -> None:
        """No account stands below a limit that nobody acted on. `navs`: equity over transfers of
        those that are in no emergency, at the last prices."""
        for account, nav in navs.items():
            known = self._of(account)
            told, policy = known.standing, known.policy
            if told is None or policy is None:
                raise BrokenPromise(f"safety never looked at {account}")
            if known.stop:
                raise BrokenPromise(f"{account} is at the governor's STOP and was not stopped")
            if told.drawdown_epoch != known.epoch:
                raise BrokenPromise(f"{account}: safety knows nothing of epoch {known.epoch}")
            fall = _fall(nav, Decimal(told.high_water_mark))
            loss = _fall(nav, Decimal(told.day_nav))
            for what, share, limit, acted in (
                ("the breaker", fall, policy.drawdown_stop_pct, False),
                ("REDUCING", fall, policy.governor_reducing_pct, "drawdown" in known.holds),
                ("the daily loss", loss, policy.daily_loss_pct, "daily_loss" in known.holds),
            ):
                if share >= Decimal(limit) + GRID and not acted:
                    raise BrokenPromise(
                        f"{account} has lost {share:.3f} %, {what} is at {limit} %: it did not trip"
                    )


def _fall(nav: Decimal, high: Decimal) -> Decimal:
    return max((high - nav) / high * 100, Decimal(0)) if high > 0 else Decimal(0)


def _adds_up(event: Any) -> None:
    """What a record of safety says of itself: its own figures reach its own limits."""
    told: Standing = event.data
    limits = {limit.name: Decimal(limit.value) for limit in told.limits}
    here = told.observed[-1]
    nav, high = Decimal(here.nav), Decimal(told.high_water_mark)
    where = f"{event.type} of {event.partitionkey}"
    if abs(Decimal(here.equity) / Decimal(told.units) - nav) > ROUNDING:
        raise BrokenPromise(f"{where}: equity a unit is not the NAV {nav}")
    fall = _fall(nav, high)
    if abs(fall - Decimal(told.drawdown_pct)) > ROUNDING:
        raise BrokenPromise(f"{where}: the drawdown is {fall}, not {told.drawdown_pct}")
    new_stop = told.drawdown == "STOP" and told.before != "STOP"
    if new_stop and fall < limits["drawdown_stop_pct"]:
        raise BrokenPromise(f"{where}: STOP at {fall} %, the limit is above it")
    if fall >= limits["drawdown_stop_pct"] and told.level != "STOP":
        raise BrokenPromise(f"{where}: {fall} % and no STOP")
    loss = _fall(nav, Decimal(told.day_nav))
    if loss >= limits["daily_loss_pct"] and "daily_loss" not in told.holds:
        raise BrokenPromise(f"{where}: the loss of the day is over its limit and holds nothing")
    if isinstance(event, FlashCrashDetected):
        crash = event.data
        fell = _fall(nav, Decimal(crash.peak_nav))
        if abs(fell - Decimal(crash.fall_pct)) > ROUNDING or fell < limits["flash_fall_pct"]:
            raise BrokenPromise(f"{where}: a flash crash of {crash.fall_pct} %, seen was {fell} %")
        if any(Decimal(share) < limits["flash_move_pct"] for share in crash.moved.values()):
            raise BrokenPromise(f"{where}: a symbol moved less than the limit")
