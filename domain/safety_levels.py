"""The governor's arithmetic: drawdown, levels, daily loss, flash crash (DEFINITIONS 6).

NAV is equity a unit; units change by transfers alone, so a deposit never heals and a withdrawal
never trips. Percentages 0-100. All of it in the context :data:`~domain.average_cost.EXACT`.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from domain.average_cost import CENT, EXACT, ZERO
from schemas.safety import Hold, Level

HUNDRED = Decimal(100)
GRID_PCT = Decimal("0.05")
"""A new high-water mark is recorded when NAV is this far above the recorded one: the drawdown that
is looked at is at most this many points below the exact one."""
CALM_SHARE = Decimal("0.8")
"""WARN ends below this share of its threshold, so that it does not come and go (ours)."""
FLASH_WINDOW_US = 60_000_000
REARM_US = 300_000_000
"""A flash crash is over when NAV has not fallen by the re-arming share for this long."""
LAG_MAX_S = 15
"""A flash crash that is detected later than this after it was there is an alert (SAFE-4)."""
KEPT_US = FLASH_WINDOW_US + REARM_US
ORDER: tuple[Level, ...] = ("NORMAL", "WARN", "REDUCING", "STOP")


class Thresholds(NamedTuple):
    """An account's limits, percent, as its policy names them."""

    warn: Decimal
    reducing: Decimal
    stop: Decimal
    daily: Decimal
    flash_fall: Decimal
    flash_move: Decimal
    flash_rearm: Decimal


class Bounds(NamedTuple):
    """NAV at or below `below`, or at or above `above`, changes something (None: no such NAV)."""

    below: Decimal | None
    above: Decimal | None


def nav_of(equity: Decimal, units: Decimal) -> Decimal:
    """Equity a unit, rounded to 1e-12. ZeroDivisionError without units."""
    return EXACT.divide(equity, units).quantize(CENT, context=EXACT)


def units_after(units: Decimal, equity_before: Decimal, amount: Decimal) -> Decimal:
    """Units after a transfer of `amount`: dU = amount / NAV. The first deposit makes NAV 1; so does
    one into an account that has lost everything, whose old units are worth nothing.
    """
    if units <= ZERO or equity_before <= ZERO:
        return max(equity_before + amount, ZERO)
    bought = EXACT.divide(EXACT.multiply(amount, units), equity_before)
    return max((units + bought).quantize(CENT, context=EXACT), ZERO)


def fall_pct(nav: Decimal, high: Decimal) -> Decimal:
    """How far NAV stands below `high`, percent, rounded to 1e-12; 0 at or above it."""
    if high <= ZERO or nav >= high:
        return ZERO
    share = EXACT.divide(EXACT.multiply(high - nav, HUNDRED), high)
    return share.quantize(CENT, context=EXACT).normalize(EXACT)


def drawdown_level(before: Level, drawdown_pct: Decimal, limits: Thresholds) -> Level:
    """The governor's level by drawdown. STOP stays until a new epoch; REDUCING ends below the WARN
    threshold, WARN below :data:`CALM_SHARE` of it."""
    if before == "STOP" or drawdown_pct >= limits.stop:
        return "STOP"
    if drawdown_pct >= limits.reducing:
        return "REDUCING"
    if drawdown_pct >= limits.warn:
        return "REDUCING" if before == "REDUCING" else "WARN"
    if before in ("WARN", "REDUCING") and drawdown_pct >= limits.warn * CALM_SHARE:
        return "WARN"
    return "NORMAL"


def level_of(drawdown: Level, holds: Sequence[Hold]) -> Level:
    """The level of an account: that by drawdown, or REDUCING where anything else holds it."""
    if drawdown == "STOP":
        return "STOP"
    return "REDUCING" if holds else drawdown


def holds_of(drawdown: Level, *, daily_loss: bool, flash_crash: bool) -> tuple[Hold, ...]:
    """What keeps new risk away, in a fixed order."""
    held: list[Hold] = ["drawdown"] if drawdown in ("REDUCING", "STOP") else []
    held += ["daily_loss"] if daily_loss else []
    held += ["flash_crash"] if flash_crash else []
    return tuple(held)


def bounds(
    *,
    drawdown: Level,
    high: Decimal,
    day_nav: Decimal,
    daily_loss: bool,
    limits: Thresholds,
) -> Bounds:
    """NAVs at which a level, the daily loss or the recorded high changes next."""
    below: list[Decimal] = []
    above = [high * (1 + GRID_PCT / HUNDRED)]
    if drawdown == "NORMAL":
        below.append(_under(high, min(limits.warn, limits.reducing, limits.stop)))
    elif drawdown == "WARN":
        below.append(_under(high, min(limits.reducing, limits.stop)))
        above.append(_under(high, limits.warn * CALM_SHARE))
    elif drawdown == "REDUCING":
        below.append(_under(high, limits.stop))
        above.append(_under(high, min(limits.warn, limits.reducing)))
    if not daily_loss:
        below.append(_under(day_nav, limits.daily))
    return Bounds(max(below, default=None), min(above))


def _under(nav: Decimal, pct: Decimal) -> Decimal:
    return nav * (1 - pct / HUNDRED)


class Seen(NamedTuple):
    """NAV at one time, microseconds."""

    at: int
    nav: Decimal


def flash_fall(line: Sequence[Seen]) -> tuple[Decimal, Seen]:
    """How far the last NAV of a line stands below the highest of the 60 s before it, and that one.

    What held at the beginning of the 60 s counts. `line` is in order of time and not empty."""
    last = peak = line[-1]
    since = last.at - FLASH_WINDOW_US
    for seen in reversed(line):
        if seen.nav > peak.nav:
            peak = seen
        if seen.at <= since:
            break
    return fall_pct(last.nav, peak.nav), peak


def window(seen: Sequence[Seen], at: int) -> list[Decimal]:
    """Values of the 60 s up to a time, with the one that held at their beginning, oldest first."""
    since = at - FLASH_WINDOW_US
    values: list[Decimal] = []
    for each in reversed(seen):
        if each.at > at:
            continue
        values.append(each.nav)
        if each.at <= since:
            break
    return values[::-1]


def calm(line: Sequence[Seen], now_us: int, rearm_pct: Decimal) -> bool:
    """Whether NAV has stood less than `rearm_pct` below its highest of 60 s for 5 min: at each time
    it was seen, and at the last one before these five minutes."""
    since = now_us - REARM_US
    for n in range(len(line), 0, -1):
        if flash_fall(line[:n])[0] >= rearm_pct:
            return False
        if line[n - 1].at <= since:
            break
    return True


def against(quantity: Decimal, prices: Iterable[Decimal], last: Decimal) -> Decimal:
    """How far a symbol moved against a position within a window, percent: from its highest price
    down for a long one, from its lowest up for a short one; never below 0."""
    if quantity > ZERO:
        return fall_pct(last, max(prices, default=last))
    lowest = min(prices, default=last)
    if lowest <= ZERO or last <= lowest:
        return ZERO
    share = EXACT.divide(EXACT.multiply(last - lowest, HUNDRED), lowest)
    return share.quantize(CENT, context=EXACT).normalize(EXACT)
