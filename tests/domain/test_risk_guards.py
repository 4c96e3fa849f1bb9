"""Guards A, B and C, duplicates, and exits: what depends on what was decided before."""

from typing import Any

import pytest

from schemas.scalars import micros
from tests.domain.risk_world import START, RiskWorld, codes, later

FREE: dict[str, Any] = {
    "cooldown_s": 0, "max_entries_per_position": 1000, "max_size_pct": "500",
    "max_position_usd": "50000", "max_gross_pct": "1000", "max_risk_open_pct": "100",
}  # fmt: skip
SMALL: dict[str, Any] = {"position_size_pct": "1"}


# ---------------------------------------------------------------- guard A


def test_an_open_intent_blocks_its_symbol_whatever_the_side_and_says_so() -> None:
    world = RiskWorld()
    assert world.ask().verdict == "approved"
    for side in ("BUY", "SELL"):
        verdict = world.ask(side=side)
        assert verdict.reason == "GUARD_A_OPEN_INTENT"
        assert verdict.failures[0].sentence == "GUARD A: Open intent already exists"
    assert world.ask("ETHUSDT").verdict == "approved"


@pytest.mark.parametrize(("seconds", "blocked"), [(59.999999, True), (60, False)])
def test_an_approval_without_an_order_is_released_after_60_s(
    seconds: float, *, blocked: bool
) -> None:
    world = RiskWorld()
    world.ask()
    world.wait(seconds)
    verdict = world.ask()
    assert ("GUARD_A_OPEN_INTENT" in codes(verdict)) == blocked
    assert verdict.figures["gross_before"] == ("1480" if blocked else "0")


def test_an_order_is_never_released_by_time_only_by_its_end() -> None:
    world = RiskWorld()
    verdict = world.ask()
    order = world.order(verdict)
    world.ordered(order)
    world.wait(3600)
    assert "GUARD_A_OPEN_INTENT" in codes(world.ask())
    world.results(world.ended(order))
    assert "GUARD_A_OPEN_INTENT" in codes(world.ask())
    world.updated(world.order_end(order))
    assert codes(world.ask()) == []


def test_a_dropped_approval_is_released_at_once() -> None:
    world = RiskWorld(max_trades_per_hour=1)
    verdict = world.ask()
    world.dropped(verdict)
    assert codes(world.ask()) == []


def test_a_partly_filled_entry_counts_once_in_position_and_order_together() -> None:
    world = RiskWorld()
    verdict = world.propose(limit_price="40000")
    order = world.order(verdict)
    world.ordered(order, world.stop("BTCUSDT", "39200"))
    whole = world.ask("ETHUSDT", confidence="0.1").figures
    world.updated(world.position("BTCUSDT", "0.01", "40000"))
    part = world.ask("ETHUSDT", confidence="0.1").figures
    assert whole["gross_before"] == part["gross_before"] == "1480"
    assert whole["open_risk_before"] == part["open_risk_before"] == "31.672"


# ---------------------------------------------------------------- guard B


@pytest.mark.parametrize(("pct", "refused"), [("15", False), ("15.01", True)])
def test_a_proposal_above_the_limit_is_refused_as_it_stands(pct: str, *, refused: bool) -> None:
    verdict = RiskWorld().ask(position_size_pct=pct)
    assert codes(verdict) == (["GUARD_B_SIZE_PCT"] if refused else [])


def test_guard_b_says_the_size_with_two_decimals() -> None:
    verdict = RiskWorld().ask(position_size_pct="20")
    (failure,) = verdict.failures
    assert failure.sentence == "size_pct 20.00% exceeds policy limit"
    assert (failure.value, failure.limit, failure.shortfall) == ("20.00", "15", "5")


def test_the_sizer_lowers_a_proposal_inside_the_limit_and_never_raises_one() -> None:
    lowered = RiskWorld(risk_target_pct="0.1").ask(position_size_pct="14")
    assert lowered.figures["size_cap"] == "risk_target"
    assert lowered.figures["quantity"] == "0.011"
    kept = RiskWorld().ask(position_size_pct="3")
    assert (kept.figures["size_cap"], kept.figures["size_pct"]) == ("proposal", "2.8")


def test_guard_b_looks_again_at_the_sized_order_with_what_the_symbol_holds() -> None:
    world = RiskWorld(**FREE | {"max_size_pct": "15"})
    world.ordered(world.stop("BTCUSDT", "39200"))
    world.holds("BTCUSDT", "0.0375")
    verdict = world.ask()
    assert codes(verdict) == ["GUARD_B_SIZE_PCT"]
    assert verdict.failures[0].sentence == "size_pct 15.40% exceeds policy limit"


# ---------------------------------------------------------------- guard C


def test_the_rate_limit_counts_approved_entries_of_a_rolling_hour() -> None:
    world = RiskWorld(max_trades_per_hour=2, **FREE)
    world.enter(**SMALL)
    world.wait(1800)
    world.enter(**SMALL)
    third = world.ask(**SMALL)
    assert codes(third) == ["GUARD_C_RATE_LIMIT"]
    assert third.failures[0].sentence == "Rate limit exceeded"
    assert (third.failures[0].value, third.failures[0].limit) == ("2", "2")
    world.wait(1799.999999)
    assert codes(world.ask(**SMALL)) == ["GUARD_C_RATE_LIMIT"]
    world.wait(0.000001)
    assert codes(world.ask(**SMALL)) == []


def test_rejections_take_no_slot() -> None:
    world = RiskWorld(max_trades_per_hour=1)
    for _ in range(3):
        world.ask(confidence="0.1")
    assert world.ask().verdict == "approved"


def test_an_approval_that_ends_without_a_fill_gives_its_slot_back() -> None:
    world = RiskWorld(max_trades_per_hour=1)
    verdict = world.ask()
    order = world.order(verdict)
    world.ordered(order)
    assert "GUARD_C_RATE_LIMIT" in codes(world.ask("ETHUSDT"))
    world.updated(world.order_end(order, "0", "REJECTED"))
    assert codes(world.ask("ETHUSDT")) == []


def test_a_partial_fill_keeps_its_slot() -> None:
    world = RiskWorld(max_trades_per_hour=1)
    verdict = world.ask()
    order = world.order(verdict)
    world.ordered(order)
    world.updated(
        world.position("BTCUSDT", "0.001", "40000"), world.order_end(order, "0.001", "CANCELED")
    )
    assert "GUARD_C_RATE_LIMIT" in codes(world.ask("ETHUSDT"))


def test_an_approval_released_by_time_gives_its_slot_back() -> None:
    world = RiskWorld(max_trades_per_hour=1)
    world.ask()
    world.wait(59)
    assert "GUARD_C_RATE_LIMIT" in codes(world.ask("ETHUSDT"))
    world.wait(1)
    assert codes(world.ask("ETHUSDT")) == []


# ---------------------------------------------------------------- duplicates


def test_the_same_content_under_another_id_is_a_duplicate() -> None:
    world = RiskWorld()
    world.ask(origin="trend", confidence="0.1")
    assert codes(world.ask(origin="trend"))[0] == "DUPLICATE_SIGNAL"
    assert world.ask(origin="other").verdict == "approved"


@pytest.mark.parametrize("change", ["origin", "symbol", "side", "time"])
def test_any_other_content_is_no_duplicate(change: str) -> None:
    world = RiskWorld()
    world.ask("BTCUSDT", "BUY", origin="trend", confidence="0.1")
    symbol = "ETHUSDT" if change == "symbol" else "BTCUSDT"
    side = "SELL" if change == "side" else "BUY"
    origin = "other" if change == "origin" else "trend"
    time = later(-1) if change == "time" else START
    assert codes(world.ask(symbol, side, origin=origin, time=time)) == []


def test_two_equal_parts_of_one_record_are_duplicates() -> None:
    world = RiskWorld()
    first, second = world.judge(world.signal(origin="a"), world.signal(origin="a"))
    assert first.verdict == "approved"
    assert second.reason == "DUPLICATE_SIGNAL"


def test_a_duplicate_is_still_one_after_its_verdict_was_read_back() -> None:
    world = RiskWorld()
    world.ask(origin="trend", confidence="0.1")
    world.wait(29)
    assert "DUPLICATE_SIGNAL" in codes(world.ask(origin="trend", time=START))


def test_the_same_id_is_answered_once() -> None:
    world = RiskWorld()
    world.ask()
    topic = f"trade.signal.v5/{world.partition}"
    published = next(event for key, event in world.log if key == topic)
    assert not world.fold("trade.signal.v5", published)
    assert world.source.duplicates == 1


# ---------------------------------------------------------------- one record, several parts


def test_a_later_part_sees_the_approvals_of_the_earlier_ones() -> None:
    world = RiskWorld(max_trades_per_hour=2)
    verdicts = world.judge(
        world.signal("BTCUSDT"), world.signal("BTCUSDT"), world.signal("ETHUSDT"),
        world.signal("ETHUSDT", "SELL"),
    )  # fmt: skip
    assert [v.verdict for v in verdicts] == ["approved", "rejected", "approved", "rejected"]
    assert verdicts[1].reason == verdicts[3].reason == "GUARD_A_OPEN_INTENT"
    assert "GUARD_C_RATE_LIMIT" in codes(verdicts[3])
    assert verdicts[2].figures["gross_before"] == "1480"
    assert verdicts[2].figures["open_risk_before"] == "31.672"
    assert verdicts[2].figures["entries_last_hour"] == "1"


def test_what_a_later_part_sees_is_what_the_next_record_sees() -> None:
    together = RiskWorld().judge
    world = RiskWorld()
    parts = (world.signal("BTCUSDT", origin="a"), world.signal("ETHUSDT", origin="b"))
    _, second = together(*parts)
    alone = world.judge(parts[0])[0], world.judge(parts[1])[0]
    same = {"quantity", "gross_before", "open_risk_after", "leverage", "gross_after"}
    for name in same:
        assert second.figures[name] == alone[1].figures[name]


# ---------------------------------------------------------------- exits (RISK-7)


def holding(**policy: Any) -> RiskWorld:
    world = RiskWorld(**policy)
    world.holds("BTCUSDT", "0.037")
    return world


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"emergency_mode": True, "allow_new_trades": False},
        {"allow_new_trades": False},
        {
            "max_trades_per_hour": 0, "max_concurrent_trades": 0, "max_position_usd": "1",
            "max_size_pct": "0.1", "max_risk_open_pct": "0.1", "restricted_symbols": ("BTCUSDT",),
        },
    ],
)  # fmt: skip
def test_an_opposite_signal_is_an_exit_that_no_limit_and_no_emergency_traps(
    policy: dict[str, Any],
) -> None:
    world = holding(**policy)
    world.source.slices.halted.add(world.account)
    world.tick(3600)
    verdict = world.ask("BTCUSDT", "SELL", confidence="0.65")
    assert (verdict.kind, verdict.verdict, verdict.failures) == ("exit", "approved", ())
    assert verdict.plan is not None
    assert (verdict.plan.quantity, verdict.plan.leverage, verdict.plan.stop_price) == (
        "0.037", 1, None,
    )  # fmt: skip
    assert {limit.name for limit in verdict.limits} == {"min_confidence", "signal_stale_s"}


def test_an_exit_must_be_confident_fresh_approved_and_new() -> None:
    world = holding()
    assert codes(world.ask(side="SELL", confidence="0.64")) == ["LOW_CONFIDENCE"]
    assert codes(world.ask(side="SELL", time=later(-31))) == ["STALE_SIGNAL"]
    assert codes(world.ask(side="SELL", governor_approved=False)) == ["GOVERNOR_VETO"]
    world.ask(side="SELL", confidence="0.64", origin="x")
    verdict = world.ask(side="SELL", origin="x")
    assert (verdict.kind, codes(verdict)) == ("exit", ["DUPLICATE_SIGNAL"])


def test_a_short_is_closed_by_a_buy_and_an_intent_may_ask_for_it() -> None:
    world = RiskWorld()
    world.holds("ETHUSDT", "-0.5")
    verdict = world.propose("ETHUSDT", "BUY", limit_price="2600")
    assert (verdict.kind, verdict.verdict) == ("exit", "approved")
    assert verdict.plan is not None
    assert (verdict.plan.quantity, verdict.plan.order_type) == ("0.5", "MARKET")


def test_an_exit_takes_no_slot_and_is_no_open_intent() -> None:
    world = holding(max_trades_per_hour=1, cooldown_s=0)
    assert world.ask(side="SELL").kind == "exit"
    world.closed("BTCUSDT")
    assert codes(world.ask()) == []


# ---------------------------------------------------------------- memory


def test_closed_orders_and_answered_approvals_leave_memory() -> None:
    world = RiskWorld(max_trades_per_hour=100, **FREE)
    for number in range(20):
        trade = f"trade {number}"
        entered = world.ask(**SMALL)
        order = world.order(entered)
        stop = world.stop("BTCUSDT", "39200", trade=trade, name=f"stop {number}")
        world.ordered(order)
        filled = world.position("BTCUSDT", "0.002", "40000", trade=trade)
        world.updated(filled, world.order_end(order, "0.002", "FILLED"))
        world.ordered(stop)
        leave = world.ask(side="SELL")
        out = world.order(leave)
        world.ordered(out)
        world.closed("BTCUSDT", trade=trade)
        world.updated(world.order_end(out, "0.002", "FILLED"), world.order_end(stop))
        world.dropped(world.ask("ETHUSDT", **SMALL))
        world.wait(300)
    slices = world.source.slices
    own, orders = slices["own"].accounts["main"], slices["trade.order"].accounts["main"]
    positions = slices["trade.position.update"].accounts["main"]
    assert (own.approvals, orders.orders, orders.by_request, orders.dropped) == ({}, {}, {}, {})
    assert (positions.ended, positions.positions, orders.stops["BTCUSDT"]) == ({}, {}, {})
    assert len(own.slots) <= 12
    assert all(micros(m + ":00.000000Z") > micros(world.now) - 3_960_000_000 for m in own.decided)


def test_many_approvals_an_hour_are_counted_and_pruned_by_event_time() -> None:
    world = RiskWorld(max_trades_per_hour=10_000, **FREE)
    for _ in range(30):
        world.dropped(world.ask(**SMALL))
        world.enter("ETHUSDT", **SMALL)
        world.wait(240)
    figures = world.ask(**SMALL).figures
    assert figures["entries_last_hour"] == "14"
    assert len(world.source.slices["own"].accounts["main"].slots) == 15
