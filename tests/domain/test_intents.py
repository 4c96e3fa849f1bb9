"""Goal: the yardstick proposes what the peers' scripts do, and only when it may.

Method: the intents decider through `Source`; the figures of `domain.strategies.yardstick` by hand.
"""

from decimal import Decimal

from domain.intents import Intents, IntentsMarket
from domain.source import Source
from domain.strategies import yardstick
from replay.backtest import Backtest, run
from schemas.topics import INTENT
from schemas.trade import Filled, IntentPublished
from tests.replay.backtest_world import moment, walk


def test_the_bracket_is_two_percent_below_and_three_above_the_close_on_the_tick() -> None:
    made = yardstick.proposal(Decimal("40000.01"), Decimal("0.01"))
    assert made == (Decimal("0.1"), Decimal("39200.01"), Decimal("41200.01"))


def test_it_looks_at_every_hundredth_candle_and_buys_when_flat() -> None:
    result = run(
        Backtest(
            candles=(walk("BTCUSDT", 420, 7, step=2),),
            start=moment(10),
            end=moment(420),
            strategy="yardstick",
            path="full",
        )
    )
    intents = [s.event for s in result.records if isinstance(s.event, IntentPublished)]
    assert [event.time for event in intents][:1] == [f"{moment(110):%Y-%m-%dT%H:%M:%S.%f}Z"]
    fills = [
        item
        for stored in result.records
        if stored.key.startswith("trade.execution.res")
        for item in getattr(stored.event.data, "items", ())  # type: ignore[attr-defined]
        if isinstance(item, Filled)
    ]
    assert {item.quantity for item in fills if item.side == "BUY"} == {"0.1"}
    assert len(intents) < 4, "a position stays open over some looks"


def test_it_writes_intents_and_waits_for_nothing_without_an_account() -> None:
    source = Source(Intents(0, 8), 0, 8)
    assert source.output == f"{INTENT.name}/0"
    assert isinstance(source.slices["market"], IntentsMarket)
    assert not Intents(0, 8).waits(source.slices).every_closes
