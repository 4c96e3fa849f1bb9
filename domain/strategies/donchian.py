"""Donchian channel, an example of an own strategy: buy strength, sell weakness, say nothing
between.

A close above the high of the last 24 bars is BUY, below their low SELL; the opinion stands until
price comes back through the middle of the channel. Confidence grows with the bars it has stood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from domain.strategy import HOLD, Bar, Opinion, Stance, Strategy


@dataclass(slots=True)
class Memory:
    """What it remembers of a symbol: the side it is on and for how many bars."""

    side: Stance = "HOLD"
    bars: int = 0


class Donchian(Strategy):
    """Channel of 24 bars of five minutes (two hours)."""

    name: ClassVar[str] = "donchian"
    history: ClassVar[int] = 25

    def begin(self) -> Memory:
        return Memory()

    def on_bar(self, bars: Sequence[Bar], state: Memory) -> Opinion:
        close, before = bars[-1].close, bars[:-1]
        top, bottom = max(b.high for b in before), min(b.low for b in before)
        middle = (top + bottom) / 2.0
        side = state.side
        if close > top:
            side = "BUY"
        elif close < bottom:
            side = "SELL"
        elif (side == "BUY" and close < middle) or (side == "SELL" and close > middle):
            side = "HOLD"
        state.bars = state.bars + 1 if side == state.side else 0
        state.side = side
        if side == "HOLD":
            return HOLD
        return Opinion(side, min(0.9, 0.65 + 0.01 * state.bars))
