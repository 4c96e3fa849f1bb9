"""Prices that moved far within a minute: what a flash-crash monitor is woken by, with numpy.

A candle's path never leaves its low and high, so only candles whose last three span such a move are
looked at point by point. The seven points before a price are the minute before it, and one more
where candles are missing: it may be found too often, never too late.
"""

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from replay.backtest_course import INSTANTS, Rows

BEFORE = 7
"""Points that a price is held against: those of a minute, and the one that held before them."""
ROWS = 3
"""Candles that hold a price and the points before it."""
SLACK = 1e-9


def moved(prices: Sequence[int], pct: Decimal) -> bool:
    """Whether the last of some prices stands `pct` percent above or below one of the others."""
    last, others = prices[-1], prices[:-1]
    if not others:
        return False
    share = float(pct) / 100 * (1 - SLACK)
    high, low = max(others), min(others)
    return high - last >= high * share or last - low >= low * share


class FastMoves:
    """Where one symbol's price moved far, by percentage; found once each."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._found: dict[Decimal, list[int]] = {}

    def next(self, since: int, pct: Decimal) -> int | None:
        """Ordinal of the first such price at or after `since`; None: there is none."""
        found = self._found.get(pct)
        if found is None:
            found = self._found[pct] = self._all(pct)
        at = bisect_left(found, since)
        return found[at] if at < len(found) else None

    def _all(self, pct: Decimal) -> list[int]:
        rows = self._rows
        low, high = rows.low[rows.first : rows.stop], rows.high[rows.first : rows.stop]
        lowest, highest = low.copy(), high.copy()
        for back in range(1, min(ROWS, len(low))):
            np.minimum(lowest[back:], low[:-back], out=lowest[back:])
            np.maximum(highest[back:], high[:-back], out=highest[back:])
        wide = highest - lowest >= lowest * (float(pct) / 100 * (1 - SLACK))
        found: list[int] = []
        for row in np.flatnonzero(wide).tolist():
            begin = max(row - ROWS + 1, 0)
            points = [p for r in range(begin, row + 1) for p in rows.path(rows.first + r)]
            first = len(points) - INSTANTS
            found += [
                row * INSTANTS + n
                for n in range(INSTANTS)
                if moved(points[max(first + n - BEFORE, 0) : first + n + 1], pct)
            ]
        return found
