"""The emergency stop: five steps in order, every partial failure, and `flat` only when it is."""

from typing import Any

import pytest

from tests.domain.execution_world import BTC, ETH, World, kinds


def only(items: list[Any], purpose: str) -> Any:
    """The one order of a purpose."""
    (order,) = [i for i in items if i.kind == "order" and i.purpose == purpose]
    return order


def step(items: list[Any], name: str) -> Any:
    (found,) = [i for i in items if i.kind == "step" and i.name == name]
    return found


def closed(world: World, items: list[Any]) -> Any:
    """Fill every emergency close of `items`; the confirm step that follows."""
    out: list[Any] = []
    for order in [i for i in items if i.kind == "order"]:
        out = world.fill_whole(order)
    return step(out, "confirm")


def test_block_cancel_entries_and_close_are_one_record_in_that_order() -> None:
    world = World()
    world.enter(quantity="0.03")
    (entry,) = world.judge(world.verdict(symbol=ETH, limit="2500"))
    items = world.stop()
    assert kinds(items) == [
        "1 block 1", "2 cancel_entries 1", "cancel emergency", "3 close 1", "emergency_close",
    ]  # fmt: skip
    assert items[2].order_id == entry.id
    close = items[4]
    assert (close.order_type, close.reduce_only, close.side) == ("MARKET", True, "SELL")
    assert (close.symbol, close.quantity) == (BTC, "0.03")
    assert {i.emergency_id for i in items if i.kind == "step"} == {world.emergency_id}


def test_the_whole_way_to_flat() -> None:
    world = World()
    _, stop, target = world.enter()
    items = world.stop()
    confirm = closed(world, items)
    items = world.report(world.read_back(confirm))
    assert kinds(items) == ["5 cancel_protection 1", "cancel emergency", "cancel emergency"]
    assert [i.order_id for i in items[1:]] == [stop.id, target.id]
    assert world.report(world.ended(stop, "CANCELED")) == []
    assert kinds(world.report(world.ended(target, "CANCELED"))) == ["flat"]
    assert world.tick() == []
    assert world.own.orders == {}


def test_an_account_without_anything_is_confirmed_at_once_and_flat_when_read_back() -> None:
    world = World()
    items = world.stop()
    assert kinds(items) == ["1 block 1", "2 cancel_entries 1", "3 close 1", "4 confirm 1"]
    items = world.report(world.read_back(step(items, "confirm")))
    assert kinds(items) == ["5 cancel_protection 1", "flat"]


def test_a_second_activation_does_nothing_new() -> None:
    world = World()
    world.enter()
    items = world.stop()
    assert world.stop_again() == []
    world.report(world.read_back(closed(world, items)))
    assert world.stop_again() == []


def test_stops_stay_until_the_account_is_read_back_flat() -> None:
    world = World()
    world.enter()
    _, eth_stop, _ = world.enter(ETH)
    items = world.stop()
    btc, eth = [i for i in items if i.kind == "order"]
    assert world.fill_whole(btc) == [], "the stops of the closed symbol rest on"
    confirm = step(world.fill_whole(eth), "confirm")
    assert not any(o.cancelled for o in world.open_orders())
    cancels = world.report(world.read_back(confirm))[1:]
    assert len(cancels) == 4
    assert eth_stop.id in {c.order_id for c in cancels}


@pytest.mark.parametrize("status", ["REJECTED", "EXPIRED", "NEVER_SENT"])
def test_a_refused_close_is_tried_again_at_the_next_tick(status: str) -> None:
    world = World()
    world.enter()
    close = only(world.stop(), "emergency_close")
    assert world.report(world.ended(close, status)) == []
    items = world.tick()
    assert kinds(items) == ["3 close 2", "emergency_close"]
    assert world.tick() == []
    assert step(world.fill_whole(items[1]), "confirm").attempt == 1


def test_a_venue_that_goes_on_refusing_is_asked_after_longer_and_longer_pauses() -> None:
    world = World()
    world.enter()
    order = only(world.stop(), "emergency_close")
    waited = []
    for _ in range(7):
        world.report(world.ended(order, "REJECTED"))
        for ticks in range(1, 100):
            if items := world.tick():
                waited.append(ticks)
                order = only(items, "emergency_close")
                break
    assert waited == [1, 2, 4, 8, 16, 30, 30]


def test_a_half_filled_close_is_followed_at_once_by_one_over_the_rest() -> None:
    world = World()
    world.enter(quantity="0.03")
    close = only(world.stop(), "emergency_close")
    items = world.report(world.filled(close, "0.02"), world.ended(close, "EXPIRED", "0.02"))
    assert kinds(items) == ["3 close 2", "emergency_close"]
    assert items[1].quantity == "0.01"


def test_an_unknown_close_is_not_waited_for() -> None:
    world = World()
    _, stop, target = world.enter()
    first = only(world.stop(), "emergency_close")
    items = world.report(world.unknown(first))
    assert kinds(items) == ["3 close 2", "emergency_close"]
    assert world.report(world.unknown(first, 2)) == []
    assert world.tick() == []
    assert world.fill_whole(items[1]) == [], "the unknown one has no end yet"
    confirm = step(world.report(world.ended(first, "EXPIRED")), "confirm")
    world.report(world.read_back(confirm))
    done = world.report(world.ended(stop, "CANCELED"), world.ended(target, "CANCELED"))
    assert kinds(done) == ["flat"]


def test_a_late_fill_of_an_entry_is_closed_again_and_flat_only_afterwards() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(limit="40000", quantity="0.03"))
    world.report(world.accepted(entry))
    items = world.stop()
    assert kinds(items) == ["1 block 1", "2 cancel_entries 1", "cancel emergency", "3 close 1"]
    assert world.tick() == [], "the cancel has no answer yet"
    items = world.report(world.filled(entry, "0.01"))
    assert kinds(items) == ["3 close 2", "emergency_close"]
    assert items[1].quantity == "0.01"
    assert world.fill_whole(items[1]) == [], "the entry may still fill"
    items = world.report(world.ended(entry, "CANCELED", "0.01"))
    assert kinds(items) == ["4 confirm 1"]
    assert kinds(world.report(world.read_back(items[0]))) == ["5 cancel_protection 1", "flat"]


def test_an_entry_filled_before_its_cancel_arrived_gets_no_stop_but_a_close() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(quantity="0.03"))
    world.stop()
    items = world.fill_whole(entry)
    assert kinds(items) == ["3 close 2", "emergency_close"]


def test_a_fill_after_the_close_was_sized_is_closed_as_well() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(limit="40000", quantity="0.03"))
    world.report(world.accepted(entry), world.filled(entry, "0.01"))
    close = only(world.stop(), "emergency_close")
    assert world.report(world.filled(entry, "0.02"), world.ended(entry, filled="0.03")) == []
    items = world.fill_whole(close)
    assert kinds(items) == ["3 close 2", "emergency_close"]
    assert items[1].quantity == "0.02"


def test_a_read_back_that_disagrees_is_asked_again_after_the_next_tick() -> None:
    world = World()
    world.enter()
    confirm = closed(world, world.stop())
    assert world.report(world.read_back(confirm, BTCUSDT="0.03")) == []
    items = world.tick()
    assert kinds(items) == ["4 confirm 2"]
    assert world.tick() == [], "one question at a time"
    assert kinds(world.report(world.read_back(items[0])))[0] == "5 cancel_protection 1"


def test_a_position_the_venue_shows_later_as_a_foreign_fill_is_closed() -> None:
    world = World()
    confirm = step(world.stop(), "confirm")
    world.report(world.read_back(confirm, ETHUSDT="-1"))
    items = world.report(world.foreign("SELL", "1", ETH, "2500"))
    assert kinds(items) == ["3 close 2", "emergency_close"]
    again = step(world.fill_whole(items[1], price="2500"), "confirm")
    done = world.report(world.read_back(again))
    assert kinds(done) == ["5 cancel_protection 1", "flat"]


def test_a_read_back_asked_before_the_last_order_proves_nothing() -> None:
    world = World()
    old = step(world.stop(), "confirm")
    (_, close) = world.report(world.foreign("BUY", "0.01"))
    assert world.report(world.read_back(old)) == []
    new = step(world.fill_whole(close), "confirm")
    assert world.report(world.read_back(old)) == []
    assert kinds(world.report(world.read_back(new)))[-1] == "flat"


def test_a_position_opened_after_flat_is_closed_and_flat_is_recorded_anew() -> None:
    world = World()
    world.report(world.read_back(step(world.stop(), "confirm")))
    items = world.report(world.foreign("BUY", "0.01"))
    assert kinds(items) == ["3 close 2", "emergency_close"]
    confirm = step(world.fill_whole(items[1]), "confirm")
    assert kinds(world.report(world.read_back(confirm))) == ["5 cancel_protection 2", "flat"]


def test_a_position_that_is_being_closed_at_market_already_is_left_to_that_order() -> None:
    world = World()
    world.enter()
    (close,) = world.judge(world.verdict("SELL", kind="exit"))
    assert kinds(world.stop()) == ["1 block 1", "2 cancel_entries 1", "3 close 1"]
    assert world.report(world.ended(close, "REJECTED")) == []
    assert kinds(world.tick()) == ["3 close 2", "emergency_close"]


def test_an_unknown_close_from_before_the_emergency_is_not_waited_for() -> None:
    world = World()
    world.enter()
    (close,) = world.judge(world.verdict("SELL", kind="exit"))
    world.report(world.unknown(close))
    assert kinds(world.stop())[-1] == "emergency_close"


def test_a_stop_that_fills_during_the_emergency_leaves_the_close_to_be_refused() -> None:
    world = World()
    _, stop, target = world.enter()
    close = only(world.stop(), "emergency_close")
    assert world.fill_whole(stop, price="39200") == []
    confirm = step(world.report(world.ended(close, "REJECTED")), "confirm")
    items = world.report(world.read_back(confirm))
    assert [i.order_id for i in items if i.kind == "cancel"] == [target.id]


def test_while_the_emergency_is_latched_nothing_increases_risk() -> None:
    world = World()
    world.report(world.read_back(step(world.stop(), "confirm")))
    assert kinds(world.judge(world.verdict(), world.verdict(symbol=ETH))) == ["HALTED", "HALTED"]
    world.change(allow_new_trades=True)
    assert kinds(world.judge(world.verdict())) == ["HALTED"]


def test_an_exit_approved_during_the_emergency_finds_the_close_decided() -> None:
    world = World()
    world.enter()
    world.stop()
    assert kinds(world.judge(world.verdict("SELL", kind="exit"))) == ["ALREADY_CLOSING"]


def test_after_a_reset_life_is_normal_and_a_second_emergency_starts_anew() -> None:
    world = World()
    _, stop, target = world.enter()
    world.report(world.read_back(closed(world, world.stop())))
    world.report(world.ended(stop, "CANCELED"), world.ended(target, "CANCELED"))
    assert world.reset() == []
    world.enter()
    items = world.stop()
    assert kinds(items) == ["1 block 1", "2 cancel_entries 1", "3 close 1", "emergency_close"]


def test_the_state_in_an_emergency_is_the_same_whatever_order_topics_are_folded_in() -> None:
    world = World()
    world.enter()
    (entry,) = world.judge(world.verdict(symbol=ETH, limit="2500"))
    items = world.stop()
    world.report(world.unknown(only(items, "emergency_close")))
    world.report(world.ended(entry, "CANCELED"))
    names = ["own", "trade.signal.safe", "trade.execution.res", "control", "market", "clock"]
    assert world.folded(names) == world.folded(names[::-1]) == world.source.digest()
