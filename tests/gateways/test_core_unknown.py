"""The gateway core when answers are missing and after a restart: a test a faulty rule of the model.

Goal: nothing is sent twice while it may be on the wire, nothing is ended while it can be accepted.
Method: as in test_core.py.
"""

import pytest

from gateways.orders import SendRequest
from gateways.wire import AT_FIRST
from schemas.trade import OrderData, OrderDecided
from schemas.venue import (
    Place,
    Query,
    VenueTransferred,
)
from tests.gateways.core_world import (
    WINDOW_US,
    World,
    accepted,
    cancel,
    ended,
    fill,
    found,
    not_found,
    order,
    stop,
)

HALTED = {"emergency_mode": True, "allow_new_trades": False}


def unknown_entry(world: World) -> None:
    """An entry was sent, nothing came back, and it was reported unknown."""
    world.decide(order("a"))
    world.pump()
    world.pump(after_s=1.1)
    assert [item.attempt for item in world.items("unknown")] == [0]


# ---------------------------------------------------------------- UNKNOWN


def test_no_answer_within_the_window_is_told_once_an_attempt() -> None:
    world = World()
    world.decide(order("a"))
    world.pump()
    world.pump(after_s=1.0)
    assert world.items("unknown") == []
    world.pump(after_s=0.001)
    world.pump(after_s=3)
    assert [item.attempt for item in world.items("unknown")] == [0]


def test_an_unknown_order_is_asked_about_only_after_window_and_skew() -> None:
    world = World()
    world.decide(order("a"))
    world.pump()
    world.pump(after_s=1.199)
    assert world.requests(Query) == 0
    world.pump(after_s=0.001)
    assert world.requests(Query) == 1
    world.pump(after_s=0.9)
    assert world.requests(Query) == 1
    world.pump(after_s=0.1)
    assert world.requests(Query) == 2
    assert len({a.request_id for a in world.sent}) == 3


def test_a_timeout_alone_never_sends_again() -> None:
    """Mutant resend_on_timeout."""
    world = World()
    unknown_entry(world)
    for _ in range(20):
        world.pump(after_s=1)
    assert world.requests(Place) == 1


def test_a_found_order_is_reported_with_everything_missing() -> None:
    world = World()
    unknown_entry(world)
    a = order("a")
    world.pump(after_s=0.2)
    world.report(found(a, status="FILLED", fills=(fill(a),)), answers=world.last(Query))
    assert [item.kind for item in world.log[-1].data.items] == ["accepted", "filled", "ended"]  # type: ignore[attr-defined]
    assert world.requests(Place) == 1
    assert world.core.unresolved == 0


def test_an_order_not_found_is_sent_again_by_the_same_steps() -> None:
    world = World()
    unknown_entry(world)
    world.pump(after_s=0.2)
    world.report(not_found(order("a")), answers=world.last(Query))
    world.pump()
    assert world.requests(Place) == 2
    assert [a.attempt for a in world.sent if isinstance(a.request.request, Place)] == [0, 1]
    assert world.last(Place).risk_increasing
    world.pump(after_s=1.1)
    assert [item.attempt for item in world.items("unknown")] == [0, 1]


def test_no_such_order_proves_nothing_while_the_request_may_be_on_its_way() -> None:
    """A gateway that takes a buffer over asks at once about what that is in doubt of."""
    world, a = World(), order("a")
    world.decide(a)
    world.pump()
    assert world.core.asked(a.id, anew=True)
    world.pump()
    world.report(not_found(a), answers=world.last(Query))
    world.pump()
    assert (world.requests(Query), world.requests(Place)) == (1, 1)
    assert world.core.asked(a.id, anew=False), "the doubt is kept"
    world.pump(after_s=1.2)
    assert (world.requests(Query), world.requests(Place)) == (2, 1)
    world.report(not_found(a), answers=world.last(Query))
    world.pump()
    assert world.requests(Place) == 2
    assert not world.core.asked(a.id, anew=False)


def test_entries_that_are_held_back_keep_no_question_waiting() -> None:
    """A barrier that fails holds entries back; who waits for room waits for what may leave."""
    world = World()
    world.decide(*(order(f"entry {n}") for n in range(AT_FIRST)))
    world.decide(stop("late"))

    def due(kind: type[Place | Query]) -> list[SendRequest]:
        sends = [a for a in world.core.due(world.wall) if isinstance(a, SendRequest)]
        return [a for a in sends if isinstance(a.request.request, kind) and not a.risk_increasing]

    (protection,) = due(Place)
    world.core.sent(protection, world.wall)
    world.wall += 1_200_000
    (question,) = due(Query)
    assert question.order_id == protection.order_id


def test_an_emergency_does_not_end_an_order_while_it_is_unknown() -> None:
    """Mutant end_while_unknown."""
    world = World()
    unknown_entry(world)
    world.policy(**HALTED)
    for _ in range(10):
        world.pump(after_s=1)
    assert world.items("ended") == []
    world.report(not_found(order("a")), answers=world.last(Query))
    world.pump()
    (end,) = world.items("ended")
    assert end.status == "NEVER_SENT"
    assert world.requests(Place) == 1


def test_a_cancel_does_not_end_an_order_while_it_is_unknown() -> None:
    """Mutant end_while_unknown, by a cancel."""
    world = World()
    unknown_entry(world)
    a = order("a")
    world.decide(cancel(a))
    world.pump(after_s=5)
    assert world.items("ended") == []
    world.report(not_found(a), answers=world.last(Query))
    world.pump()
    assert [end.status for end in world.items("ended")] == ["NEVER_SENT"]


def test_an_order_just_sent_is_not_ended_by_an_emergency() -> None:
    """Mutant end_while_unknown: within the window its fate is as unknown as after it."""
    world = World()
    world.decide(order("a"))
    world.pump()
    world.policy(**HALTED)
    world.decide(cancel(order("a"), "emergency"))
    world.pump(after_s=0.5)
    assert world.items("ended") == []


def test_an_old_answer_not_found_does_not_count_after_a_resend() -> None:
    """The first query is answered late, after the second one's answer led to a resend."""
    world = World()
    unknown_entry(world)
    a = order("a")
    world.pump(after_s=0.2)
    first = world.last(Query)
    world.pump(after_s=1)
    second = world.last(Query)
    world.report(not_found(a), answers=second)
    world.pump()
    assert world.requests(Place) == 2
    world.policy(**HALTED)
    world.report(not_found(a), answers=first)
    world.report(not_found(a), answers=second)
    world.pump()
    assert world.items("ended") == []
    assert world.requests(Place) == 2


def test_the_answer_of_an_overtaken_query_is_no_proof() -> None:
    world = World()
    unknown_entry(world)
    world.pump(after_s=0.2)
    first = world.last(Query)
    world.pump(after_s=1)
    world.report(not_found(order("a")), answers=first)
    world.pump()
    assert world.requests(Place) == 1


def test_a_lost_answer_is_never_looked_at() -> None:
    world = World()
    a = order("a")
    world.decide(a)
    world.pump()
    assert world.report(accepted(a), fill(a), ended(a), delivered=False) is None
    assert world.core.unresolved == 1
    assert world.items("filled") == []


def test_t0_is_when_it_was_stamped_not_when_the_core_heard_of_it() -> None:
    """Mutant stamp_after_check is the shell's; the core waits from the later of the two."""
    world = World()
    world.decide(order("a"))
    (action,) = world.core.due(world.wall)
    world.core.sent(action, world.wall - 500_000)
    assert world.core.due(world.wall + WINDOW_US) == []
    assert len(world.core.due(world.wall + WINDOW_US + 1)) == 1


def test_what_the_barrier_folded_forbids_a_request_that_was_due() -> None:
    """Mutant no_barrier: the shell folds control, then looks at `due` again."""
    world = World()
    world.decide(order("a"))
    (before,) = world.core.due(world.wall)
    world.policy(**HALTED)
    (after,) = world.core.due(world.wall)
    assert before.__class__.__name__ == "SendRequest"
    assert after.__class__.__name__ == "Report"


# ---------------------------------------------------------------- restart


def test_an_order_older_than_the_fence_waits_before_it_is_asked_about() -> None:
    """Mutant no_wait_after_fence: it may be on the wire from the process before."""
    world = World()
    world.decide(order("a"))
    world.restart()
    world.pump()
    world.pump(after_s=1.199)
    assert world.sent == []
    assert world.items("ended") == []
    world.pump(after_s=0.001)
    assert [a.request.request.kind for a in world.sent] == ["query"]
    world.report(not_found(order("a")), answers=world.last(Query))
    world.pump()
    assert world.requests(Place) == 1


def test_orders_folded_before_the_fence_are_older_than_it() -> None:
    """A shell that reads everything first and fences then names no ends."""
    world = World(fenced=False, funded=False)
    world.policy()
    world.decide(order("a"))
    world.core.fenced_at(world.wall)
    world.pump(after_s=1.1)
    assert world.requests(Place) == 0
    assert [item.attempt for item in world.items("unknown")] == [0]


def test_an_order_older_than_the_fence_is_not_ended_before_it_was_asked_about() -> None:
    """Mutants no_wait_after_fence and end_while_unknown together."""
    world = World()
    world.decide(order("a"))
    world.policy(**HALTED)
    world.decide(cancel(order("a"), "emergency"))
    world.restart()
    world.pump(after_s=10)
    assert world.items("ended") == []


def test_an_order_younger_than_the_fence_is_sent_at_once() -> None:
    world = World()
    world.restart()
    decided = OrderDecided(**world.fields("/execution/0"), data=OrderData(items=(order("a"),)))
    world.core.on_order(decided, len(world.inputs))
    world.pump()
    assert world.requests(Place) == 1
    with pytest.raises(ValueError, match="offset"):
        world.decide(order("b"))


def test_reports_read_again_after_a_restart_bring_nothing_new() -> None:
    """Mutant random_fill_ids."""
    world = World()
    a = order("a")
    world.decide(a)
    world.pump()
    world.report(accepted(a), fill(a), ended(a))
    written = list(world.log)
    world.restart()
    assert world.log == written
    world.pump(after_s=10)
    assert world.sent == []


def test_a_report_read_but_not_written_is_written_after_a_restart_with_the_same_id() -> None:
    world = World()
    a = order("a")
    world.decide(a)
    world.pump()
    world.report(accepted(a), fill(a), ended(a))
    before = world.log[-1]
    world.restart(lose=1)
    assert world.log[-1].id == before.id
    assert world.log[-1].data == before.data  # type: ignore[attr-defined]
    assert world.requests(Place) == 0


def test_unknown_attempts_go_on_after_a_restart() -> None:
    world = World()
    unknown_entry(world)
    world.pump(after_s=0.2)
    first = [a.request_id for a in world.sent]
    world.restart()
    world.pump(after_s=1.3)
    assert [item.attempt for item in world.items("unknown")] == [0]
    assert world.requests(Query) == 1
    assert not {a.request_id for a in world.sent} & set(first)


def test_a_resting_order_rests_after_a_restart_and_its_deposit_is_not_repeated() -> None:
    world = World(funded=False)
    world.policy()
    world.pump()
    world.report(VenueTransferred(transfer_id="opening/main", amount="10000", asset="USDT"))
    a = stop("a")
    world.decide(a)
    world.pump()
    world.report(accepted(a))
    world.restart()
    assert world.pump(after_s=10) == []
    assert world.core.unresolved == 0


def test_a_report_about_an_order_not_read_yet_makes_it_unknown_not_new() -> None:
    """The process before sent it after we fenced the log but before it noticed."""
    world = World()
    a = order("a")
    assert world.report(accepted(a), fill(a), ended(a)) is None
    world.decide(a)
    world.pump()
    assert world.requests(Place) == 0
    world.pump(after_s=2)
    world.report(found(a, status="FILLED", fills=(fill(a),)), answers=world.last(Query))
    assert world.items("filled")[0].order_id == a.id


# ---------------------------------------------------------------- a fill in a lost answer


def test_an_end_that_filled_more_than_was_told_is_asked_about_first() -> None:
    """Found by the simulator (seed 142): the answer with the first fill of a LIMIT was lost, its
    last fill and its end came; the end was recorded and the first fill never."""
    world = World()
    limit = order("a", order_type="LIMIT", time_in_force="GTC", limit_price="40000")
    first = fill(limit, "t1").model_copy(update={"quantity": "0.01"})
    last = fill(limit, "t2").model_copy(update={"quantity": "0.02"})
    world.decide(limit)
    world.pump()
    world.report(accepted(limit), first, delivered=False)
    world.report(last, ended(limit))
    assert [item.trade_id for item in world.items("filled")] == ["t2"]
    assert world.items("ended") == []
    world.pump()
    assert world.requests(Query) == 1
    world.report(found(limit, status="FILLED", fills=(first, last)), answers=world.last(Query))
    assert [item.trade_id for item in world.items("filled")] == ["t2", "t1"]
    assert [item.filled_quantity for item in world.items("ended")] == ["0.03"]
    world.restart()
    assert world.core.unresolved == 0
    assert len(world.items("filled")) == 2
