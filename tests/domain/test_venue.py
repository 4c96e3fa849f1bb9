"""Goal: what the simulated venue answers to each request (DEFINITIONS 8-10). Given, when, then."""

from decimal import Decimal

import pytest

from domain.venue_faults import FaultPlan
from tests.domain.venue_world import BTC, ETH, World, kinds


@pytest.fixture
def world() -> World:
    """BTCUSDT at 40,000 after a candle without range of volume 1,000; 10,000 USDT."""
    world = World()
    world.calm()
    return world


# ------------------------------------------------------------------ market orders


def test_a_market_buy_fills_at_the_point_plus_half_spread_250_ms_later(world: World) -> None:
    _, fill, end = world.place("a", "BUY", "0.1")
    assert (fill.price, fill.reference, fill.liquidity) == ("40004", "40000", "taker")
    assert fill.fee == "2.0002"
    assert fill.filled_at == "2021-05-19T12:00:10.250000Z"
    assert fill.rule == "market at point"
    assert (end.status, end.filled_quantity) == ("FILLED", "0.1")


def test_impact_of_the_previous_candle_is_added() -> None:
    world = World(deposit="100000")
    world.price("40000")
    world.candle(high="40400", low="40000", volume="1000")
    _, fill, _ = world.place("a", "SELL", "10", leverage=50)
    # 40,000 x (1 - 0.0001 - 0.005975782681 x sqrt(10 / 1000)) = 39,972.097, down to the tick
    assert fill.price == "39972"


def test_a_market_entry_takes_a_tenth_of_the_previous_volume_and_its_rest_expires() -> None:
    world = World()
    world.calm(volume="2")
    items = world.place("a", "BUY", "0.5")
    assert kinds(items) == ["accepted", "filled", "EXPIRED"]
    assert items[1].quantity == items[2].filled_quantity == "0.2"
    assert "participation" in items[2].why
    assert kinds(world.place("b", "BUY", "0.1")) == ["accepted", "EXPIRED"]


def test_participation_begins_again_with_the_next_candle() -> None:
    world = World()
    world.calm(volume="2")
    world.place("a", "BUY", "0.2")
    world.wait(60)
    world.price("40000")
    assert kinds(world.place("b", "BUY", "0.1")) == ["accepted", "filled", "FILLED"]


def test_participation_is_counted_for_each_account_alone() -> None:
    world = World()
    world.deposit("10000", account="hot", transfer="opening/hot")
    world.calm(volume="2")
    world.place("a", "BUY", "0.2")
    assert kinds(world.place("b", "BUY", "0.2", account="hot"))[-1] == "FILLED"


def test_a_reduce_only_close_is_filled_whole_at_the_impact_of_all_of_it() -> None:
    world = World()
    world.calm()
    world.place("a", "BUY", "1")
    world.candle(high="40000", low="40000", volume="0")
    world.wait(60)
    world.price("40000")
    world.candle(high="40400", low="40000", volume="1")
    _, fill, end = world.place("b", "SELL", "1", reduce_only=True)
    assert (fill.quantity, end.status) == ("1", "FILLED")
    assert fill.price == "39756.9"  # 1 - 0.0001 - 0.005975782681, down to the tick
    assert world.open() == "0"


def test_zero_volume_and_gaps_fill_no_entry() -> None:
    world = World()
    world.calm(volume="0")
    assert kinds(world.place("a", "BUY", "0.1")) == ["accepted", "EXPIRED"]
    world.candle(high="40000", low="40000", volume="1000")
    world.wait(600)
    world.price("40000")
    assert kinds(world.place("b", "BUY", "0.1")) == ["accepted", "EXPIRED"]


def test_without_a_price_or_with_a_stale_one_nothing_is_filled(world: World) -> None:
    (end,) = world.place("a", "BUY", "1", symbol=ETH)
    assert (end.status, end.why) == ("REJECTED", "no price of ETHUSDT is known")
    world.wait(121)
    (end,) = world.place("b", "BUY", "0.1")
    assert end.why == "last price of BTCUSDT is 121 s old, at most 120 s are allowed"


def test_an_order_larger_than_the_position_on_the_other_side_flips_it(world: World) -> None:
    world.place("a", "BUY", "0.1")
    world.place("b", "SELL", "0.3")
    assert world.open() == "-0.2"
    assert world.account().positions[BTC].cost == Decimal("-0.2") * Decimal(39996)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"symbol": "DOGEUSDT"},
         "unknown symbol DOGEUSDT: no filters, fees and brackets are listed"),
        ({"account": "nobody"}, "unknown account: deposit first"),
        ({"quantity": "0.0005"}, "quantity 0.0005 is not a multiple of the step 0.001"),
        ({"quantity": "121"}, "MARKET quantity 121 is above the maximum 120"),
        ({"limit_price": "39000.05", "order_type": "LIMIT"},
         "limit price 39000.05 is not a multiple of the tick 0.1"),
        ({"limit_price": "42000.1", "order_type": "LIMIT"},
         "limit price 42000.1 is outside the price band: a buyer pays at most 42000"),
        ({"limit_price": "37999.9", "order_type": "LIMIT", "side": "SELL"},
         "limit price 37999.9 is outside the price band: a seller takes at least 38000"),
        ({"limit_price": "4000", "order_type": "LIMIT", "quantity": "0.001"},
         "notional 4 is below the minimum 5"),
        ({"quantity": "3"}, "margin 12001.2 USDT is needed, 10000 is available"),
        ({"leverage": 101, "quantity": "2"},
         "leverage 101 is above 100, the maximum for 80008 USDT"),
        ({"order_type": "LIMIT"}, "a LIMIT order needs a limit price"),
        ({"order_type": "STOP_MARKET"}, "a STOP_MARKET order needs a trigger price"),
        ({"reduce_only": True}, "reduce-only BUY BTCUSDT: nothing is open, nothing to reduce"),
        ({"order_type": "STOP_MARKET", "trigger_price": "40000"},
         "would trigger immediately: trigger 40000, mark 40000"),
        ({"order_type": "TAKE_PROFIT_MARKET", "trigger_price": "40000.1"},
         "would trigger immediately: trigger 40000.1, mark 40000"),
    ],
)  # fmt: skip
def test_a_refusal_names_value_and_limit(world: World, fields: dict[str, str], why: str) -> None:
    order = {"side": "BUY", "quantity": "0.1", **fields}
    (end,) = world.place("a", order.pop("side"), order.pop("quantity"), **order)  # type: ignore[arg-type]
    assert (end.kind, end.status, end.filled_quantity, end.why) == ("ended", "REJECTED", "0", why)
    assert not world.account().positions


def test_an_absurd_number_is_refused_like_any_other(world: World) -> None:
    (end,) = world.limit("a", "SELL", "1", "9" * 40)
    assert end.status == "REJECTED"
    (end,) = world.limit("b", "BUY", "9" * 40, "40000")
    assert end.status == "REJECTED"


def test_margin_reserved_by_a_resting_entry_is_not_available_again(world: World) -> None:
    assert kinds(world.limit("a", "BUY", "2", "39000")) == ["accepted"]
    (end,) = world.limit("b", "BUY", "1", "39000")
    assert end.why == "margin 3900 USDT is needed, 2200 is available"
    world.cancel("a")
    assert kinds(world.limit("c", "BUY", "1", "39000")) == ["accepted"]


def test_a_reduce_only_order_below_min_notional_is_taken(world: World) -> None:
    world.place("a", "BUY", "0.1")
    assert kinds(world.limit("b", "SELL", "0.001", "40100", reduce_only=True)) == ["accepted"]
    assert kinds(world.place("c", "SELL", "0.001", reduce_only=True))[-1] == "FILLED"


def test_a_reduce_only_order_never_flips_and_its_rest_is_cancelled(world: World) -> None:
    world.place("a", "BUY", "0.1")
    items = world.place("b", "SELL", "0.3", reduce_only=True)
    assert kinds(items) == ["accepted", "filled", "CANCELED"]
    assert (items[1].quantity, items[2].filled_quantity) == ("0.1", "0.1")
    assert world.open() == "0"


def test_a_reduce_only_order_on_the_side_of_the_position_is_refused(world: World) -> None:
    world.place("a", "BUY", "0.1")
    (end,) = world.place("b", "BUY", "0.1", reduce_only=True)
    assert end.why == "reduce-only BUY BTCUSDT: 0.1 is open, nothing to reduce"


def test_a_halted_account_may_only_reduce(world: World) -> None:
    world.place("a", "BUY", "0.1")
    world.source.slices.halted.add("main")
    (end,) = world.place("b", "BUY", "0.1")
    assert end.why == "the venue has halted this account: only reductions pass"
    assert kinds(world.place("c", "SELL", "0.1", reduce_only=True))[-1] == "FILLED"


# ------------------------------------------------------------------ limits on arrival


def test_a_marketable_limit_is_a_taker_never_worse_than_its_limit(world: World) -> None:
    _, fill, _ = world.limit("a", "BUY", "0.1", "40100")
    assert (fill.price, fill.liquidity, fill.rule) == ("40004", "taker", "limit taker")
    world.candle(high="44000", low="40000", volume="1000")
    world.wait(60)
    world.price("40000")
    world.candle(high="44000", low="40000", volume="1000")
    _, fill, _ = world.limit("b", "BUY", "0.1", "40010")
    assert fill.price == "40010"


def test_a_post_only_order_that_would_trade_is_refused(world: World) -> None:
    (end,) = world.limit("a", "BUY", "0.1", "40004", time_in_force="GTX")
    assert end.why == "post-only: limit price 40004 would trade at once"
    assert kinds(world.limit("b", "BUY", "0.1", "40003.9", time_in_force="GTX")) == ["accepted"]


def test_ioc_takes_what_there_is_and_fok_all_or_nothing() -> None:
    world = World()
    world.calm(volume="2")
    items = world.limit("a", "BUY", "0.1", "39000", time_in_force="IOC")
    assert kinds(items) == ["accepted", "EXPIRED"]
    items = world.limit("b", "BUY", "0.3", "40100", time_in_force="FOK")
    assert kinds(items) == ["accepted", "EXPIRED"]
    items = world.limit("c", "BUY", "0.3", "40100", time_in_force="IOC")
    assert kinds(items) == ["accepted", "filled", "EXPIRED"]
    assert items[2].filled_quantity == "0.2"


def test_the_rest_of_a_marketable_gtc_limit_rests() -> None:
    world = World()
    world.calm(volume="2")
    assert kinds(world.limit("a", "BUY", "0.3", "40100")) == ["accepted", "filled"]
    assert world.read().open_orders == ("a",)
    found = world.query("a")
    assert (found.resting, found.filled_quantity, found.status) == (True, "0.2", None)


# ------------------------------------------------------------------ cancels, queries, transfers


def test_a_cancel_ends_an_open_order_and_is_refused_for_any_other(world: World) -> None:
    world.limit("a", "BUY", "0.1", "39000")
    (end,) = world.cancel("a")
    assert (end.status, end.filled_quantity) == ("CANCELED", "0")
    assert world.cancel("a")[0].why == "not open: it has ended CANCELED"
    assert world.cancel("b")[0].why == "not open: unknown client order id"


def test_a_query_tells_every_fill_and_the_end(world: World) -> None:
    _, fill, _ = world.place("a", "BUY", "0.1")
    found = world.query("a")
    assert (found.known, found.resting, found.status) == (True, False, "FILLED")
    assert found.fills == (fill,)
    assert world.query("b").known is False


def test_a_known_client_id_has_no_second_effect(world: World) -> None:
    world.place("a", "BUY", "0.1")
    (found,) = world.place("a", "BUY", "0.1", attempt=1)
    assert (found.kind, found.status, found.filled_quantity) == ("found", "FILLED", "0.1")
    world.limit("b", "BUY", "0.1", "39000")
    (found,) = world.limit("b", "SELL", "0.5", "41000", attempt=1)
    assert (found.kind, found.resting) == ("found", True)
    assert world.open() == "0.1"
    assert world.account().orders["b"].side == "BUY"


def test_a_transfer_is_credited_once(world: World) -> None:
    (again,) = world.deposit("10000")
    assert (again.kind, again.amount) == ("transferred", "10000")
    (other,) = world.deposit("500", transfer="second")
    assert other.amount == "500"
    assert world.account().balance == 10500


def test_reading_an_account_tells_positions_and_open_orders(world: World) -> None:
    world.place("a", "SELL", "0.1")
    world.stop("s", "BUY", "41000")
    read = world.read()
    assert [(p.symbol, p.quantity) for p in read.positions] == [(BTC, "-0.1")]
    assert read.open_orders == ("s",)
    assert world.read(account="nobody").positions == ()


# ------------------------------------------------------------------ faults


def test_a_lost_answer_takes_effect_and_is_found_by_a_query() -> None:
    world = World(faults=FaultPlan(lost_answer_every=1))
    world.calm()
    items = world.place("a", "BUY", "0.1")
    assert kinds(items)[-1] == "FILLED"
    assert world.reports[-1].data.delivered is False
    assert world.query("a").filled_quantity == "0.1"
    assert world.reports[-1].data.delivered is True


def test_a_lost_request_has_no_effect_and_a_second_attempt_arrives() -> None:
    world = World(faults=FaultPlan(lost_request_every=1))
    world.calm()
    assert world.place("a", "BUY", "0.1") == ()
    assert world.reports[-1].data.delivered is False
    assert world.query("a").known is False
    assert kinds(world.place("a", "BUY", "0.1", attempt=1))[-1] == "FILLED"


def test_a_fault_plan_refuses_orders_and_thins_the_book_for_entries() -> None:
    refusing = World(faults=FaultPlan(refused_every=1))
    refusing.calm()
    (end,) = refusing.place("a", "BUY", "0.1")
    assert (end.status, end.filled_quantity) == ("REJECTED", "0")
    assert "on purpose" in end.why
    thin = World(faults=FaultPlan(thin_every=1))
    thin.calm()
    items = thin.place("a", "BUY", "0.1")
    assert kinds(items) == ["accepted", "filled", "EXPIRED"]
    assert items[1].quantity == "0.05"


def test_faults_strike_about_one_order_in_so_many() -> None:
    plan = FaultPlan(lost_answer_every=40, lost_request_every=60)
    ids = [f"qt{number:022x}" for number in range(6000)]
    assert 100 <= sum(plan.lost_answer(key) for key in ids) <= 200
    assert 60 <= sum(plan.lost_request(key) for key in ids) <= 140
    assert not any(FaultPlan().lost_answer(key) or FaultPlan().lost_request(key) for key in ids)
