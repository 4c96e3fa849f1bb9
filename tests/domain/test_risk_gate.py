"""Every reason code of the risk gate at its boundary: just inside passes, just outside is refused.

Method: one account on a real `Source`, facts folded as the log would bring them, one signal or
intent published, its verdict read. Guards and memory, and sizes, prices and margin have files of
their own.
"""

from decimal import Decimal

import pytest

from schemas.reasons import EntryReason
from tests.domain.risk_world import FAR, START, RiskWorld, codes, failure, later


@pytest.mark.parametrize(
    ("confidence", "approved"), [("0.42", False), ("0.64", False), ("0.65", True), ("1", True)]
)
def test_confidence_is_judged_at_065_inclusive(confidence: str, *, approved: bool) -> None:
    verdict = RiskWorld().ask(confidence=confidence)
    assert (verdict.verdict == "approved") == approved
    if not approved:
        assert codes(verdict) == ["LOW_CONFIDENCE"]
        assert failure(verdict, "LOW_CONFIDENCE")[:2] == (confidence, "0.65")


def test_the_confidence_of_the_learned_section_is_not_the_gates() -> None:
    world = RiskWorld(min_confidence="0.7")
    assert codes(world.ask(confidence="0.69")) == ["LOW_CONFIDENCE"]
    assert world.ask(confidence="0.7").verdict == "approved"


def test_an_approved_signal_carries_a_complete_plan_and_the_example_of_the_definitions() -> None:
    verdict = RiskWorld().ask()
    plan = verdict.plan
    assert plan is not None
    assert (plan.quantity, plan.order_type, plan.leverage) == ("0.037", "MARKET", 20)
    assert (plan.stop_price, plan.target_price, plan.stop_distance) == ("39200", "41600", "800")
    assert plan.risk_usdt == "31.672"
    assert verdict.figures["risk_pct"] == "0.31672"
    assert verdict.figures["size_cap"] == "max_position"
    assert verdict.figures["liquidation_price"] == "38152.61044177"
    assert (verdict.reason, verdict.failures) == (None, ())


def test_a_short_is_planned_as_the_mirror_of_a_long() -> None:
    plan = RiskWorld().ask("ETHUSDT", "SELL").plan
    assert plan is not None
    assert (plan.stop_price, plan.target_price) == ("2550", "2400")


def test_the_regime_widens_the_stop_and_cuts_the_size() -> None:
    calm = RiskWorld(**FAR).ask().plan
    world = RiskWorld(**FAR)
    world.candles(later(-60), volume="1000", pct="30")
    plan = world.ask().plan
    assert calm is not None
    assert plan is not None
    assert (calm.regime, plan.regime) == ("NORMAL", "HIGH_VOL")
    assert Decimal(plan.stop_distance or 0) > Decimal(calm.stop_distance or 0) * Decimal("1.5")
    assert Decimal(plan.quantity) < Decimal(calm.quantity)
    assert plan.leverage < calm.leverage


@pytest.mark.parametrize(
    ("age_s", "stale"), [(30, False), (30.000001, True), (-30, False), (-31, True)]
)
def test_a_signal_older_than_30_s_is_stale_and_so_is_one_dated_ahead(
    age_s: float, *, stale: bool
) -> None:
    world = RiskWorld()
    verdict = world.ask(time=later(-age_s))
    assert codes(verdict) == (["STALE_SIGNAL"] if stale else [])


def test_a_hand_made_signal_without_a_time_is_stale() -> None:
    verdict = RiskWorld().ask(time="1970-01-01T00:00:00.000000Z")
    assert verdict.reason == "STALE_SIGNAL"


@pytest.mark.parametrize(
    ("candle_s", "age_s", "stale"),
    [(60, 120, False), (60, 121, True), (1, 5, False), (1, 6, True), (300, 600, False)],
)
def test_a_price_is_stale_after_two_candles_in_replay_and_five_seconds_live(
    candle_s: int, age_s: int, *, stale: bool
) -> None:
    world = RiskWorld()
    world.tick(age_s, candle_s=candle_s)
    assert codes(world.ask()) == (["STALE_PRICE"] if stale else [])


def test_no_price_at_all_means_no_figures_and_no_decision_to_trade() -> None:
    world = RiskWorld(instruments={"BTCUSDT": {}, "XRPUSDT": {}})
    verdict = world.ask("XRPUSDT")
    assert codes(verdict) == ["STALE_PRICE"]
    assert verdict.failures[0].sentence == "No price of XRPUSDT is known"
    assert "entry" not in verdict.figures


def test_a_held_symbol_without_a_price_leaves_equity_unknown() -> None:
    world = RiskWorld()
    world.holds("XRPUSDT", "100", "1")
    verdict = world.ask()
    assert codes(verdict) == ["STALE_PRICE"]
    assert verdict.failures[0].sentence.startswith("No price of XRPUSDT is known")


def test_a_symbol_without_filters_is_unknown() -> None:
    assert codes(RiskWorld().ask("DOGEUSDT")) == ["SYMBOL_UNKNOWN"]
    assert "SYMBOL_UNKNOWN" in codes(RiskWorld(instruments={}).ask())


def test_an_emergency_halts_and_no_new_trades_reduces() -> None:
    assert codes(RiskWorld(emergency_mode=True, allow_new_trades=False).ask()) == ["HALTED"]
    assert codes(RiskWorld(allow_new_trades=False).ask()) == ["REDUCING"]


def test_an_account_whose_decision_failed_takes_no_entries_until_resumed() -> None:
    world = RiskWorld()
    world.source.slices.halted.add(world.account)
    verdict = world.ask()
    assert codes(verdict) == ["HALTED"]
    assert "resumed" in verdict.failures[0].sentence


def test_an_account_without_a_policy_is_answered_and_refused() -> None:
    world = RiskWorld()
    world.source.slices["control"].accounts.clear()
    verdict = world.ask()
    assert verdict.reason == "REDUCING"
    assert verdict.figures["note"] == "account unknown"
    assert verdict.policy_version == 0


def test_the_governor_can_veto() -> None:
    assert codes(RiskWorld().ask(governor_approved=False)) == ["GOVERNOR_VETO"]


def test_a_restricted_symbol_is_refused_and_the_others_are_not() -> None:
    world = RiskWorld(restricted_symbols=("ETHUSDT",))
    assert codes(world.ask("ETHUSDT")) == ["SYMBOL_RESTRICTED"]
    assert world.ask("BTCUSDT").verdict == "approved"


def test_an_order_of_unknown_fate_blocks_its_symbol_until_it_is_resolved() -> None:
    world = RiskWorld()
    verdict = world.ask()
    order = world.order(verdict)
    world.ordered(order)
    world.results(world.unknown(order))
    assert codes(world.ask()) == [
        "UNKNOWN_ORDER", "GUARD_A_OPEN_INTENT", "FILTER_STEP", "FILTER_MIN_NOTIONAL",
    ]  # fmt: skip
    other = world.ask("ETHUSDT")
    assert Decimal(other.figures["gross_before"]) == 1480
    world.results(world.ended(order))
    world.updated(world.order_end(order))
    assert codes(world.ask()) == []


def test_one_entry_a_position_unless_the_policy_allows_more() -> None:
    world = RiskWorld(cooldown_s=0)
    world.enter()
    verdict = world.ask()
    assert verdict.reason == "POSITION_OPEN"
    assert failure(verdict, "POSITION_OPEN") == ("0.037", "1", "1")
    more = RiskWorld(cooldown_s=0, max_entries_per_position=2, **FAR)
    more.enter(position_size_pct="5")
    more.enter(position_size_pct="5")
    third = more.ask(position_size_pct="5")
    assert failure(third, "POSITION_OPEN")[1:] == ("2", "1")


@pytest.mark.parametrize(("seconds", "cooling"), [(179.999999, True), (180, False)])
def test_cooldown_runs_from_the_last_close(seconds: float, *, cooling: bool) -> None:
    world = RiskWorld()
    world.holds("BTCUSDT", "0.037", entry_at=later(-3600))
    world.closed("BTCUSDT", closed_at=START)
    world.wait(seconds)
    assert codes(world.ask()) == (["COOLDOWN"] if cooling else [])


def test_no_cooldown_means_none_even_for_a_fill_dated_by_its_latency_after_now() -> None:
    world = RiskWorld(cooldown_s=0, max_entries_per_position=9, **FAR)
    world.holds("BTCUSDT", "0.01", entry_at=later(0.25))
    assert "COOLDOWN" not in codes(world.ask(position_size_pct="5"))


def test_cooldown_runs_from_the_last_entry_fill_and_for_its_symbol_only() -> None:
    world = RiskWorld(max_entries_per_position=9, **FAR)
    world.holds("BTCUSDT", "0.01")
    world.wait(60)
    verdict = world.ask()
    assert failure(verdict, "COOLDOWN") == ("60", "180", "120")
    assert world.ask("ETHUSDT").verdict == "approved"


def test_concurrent_trades_count_positions_and_open_entries_of_other_symbols() -> None:
    world = RiskWorld(max_concurrent_trades=1)
    assert world.ask("ETHUSDT").verdict == "approved"
    verdict = world.ask("BTCUSDT")
    assert codes(verdict) == ["MAX_CONCURRENT"]
    assert failure(verdict, "MAX_CONCURRENT") == ("1", "1", "1")
    assert RiskWorld(max_concurrent_trades=0).ask().reason == "MAX_CONCURRENT"


def test_all_failing_checks_are_listed_and_the_reason_is_the_first() -> None:
    world = RiskWorld(
        allow_new_trades=False, restricted_symbols=("BTCUSDT",), max_concurrent_trades=0,
        max_trades_per_hour=0,
    )  # fmt: skip
    verdict = world.ask(confidence="0.1", governor_approved=False, position_size_pct="20")
    assert codes(verdict) == [
        "REDUCING", "GOVERNOR_VETO", "LOW_CONFIDENCE", "SYMBOL_RESTRICTED", "GUARD_C_RATE_LIMIT",
        "MAX_CONCURRENT", "GUARD_B_SIZE_PCT",
    ]  # fmt: skip
    assert verdict.reason == "REDUCING"
    order = list(EntryReason)
    places = [order.index(EntryReason(code)) for code in codes(verdict)]
    assert places == sorted(places)
    assert all(f.sentence for f in verdict.failures)


def test_a_verdict_says_where_every_limit_came_from() -> None:
    verdict = RiskWorld(max_position_usd="1400").ask()
    limits = {limit.name: limit for limit in verdict.limits}
    position = limits["max_position_usd"]
    assert (position.value, position.policy_version) == ("1400", 1)
    assert limits["rl_v3_live.max_size_pct"].value == "15"
    assert limits["rl_v3_live.max_size_pct"].policy_version is None
