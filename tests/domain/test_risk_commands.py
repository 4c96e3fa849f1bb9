"""Given / when / then for a person's commands at the risk gate; what holds for any reduction."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import EmergencyStop
from schemas.ids import client_order_id
from schemas.trade_commands import AccountFlatten, OrderCancel, PositionClose, PositionReduce
from tests.domain.risk_world import RiskWorld, later

BTC, ETH = "BTCUSDT", "ETHUSDT"


def done(data: Any) -> list[tuple[str, str]]:
    assert data.verdict == "approved", data.sentence
    return [(item.action, item.symbol) for item in data.items]


def refused(data: Any, code: str) -> Any:
    assert (data.verdict, data.code) == ("rejected", code), data
    assert data.items == ()
    assert len(data.sentence) > 20
    return data


def test_a_close_names_the_position_and_its_quantity() -> None:
    world = RiskWorld()
    world.holds(BTC, "0.037")
    data = world.command(PositionClose, symbol=BTC)
    assert done(data) == [("close", BTC)]
    assert data.figures == {"quantity.BTCUSDT": "0.037"}
    assert (data.operator, data.reason) == ("ann", "test")


def test_a_close_of_what_is_not_open_is_refused() -> None:
    world = RiskWorld()
    world.holds(BTC, "0.037")
    said = refused(world.command(PositionClose, symbol=ETH), "NOTHING_OPEN")
    assert (said.value, said.limit) == (ETH, BTC)


def test_an_approved_entry_without_a_fill_can_be_closed_too() -> None:
    world = RiskWorld()
    world.ask(BTC)
    assert done(world.command(PositionClose, symbol=BTC)) == [("close", BTC)]


def test_flatten_closes_positions_and_entries_of_every_symbol_once() -> None:
    world = RiskWorld()
    world.holds(ETH, "-0.1")
    assert world.ask(BTC).verdict == "approved"
    assert done(world.command(AccountFlatten)) == [("close", ETH), ("close", BTC)]
    refused(RiskWorld().command(AccountFlatten), "NOTHING_OPEN")


@pytest.mark.parametrize(
    "policy",
    [
        {"emergency_mode": True, "allow_new_trades": False},
        {"allow_new_trades": False},
        {"paused_symbols": (BTC,)},
        {"restricted_symbols": (BTC,)},
        {"max_position_usd": "1", "max_gross_pct": "0.1", "max_risk_open_pct": "0.1"},
        {"cooldown_s": 100_000, "max_trades_per_hour": 0, "max_concurrent_trades": 0},
    ],
)
def test_no_limit_and_no_trading_state_keeps_a_position_from_being_closed(
    policy: dict[str, Any],
) -> None:
    world = RiskWorld(**policy)
    world.holds(BTC, "0.5")
    world.tick(3600)  # prices are stale by now
    for kind, more in (
        (PositionClose, {"symbol": BTC}),
        (AccountFlatten, {}),
        (PositionReduce, {"percent": "50"}),
    ):
        assert done(world.command(kind, **more))


def test_a_halted_account_can_be_closed() -> None:
    world = RiskWorld()
    world.holds(BTC, "0.5")
    world.source.slices.halted.add("main")
    assert done(world.command(AccountFlatten)) == [("close", BTC)]


def test_a_reduction_is_floored_to_the_step_and_says_what_stays() -> None:
    world = RiskWorld()
    world.holds(BTC, "-0.037")
    data = world.command(PositionReduce, percent="50")
    assert [(i.symbol, i.quantity) for i in data.items] == [(BTC, "0.018")]
    assert data.figures["rest.BTCUSDT"] == "0.019"
    assert data.notes == ()


def test_dust_that_a_reduction_leaves_is_named_with_the_venue_s_minimum() -> None:
    world = RiskWorld(instruments={ETH: {"notional_min": "20"}})
    world.holds(ETH, "0.009")
    data = world.command(PositionReduce, percent="30")
    (note,) = data.notes
    assert note.startswith("0.007 ETHUSDT stays, worth 17.5 USDT: below the venue's minimum of 20;")


def test_a_reduction_below_one_step_is_refused_with_both_figures() -> None:
    world = RiskWorld()
    world.holds(BTC, "0.001")
    said = refused(world.command(PositionReduce, percent="50"), "BELOW_STEP")
    assert (said.value, said.limit) == ("0.0005", "0.001")
    assert "close it" in said.sentence


def test_of_several_positions_those_that_can_be_reduced_are_and_the_others_are_named() -> None:
    world = RiskWorld()
    world.holds(BTC, "0.001")
    world.holds(ETH, "1")
    data = world.command(PositionReduce, percent="10")
    assert done(data) == [("reduce", ETH)]
    assert len(data.notes) == 1
    assert BTC in data.notes[0]


def test_a_reduction_by_all_is_a_close() -> None:
    world = RiskWorld()
    world.holds(BTC, "0.037")
    assert done(world.command(PositionReduce, percent="100")) == [("close", BTC)]


@given(
    quantity=st.integers(1, 100_000),
    percent=st.decimals("0.01", "100", places=2, allow_nan=False, allow_infinity=False),
    short=st.booleans(),
)
def test_any_reduction_is_a_multiple_of_the_step_within_the_share_and_never_flips(
    quantity: int, percent: Decimal, short: bool
) -> None:
    world = RiskWorld()
    held = Decimal(quantity) / 1000
    world.holds(BTC, f"{'-' if short else ''}{held}")
    data = world.command(PositionReduce, percent=format(percent.normalize(), "f"))
    if data.verdict == "rejected":
        assert held * percent / 100 < Decimal("0.001")
        return
    (item,) = data.items
    if item.action == "close":
        assert percent == 100
        return
    part = Decimal(item.quantity)
    assert part % Decimal("0.001") == 0
    assert 0 < part <= held * percent / 100 < part + Decimal("0.001")
    assert held - part == Decimal(data.figures["rest.BTCUSDT"]) > 0


# ---------------------------------------------------------------- cancel


def test_cancel_means_the_entries_of_the_account_or_of_a_symbol() -> None:
    world = RiskWorld()
    world.ask(BTC)
    world.ask(ETH)
    assert done(world.command(OrderCancel)) == [("cancel", BTC), ("cancel", ETH)]
    assert done(world.command(OrderCancel, symbol=ETH)) == [("cancel", ETH)]
    refused(RiskWorld().command(OrderCancel), "NOTHING_OPEN")


@pytest.mark.parametrize("by_client_id", [False, True])
def test_a_protective_order_is_cancelled_only_with_consent_and_a_warning(
    *, by_client_id: bool
) -> None:
    world = RiskWorld()
    world.holds(BTC, "0.037")
    stop = world.stop(BTC, "39200")
    world.ordered(stop)
    name = client_order_id(stop.id) if by_client_id else stop.id
    said = refused(world.command(OrderCancel, order=name), "PROTECTIVE_ORDER")
    assert "--force" in said.sentence
    data = world.command(OrderCancel, order=name, force=True)
    assert [(i.action, i.order_id) for i in data.items] == [("cancel", stop.id)]
    assert "unprotected" in data.notes[0]


def test_an_order_that_closes_a_position_is_not_cancelled_even_with_consent() -> None:
    world = RiskWorld()
    world.holds(BTC, "0.037")
    order = world.order(world.ask(BTC, "SELL"))
    world.ordered(order)
    refused(world.command(OrderCancel, order=order.id, force=True), "CLOSING_ORDER")


def test_an_order_that_has_its_end_is_unknown() -> None:
    world = RiskWorld()
    order = world.order(world.ask(BTC))
    world.ordered(order)
    world.updated(world.order_end(order))
    refused(world.command(OrderCancel, order=order.id), "UNKNOWN_ORDER")


def test_a_symbol_and_an_order_at_once_are_no_command() -> None:
    with pytest.raises(ValueError, match="not both"):
        RiskWorld().command(OrderCancel, symbol=BTC, order="x")


# ---------------------------------------------------------------- who and where


def test_an_operator_who_is_not_listed_is_refused_and_those_who_are_listed_are_named() -> None:
    world = RiskWorld(operators=("bob", "eve"))
    world.holds(BTC, "0.037")
    said = refused(world.command(AccountFlatten), "UNKNOWN_OPERATOR")
    assert (said.value, said.limit) == ("ann", "bob, eve")
    assert done(world.command(AccountFlatten, operator="eve"))


def test_an_account_without_a_policy_is_unknown() -> None:
    world = RiskWorld()
    world.source.slices["control"].accounts.clear()
    refused(world.command(PositionClose, symbol=BTC), "UNKNOWN_ACCOUNT")


def test_a_command_for_another_topic_is_answered_with_where_it_belongs() -> None:
    said = refused(RiskWorld().command(EmergencyStop), "UNKNOWN_COMMAND")
    assert "its own topic" in said.sentence


def test_a_command_changes_nothing_at_the_gate() -> None:
    world = RiskWorld(cooldown_s=0)
    world.holds(ETH, "0.1")
    world.command(AccountFlatten)
    world.now = later(1)
    assert world.ask(BTC).verdict == "approved"
