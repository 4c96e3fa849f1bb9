"""Each voter by bars made for it: what makes it speak, and what makes it hold."""

from collections.abc import Callable, Sequence

import pytest

from domain.baseline import WEIGHTS, Baseline
from domain.strategy import Ballot, Bar, Opinion, mean
from domain.voters import HISTORY, VOTERS, breakout, mean_reversion, strength, trend, volatility


def bars(closes: Sequence[float], *, spread: float = 1.0, volume: float = 10.0) -> list[Bar]:
    """Bars of equal range around each close; each opens where the one before closed."""
    out, before = [], closes[0]
    for n, close in enumerate(closes):
        high, low = max(before, close) + spread, min(before, close) - spread
        out.append(Bar(f"2021-05-17T{n:06d}", before, high, low, close, volume))
        before = close
    return out


def mirrored(series: list[Bar]) -> list[Bar]:
    """The same path upside down."""
    return [
        Bar(b.opened_at, 400 - b.open, 400 - b.low, 400 - b.high, 400 - b.close, b.volume)
        for b in series
    ]


FLAT = bars([200.0] * HISTORY)
RISE = bars([200.0 + n for n in range(HISTORY)])
WAVE = [200.0 + (1.0 if n % 2 else -1.0) for n in range(HISTORY)]
STRETCHED = bars([*WAVE[:-1], 208.0])
BURST = [*FLAT[:-1], Bar("2021-05-18", 200.0, 210.0, 199.5, 209.5, 90.0)]


def test_in_a_market_that_stands_still_everybody_holds() -> None:
    assert [voter(FLAT).side for voter in VOTERS] == ["HOLD"] * 4
    dead = bars([200.0] * HISTORY, spread=0.0)
    assert [voter(dead).side for voter in VOTERS] == ["HOLD"] * 4


@pytest.mark.parametrize(
    ("voter", "series", "side"),
    [
        (trend, RISE, "BUY"),
        (breakout, STRETCHED, "BUY"),
        (mean_reversion, STRETCHED, "SELL"),
        (volatility, BURST, "BUY"),
    ],
)
def test_each_voter_has_its_own_logic_and_is_even_handed(
    voter: Callable[[Sequence[Bar]], Ballot], series: list[Bar], side: str
) -> None:
    ballot, opposite = voter(series), voter(mirrored(series))
    assert ballot.side == side
    assert opposite.side == {"BUY": "SELL", "SELL": "BUY"}[side]
    assert ballot.confidence == pytest.approx(opposite.confidence)
    assert 0.5 < ballot.confidence <= 1.0


def test_mean_reversion_keeps_out_of_a_trend() -> None:
    assert mean_reversion(RISE).side == "HOLD"


def test_a_breakout_fades_and_ends_when_price_is_back_inside() -> None:
    held = [*STRETCHED[1:], *bars([208.0, 213.0])[1:]]
    assert breakout(held).side == "BUY"
    back = [*STRETCHED[1:], *bars([208.0, 200.0])[1:]]
    assert breakout(back).side == "HOLD"


def test_a_large_bar_that_closes_in_its_middle_says_nothing() -> None:
    undecided = [*FLAT[:-1], Bar("2021-05-18", 200.0, 210.0, 190.0, 200.5, 90.0)]
    assert volatility(undecided).side == "HOLD"


def test_a_stronger_move_never_weakens_trend_or_volatility() -> None:
    steeper = bars([200.0 + 2 * n for n in range(HISTORY)])
    assert trend(steeper).confidence >= trend(RISE).confidence
    larger = [*FLAT[:-1], Bar("2021-05-18", 200.0, 230.0, 199.5, 229.5, 90.0)]
    assert volatility(larger).confidence > volatility(BURST).confidence


def opinion(series: list[Bar]) -> Opinion:
    return Baseline().on_bar(series, [])


def test_the_ensemble_holds_without_a_quorum_and_still_shows_its_votes() -> None:
    out = opinion(FLAT)
    assert (out.side, [vote.voter for vote in out.votes]) == ("HOLD", list(WEIGHTS))


def test_the_ensemble_speaks_for_the_weight_of_its_voters() -> None:
    out = opinion(RISE)
    assert out.side == "BUY"
    net = sum(WEIGHTS[vote.voter] * strength(vote) for vote in out.votes)
    assert out.meta_confidence == pytest.approx(0.5 + 0.5 * min(1.0, net / 0.6))
    assert out.consensus == pytest.approx(1.0)
    assert out.confidence == out.meta_confidence
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


def test_a_voter_against_it_lowers_consensus_and_confidence() -> None:
    out = opinion(STRETCHED)
    against = [vote for vote in out.votes if vote.side not in {out.side, "HOLD"}]
    assert against
    assert out.consensus is not None
    assert out.meta_confidence is not None
    assert out.consensus < 1.0
    assert out.confidence < out.meta_confidence


def test_the_governor_refuses_a_bar_without_volume() -> None:
    empty = [*RISE[:-1], RISE[-1]._replace(volume=0.0)]
    assert opinion(RISE).governor_approved
    assert not opinion(empty).governor_approved


def test_sums_do_not_depend_on_order() -> None:
    values = [1e16, 1.0, -1e16, 1.0]
    assert mean(values) == mean(sorted(values)) == 0.5


def test_one_bar_alone_is_averaged_with_the_two_before_it() -> None:
    strategy = Baseline()
    memory = strategy.begin()
    for _ in range(3):
        assert strategy.on_bar(FLAT, memory).side == "HOLD"
    calm, alone = strategy.on_bar(BURST, memory), opinion(BURST)
    assert len(memory) == 3
    assert alone.side == "BUY"
    assert alone.confidence > calm.confidence


def test_the_ensemble_holds_when_nobody_speaks_any_more() -> None:
    assert Baseline().on_bar(FLAT, [0.6, 0.6]).side == "HOLD"
