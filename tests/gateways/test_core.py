"""The gateway's core: one test a rule.

Goal: an order has at most one effect and exactly one end. Method: orders, policies and reports are
made by hand, wall time is moved by hand; what left and what was written is looked at.
"""

import pytest

from schemas.codec import decode, encode
from schemas.trade import OpenQuantity, ReadBack
from schemas.venue import (
    CancelRequest,
    Deposit,
    Place,
    Query,
    ReadAccount,
    VenueAccepted,
    VenueFunded,
    VenueReadBack,
    VenueTransferred,
)
from tests.gateways.core_world import (
    World,
    accepted,
    cancel,
    confirm,
    ended,
    fill,
    found,
    not_found,
    order,
    refused_cancel,
    stop,
)

HALTED = {"emergency_mode": True, "allow_new_trades": False}


# ---------------------------------------------------------------- the plain way


def test_an_order_is_sent_once_and_its_answer_recorded() -> None:
    world = World()
    a = order("a")
    decided = world.decide(a)
    world.pump()
    world.pump()
    assert world.requests(Place) == 1
    assert world.core.unresolved == 1
    world.report(accepted(a), fill(a), ended(a), answers=world.last(Place))
    assert [item.kind for item in world.log[-1].data.items] == ["accepted", "filled", "ended"]  # type: ignore[attr-defined]
    assert world.core.unresolved == 0
    assert world.pump(after_s=5) == []
    assert world.log[-1].correlationid == decided.id


def test_the_request_carries_t0_the_window_and_the_whole_order() -> None:
    world = World()
    a = stop("a")
    world.decide(a)
    world.pump()
    sent = world.last(Place)
    request = sent.request.request
    assert isinstance(request, Place)
    assert (request.trigger_price, request.close_position, request.reduce_only) == (
        "39000",
        True,
        True,
    )
    assert sent.request.window_ms == 1000
    assert not sent.risk_increasing
    record = sent.record(world.core.now, world.core.name)
    assert decode(encode(record)) == record
    assert sent.stamped(world.wall + 5).request.sent_at > sent.request.sent_at


def test_a_resting_order_is_resolved_and_a_market_order_is_not_before_its_end() -> None:
    world = World()
    a, b = stop("a"), order("b")
    world.decide(a, b)
    world.pump()
    world.report(accepted(a))
    assert world.core.unresolved == 1
    world.report(accepted(b))
    assert world.core.unresolved == 1
    world.report(fill(b), ended(b))
    assert world.core.unresolved == 0


def test_actions_come_in_the_order_of_the_log() -> None:
    world = World()
    resting = order("rest", order_type="LIMIT", time_in_force="GTC", limit_price="39000")
    world.decide(resting)
    world.pump()
    world.report(accepted(resting))
    world.sent.clear()
    close = order("close", side="SELL", reduce_only=True, purpose="emergency_close")
    world.decide(cancel(resting, "emergency"), close)
    world.pump()
    assert [a.request.request.kind for a in world.sent] == ["cancel", "place"]


def test_two_orders_with_one_client_id_are_an_error() -> None:
    world = World()
    a = order("a")
    world.decide(a)
    with pytest.raises(ValueError, match="one client order id"):
        world.decide(order("b", client_order_id=a.client_order_id))


def test_a_new_account_gets_its_first_deposit_until_it_is_reported() -> None:
    world = World(funded=False)
    world.policy(start_equity_usdt="2500")
    world.pump()
    request = world.last(Deposit).request.request
    assert isinstance(request, Deposit)
    assert (request.transfer_id, request.amount) == ("opening/main", "2500")
    assert world.core.unresolved == 1
    world.pump(after_s=1.1)
    assert world.requests(Deposit) == 2
    assert len({a.request_id for a in world.sent}) == 2
    world.report(VenueTransferred(transfer_id="opening/main", amount="2500", asset="USDT"))
    assert world.core.unresolved == 0
    world.policy(start_equity_usdt="9999")
    assert world.pump(after_s=5) == []


def test_nothing_is_due_before_the_fence() -> None:
    world = World(funded=False, fenced=False)
    world.policy()
    world.decide(order("a"))
    assert world.core.due(world.wall) == []


def test_the_venue_is_read_back_once_for_a_confirm_step() -> None:
    world = World()
    step = confirm()
    world.decide(step)
    world.pump()
    world.pump(after_s=1.1)
    assert world.requests(ReadAccount) == 2
    held = OpenQuantity(symbol="BTCUSDT", quantity="0.03")
    said = VenueReadBack(step_id=step.id, positions=(held,), open_orders=())
    world.report(said)
    world.report(said)
    assert [item.step_id for item in world.items("read_back")] == [step.id]
    assert isinstance(world.items("read_back")[0], ReadBack)
    assert world.core.unresolved == 0


# ---------------------------------------------------------------- what is not allowed any more


@pytest.mark.parametrize(
    ("policy", "state"), [(HALTED, "HALTED"), ({"allow_new_trades": False}, "REDUCING")]
)
def test_an_entry_that_is_not_allowed_any_more_ends_unsent(
    policy: dict[str, bool], state: str
) -> None:
    world = World()
    world.decide(order("a"))
    world.policy(**policy)
    world.pump()
    assert world.sent == []
    (end,) = world.items("ended")
    assert end.status == "NEVER_SENT"
    assert state in end.why
    assert world.core.unresolved == 0


def test_reductions_and_cancels_pass_in_an_emergency() -> None:
    world = World()
    resting = stop("old")
    world.decide(resting)
    world.pump()
    world.report(accepted(resting))
    world.policy(**HALTED)
    world.sent.clear()
    world.decide(order("a", side="SELL", reduce_only=True, purpose="emergency_close"))
    world.decide(cancel(resting, "emergency"))
    world.pump()
    assert (world.requests(Place), world.requests(CancelRequest)) == (1, 1)


def test_an_approval_older_than_its_limit_of_event_time_expires_unsent() -> None:
    world = World()
    world.tick(30.001)
    world.decide(order("late"), order("exit", reduce_only=True, side="SELL", purpose="exit_time"))
    world.pump()
    (end,) = world.items("ended")
    assert end.status == "EXPIRED"
    assert "30.001 s" in end.why
    assert "30 s" in end.why
    assert world.requests(Place) == 1


def test_an_approval_exactly_as_old_as_allowed_is_sent() -> None:
    world = World()
    world.tick(30)
    world.decide(order("a"))
    world.pump()
    assert world.requests(Place) == 1


def test_a_halt_ends_entries_and_a_halt_of_all_ends_every_order_and_keeps_cancels() -> None:
    world = World()
    exit_ = order("exit", reduce_only=True, side="SELL", purpose="exit_time")
    world.core.halt, world.core.halt_why = "entries", "halt by ann at noon: odd fills"
    world.decide(order("a"), exit_, stop("resting"))
    world.pump()
    assert [end.why for end in world.items("ended")] == [
        "no new risk is allowed: halt by ann at noon: odd fills"
    ]
    assert world.requests(Place) == 2
    resting = stop("resting")
    world.report(VenueAccepted(client_order_id=resting.client_order_id, symbol="BTCUSDT"))
    world.core.halt = "all"
    world.decide(order("b", reduce_only=True, side="SELL", purpose="exit_time"), cancel(resting))
    unresolved = world.core.unresolved
    world.pump()
    assert (world.requests(Place), world.requests(CancelRequest)) == (2, 0)
    assert [end.status for end in world.items("ended")] == ["NEVER_SENT", "NEVER_SENT"]
    assert unresolved == 2, "two exits; a cancel that is held back is not waited for"
    world.core.halt = ""
    world.pump()
    assert (world.requests(Place), world.requests(CancelRequest)) == (2, 1), "no exit that is old"


def test_an_entry_in_a_paused_symbol_is_not_sent_and_an_exit_is() -> None:
    world = World()
    world.policy(paused_symbols=("BTCUSDT",))
    exit_ = order("exit", reduce_only=True, side="SELL", purpose="exit_command")
    world.decide(order("a"), exit_)
    world.pump()
    assert [(e.status, e.why) for e in world.items("ended")] == [
        ("NEVER_SENT", "BTCUSDT is paused in main")
    ]
    assert world.requests(Place) == 1


def test_a_cancel_of_an_order_that_was_never_sent_ends_it() -> None:
    world = World()
    a = order("a")
    world.decide(a)
    world.decide(cancel(a))
    world.pump()
    assert world.sent == []
    assert [end.status for end in world.items("ended")] == ["NEVER_SENT"]


# ---------------------------------------------------------------- cancels


def test_a_cancel_is_repeated_every_window_until_the_end_comes() -> None:
    world = World()
    a = stop("a")
    world.decide(a)
    world.pump()
    world.report(accepted(a))
    world.decide(cancel(a))
    world.pump()
    world.pump(after_s=0.9)
    assert world.requests(CancelRequest) == 1
    world.pump(after_s=0.2)
    assert world.requests(CancelRequest) == 2
    assert world.core.unresolved == 1
    world.report(ended(a, "CANCELED"))
    assert world.pump(after_s=9) == []
    assert world.core.unresolved == 0


def test_a_refused_cancel_is_no_end_but_makes_the_gateway_ask() -> None:
    world = World()
    a = stop("a")
    world.decide(a)
    world.pump()
    world.report(accepted(a))
    world.decide(cancel(a))
    world.pump()
    assert world.report(refused_cancel(a)) is None
    world.pump()
    assert world.requests(Query) == 1
    world.report(found(a, status="FILLED", fills=(fill(a),)), answers=world.last(Query))
    assert [item.kind for item in world.log[-1].data.items] == ["filled", "ended"]  # type: ignore[attr-defined]


def test_a_refused_cancel_of_an_unanswered_order_proves_nothing() -> None:
    world = World()
    a = order("a", order_type="LIMIT", time_in_force="GTC", limit_price="39000")
    world.decide(a)
    world.pump()
    world.decide(cancel(a))
    world.pump()
    world.report(refused_cancel(a))
    world.pump()
    assert world.items("ended") == []
    assert world.requests(Query) == 0


def test_a_cancel_that_the_venue_cannot_know_of_is_no_longer_repeated_but_asked_about() -> None:
    """It came too late to be admitted: every cancel is refused, and only a question tells."""
    world = World()
    a = stop("a")
    world.decide(a)
    world.pump()
    world.decide(cancel(a))
    for _ in range(20):
        world.pump(after_s=0.3)
        if world.requests(CancelRequest) > world.requests(Query):
            world.report(refused_cancel(a))
    assert world.requests(CancelRequest) <= 2
    assert world.requests(Query) >= 3
    world.report(not_found(a), answers=world.last(Query))
    world.pump()
    assert [end.status for end in world.items("ended")] == ["NEVER_SENT"]


# ---------------------------------------------------------------- reports


def test_a_fill_has_the_same_id_by_stream_and_by_query() -> None:
    world = World()
    a = order("a")
    world.decide(a)
    world.pump()
    world.report(accepted(a), fill(a))
    world.pump(after_s=1.3)
    world.report(found(a, status="FILLED", fills=(fill(a),)), answers=world.last(Query))
    assert len(world.items("filled")) == 1
    assert len(world.items("accepted")) == 1
    assert len(world.items("ended")) == 1


def test_an_order_has_exactly_one_end_whatever_is_reported() -> None:
    world = World()
    a = order("a")
    world.decide(a)
    world.pump()
    world.report(ended(a, "REJECTED"))
    assert world.report(ended(a, "REJECTED")) is None
    assert world.report(found(a, status="REJECTED")) is None
    assert len(world.items("ended")) == 1


def test_a_liquidation_is_a_fill_without_an_order() -> None:
    world = World()
    world.report(fill(None, "liq-1"))
    (item,) = world.items("filled")
    assert (item.order_id, item.client_order_id) == (None, None)


def test_funding_is_told_once_a_settlement() -> None:
    world = World()
    said = VenueFunded(
        symbol="BTCUSDT", amount="-0.148", quantity="0.037", mark="40000", rate="0.0001",
        settled_at="2021-05-19T16:00:00.000000Z",
    )  # fmt: skip
    world.report(said)
    world.report(said)
    assert [item.amount for item in world.items("funded")] == ["-0.148"]


def test_records_are_canonical_and_their_ids_differ() -> None:
    world = World()
    world.decide(order("a"), order("b"))
    world.policy(**HALTED)
    world.pump()
    assert len({record.id for record in world.log}) == 3
    for record in world.log:
        assert decode(encode(record)) == record
        assert record.causationid is not None
        assert record.basis is None
        assert record.after == {"clock/0": 1}


def test_ended_orders_leave_memory() -> None:
    world = World()
    for number in range(50):
        a = order(str(number))
        world.decide(a)
        world.pump()
        world.report(accepted(a), fill(a, str(number)), ended(a))
    ledger = world.core._ledger
    assert not ledger.orders
    assert not ledger.restless


def test_the_next_due_time_is_never_later_than_what_is_due() -> None:
    world = World()
    world.decide(order("a"), stop("b"))
    world.pump()
    world.report(accepted(stop("b")))
    wall = world.wall
    seen = 0
    while seen < 4:
        upcoming = world.core.next_due_us(wall)
        assert upcoming is not None
        assert world.core.due(upcoming - 1) == []
        wall = world.wall = upcoming
        seen += len(world.pump())
