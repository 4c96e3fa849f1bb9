"""Formulas of DEFINITIONS 6, by their examples and by what must hold for all figures."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domain.average_cost import EXACT
from domain.safety_levels import (
    ORDER,
    Seen,
    Thresholds,
    against,
    bounds,
    calm,
    drawdown_level,
    fall_pct,
    flash_fall,
    holds_of,
    level_of,
    nav_of,
    units_after,
    window,
)

D = Decimal
LIMITS = Thresholds(D(5), D(7), D(10), D(3), D(3), D(2), D("1.5"))
SECOND = 1_000_000
NAVS = st.decimals("0.5", "1.5", places=4)


def test_the_first_deposit_makes_the_net_asset_value_one() -> None:
    units = units_after(D(0), D(0), D(10_000))
    assert nav_of(D(10_000), units) == 1


def test_a_deposit_never_heals_and_a_withdrawal_never_trips() -> None:
    units = D(10_000)
    for amount in (D(5_000), D(-4_000), D("0.01"), D("123456.789")):
        equity = D("9123.45")
        after = units_after(units, equity, amount)
        before = nav_of(equity, units)
        assert abs(nav_of(equity + amount, after) - before) < D("1E-9")


@given(equity=st.decimals(1, 10**7, places=2), amount=st.decimals(-(10**6), 10**6, places=2))
def test_no_transfer_moves_the_net_asset_value(equity: D, amount: D) -> None:
    if equity + amount < 1:
        return
    after = units_after(D(10_000), equity, amount)
    before = nav_of(equity, D(10_000))
    assert abs(nav_of(equity + amount, after) - before) <= before * D("1E-8")


def test_an_account_that_lost_everything_begins_anew_with_a_deposit() -> None:
    assert units_after(D(10_000), D(-5), D(1_000)) == D(995)


def test_a_fall_is_a_share_of_the_high_and_never_negative() -> None:
    assert fall_pct(D("0.9"), D(1)) == 10
    assert fall_pct(D("1.1"), D(1)) == 0
    assert fall_pct(D(1), D(0)) == 0


def test_levels_rise_at_once_and_fall_below_their_own_lines() -> None:
    level = ORDER[0]
    seen = []
    for drawdown in ("4.99", "5", "4.5", "4.1", "3.99", "5.2", "7", "6", "5", "4.9", "9.99", "10"):
        level = drawdown_level(level, D(drawdown), LIMITS)
        seen.append(level)
    assert seen == [
        "NORMAL", "WARN", "WARN", "WARN", "NORMAL", "WARN", "REDUCING", "REDUCING", "REDUCING",
        "WARN", "REDUCING", "STOP",
    ]  # fmt: skip
    assert drawdown_level("STOP", D(0), LIMITS) == "STOP"


def test_a_threshold_of_100_never_trips_before_everything_is_lost() -> None:
    never = LIMITS._replace(reducing=D(100), daily=D(100))
    assert drawdown_level("WARN", D("9.9"), never) == "WARN"
    assert drawdown_level("WARN", D(10), never) == "STOP"


def test_what_holds_an_account_makes_it_reduce_whatever_its_drawdown() -> None:
    held = holds_of("WARN", daily_loss=True, flash_crash=True)
    assert held == ("daily_loss", "flash_crash")
    assert level_of("WARN", held) == "REDUCING"
    assert level_of("WARN", ()) == "WARN"
    assert level_of("STOP", holds_of("STOP", daily_loss=False, flash_crash=False)) == "STOP"


@given(
    level=st.sampled_from(ORDER), high=NAVS, day=NAVS, daily=st.booleans(), nav=NAVS,
)  # fmt: skip
def test_nothing_changes_between_the_bounds(level, high, day, daily, nav) -> None:  # type: ignore[no-untyped-def]
    """Where NAV is within the bounds, neither the level nor the daily loss nor the grid moves."""
    found = bounds(drawdown=level, high=high, day_nav=day, daily_loss=daily, limits=LIMITS)
    inside = (found.below is None or nav > found.below) and (
        found.above is None or nav < found.above
    )
    if not inside:
        return
    drawdown = EXACT.multiply(100, EXACT.divide(max(high - nav, D(0)), high))
    reached = drawdown_level(level, drawdown, LIMITS)
    assert daily or fall_pct(nav, day) < LIMITS.daily
    if level == "NORMAL":
        assert reached == "NORMAL"
    assert ORDER.index(reached) <= ORDER.index(level)
    if level in ("WARN", "REDUCING"):
        assert reached == level


def line(*navs: str) -> list[Seen]:
    return [Seen(n * 10 * SECOND, D(nav)) for n, nav in enumerate(navs)]


def test_a_flash_crash_is_measured_from_the_highest_of_the_last_minute() -> None:
    fall, peak = flash_fall(line("1.2", "1", "1", "1", "1", "1", "1", "1.01", "0.97"))
    assert peak.nav == D("1.01")
    assert fall_pct(D("0.97"), D("1.01")) == fall
    assert flash_fall(line("1.2", "1", "1", "1", "1", "1", "0.97"))[1].nav == D("1.2")


def test_what_held_when_the_minute_began_counts() -> None:
    gap = [Seen(0, D(1)), Seen(3600 * SECOND, D("0.9"))]
    assert flash_fall(gap)[0] == 10
    assert window(gap, 3600 * SECOND) == [D(1), D("0.9")]


def test_a_flash_crash_is_over_after_five_calm_minutes() -> None:
    crash = line(*["1"] * 3, "0.96", *["0.96"] * 36)
    assert not calm(crash[:30], crash[29].at, D("1.5"))
    assert calm(crash, crash[-1].at, D("1.5"))


def test_a_move_against_the_book_has_the_side_of_the_position() -> None:
    prices = [D(100), D(104), D(99)]
    assert round(against(D(1), prices, D(99)), 4) == D("4.8077")
    assert against(D(-1), prices, D(99)) == 0
    assert round(against(D(-1), [D(100), D(97), D(102)], D(102)), 4) == D("5.1546")
