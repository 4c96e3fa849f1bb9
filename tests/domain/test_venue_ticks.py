"""Goal: what single trades do to orders at the simulated venue (DEFINITIONS 10, Ticks).

Each case: an account, trades of one instant as a tick feed gives them, the parts of the report.
"""

from decimal import Decimal
from typing import Any

import pytest

from domain.venue_ticks import Levels
from schemas.market import Price, PricesData, PricesObserved, Print
from tests.domain.venue_world import BTC, SECOND, World, kinds


class TickWorld(World):
    """The venue's world, fed with trades."""

    def trades(self, *trades: tuple[str, str, str], mark: str | None = None) -> Any:
        """Trades of the next instant, a second later: price, quantity, aggressor."""
        self.us += SECOND
        prints = tuple(Print(price=p, quantity=q, aggressor=a) for p, q, a in trades)  # type: ignore[arg-type]
        item = Price(symbol=BTC, last=trades[-1][0], mark=mark, trades=prints)
        return self.send(PricesObserved, PricesData(items=(item,)))


@pytest.fixture
def world() -> TickWorld:
    """Last trade 40,000; a closed candle of 1000 BTC without range: no impact, room of 100 BTC."""
    world = TickWorld()
    world.calm()
    world.trades(("40000", "1", "BUY"))
    return world


# ------------------------------------------------------------------ limits


def test_a_buy_limit_fills_when_an_aggressor_sells_below_it(world: TickWorld) -> None:
    world.limit("a", "BUY", "0.1", "39900")
    fill, end = world.trades(("39899.9", "0.001", "SELL"))
    assert (fill.price, fill.quantity, fill.liquidity) == ("39900", "0.1", "maker")
    assert (fill.rule, end.status) == ("limit through", "FILLED")


def test_an_aggressor_who_buys_fills_no_resting_buy(world: TickWorld) -> None:
    world.limit("a", "BUY", "0.1", "39900")
    assert world.trades(("39900", "500", "BUY"), ("39899", "500", "BUY")) == ()


def test_a_sell_limit_fills_when_an_aggressor_buys_above_it(world: TickWorld) -> None:
    world.limit("a", "SELL", "0.1", "40100")
    assert world.trades(("40100.1", "9", "SELL")) == ()
    fill, _ = world.trades(("40100.1", "0.001", "BUY"))
    assert (fill.price, fill.rule) == ("40100", "limit through")


def test_at_its_price_a_limit_waits_for_the_volume_seen_there_on_arrival(world: TickWorld) -> None:
    world.trades(("39900", "2", "SELL"), ("40000", "1", "BUY"))
    (accepted,) = world.limit("a", "BUY", "0.5", "39900")
    assert accepted.queue == "4", "2 have traded there, and 2 more are seen ahead"
    assert world.trades(("39900", "1.5", "SELL")) == ()
    first = world.trades(("39900", "0.7", "SELL"))[0]
    assert (first.quantity, first.price, first.rule) == ("0.2", "39900", "limit at its turn")
    second, end = world.trades(("39900", "5", "SELL"))
    assert (second.quantity, end.status) == ("0.3", "FILLED")


def test_a_price_nothing_traded_at_has_the_mean_of_the_others_ahead(world: TickWorld) -> None:
    world.trades(("39990", "3", "SELL"), ("39980", "1", "SELL"), ("39985", "8", "BUY"))
    (accepted,) = world.limit("a", "BUY", "0.5", "39900")
    assert accepted.queue == "2", "3 and 1 were sold at two prices; what was bought is another side"


def test_what_is_seen_ages_away_after_two_minutes(world: TickWorld) -> None:
    world.trades(("39900", "2", "SELL"))
    world.us += 121 * SECOND
    world.trades(("39950", "1", "SELL"))
    (accepted,) = world.limit("a", "BUY", "0.5", "39900")
    assert accepted.queue == "3", "2 that traded, and the mean of 1 ahead"


def test_two_orders_do_not_take_the_same_trade_twice(world: TickWorld) -> None:
    world.limit("a", "BUY", "0.3", "39900")
    world.limit("b", "BUY", "0.3", "39900")
    items = world.trades(("39900", "0.4", "SELL"))
    assert [(i.client_order_id, i.quantity) for i in items if i.kind == "filled"] == [
        ("a", "0.3"),
        ("b", "0.1"),
    ]


def test_limits_on_ticks_keep_to_a_tenth_of_the_last_candles_volume() -> None:
    world = TickWorld()
    world.calm(volume="2")
    world.trades(("40000", "1", "BUY"))
    world.limit("a", "BUY", "0.5", "39900")
    (fill,) = world.trades(("39000", "50", "SELL"))
    assert fill.quantity == "0.2"


def test_on_candles_a_limit_has_no_queue_and_needs_price_to_pass_it() -> None:
    world = World()
    world.calm()
    (accepted,) = world.limit("a", "BUY", "0.1", "39900")
    assert accepted.queue is None
    assert world.price("39900") == ()
    assert kinds(world.price("39899.9")) == ["filled", "FILLED"]


# ------------------------------------------------------------------ market, stops, order of trades


def test_a_market_order_pays_the_last_trade_and_half_the_spread(world: TickWorld) -> None:
    _, fill, _ = world.place("a", "BUY", "0.1")
    assert (fill.price, fill.reference, fill.rule) == ("40004", "40000", "market at trade")


def test_a_stop_fills_at_the_trade_that_met_it_not_at_the_last_of_its_instant(
    world: TickWorld,
) -> None:
    world.place("a", "BUY", "0.1")
    world.stop("s", "SELL", "39500")
    path = (("39600", "1", "SELL"), ("39400", "1", "SELL"), ("39700", "1", "BUY"))
    fill, _ = world.trades(*path)
    assert (fill.reference, fill.rule) == ("39400", "stop at trade")


def test_trades_of_one_instant_are_taken_in_order(world: TickWorld) -> None:
    world.place("a", "BUY", "0.1")
    world.stop("s", "SELL", "39500")
    world.target("t", "SELL", "40500")
    up_first = world.trades(("40600", "1", "BUY"), ("39400", "1", "SELL"))
    assert [(i.client_order_id, i.rule) for i in up_first if i.kind == "filled"] == [
        ("t", "target at trade")
    ]


def test_a_given_mark_triggers_and_the_trade_prices_the_fill(world: TickWorld) -> None:
    world.place("a", "BUY", "0.1")
    world.stop("s", "SELL", "39500")
    assert world.trades(("39400", "1", "SELL"), mark="39501") == ()
    fill, _ = world.trades(("39600", "1", "SELL"), mark="39499")
    assert (fill.reference, fill.rule) == ("39600", "stop at trade")


# ------------------------------------------------------------------ what is kept


def test_prices_nothing_traded_at_for_a_day_leave_memory() -> None:
    levels, day_us = Levels(), 86_400 * SECOND
    for day in range(5):
        prints = [Print(price=f"{100 + day}", quantity="1", aggressor="SELL")]
        levels.fold(prints, day * day_us)
    assert [str(price) for price in levels.sides["SELL"]] == ["104"]


def test_the_count_goes_on_for_a_price_that_keeps_trading() -> None:
    levels = Levels()
    for hour in range(60):
        prints = [Print(price="100", quantity="1", aggressor="SELL")]
        levels.fold(prints, hour * 3600 * SECOND)
    assert levels.total("SELL", Decimal(100)) == 60
