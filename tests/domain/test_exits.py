"""Rules of a living position: protection, failed protection, time, sweeping."""

import pytest

from tests.domain.execution_world import BTC, ETH, World, kinds


def test_the_first_fill_places_stop_and_target_that_close_whatever_is_open() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(quantity="0.03"))
    stop, target = world.fill_whole(entry)
    trade = world.results.positions[BTC].trade_id
    assert (stop.purpose, stop.order_type, stop.trigger_price) == ("stop", "STOP_MARKET", "39200")
    assert (target.purpose, target.order_type) == ("target", "TAKE_PROFIT_MARKET")
    assert target.trigger_price == "41600"
    for order in (stop, target):
        assert (order.side, order.quantity, order.owner_id) == ("SELL", "0.03", trade)
        assert order.reduce_only
        assert order.close_position


def test_a_partly_filled_limit_is_protected_at_the_first_fill_and_not_again() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(limit="40000", quantity="0.03"))
    world.report(world.accepted(entry))
    items = world.report(world.filled(entry, "0.01"))
    assert kinds(items) == ["stop", "target"]
    assert world.report(world.accepted(items[0]), world.accepted(items[1])) == []
    assert world.report(world.filled(entry, "0.02"), world.ended(entry, filled="0.03")) == []
    assert world.tick() == []


def test_the_trade_is_named_by_the_part_of_the_fill_that_opened_it() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(limit="40000"))
    first, second = world.filled(entry, "0.01"), world.filled(entry, "0.02")
    stop, _ = world.report(world.accepted(entry), first, second)
    assert stop.owner_id == first.id


def test_a_position_without_a_stop_in_its_plan_is_left_alone_if_none_is_required() -> None:
    world = World(stops_required=False)
    (entry,) = world.judge(world.verdict(stop=None, target=None))
    assert world.fill_whole(entry) == []
    assert world.tick(60) == []


def test_the_target_is_cancelled_when_the_stop_filled() -> None:
    world = World()
    _, stop, target = world.enter()
    (cancel,) = world.fill_whole(stop, price="39200")
    assert (cancel.order_id, cancel.why) == (target.id, "filled_other")


def test_stop_and_target_are_cancelled_once_the_position_was_closed_at_market() -> None:
    world = World()
    world.enter()
    (order,) = world.judge(world.verdict("SELL", kind="exit"))
    items = world.fill_whole(order)
    assert kinds(items) == ["cancel position_closed", "cancel position_closed"]
    assert world.tick() == []
    assert world.tick(60) == []


def test_a_liquidation_leaves_no_protection_behind() -> None:
    world = World()
    world.enter(quantity="0.03")
    items = world.report(world.foreign("SELL", "0.03", price="36500"))
    assert kinds(items) == ["cancel position_closed", "cancel position_closed"]


def test_protection_accepted_only_after_its_position_was_gone_is_swept_as_an_orphan() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(quantity="0.03"))
    stop, target = world.fill_whole(entry)
    items = world.report(world.foreign("SELL", "0.03"))
    assert [item.order_id for item in items] == [stop.id, target.id]
    assert world.report(world.accepted(stop)) == []
    assert all(order.cancelled for order in world.open_orders())


def test_protection_of_a_trade_is_no_protection_of_the_next_one() -> None:
    world = World()
    _, stop, target = world.enter(quantity="0.03")
    world.report(world.foreign("SELL", "0.03"))
    (entry,) = world.judge(world.verdict())
    items = world.fill_whole(entry)
    assert kinds(items) == ["stop", "target"]
    assert items[0].owner_id != stop.owner_id
    assert {o.id for o in world.open_orders() if o.cancelled} == {stop.id, target.id}


def test_a_refused_stop_closes_the_position_at_market_at_once() -> None:
    world = World()
    (entry,) = world.judge(world.verdict())
    stop, target = world.fill_whole(entry)
    (close,) = world.report(world.ended(stop, "REJECTED"), world.accepted(target))
    assert (close.purpose, close.side, close.reduce_only) == ("exit_unprotected", "SELL", True)
    assert kinds(world.fill_whole(close)) == ["cancel position_closed"]


def test_a_resting_stop_that_the_venue_dropped_closes_the_position_at_market_at_once() -> None:
    world = World()
    _, stop, _ = world.enter(quantity="0.03")
    (close,) = world.report(world.ended(stop, "EXPIRED"))
    assert (close.purpose, close.reduce_only) == ("exit_unprotected", True)


def test_a_stop_not_accepted_in_time_closes_the_position_at_market() -> None:
    world = World(unprotected_s=2)
    (entry,) = world.judge(world.verdict())
    stop, _ = world.fill_whole(entry)
    world.report(world.unknown(stop))
    assert world.tick(2) == []
    assert kinds(world.tick(1)) == ["exit_unprotected"]


def test_an_accepted_stop_is_protection_however_long_it_rests() -> None:
    world = World()
    world.enter()
    assert world.tick(3600) == []


def test_a_foreign_position_is_adopted_with_the_stop_an_entry_of_ours_would_have() -> None:
    world = World()
    world.hours("300")
    (stop,) = world.report(world.foreign("SELL", "0.02"))
    assert (stop.purpose, stop.side, stop.trigger_price) == ("stop", "BUY", "40600")
    world.report(world.accepted(stop))
    assert world.tick(3) == []


def test_a_foreign_position_whose_stop_distance_is_unknown_is_closed() -> None:
    world = World(stops_required=True)
    assert world.report(world.foreign("SELL", "0.02")) == []
    (close,) = world.tick(3)
    assert (close.purpose, close.side, close.quantity) == ("exit_unprotected", "BUY", "0.02")


def test_a_foreign_position_is_left_alone_if_no_stop_is_required() -> None:
    world = World(stops_required=False)
    world.report(world.foreign("SELL", "0.02"))
    assert world.tick(3) == []


def test_a_stop_that_mark_crossed_for_some_time_without_a_fill_has_failed() -> None:
    world = World(stop_failed_pct="0.1", stop_failed_s=2)
    world.enter(stop="39200")
    world.prices(BTCUSDT="39161")
    assert world.tick(60) == [], "not yet beyond 0.1 %"
    world.prices(BTCUSDT="39160")
    assert world.tick(0) == [], "beyond, but not for 2 s"
    (close,) = world.tick(2)
    assert (close.purpose, close.order_type) == ("exit_stop_failed", "MARKET")


def test_a_stop_that_mark_crossed_and_left_again_has_not_failed() -> None:
    world = World()
    world.enter("BTCUSDT", "SELL", stop="40800", target="38000")
    world.prices(BTCUSDT="41000")
    world.prices(BTCUSDT="40500")
    world.prices(BTCUSDT="41000")
    assert world.tick(1) == []
    assert kinds(world.tick(1)) == ["exit_stop_failed"]


def test_a_crossing_longer_than_the_remembered_minute_still_fails_a_stop() -> None:
    world = World(stop_failed_s=300)
    world.enter(stop="39200")
    for _ in range(10):
        world.prices(9, BTCUSDT="39000")
    assert kinds(world.tick()) == ["exit_stop_failed"]


def test_a_crossing_before_the_stop_was_decided_does_not_count() -> None:
    world = World()
    world.prices(BTCUSDT="39000")
    world.us += 10_000_000
    world.tick()
    world.enter(stop="39200")
    assert world.tick(1) == []
    assert kinds(world.tick(1)) == ["exit_stop_failed"]


def test_a_position_is_closed_when_it_has_been_open_for_too_long() -> None:
    world = World(max_time_in_trade_s=3600)
    world.enter()
    assert world.tick(3600) == []
    (close,) = world.tick(1)
    assert (close.purpose, close.reduce_only) == ("exit_time", True)


@pytest.mark.parametrize("status", ["REJECTED", "EXPIRED", "NEVER_SENT", "CANCELED"])
def test_a_close_that_ended_without_a_fill_is_tried_again_at_the_next_tick(status: str) -> None:
    world = World()
    world.enter()
    (close,) = world.judge(world.verdict("SELL", kind="exit"))
    assert world.report(world.ended(close, status)) == []
    (again,) = world.tick()
    assert (again.purpose, again.note) == ("exit_signal", "attempt 2")
    assert again.id != close.id
    assert world.tick() == [], "one closing order at a time"


def test_a_partly_filled_close_is_followed_by_one_over_the_rest() -> None:
    world = World()
    world.enter(quantity="0.03")
    (close,) = world.judge(world.verdict("SELL", kind="exit"))
    world.report(world.filled(close, "0.01"), world.ended(close, "EXPIRED", "0.01"))
    (again,) = world.tick()
    assert again.quantity == "0.02"


def test_a_close_larger_than_the_venue_takes_in_one_order_is_followed_by_another() -> None:
    world = World()
    world.enter(quantity="130")
    (close,) = world.judge(world.verdict("SELL", kind="exit"))
    assert close.quantity == "100"
    world.fill_whole(close)
    (again,) = world.tick()
    assert again.quantity == "30"


def test_an_unknown_close_is_waited_for() -> None:
    world = World()
    world.enter()
    (close,) = world.judge(world.verdict("SELL", kind="exit"))
    world.report(world.unknown(close))
    assert world.tick() == []


def test_the_stop_widens_when_the_regime_rises_new_one_first() -> None:
    world = World()
    world.prices(BTCUSDT="40000")
    world.hours("300")
    world.enter(stop="39400", quantity="0.03")
    assert world.tick() == [], "same regime"
    world.candle(world.time[:14] + "00:00.000000Z", "60000", "40000", "40000")
    assert world.source.slices["market"].symbols[BTC].hourly.regime == "HIGH_VOL"
    assert world.position is not None
    stop, cancel = world.tick()
    assert kinds([stop, cancel]) == ["stop", "cancel replaced"]
    # ATR 600 and a forming hour of 20,000: 600 + 19,400 / 14, times 1.5, away from the entry
    assert stop.trigger_price == "37021.4"
    assert (stop.regime, stop.replaces) == ("HIGH_VOL", cancel.order_id)
    assert stop.close_position
    assert world.tick() == []
    world.report(world.accepted(stop), world.ended_id(cancel, "CANCELED"))
    assert world.tick() == []


def test_the_stop_does_not_follow_small_changes_of_the_range() -> None:
    world = World()
    world.prices(BTCUSDT="40000")
    world.hours("300")
    world.enter(stop="39400")
    world.candle(world.time[:14] + "00:00.000000Z", "41000", "40000", "40000")
    assert world.source.slices["market"].symbols[BTC].hourly.regime == "NORMAL"
    assert world.tick() == []


def test_the_stop_widens_no_further_than_the_risk_budget() -> None:
    world = World(max_risk_trade_pct="0.5")
    world.prices(BTCUSDT="40000")
    world.hours("300")
    world.enter(stop="39400", quantity="0.03")
    world.candle(world.time[:14] + "00:00.000000Z", "60000", "40000", "40000")
    stop, _ = world.tick()
    # 0.5 % of 10,000 over 0.03 BTC is 1,666.67 a BTC, less 56 for costs; never past the bound
    assert stop.trigger_price == "38389.4"


def test_the_stop_narrows_when_the_regime_fell_unless_mark_has_crossed_the_new_trigger() -> None:
    world = World()
    world.prices(BTCUSDT="40000")
    world.hours("300")
    world.enter(stop="38000", regime="HIGH_VOL")
    world.prices(BTCUSDT="39400")
    assert world.tick() == []
    world.prices(BTCUSDT="39400.1")
    stop, cancel = world.tick()
    assert (stop.trigger_price, stop.regime, cancel.why) == ("39400", "NORMAL", "replaced")


def test_nothing_moves_a_stop_while_a_price_is_unknown() -> None:
    world = World()
    world.hours("300")
    world.enter(stop="38000", regime="HIGH_VOL")
    assert world.tick() == []


def test_a_refused_wider_stop_closes_the_position() -> None:
    world = World()
    world.prices(BTCUSDT="40000")
    world.hours("300")
    world.enter(stop="39400")
    world.candle(world.time[:14] + "00:00.000000Z", "60000", "40000", "40000")
    stop, cancel = world.tick()
    assert world.report(world.ended(stop, "REJECTED")) == [], "the old stop still rests"
    assert kinds(world.report(world.ended_id(cancel, "CANCELED"))) == ["exit_unprotected"]


def test_the_exit_of_one_symbol_leaves_the_other_alone() -> None:
    world = World()
    world.enter()
    world.enter(ETH, "SELL", stop="41000", target="38000")
    world.prices(ETHUSDT="42000", BTCUSDT="40000")
    world.us += 60_000_000
    (close,) = world.tick(0)
    assert (close.symbol, close.purpose, close.side) == (ETH, "exit_stop_failed", "BUY")
