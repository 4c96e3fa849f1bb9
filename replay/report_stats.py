"""Statistics of a run (DEFINITIONS 11), each one public function of plain arrays.

Floats: these are figures for people, no money is moved by them. Percentages 0-100. A ratio that
cannot be said honestly is None: too few days, no deviation, no loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateways.candles import Floats, Ints

DAY_US = 86_400_000_000
DAYS_YEAR = 365
"""Crypto trades every day of the calendar."""
_YEAR = math.sqrt(DAYS_YEAR)
DAYS_MIN = 30
"""Below this nothing is annualised: "too short"."""
TOO_SHORT = f"too short: under {DAYS_MIN} days nothing is annualised"


@dataclass(frozen=True, slots=True)
class DailyNav:
    """NAV at successive UTC midnights: the first at or after the run's start, the last at or
    before its end. `nav` has one value more than there are daily returns."""

    midnight_us: Ints
    nav: Floats

    @property
    def returns(self) -> Floats:
        """Simple daily returns, fractions."""
        changes: Floats = np.diff(self.nav) / self.nav[:-1]
        return changes


def daily_nav(time_us: Ints, nav: Floats, start_us: int, end_us: int) -> DailyNav:
    """NAV at each UTC midnight in [start, end]: the last observation at or before it.

    Days that are not whole (a run that begins or ends at noon) are left out of daily figures.
    """
    first = -(-start_us // DAY_US) * DAY_US
    midnights = np.arange(first, end_us + 1, DAY_US, dtype=np.int64)
    at = np.searchsorted(time_us, midnights, side="right") - 1
    return DailyNav(midnights, np.where(at >= 0, nav[np.maximum(at, 0)], 1.0))


def sharpe(returns: Floats) -> float | None:
    """Mean over standard deviation (ddof 1) of daily returns, times sqrt(365); risk-free rate 0.

    Sharpe 1994. None under 30 returns or without deviation.
    """
    if len(returns) < DAYS_MIN:
        return None
    deviation = float(np.std(returns, ddof=1))
    return float(np.mean(returns)) / deviation * _YEAR if deviation > 0 else None


def sortino(returns: Floats) -> float | None:
    """Mean over the downside deviation sqrt(mean(min(r, 0)^2)) of **all** days, times sqrt(365).

    Sortino & Price 1994, target 0. None under 30 returns or without a losing day.
    """
    if len(returns) < DAYS_MIN:
        return None
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    return float(np.mean(returns)) / downside * _YEAR if downside > 0 else None


def volatility_pct(returns: Floats) -> float | None:
    """Standard deviation (ddof 1) of daily returns, times sqrt(365), in percent."""
    if len(returns) < DAYS_MIN:
        return None
    return 100 * float(np.std(returns, ddof=1)) * _YEAR


def cagr_pct(growth: float, days: float) -> float | None:
    """Compound annual growth of a NAV that grew to `growth` times its start in `days` calendar
    days, in percent: growth^(365/days) - 1. None under 30 days; -100 when nothing is left."""
    if days < DAYS_MIN:
        return None
    return 100 * (math.pow(max(growth, 0.0), DAYS_YEAR / days) - 1)


def calmar(cagr: float | None, max_drawdown: float | None) -> float | None:
    """CAGR over maximum drawdown, both in percent (Young 1991). None without either."""
    return None if cagr is None or not max_drawdown else cagr / max_drawdown


def max_drawdown_pct(nav: Floats) -> float | None:
    """Largest fall of `nav` below its high so far, in percent; None of fewer than two values."""
    if len(nav) < 2:
        return None
    return 100 * float(np.max(1 - nav / np.maximum.accumulate(nav)))


def profit_factor(net: Sequence[float]) -> float | None:
    """Sum of net wins over the absolute sum of net losses; None without losses."""
    lost = -sum(n for n in net if n < 0)
    return sum(n for n in net if n > 0) / lost if lost > 0 else None


def win_rate_pct(net: Sequence[float]) -> float | None:
    """Trades that won something after all costs, in percent; None without trades."""
    return 100 * sum(n > 0 for n in net) / len(net) if net else None


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return float(np.mean(values)) if len(values) else None


def median(values: Sequence[float]) -> float | None:
    """Middle value; None of nothing."""
    return float(np.median(values)) if len(values) else None


def payoff(net: Sequence[float]) -> float | None:
    """Mean win over mean loss; None without one of them."""
    wins, losses = [n for n in net if n > 0], [-n for n in net if n < 0]
    return float(np.mean(wins)) / float(np.mean(losses)) if wins and losses else None


def exposure_us(time_us: Ints, gross: Floats, equity: Floats, end_us: int) -> float:
    """Gross exposure over equity, summed over time in microseconds: each observation counts until
    the next, the last one until the end. Over a run's length it is the time-weighted exposure."""
    share = np.divide(gross, equity, out=np.zeros(len(gross)), where=equity > 0)
    return float(np.sum(share * _durations(time_us, end_us)))


def in_market_pct(time_us: Ints, gross: Floats, start_us: int, end_us: int) -> float:
    """Share of the time in [start, end] with anything open, in percent."""
    open_us = float(np.sum(_durations(time_us, end_us)[gross > 0]))
    return 100 * open_us / (end_us - start_us)


def monthly_returns(
    time_us: Ints, nav: Floats, start_us: int, end_us: int
) -> list[tuple[str, float]]:
    """(``YYYY-MM``, return in percent) of each UTC calendar month that the run touches; the first
    and the last may be parts of months."""
    if not len(time_us):
        return []
    stamps = np.array([start_us, end_us - 1], dtype="datetime64[us]").astype("datetime64[M]")
    months = np.arange(stamps[0], stamps[1] + 1)
    edges = (months[1:].astype("datetime64[us]")).astype(np.int64)
    at = np.searchsorted(time_us, np.concatenate((edges, [end_us])), side="right") - 1
    values = np.concatenate(([nav[0]], nav[np.maximum(at, 0)]))
    changes = 100 * (values[1:] / values[:-1] - 1)
    return [(str(m), float(c)) for m, c in zip(months, changes, strict=True)]


def _durations(time_us: Ints, end_us: int) -> Floats:
    """How long each observation stood, microseconds."""
    last = time_us[-1:]
    stood: Floats = np.diff(time_us, append=np.maximum(last, end_us)).astype(np.float64)
    return stood
