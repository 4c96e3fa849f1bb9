"""Prices, size, filters, leverage and margin of the risk gate, each code at its boundary.

Method as in `test_risk_gate`: facts folded, one request published, its verdict read.
"""

from decimal import Decimal
from typing import Any

import pytest

from schemas.market import Bracket
from schemas.safety import HfosMode, HfosModeChanged, HfosModeChangedData
from tests.domain.risk_world import FAR, RiskWorld, codes, failure, later


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


def sized(*modes: HfosMode, target_pct: str = "4") -> Decimal:
    """Quantity of a proposal after an AI-HFOS has gone through these modes."""
    world = RiskWorld(**FAR | {"risk_target_pct": target_pct}, hfos_cautious_pct="25")
    for mode in modes:
        data = HfosModeChangedData(
            mode=mode, before="NORMAL", operator="hfos", reason="its model says so"
        )
        world.fact("control", HfosModeChanged, data)
    return Decimal(world.propose().figures["quantity"])


def test_an_hfos_that_is_cautious_sizes_entries_down_by_the_share_of_the_policy() -> None:
    assert sized("CAUTIOUS") == sized(target_pct="1") > 0
    assert sized("CAUTIOUS", "NORMAL") == sized() > sized("CAUTIOUS")


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
