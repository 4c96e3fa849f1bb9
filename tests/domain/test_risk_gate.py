"""Every reason code of the risk gate at its boundary: just inside passes, just outside is refused.

Method: one account on a real `Source`, facts folded as the log would bring them, one signal or
intent published, its verdict read. Guards A, B, C and memory have files of their own.
"""

from decimal import Decimal
from typing import Any

import pytest

from schemas.market import Bracket
from schemas.reasons import EntryReason
from schemas.trade import Verdict
from tests.domain.risk_world import START, RiskWorld, codes, later

FAR: dict[str, Any] = {"max_size_pct": "500", "max_position_usd": "50000", "risk_target_pct": "4"}
"""A policy under which the other size limits do not bind."""


def failure(verdict: Verdict, code: str) -> tuple[str | None, str | None, str | None]:
    """Value, limit and shortfall of a failing check."""
    found = next(f for f in verdict.failures if f.code == code)
    return found.value, found.limit, found.shortfall


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


@pytest.mark.parametrize(
    ("price", "off"), [("39600", False), ("39599.99", True), ("40400.01", True)]
)
def test_a_limit_price_off_the_collar_is_refused(price: str, *, off: bool) -> None:
    verdict = RiskWorld().propose(limit_price=price)
    assert codes(verdict) == (["PRICE_COLLAR"] if off else [])


@pytest.mark.parametrize(("last", "off"), [("40400", False), ("40400.01", True)])
def test_a_market_entry_waits_while_last_and_mark_are_apart(last: str, *, off: bool) -> None:
    world = RiskWorld()
    world.now = later(1)
    world.prices(marks={"BTCUSDT": "40000"}, BTCUSDT=last)
    verdict = world.ask()
    assert ("PRICE_COLLAR" in codes(verdict)) == off


def test_the_venues_own_band_counts_where_it_is_narrower() -> None:
    world = RiskWorld(instruments={"BTCUSDT": {"price_band_pct": "0.5"}})
    assert codes(world.propose(limit_price="39700")) == ["PRICE_COLLAR"]


@pytest.mark.parametrize("name", ["limit_price", "stop_price", "target_price"])
def test_prices_of_intents_must_lie_on_the_tick(name: str) -> None:
    good = {"limit_price": "39900.01", "stop_price": "39000.01", "target_price": "41000.01"}
    assert codes(RiskWorld().propose(**good)) == []
    verdict = RiskWorld().propose(**good | {name: good[name] + "5"})
    assert codes(verdict) == ["FILTER_TICK"]
    assert failure(verdict, "FILTER_TICK") == (good[name] + "5", "0.01", "0.005")


def test_an_intent_keeps_its_own_prices() -> None:
    verdict = RiskWorld().propose(limit_price="39900", stop_price="39500", target_price="41000")
    plan = verdict.plan
    assert plan is not None
    assert (plan.order_type, plan.limit_price) == ("LIMIT", "39900")
    assert (plan.stop_price, plan.target_price, plan.stop_distance) == ("39500", "41000", "400")
    assert verdict.figures["entry"] == "39900"


@pytest.mark.parametrize(
    "prices",
    [
        {"stop_price": "40000"},
        {"stop_price": "40001"},
        {"side": "SELL", "stop_price": "39999"},
        {"target_price": "39999"},
    ],
)
def test_a_stop_or_target_on_the_wrong_side_is_no_stop(prices: dict[str, Any]) -> None:
    verdict = RiskWorld().propose(**prices)
    assert codes(verdict) == ["STOP_MISSING"]
    assert "wrong side" in verdict.failures[0].sentence


def test_without_a_true_range_there_is_no_stop() -> None:
    verdict = RiskWorld(warm=False).ask()
    assert codes(verdict) == ["STOP_MISSING"]
    assert RiskWorld(warm=False).propose(stop_price="39200").verdict == "approved"


def test_a_policy_without_stops_enters_without_one_at_the_leverage_it_names() -> None:
    raised: dict[str, Any] = {
        "stops_required": False, "max_leverage": 2, "max_gross_pct": "200",
        "max_position_usd": "15000", "max_size_pct": "150", "max_risk_open_pct": "400",
    }  # fmt: skip
    verdict = RiskWorld(warm=False, **raised).ask(position_size_pct="150")
    plan = verdict.plan
    assert plan is not None
    assert (plan.quantity, plan.leverage) == ("0.375", 2)
    assert (plan.stop_price, plan.target_price, plan.stop_distance) == (None, None, None)


def test_a_symbol_at_its_maximum_notional_takes_no_more() -> None:
    policy: dict[str, Any] = {
        "max_entries_per_position": 5, "cooldown_s": 0, "max_size_pct": "100",
    }  # fmt: skip
    room = RiskWorld(**policy)
    room.ordered(room.stop("BTCUSDT", "39200"))
    room.holds("BTCUSDT", "0.0374")
    assert codes(room.ask()) == ["FILTER_STEP", "FILTER_MIN_NOTIONAL"]
    full = RiskWorld(**policy)
    full.ordered(full.stop("BTCUSDT", "39200"))
    full.holds("BTCUSDT", "0.0375")
    verdict = full.ask()
    assert codes(verdict) == ["MAX_POSITION"]
    assert failure(verdict, "MAX_POSITION") == ("1540", "1500", "40")


def test_gross_exposure_has_a_limit_over_all_symbols() -> None:
    def world(held: str) -> RiskWorld:
        made = RiskWorld(max_gross_pct="100", max_risk_open_pct="300", liq_buffer_pct="0", **FAR)
        made.holds("ETHUSDT", held)
        return made

    verdict = world("3.9").ask()
    assert verdict.verdict == "approved"
    assert verdict.figures["size_cap"] == "max_gross"
    assert verdict.figures["gross_pct_after"] == "99.9"
    full = world("4").ask()
    assert codes(full) == ["MAX_GROSS"]
    assert failure(full, "MAX_GROSS") == ("100.4", "100", "0.4")


def test_the_risk_of_one_trade_counts_what_its_position_risks_already() -> None:
    world = RiskWorld(max_entries_per_position=5, cooldown_s=0, max_risk_open_pct="90", **FAR)
    world.ordered(world.stop("BTCUSDT", "30056"))
    world.holds("BTCUSDT", "0.04", "40000")
    verdict = world.ask()
    assert codes(verdict) == ["MAX_RISK_TRADE"]
    assert failure(verdict, "MAX_RISK_TRADE") == ("4.00856", "4", "0.00856")
    world.ordered(world.stop("BTCUSDT", "30078", name="narrower"))
    assert world.ask().figures["size_cap"] == "max_risk_trade"


def test_the_sum_of_open_risk_counts_each_position_at_its_current_stop() -> None:
    world = RiskWorld(**FAR)
    world.holds("ETHUSDT", "2", "2500")
    world.ordered(world.stop("ETHUSDT", "2203.51"))
    verdict = world.ask()
    assert verdict.figures["size_cap"] == "max_risk_open"
    assert codes(verdict) == ["FILTER_STEP", "FILTER_MIN_NOTIONAL"]
    world.ordered(world.stop("ETHUSDT", "2203.5", name="wider"))
    wider = world.ask()
    assert codes(wider) == ["MAX_RISK_OPEN"]
    assert failure(wider, "MAX_RISK_OPEN") == ("6.00856", "6", "0.00856")


def test_a_position_whose_stop_is_not_in_the_log_yet_counts_with_its_planned_stop() -> None:
    world = RiskWorld()
    entered = world.enter()
    assert entered.plan is not None
    other = world.ask("ETHUSDT")
    assert other.verdict == "approved"
    assert other.figures["open_risk_before"] == entered.plan.risk_usdt


def test_a_position_without_any_stop_counts_in_full() -> None:
    world = RiskWorld()
    world.holds("ETHUSDT", "1", "2500")
    assert world.ask().figures["open_risk_before"] == "2503.5"
    assert codes(world.ask()) == ["MAX_RISK_OPEN"]


@pytest.mark.parametrize(("minimum", "short"), [("0.037", False), ("0.038", True)])
def test_a_quantity_below_the_venues_minimum_is_refused(minimum: str, *, short: bool) -> None:
    world = RiskWorld(instruments={"BTCUSDT": {"quantity_min": minimum}})
    verdict = world.ask()
    assert codes(verdict) == (["FILTER_STEP"] if short else [])
    if short:
        assert failure(verdict, "FILTER_STEP") == ("0.037", "0.038", "0.001")


def test_less_than_a_step_is_refused_with_what_is_missing() -> None:
    verdict = RiskWorld().ask(position_size_pct="0.39")
    assert codes(verdict) == ["FILTER_STEP", "FILTER_MIN_NOTIONAL"]
    assert failure(verdict, "FILTER_STEP") == ("0.000975", "0.001", "0.000025")
    assert verdict.figures["size_cap"] == "proposal"


@pytest.mark.parametrize(("minimum", "short"), [("1480", False), ("1480.01", True)])
def test_an_order_below_min_notional_is_refused(minimum: str, *, short: bool) -> None:
    verdict = RiskWorld(instruments={"BTCUSDT": {"notional_min": minimum}}).ask()
    assert codes(verdict) == (["FILTER_MIN_NOTIONAL"] if short else [])
    if short:
        assert failure(verdict, "FILTER_MIN_NOTIONAL") == ("1480", "1480.01", "0.01")


@pytest.mark.parametrize(("most", "above"), [("0.037", False), ("0.036", True)])
def test_a_quantity_above_the_venues_maximum_is_refused(most: str, *, above: bool) -> None:
    world = RiskWorld(instruments={"BTCUSDT": {"market_quantity_max": most}})
    assert codes(world.ask()) == (["FILTER_MAX_QTY"] if above else [])
    resting = RiskWorld(instruments={"BTCUSDT": {"market_quantity_max": most}})
    assert resting.propose(limit_price="40000").verdict == "approved"


def test_a_tenth_of_the_last_candles_volume_is_the_most() -> None:
    world = RiskWorld()
    world.candles(later(-60), volume="0.11")
    verdict = world.ask()
    assert verdict.plan is not None
    assert (verdict.plan.quantity, verdict.figures["size_cap"]) == ("0.011", "participation")
    world = RiskWorld()
    world.candles(later(-60), volume="0")
    assert codes(world.ask()) == ["FILTER_STEP", "FILTER_MIN_NOTIONAL"]


def test_a_trade_that_needs_more_leverage_than_allowed_is_refused() -> None:
    policy: dict[str, Any] = FAR | {"max_position_usd": "9000"}
    assert RiskWorld(max_leverage=2, **policy).ask().verdict == "approved"
    verdict = RiskWorld(max_leverage=1, **policy).ask()
    assert codes(verdict) == ["MAX_LEVERAGE", "MARGIN_USE"]
    assert failure(verdict, "MAX_LEVERAGE") == ("2", "1", "1")
    assert failure(verdict, "MARGIN_USE")[1] == "80"


def test_brackets_bound_leverage_too() -> None:
    brackets = (Bracket(mmr_pct="0.65", cum="0", leverage_max=7),)
    verdict = RiskWorld(instruments={"BTCUSDT": {"brackets": brackets}}).ask()
    assert verdict.plan is not None
    assert verdict.plan.leverage == 7


def test_an_account_without_equity_has_no_margin() -> None:
    verdict = RiskWorld(equity=None).ask()
    assert codes(verdict) == ["MARGIN_USE"]
    assert verdict.failures[0].sentence == "Equity is 0 USDT: there is no margin for new risk"
    broke = RiskWorld(max_risk_open_pct="99999")
    broke.holds("ETHUSDT", "8", "3750")
    assert codes(broke.ask()) == ["MARGIN_USE"]


@pytest.mark.parametrize(("stop", "beyond"), [("8000", False), ("7999.99", True)])
def test_a_stop_beyond_the_way_to_liquidation_is_refused(stop: str, *, beyond: bool) -> None:
    verdict = RiskWorld().propose(stop_price=stop)
    assert codes(verdict) == (["LIQUIDATION_BUFFER"] if beyond else [])
    if not beyond:
        assert verdict.plan is not None
        assert verdict.plan.leverage == 1


def test_leverage_is_15_for_a_stop_five_percent_away() -> None:
    plan = RiskWorld().propose(stop_price="38000").plan
    assert plan is not None
    assert plan.leverage == 15


def test_cross_margin_names_a_farther_liquidation() -> None:
    isolated = RiskWorld().ask("BTCUSDT", "SELL").figures["liquidation_price"]
    cross = RiskWorld(margin_mode="cross").ask("BTCUSDT", "SELL").figures["liquidation_price"]
    assert Decimal(cross) > Decimal(isolated)


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
