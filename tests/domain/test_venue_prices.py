"""Goal: what a price, a candle border, a liquidation and a funding settlement do to resting orders.

Each case: an account at the venue, a path of points, the parts of the report (DEFINITIONS 8, 10).
"""

from decimal import Decimal

import pytest

from domain.futures import liquidation_price
from tests.domain.venue_world import BTC, ETH, SECOND, World, instrument, kinds


@pytest.fixture
def world() -> World:
    """Long 0.1 BTC from 40,004, leverage 10, no stop."""
    world = World()
    world.calm()
    world.place("a", "BUY", "0.1")
    return world


# ------------------------------------------------------------------ stops and targets


def test_a_stop_met_between_two_points_of_a_candle_fills_at_its_trigger(world: World) -> None:
    world.stop("s", "SELL", "39000")
    assert world.price("39000.1", point=2) == ()
    fill, end = world.price("38900", point=3)
    assert (fill.price, fill.rule) == ("38996.1", "stop at trigger")
    assert (fill.reference, fill.quantity, end.status) == ("39000", "0.1", "FILLED")
    assert fill.filled_at == "2021-05-19T12:00:30.000000Z"
    assert world.open() == "0"


def test_a_stop_met_across_two_candles_fills_at_the_point(world: World) -> None:
    world.stop("s", "SELL", "39000")
    fill, _ = world.price("38900", point=0)
    assert (fill.price, fill.rule) == ("38896.1", "stop at point (gap)")


def test_a_stop_on_ticks_fills_at_the_point(world: World) -> None:
    world.stop("s", "SELL", "39000")
    fill, _ = world.price("38900", point=None)
    assert fill.reference == "38900"


def test_stops_and_targets_trigger_on_mark_and_trade_at_last(world: World) -> None:
    world.stop("s", "SELL", "39000")
    assert world.price("38900", mark="39000.1") == ()
    fill, _ = world.price("39100", mark="38990")
    assert (fill.reference, fill.rule) == ("39100", "stop at point (mark)")


def test_a_short_is_stopped_and_targeted_the_other_way_round() -> None:
    world = World()
    world.calm()
    world.place("a", "SELL", "0.1")
    world.stop("s", "BUY", "41000")
    world.target("t", "BUY", "39000")
    fill, _ = world.price("41100")
    assert (fill.side, fill.price) == ("BUY", "41004.1")
    world.place("b", "SELL", "0.1")
    fill, _ = world.price("38900")
    assert (fill.client_order_id, fill.price) == ("t", "39003.9")


def test_a_target_is_never_filled_better_than_its_trigger_within_a_candle(world: World) -> None:
    world.target("t", "SELL", "41000")
    fill, end = world.price("41500", point=2)
    assert (fill.price, fill.rule, end.status) == ("40995.9", "target at trigger", "FILLED")


def test_a_target_met_across_two_candles_fills_at_the_point(world: World) -> None:
    world.target("t", "SELL", "41000")
    fill, _ = world.price("41500", point=0)
    assert (fill.price, fill.rule) == ("41495.8", "target at point (gap)")


def test_of_two_stops_met_at_one_point_the_first_on_the_path_closes(world: World) -> None:
    world.target("t", "SELL", "41000")
    world.price("41500", mark="40500")  # last is over the target, mark is not
    world.stop("s", "SELL", "40400")
    world.stop("s2", "SELL", "40300")
    items = world.price("40200")
    assert kinds(items) == ["filled", "FILLED", "EXPIRED"]
    assert [item.client_order_id for item in items] == ["s", "s", "s2"]
    assert items[2].why == "position closed"
    assert kinds(world.price("41100")) == ["EXPIRED"]


def test_an_untouched_order_stays_when_the_other_one_closed_the_position(world: World) -> None:
    world.stop("s", "SELL", "39000")
    world.target("t", "SELL", "41000")
    world.price("38900")
    assert world.read().open_orders == ("t",)


def test_a_stop_closes_what_is_open_when_it_triggers_whatever_its_quantity(world: World) -> None:
    world.stop("s", "SELL", "39000")
    world.place("b", "BUY", "0.1")
    fill, _ = world.price("38900")
    assert fill.quantity == "0.2"


def test_a_stop_is_filled_though_there_was_no_volume(world: World) -> None:
    world.stop("s", "SELL", "39000")
    world.candle(high="40000", low="40000", volume="0")
    world.wait(600)
    assert kinds(world.price("38900", point=0)) == ["filled", "FILLED"]


def test_a_reduce_only_stop_for_a_part_closes_that_part(world: World) -> None:
    world.stop("s", "SELL", "39000", quantity="0.04", close_position=False)
    fill, end = world.price("38900")
    assert (fill.quantity, end.status, world.open()) == ("0.04", "FILLED", "0.06")


def test_a_stop_that_enters_opens_a_position() -> None:
    world = World()
    world.calm()
    world.place("a", "BUY", "0.1", order_type="STOP_MARKET", trigger_price="41000")
    fill, _ = world.price("41200")
    assert (fill.price, world.open()) == ("41004.1", "0.1")


# ------------------------------------------------------------------ resting limits


def test_a_limit_fills_only_when_price_trades_through_by_a_tick() -> None:
    world = World()
    world.calm()
    world.limit("a", "BUY", "0.1", "39000")
    assert world.price("39000") == ()
    fill, end = world.price("38999.9")
    assert (fill.price, fill.liquidity, fill.rule) == ("39000", "maker", "limit through")
    assert (fill.fee, end.status) == ("0.78", "FILLED")


def test_a_limit_is_filled_in_parts_as_volume_allows() -> None:
    world = World()
    world.calm(volume="2")
    world.limit("a", "SELL", "0.3", "41000")
    (fill,) = world.price("41100")
    assert fill.quantity == "0.2"
    assert world.price("41100") == ()
    world.wait(60)
    fill, end = world.price("41100")
    assert (fill.quantity, end.filled_quantity) == ("0.1", "0.3")
    assert len({fill.trade_id for fill in world.query("a").fills}) == 2


def test_limits_share_the_volume_in_order_of_arrival() -> None:
    world = World()
    world.calm(volume="2")
    world.limit("first", "BUY", "0.15", "39000")
    world.limit("second", "BUY", "0.15", "39100")
    items = world.price("38000")
    assert [(i.client_order_id, i.quantity) for i in items if i.kind == "filled"] == [
        ("first", "0.15"), ("second", "0.05"),
    ]  # fmt: skip


def test_a_reduce_only_limit_is_clipped_when_it_matches(world: World) -> None:
    world.limit("t", "SELL", "0.1", "41000", reduce_only=True)
    world.place("b", "SELL", "0.06", reduce_only=True)
    fill, end = world.price("41100")
    assert (fill.quantity, end.status, world.open()) == ("0.04", "CANCELED", "0")


def test_a_reduce_only_limit_without_a_position_expires(world: World) -> None:
    world.limit("t", "SELL", "0.1", "41000", reduce_only=True)
    world.place("b", "SELL", "0.1", reduce_only=True)
    (end,) = world.price("41100")
    assert (end.status, end.why) == ("EXPIRED", "position closed")


def test_a_resting_limit_is_not_filled_in_a_gap() -> None:
    world = World()
    world.calm()
    world.limit("a", "BUY", "0.1", "39000")
    world.wait(600)
    assert world.price("38000", point=0) == ()


# ------------------------------------------------------------------ liquidation


def level(world: World, symbol: str = BTC) -> Decimal:
    held = world.account().positions[symbol]
    terms = world.source.slices["market"].terms(symbol)
    found = liquidation_price(
        side=held.side, quantity=abs(held.quantity), entry=held.entry,
        isolated_margin=held.isolated, terms=terms,
    )  # fmt: skip
    assert found is not None
    return found


def test_liquidation_closes_at_the_liquidation_price_and_ends_the_stops() -> None:
    world = World()
    world.calm()
    world.place("a", "BUY", "0.1", leverage=20)
    bound = level(world)
    assert Decimal(38100) < bound < Decimal(38200)  # 40,004 (1 - 1/20) / (1 - 0.004)
    world.stop("s", "SELL", "38000")
    world.limit("t", "SELL", "0.1", "41000", reduce_only=True)
    world.limit("entry", "BUY", "0.1", "38000")
    items = world.price("38050")
    assert kinds(items) == ["filled", "EXPIRED", "EXPIRED"]
    fill = items[0]
    assert (fill.client_order_id, fill.rule, fill.side) == (None, "liquidation", "SELL")
    assert bound * Decimal("0.9998") < Decimal(fill.price) < bound
    assert fill.fee == str(Decimal(fill.price) * Decimal("0.1") * Decimal("0.0005")).rstrip("0")
    assert items[1].why == "position liquidated"
    assert world.read().open_orders == ("entry",)


def test_a_stop_before_the_liquidation_price_goes_first(world: World) -> None:
    world.stop("s", "SELL", str(level(world).quantize(Decimal("0.1")) + 1))
    items = world.price("30000")
    assert [item.client_order_id for item in items] == ["s", "s"]
    assert world.open() == "0"


def test_a_stop_beyond_the_liquidation_price_comes_too_late(world: World) -> None:
    world.stop("s", "SELL", str(level(world).quantize(Decimal("0.1")) - 1))
    items = world.price("30000")
    assert kinds(items) == ["filled", "EXPIRED"]
    assert [item.client_order_id for item in items] == [None, "s"]


def test_a_short_is_liquidated_when_mark_rises() -> None:
    world = World()
    world.calm()
    world.place("a", "SELL", "0.1", leverage=20)
    bound = level(world)
    assert world.price(str(bound.quantize(Decimal("0.1")) - 1)) == ()
    (fill,) = world.price("42000")
    assert bound < Decimal(fill.price) < bound * Decimal("1.0002")


def test_liquidations_of_two_symbols_at_one_time_have_different_trade_ids() -> None:
    world = World()
    ids = []
    for symbol in (BTC, ETH):
        world.calm(symbol=symbol)
        world.place("a" + symbol, "BUY", "0.1", symbol=symbol, leverage=20)
        ids.append(world.price("37000", symbol=symbol)[0].trade_id)
    assert len(set(ids)) == 2


# ------------------------------------------------------------------ funding


def test_a_long_pays_a_positive_rate_once_a_settlement(world: World) -> None:
    world.us += 60 * SECOND
    before = world.account().balance
    (item,) = world.funding("0.0001")
    assert (item.amount, item.quantity, item.mark) == ("-0.4", "0.1", "40000")
    assert world.funding("0.0001", later_us=15_000) == ()
    assert world.account().balance == before - Decimal("0.4")
    assert kinds(world.funding("0.0001", later_us=8 * 3600 * SECOND)) == ["funded"]


def test_funding_of_the_example_in_the_definitions() -> None:
    world = World()
    world.calm()
    world.place("a", "BUY", "0.037")
    (item,) = world.funding("0.0001", later_us=SECOND)
    assert item.amount == "-0.148"


def test_a_position_opened_at_the_settlement_pays_nothing(world: World) -> None:
    assert world.funding("0.0001") == ()
    assert kinds(world.funding("0.0001", later_us=SECOND)) == ["funded"]


def test_funding_moves_the_liquidation_price(world: World) -> None:
    before = level(world)
    world.funding("0.001", later_us=SECOND)
    assert level(world) > before


# ------------------------------------------------------------------ one report


def test_one_price_gives_each_account_at_most_one_report_in_account_order() -> None:
    world = World()
    for name in ("hot", "cold"):
        world.deposit("10000", account=name, transfer=f"opening/{name}")
    world.calm()
    for name in ("main", "hot", "cold"):
        world.place(f"{name}-a", "BUY", "0.1", account=name)
        if name != "hot":
            world.stop(f"{name}-s", "SELL", "39000", account=name)
    reports = len(world.reports)
    world.price("38900")
    assert [report.partitionkey for report in world.reports[reports:]] == ["cold", "main"]


def test_another_listing_of_the_symbol_changes_the_levels_watched() -> None:
    from schemas.market import Bracket, InstrumentsData, InstrumentsListed

    world = World()
    world.calm()
    world.place("a", "BUY", "0.1", leverage=20)
    assert world.price("38500") == ()
    dear = instrument(BTC, brackets=(Bracket(mmr_pct="4.5", cum="0", leverage_max=20),))
    world.send(InstrumentsListed, InstrumentsData(items=(dear,)))
    fill = world.price("38500")[0]
    assert (fill.rule, fill.reference) == ("liquidation at point", "38500")
