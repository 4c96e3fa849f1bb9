"""Rule voters of the baseline: trend, breakout, mean reversion, volatility.

Each is a function of the last bars alone and answers a side with a strength of 0..1. Their logic
differs on purpose, so that agreement means something: trend compares averages, breakout looks at
the range left behind, mean reversion fades stretches where no trend is, volatility follows a bar
that is large for its time. Windows are round numbers of hours; none was fitted to a result.
"""

from collections.abc import Sequence
from itertools import pairwise

from domain.strategy import (
    Ballot,
    Bar,
    average_range,
    deviation,
    mean,
    saturate,
    total,
    true_range,
)

FAST, SLOW = 12, 48
"""Bars of the trend's averages: one and four hours."""
CHANNEL = 36
"""Bars of the breakout's channel: three hours."""
ECHO = 6
"""Bars for which a breakout goes on counting while price stays beyond the channel."""
STRETCH = 48
"""Bars of the mean that reversion goes back to: four hours."""
TRENDING = 0.35
"""Efficiency above which mean reversion keeps out."""
ATR = 24
"""Bars of the average range that everything is measured in: two hours."""
HISTORY = max(SLOW, CHANNEL + ECHO, STRETCH, ATR + 1) + 1


def trend(bars: Sequence[Bar]) -> Ballot:
    """The fast average above (below) the slow one and price on the same side of the slow one;
    strength is their distance in average ranges."""
    unit = average_range(bars[-ATR - 1 :])
    if unit <= 0.0:
        return _ballot("trend", 0.0)
    closes = [bar.close for bar in bars]
    fast, slow = mean(closes[-FAST:]), mean(closes[-SLOW:])
    apart = (fast - slow) / unit
    if apart * (closes[-1] - slow) <= 0.0:
        return _ballot("trend", 0.0)
    return _ballot("trend", _signed(saturate(abs(apart) / 2.0), apart))


def breakout(bars: Sequence[Bar]) -> Ballot:
    """The close beyond the channel of the three hours before, or not back inside it since at most
    half an hour; strength is the distance beyond the edge in average ranges, fading with age."""
    unit = average_range(bars[-ATR - 1 :])
    close = bars[-1].close
    if unit <= 0.0:
        return _ballot("breakout", 0.0)
    for age in range(ECHO):
        end = len(bars) - 1 - age
        before = bars[end - CHANNEL : end]
        top, bottom = max(b.high for b in before), min(b.low for b in before)
        broke = bars[end].close
        if broke > top and close > top:
            edge, sign = close - top, 1.0
        elif broke < bottom and close < bottom:
            edge, sign = bottom - close, -1.0
        else:
            continue
        fade = 1.0 - age / (2.0 * ECHO)
        return _ballot("breakout", _signed((0.4 + 0.6 * saturate(edge / unit)) * fade, sign))
    return _ballot("breakout", 0.0)


def mean_reversion(bars: Sequence[Bar]) -> Ballot:
    """Against a close more than 1.5 deviations from the four-hour mean, but only where the way
    there was no trend: net move / sum of moves (Kaufman's efficiency ratio) below
    :data:`TRENDING`."""
    closes = [bar.close for bar in bars[-STRETCH - 1 :]]
    steps = total(abs(b - a) for a, b in pairwise(closes))
    spread = deviation(closes[1:])
    if spread <= 0.0 or steps <= 0.0 or abs(closes[-1] - closes[0]) / steps > TRENDING:
        return _ballot("mean_reversion", 0.0)
    stretch = (closes[-1] - mean(closes[1:])) / spread
    return _ballot("mean_reversion", -_signed(saturate(abs(stretch) - 1.5), stretch))


def volatility(bars: Sequence[Bar]) -> Ballot:
    """With the last bar when its range is more than 1.5 times the average and it closed near its
    end; strength grows with both."""
    last = bars[-1]
    unit = average_range(bars[-ATR - 2 : -1])
    span = last.high - last.low
    if unit <= 0.0 or span <= 0.0:
        return _ballot("volatility", 0.0)
    excess = true_range(last, bars[-2].close) / unit - 1.5
    place = (2.0 * last.close - last.high - last.low) / span
    if excess <= 0.0 or abs(place) < 0.4:
        return _ballot("volatility", 0.0)
    return _ballot("volatility", _signed((0.4 + 0.6 * saturate(excess)) * abs(place), place))


VOTERS = (trend, breakout, mean_reversion, volatility)


def strength(ballot: Ballot) -> float:
    """-1..1: a ballot's side and how strong it is."""
    signed = 2.0 * ballot.confidence - 1.0
    return signed if ballot.side == "BUY" else -signed


def _signed(size: float, sign: float) -> float:
    return size if sign > 0.0 else -size


def _ballot(voter: str, signed: float) -> Ballot:
    """A ballot of -1..1, where 0 is HOLD."""
    if signed == 0.0:
        return Ballot(voter, "HOLD", 0.5)
    return Ballot(voter, "BUY" if signed > 0.0 else "SELL", 0.5 + min(1.0, abs(signed)) / 2.0)
