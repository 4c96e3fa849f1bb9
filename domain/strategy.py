"""Own strategies (CORE-8): closed bars and own state in, an opinion out.

A strategy is a class on one page. It runs unchanged live and in a backtest, because it sees
nothing but the bars that closed and what it chose to remember. It knows no account, policy,
order or clock.

Numbers are floats in a fixed order of + - * / and square root, which every machine rounds alike;
sums go through :func:`total`. Logarithms, powers and the built-in `sum` may differ in the last
digit between machines or Python versions: do without them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

Stance = Literal["BUY", "SELL", "HOLD"]
BAR_MINUTES = 5
"""Strategies decide on the closes of bars of this length, unless they say another."""
DAY_MINUTES = 1440


class Bar(NamedTuple):
    """A closed bar of a strategy's length, made of the 1 m candles there are in it."""

    opened_at: str
    open: float
    high: float
    low: float
    close: float
    volume: float


class Ballot(NamedTuple):
    """One voter's opinion; `confidence` is in 0..1, 0.5 for HOLD."""

    voter: str
    side: Stance
    confidence: float


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a strategy thinks at the close of a bar; becomes a signal unless it is HOLD.

    `confidence`, `consensus` (share of voters on this side) and `meta_confidence` are in 0..1.
    `size_pct`: a proposal in percent of equity, which the sizer may only lower; None leaves it
    to it.
    """

    side: Stance
    confidence: float
    votes: tuple[Ballot, ...] = ()
    consensus: float | None = None
    meta_confidence: float | None = None
    meta_override: bool = False
    governor_approved: bool = True
    size_pct: float | None = None

    def __post_init__(self) -> None:
        shares = [
            self.confidence,
            self.consensus,
            self.meta_confidence,
            *(v[2] for v in self.votes),
        ]
        for share in shares:
            if share is not None and not 0.0 <= share <= 1.0:
                raise ValueError(f"confidence {share} is outside 0 to 1")
        if self.size_pct is not None and not 0.0 < self.size_pct < math.inf:
            raise ValueError(f"size_pct {self.size_pct} is not above 0")


HOLD = Opinion("HOLD", 0.5)


class Strategy:
    """Base class. Set `name` and `history`, write :meth:`on_bar`; :meth:`begin` if it remembers."""

    name: ClassVar[str]
    """What a policy's `strategy` says; letters, digits, dot, dash, underscore."""
    history: ClassVar[int]
    """How many bars :meth:`on_bar` gets; it is not called for an opinion before there are as
    many."""

    bar_minutes: ClassVar[int] = BAR_MINUTES
    """Length of its bars: a divisor of a day, in minutes."""

    def begin(self) -> Any:
        """The empty own state of one symbol: a dataclass or list of plain values, changed in
        place."""
        return None

    def on_bar(self, bars: Sequence[Bar], state: Any) -> Opinion:
        """The opinion at the close of `bars[-1]`; `bars` are the last `history`, oldest first.

        `state` is this symbol's, from :meth:`begin`. A missing bar is missing: bars may have gaps.
        """
        raise TypeError(f"{type(self).__name__} has no on_bar")


def registry(*strategies: Strategy) -> Mapping[str, Strategy]:
    """Strategies by name. Raises ValueError for a name that is missing or taken twice, a `history`
    below 1, or a class without `on_bar`."""
    out: dict[str, Strategy] = {}
    for strategy in strategies:
        kind = type(strategy)
        name = getattr(kind, "name", "")
        if not name:
            raise ValueError(f"{kind.__name__} has no name; set the class attribute `name`")
        if name in out:
            raise ValueError(f"two strategies are called {name}; rename {kind.__name__}")
        if getattr(kind, "history", 0) < 1:
            raise ValueError(f"{kind.__name__}.history must say how many bars it needs, at least 1")
        if kind.bar_minutes < 1 or DAY_MINUTES % kind.bar_minutes:
            raise ValueError(
                f"{kind.__name__}.bar_minutes is {kind.bar_minutes}: a divisor of {DAY_MINUTES} is "
                "needed"
            )
        if kind.on_bar is Strategy.on_bar:
            raise ValueError(f"{kind.__name__} has no on_bar")
        out[name] = strategy
    return out


# ---------------------------------------------------------------------- numbers that round alike


def total(values: Iterable[float]) -> float:
    """The exactly rounded sum: the same on every machine and in whatever order."""
    return math.fsum(values)


def mean(values: Sequence[float]) -> float:
    return total(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a population (ddof 0)."""
    middle = mean(values)
    return math.sqrt(total((v - middle) * (v - middle) for v in values) / len(values))


def true_range(bar: Bar, close_before: float) -> float:
    """Wilder 1978: the bar's range, the jump from the close before included."""
    return max(bar.high - bar.low, abs(bar.high - close_before), abs(bar.low - close_before))


def average_range(bars: Sequence[Bar]) -> float:
    """Mean true range of all bars but the first, which only lends its close; needs two."""
    return mean([true_range(b, a.close) for a, b in pairwise(bars)])


def saturate(value: float) -> float:
    """0..1 for 0..infinity: x / (1 + x). Negative values give 0."""
    return value / (1.0 + value) if value > 0.0 else 0.0
