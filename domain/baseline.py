"""The baseline: an ensemble of rule voters that fills the same fields as the learned one will.

Nothing in it was fitted to a result. It exists to trade plausibly on both sides and to be the
mark that a learned ensemble has to beat.
"""

from collections.abc import Sequence
from typing import ClassVar

from domain.strategy import HOLD, Bar, Opinion, Stance, Strategy, mean, total
from domain.voters import HISTORY, VOTERS, strength

WEIGHTS = {"trend": 0.3, "breakout": 0.3, "mean_reversion": 0.2, "volatility": 0.2}
CALM = 3
"""Bars whose net strength is averaged: one bar's excitement is no opinion."""
QUORUM = 0.1
"""Net strength below which the ensemble has no opinion."""
FULL = 0.6
"""Net strength that counts as certain: voters of different logic never all shout at once."""


class Baseline(Strategy):
    """Weighted vote of four rules, averaged over the last :data:`CALM` bars.

    net = mean of the bars' sums of weight x signed strength;
    meta_confidence = 0.5 + 0.5 abs(net) / FULL, at most 1;
    consensus = weight of the voters on that side among those that do not hold now;
    confidence = 0.5 + (meta_confidence - 0.5) consensus.
    The governor refuses a bar without volume: its prices are nobody's.
    """

    name: ClassVar[str] = "baseline"
    history: ClassVar[int] = HISTORY

    def begin(self) -> list[float]:
        """Net strength of the last bars."""
        return []

    def on_bar(self, bars: Sequence[Bar], state: list[float]) -> Opinion:
        votes = tuple(voter(bars) for voter in VOTERS)
        state.append(total(WEIGHTS[vote.voter] * strength(vote) for vote in votes))
        del state[:-CALM]
        net = mean(state)
        heard = total(WEIGHTS[vote.voter] for vote in votes if vote.side != "HOLD")
        if abs(net) < QUORUM or heard == 0.0:
            return Opinion(HOLD.side, HOLD.confidence, votes)
        side: Stance = "BUY" if net > 0.0 else "SELL"
        consensus = min(1.0, total(WEIGHTS[v.voter] for v in votes if v.side == side) / heard)
        meta = 0.5 + 0.5 * min(1.0, abs(net) / FULL)
        return Opinion(
            side=side,
            confidence=0.5 + (meta - 0.5) * consensus,
            votes=votes,
            consensus=consensus,
            meta_confidence=meta,
            governor_approved=bars[-1].volume > 0.0,
        )
