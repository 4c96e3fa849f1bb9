"""Goal: the breaker trips when it must, never else, and says what it saw (SAFE-3, SAFE-4, SAFE-9).

Method: a safety source and a control source fed by hand; then random walks against a model that
keeps every NAV there ever was in a list.
"""

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.safety_levels import GRID_PCT
from schemas.safety import EquityMarked, FlashCrashDetected, GovernorLevelChanged
from schemas.scalars import micros
from tests.domain.safety_world import SafetyWorld


def book(quantity: str = "0.3", **policy: Any) -> SafetyWorld:
    """10,000 USDT and 0.3 BTC at 40,000: 120 % gross, one percent of price is 1.2 of equity."""
    world = SafetyWorld(**policy)
    world.price(BTCUSDT="40000")
    world.hold("BTCUSDT", quantity)
    return world


def test_an_opened_account_has_its_first_high_water_mark() -> None:
    world = SafetyWorld("2000")
    (marked,) = world.of("equity.marked")
    assert marked.data.why == "opened"
    assert (marked.data.high_water_mark, marked.data.units) == ("1", "2000")
    assert world.state == "ACTIVE"


def test_the_governor_goes_up_level_by_level_and_stops_the_account_at_ten_percent() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100")
    levels, states = [], []
    for price in ("38400", "38300", "37700", "37600", "36700", "36600", "36000"):
        world.price(60, BTCUSDT=price)
        levels.append(world.policy.governor()[0])
        states.append(world.state)
    assert levels == ["NORMAL", "WARN", "WARN", "REDUCING", "REDUCING", "STOP", "STOP"]
    assert states == ["ACTIVE"] * 3 + ["REDUCING"] * 2 + ["HALTED"] * 2
    (stop,) = world.of("emergency.activated")
    assert stop.data.items[0].operator == "safety"
    assert "10.2 %" in stop.data.items[0].reason
    assert world.policy.policy.emergency_id == stop.id


def test_the_event_carries_both_observations_and_the_limits_with_their_origin() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100", drawdown_stop_pct="9")
    world.price(60, BTCUSDT="37500")
    world.price(60, BTCUSDT="36900")
    tripped = world.of("level_changed")[-1].data
    before, here = tripped.observed
    assert (before.equity, here.equity) == ("9250", "9070")
    assert (before.nav, here.nav) == ("0.925", "0.907")
    assert micros(here.time) - micros(before.time) == 60_000_000
    assert tripped.drawdown_pct == "9.3"
    limits = {limit.name: (limit.value, limit.policy_version) for limit in tripped.limits}
    assert limits["drawdown_stop_pct"] == ("9", 1)
    assert limits["governor_warn_pct"] == ("5", None)


def test_reducing_by_drawdown_ends_below_five_percent_or_by_a_named_operator() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100")
    world.price(60, BTCUSDT="37500")
    assert world.state == "REDUCING"
    world.price(60, BTCUSDT="38300")
    assert world.state == "REDUCING"
    world.price(60, BTCUSDT="38400")
    assert (world.state, world.policy.governor()[0]) == ("ACTIVE", "WARN")
    world.price(60, BTCUSDT="37500")
    world.reset()
    (opened,) = world.of("epoch_opened")
    assert (opened.data.operator, opened.data.drawdown_epoch) == ("ann", 1)
    assert world.state == "ACTIVE"
    assert world.told[-1].data.high_water_mark == "0.925"  # type: ignore[attr-defined]


def test_a_reset_of_the_breaker_opens_an_epoch_in_which_it_can_trip_again() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100")
    world.price(60, BTCUSDT="36600")
    assert world.state == "HALTED"
    world.reset()
    assert world.of("rejected")[-1].data.code == "NOT_FLAT"
    world.close_all(fee="30")
    flat = world.of("equity.marked")[-1].data
    assert (flat.why, flat.drawdown_pct) == ("flat", "10.5")
    world.flat()
    world.reset()
    assert (world.state, world.policy.drawdown_epoch) == ("ACTIVE", 1)
    assert world.told[-1].data.level == "NORMAL"  # type: ignore[attr-defined]
    world.hold("BTCUSDT", "0.3")
    world.price(60, BTCUSDT="33500")
    assert world.state == "HALTED"
    assert len(world.of("emergency.activated")) == 2


def test_a_reset_is_refused_where_something_was_opened_after_flat_until_it_is_flat_again() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100")
    world.price(60, BTCUSDT="36600")
    world.close_all()
    world.flat()
    world.hold("BTCUSDT", "0.3")  # a trade by hand, or a fill that was told late
    world.closing()
    world.reset()
    assert world.of("rejected")[-1].data.code == "NOT_FLAT"
    assert world.state == "HALTED"
    world.close_all()
    world.flat()
    world.reset()
    assert world.state == "ACTIVE"


def test_a_stop_that_was_found_before_a_reset_stops_nothing_after_it() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100")
    world.price(60, BTCUSDT="36600")
    late = world.of("level_changed")[-1]
    world.close_all()
    world.flat()
    world.reset()
    again = late.model_copy(update={"sequence": world.safety.sequence + 1})
    offset = world.ends["control/0"]
    assert world.control.fold("control/0", offset, again)
    assert list(world.control.decide("control/0", again)) == []


def test_a_deposit_never_heals_and_a_withdrawal_never_trips() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100")
    world.price(60, BTCUSDT="37500")
    assert world.state == "REDUCING"
    world.transfer("20000")
    assert world.state == "REDUCING"
    calm = book(daily_loss_pct="100", flash_fall_pct="100")
    calm.price(60, BTCUSDT="38400")
    calm.transfer("-5000")
    assert (calm.state, calm.policy.governor()[0]) == ("ACTIVE", "NORMAL")


def test_the_loss_of_a_day_reduces_until_the_next_one() -> None:
    world = book(flash_fall_pct="100")
    world.price(60, BTCUSDT="39000")
    assert world.policy.governor() == ("REDUCING", ("daily_loss",))
    world.price(60, BTCUSDT="39900")
    world.tick()
    assert world.state == "REDUCING"
    world.reset()
    assert world.of("rejected")[-1].data.code == "NO_EMERGENCY"
    world.tick(14 * 3600)
    assert world.state == "ACTIVE"
    assert world.told[-1].data.day == "2021-05-20"  # type: ignore[attr-defined]


def test_a_flash_crash_needs_the_fall_and_a_move_against_the_book() -> None:
    world = book(daily_loss_pct="100")
    for price in ("40000", "39700", "39400", "39100"):
        world.price(BTCUSDT=price)
    assert not world.of("flash_crash")
    world.price(BTCUSDT="38950")
    (found,) = world.of("flash_crash")
    assert found.data.moved == {"BTCUSDT": "2.625"}
    assert found.data.fall_pct == "3.15"
    assert (found.data.lag_s, found.data.level) == ("0", "REDUCING")
    assert world.policy.governor()[1] == ("flash_crash",)
    world.price(BTCUSDT="38900")
    assert len(world.of("flash_crash")) == 1, "one event an episode"


def test_a_flash_crash_that_is_seen_late_says_so_and_what_it_was_found_with() -> None:
    """A position that is told while prices go on: what was told with it is old by then."""
    world = book("0", daily_loss_pct="100", drawdown_stop_pct="100", governor_reducing_pct="100")
    opened_us = world.us
    world.held["BTCUSDT"] = Decimal("0.3"), Decimal(40000)
    world.price(10, BTCUSDT="38800")
    world.price(17, BTCUSDT="38900")
    world.us, world.marks["BTCUSDT"] = opened_us, Decimal(39900)
    world.update("BTCUSDT")
    (found,) = world.of("flash_crash")
    assert found.data.lag_s == "17"
    assert found.data.sentence.startswith("detected 17 s late, limit 15 s; NAV fell 3.3 %")
    assert found.data.observed[-1].nav == "0.967"


def test_a_fall_by_withdrawal_of_luck_alone_is_no_flash_crash() -> None:
    """Fees can make equity fall as well; no symbol moved against the book."""
    world = book(daily_loss_pct="100")
    world.hold("BTCUSDT", "0.3", fee="400")
    world.price(BTCUSDT="40000")
    assert not world.of("flash_crash")


def test_a_slow_fall_is_no_flash_crash() -> None:
    world = book(daily_loss_pct="100", governor_reducing_pct="100", drawdown_stop_pct="100")
    for step in range(1, 60):
        world.price(BTCUSDT=str(40000 - step * 100))
    assert not world.of("flash_crash")


def test_a_short_book_crashes_upwards() -> None:
    world = book("-0.3", daily_loss_pct="100")
    world.price(BTCUSDT="41100")
    (found,) = world.of("flash_crash")
    assert found.data.moved == {"BTCUSDT": "2.75"}


def test_a_flash_crash_is_over_after_five_calm_minutes_and_can_come_again() -> None:
    world = book(daily_loss_pct="100", governor_reducing_pct="100", drawdown_stop_pct="100")
    world.price(BTCUSDT="38900")
    for _ in range(5):
        world.price(60, BTCUSDT="38900")
        world.tick(0)
        assert world.state == "REDUCING"
    world.price(60, BTCUSDT="38900")
    world.tick(0)
    assert world.state == "ACTIVE"
    world.price(BTCUSDT="37800")
    assert len(world.of("flash_crash")) == 2


def test_an_hfos_is_obeyed_and_its_mode_is_an_event() -> None:
    world = book()
    world.hfos("REDUCING")
    assert world.state == "REDUCING"
    world.hfos("REDUCING")
    assert world.of("rejected")[-1].data.code == "NO_CHANGE"
    world.hfos("CAUTIOUS")
    assert (world.state, world.policy.brakes.hfos) == ("ACTIVE", "CAUTIOUS")
    told = world.of("hfos")[-1].data
    assert (told.before, told.mode, told.operator) == ("REDUCING", "CAUTIOUS", "hfos")
    world.set(max_leverage=5)
    assert world.policy.brakes.hfos == "CAUTIOUS", "a policy change leaves it as it is"


def test_a_changed_threshold_is_looked_at_at_once() -> None:
    world = book(daily_loss_pct="100", flash_fall_pct="100")
    world.price(60, BTCUSDT="38000")
    assert world.state == "ACTIVE"
    world.set(drawdown_stop_pct="6")
    assert world.state == "HALTED"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(("price", "price", "price", "hold", "deposit")),
            st.integers(-40, 40),
            st.integers(10, 90),
        ),
        min_size=5,
        max_size=60,
    )
)
def test_a_model_that_remembers_every_value_agrees(steps: list[tuple[str, int, int]]) -> None:
    world = SafetyWorld(daily_loss_pct="100", flash_fall_pct="100")
    world.price(BTCUSDT="40000")
    units = highest = Decimal(0)
    units = Decimal(10_000)
    highest = Decimal(1)
    price = 40_000
    for kind, size, seconds in steps:
        if kind == "price":
            price = max(price + size * 25, 1000)
            world.price(seconds, BTCUSDT=str(price))
        elif kind == "hold" and not world.policy.is_emergency_mode():
            world.hold("BTCUSDT", str(Decimal(size) / 100))
        elif kind == "deposit" and world.equity > 5000:
            before = world.equity / units
            world.transfer(str(size * 50))
            units += size * 50 / before
        nav = world.equity / units
        highest = max(highest, nav)
        drawdown = 100 * (1 - nav / highest)
        stopped = world.policy.governor()[0] == "STOP"
        if drawdown >= 10 + GRID_PCT:
            assert stopped
        if not stopped:
            assert drawdown < 10 + GRID_PCT
        elif not world.of("emergency.activated"):
            raise AssertionError("STOP without an emergency")
        for event in world.told:
            if isinstance(event, EquityMarked | GovernorLevelChanged | FlashCrashDetected):
                assert Decimal(event.data.high_water_mark) <= highest + Decimal("1E-9")
