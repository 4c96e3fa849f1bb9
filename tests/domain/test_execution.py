"""Approvals become orders, each request is answered once, closed orders leave memory."""

from decimal import Decimal

from domain.execution import Execution
from domain.source import Source
from schemas.ids import client_order_id
from tests.domain.execution_world import ACCOUNT, BTC, ETH, PARTITION, PARTITIONS, World, kinds


def test_an_approved_entry_becomes_a_market_order_with_the_time_of_its_approval() -> None:
    world = World()
    world.us += 5_000_000
    verdict = world.verdict(quantity="0.037", leverage=7)
    (order,) = world.judge(verdict, age_s=3)
    assert (order.purpose, order.side, order.quantity, order.leverage) == (
        "entry",
        "BUY",
        "0.037",
        7,
    )
    assert (order.order_type, order.time_in_force, order.reduce_only) == ("MARKET", "IOC", False)
    assert order.client_order_id == client_order_id(order.id)
    assert order.request_id == verdict.id
    assert order.approved_at < world.time
    assert order.approval_stale_s == 30
    assert order.policy_version == world.version
    assert world.records[-1].subject == f"{ACCOUNT}/{BTC}"


def test_an_approved_limit_entry_rests_until_cancelled() -> None:
    world = World()
    (order,) = world.judge(world.verdict(limit="39900"))
    assert (order.order_type, order.time_in_force, order.limit_price) == ("LIMIT", "GTC", "39900")


def test_a_record_of_rejections_is_answered_by_a_record_without_parts() -> None:
    world = World()
    assert world.judge(world.verdict(verdict="rejected")) == []
    assert world.records[-1].data.items == ()


def test_two_approvals_of_one_record_are_answered_in_one_record_in_order() -> None:
    world = World()
    items = world.judge(
        world.verdict(symbol=ETH), world.verdict(verdict="rejected"), world.verdict(symbol=BTC)
    )
    assert [item.symbol for item in items] == [ETH, BTC]
    assert world.records[-1].subject == ACCOUNT


def test_an_entry_is_dropped_when_new_trades_were_forbidden_after_its_approval() -> None:
    world = World()
    world.change(allow_new_trades=False)
    assert kinds(world.judge(world.verdict())) == ["REDUCING"]


def test_an_entry_is_dropped_when_it_is_approved_into_an_emergency() -> None:
    world = World()
    world.stop()
    assert kinds(world.judge(world.verdict())) == ["HALTED"]


def test_an_entry_of_an_account_halted_by_a_failed_decision_is_dropped() -> None:
    world = World()
    world.source.slices.halted = {ACCOUNT}
    assert kinds(world.judge(world.verdict())) == ["HALTED"]


def test_an_approval_older_than_the_policy_allows_is_dropped() -> None:
    world = World()
    assert kinds(world.judge(world.verdict(), age_s=31)) == ["STALE"]
    assert kinds(world.judge(world.verdict(), age_s=30)) == ["entry"]


def test_an_entry_against_an_open_position_is_dropped_so_that_nothing_flips() -> None:
    world = World()
    world.enter()
    assert kinds(world.judge(world.verdict("SELL"))) == ["REJECTED"]


def test_without_a_policy_no_order_is_made_but_the_request_is_answered() -> None:
    world = World()
    world.source.slices["control"].accounts.clear()
    assert kinds(world.judge(world.verdict())) == ["HALTED"]
    assert world.tick() == []


def test_an_approved_exit_closes_the_open_quantity_reduce_only() -> None:
    world = World()
    entry, _, _ = world.enter(quantity="0.03")
    verdict = world.verdict("SELL", kind="exit", quantity="0.01")
    (order,) = world.judge(verdict)
    assert (order.purpose, order.side, order.quantity) == ("exit_signal", "SELL", "0.03")
    assert (order.order_type, order.reduce_only) == ("MARKET", True)
    assert (order.owner_id, order.request_id) == (world.results.positions[BTC].trade_id, verdict.id)
    assert order.owner_id != entry.id


def test_an_exit_of_nothing_and_a_second_exit_are_dropped_with_the_reason() -> None:
    world = World()
    assert kinds(world.judge(world.verdict("SELL", kind="exit"))) == ["NOTHING_OPEN"]
    world.enter()
    assert kinds(world.judge(world.verdict("BUY", kind="exit"))) == ["NOTHING_OPEN"]
    both = (world.verdict("SELL", kind="exit"), world.verdict("SELL", kind="exit"))
    assert kinds(world.judge(*both)) == ["exit_signal", "ALREADY_CLOSING"]
    assert kinds(world.judge(world.verdict("SELL", kind="exit"))) == ["ALREADY_CLOSING"]


def test_an_exit_passes_whatever_forbids_new_risk() -> None:
    world = World()
    world.enter()
    world.change(allow_new_trades=False)
    assert kinds(world.judge(world.verdict("SELL", kind="exit"), age_s=3600)) == ["exit_signal"]


def test_an_exit_cancels_what_still_works_on_the_entry() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(limit="40000", quantity="0.03"))
    world.report(world.accepted(entry), world.filled(entry, "0.01"))
    items = world.judge(world.verdict("SELL", kind="exit"))
    assert kinds(items) == ["exit_signal", "cancel position_closed"]
    assert items[0].quantity == "0.01"


def test_an_entry_into_a_position_that_is_being_closed_is_dropped() -> None:
    world = World()
    world.enter()
    items = world.judge(world.verdict("SELL", kind="exit"), world.verdict("BUY"))
    assert kinds(items) == ["exit_signal", "ALREADY_CLOSING"]


def test_working_entries_are_cancelled_when_new_trades_are_forbidden_and_stops_stay() -> None:
    world = World()
    world.enter()
    (entry,) = world.judge(world.verdict(symbol=ETH, limit="2500"))
    world.report(world.accepted(entry))
    (cancel,) = world.change(allow_new_trades=False)
    assert (cancel.why, cancel.order_id) == ("reducing", entry.id)
    assert world.change(max_leverage=5) == []
    assert world.tick() == []


def test_a_limit_entry_is_cancelled_at_the_first_tick_after_its_expiry_and_once() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(limit="39900"))
    world.report(world.accepted(entry))
    assert world.tick(59) == []
    assert kinds(world.tick(1)) == ["cancel expired"]
    assert world.tick() == []
    assert world.report(world.ended(entry, "CANCELED")) == []
    assert world.open_orders() == []


def test_closed_orders_and_answered_approvals_leave_memory() -> None:
    world = World()
    world.judge(world.verdict("SELL", kind="exit"))
    _, stop, target = world.enter()
    assert len(world.own.orders) == 3
    (cancel,) = world.fill_whole(stop, price="39200")
    assert (cancel.order_id, cancel.why) == (target.id, "filled_other")
    world.report(world.ended(target, "CANCELED"))
    assert world.own.orders == {}
    assert world.own.released == set()
    assert world.results.ended == set()
    assert world.source.slices["trade.signal.safe"].accounts[ACCOUNT] == {}


def test_the_state_is_the_same_whatever_order_topics_are_folded_in() -> None:
    world = World()
    _, stop, _ = world.enter()
    world.enter(ETH, "SELL", stop="41000", target="38000")
    world.fill_whole(stop, price="39200")
    (entry,) = world.judge(world.verdict(limit="39000"))
    world.report(world.accepted(entry), world.filled(entry, "0.01", "39000"))
    names = ["own", "trade.signal.safe", "trade.execution.res", "control", "market", "clock"]
    expected = world.source.digest()
    assert world.folded(names) == expected
    assert world.folded(names[::-1]) == expected
    assert world.folded(names[2:] + names[:2]) == expected


def test_the_cash_of_results_and_marks_give_equity_exactly() -> None:
    world = World()
    world.prices(BTCUSDT="41000")
    world.enter(quantity="0.03")
    assert world.results.cash == Decimal(10000) - Decimal("0.03") * 40000
    world.report(world.foreign("SELL", "0.01", price="41000"))
    position = world.results.positions[BTC]
    assert (position.quantity, position.average) == (Decimal("0.02"), Decimal(40000))
    assert world.results.cash + position.quantity * 41000 == Decimal(10030)


def test_a_fill_offered_again_by_a_fenced_gateway_counts_once() -> None:
    world = World()
    (entry,) = world.judge(world.verdict(quantity="0.03"))
    fill, end = world.filled(entry, "0.03"), world.ended(entry, filled="0.03")
    world.report(fill, end)
    assert world.report(fill, end) == []
    assert world.results.positions[BTC].quantity == Decimal("0.03")


def test_a_tick_with_nothing_open_asks_for_no_account() -> None:
    world = World()
    tick = next(e for _, _, e in world.log if e.type == "clock.ticked.v1")
    assert list(world.source.decider.asks(world.source.slices, tick)) == []
    world.enter()
    assert list(world.source.decider.asks(world.source.slices, tick)) == [ACCOUNT]


def test_control_of_other_partitions_accounts_asks_for_none() -> None:
    world = World()
    change = next(e for _, _, e in world.log if e.type == "policy.changed.v2")
    assert list(world.source.decider.asks(world.source.slices, change)) == [ACCOUNT]
    other = Execution((PARTITION + 1) % PARTITIONS, PARTITIONS)
    assert list(other.asks(world.source.slices, change)) == []


def test_a_decision_does_not_change_any_slice() -> None:
    world = World()
    world.enter()
    source: Source = world.source
    before = source.digest()
    cause = world.log[-1][2]
    for account in source.decider.asks(source.slices, cause):
        source.decider.decide(source.slices, cause, account, cause.id)
    assert source.digest() == before
