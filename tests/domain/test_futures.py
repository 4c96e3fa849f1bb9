"""Futures arithmetic against the figures of DEFINITIONS 2 and of the venue's documentation.

Method: the documented examples to the cent, each bracket's bounds from both sides, and properties
that tie the formulas to each other (margin at the liquidation price is the maintenance margin).
"""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.futures import (
    bracket_cums,
    bracket_of,
    cost_to_open,
    cross_liquidation_price,
    initial_margin,
    isolated_distance,
    leverage_for_stop,
    liquidation_price,
    maintenance,
    margin_use_pct,
    plan_margin,
)
from domain.market_state import BracketLine, InstrumentTerms
from schemas.trade import Side

BRACKETS = (
    BracketLine(Decimal(50_000), Decimal("0.004"), Decimal(0), 125),
    BracketLine(Decimal(250_000), Decimal("0.005"), Decimal(50), 100),
    BracketLine(Decimal(1_000_000), Decimal("0.01"), Decimal(1300), 50),
)
TERMS = InstrumentTerms(
    symbol="BTCUSDT",
    tick=Decimal("0.01"),
    step=Decimal("0.001"),
    quantity_min=Decimal("0.001"),
    quantity_max=Decimal(1000),
    market_quantity_max=Decimal(120),
    notional_min=Decimal(5),
    price_band_pct=Decimal(5),
    maker=Decimal("0.0002"),
    taker=Decimal("0.0005"),
    half_spread=Decimal("0.0001"),
    brackets=BRACKETS,
    as_of="2021-05-01T00:00:00.000000Z",
)


@pytest.mark.parametrize(
    ("notional", "rate", "margin"),
    [
        ("0", "0.004", "0"),
        ("50000", "0.004", "200"),
        ("50000.01", "0.005", "200.00005"),
        ("250000", "0.005", "1200"),
        ("250000.01", "0.01", "1200.0001"),
        ("2000000", "0.01", "18700"),
    ],
)
def test_a_bracket_holds_up_to_and_including_its_bound(
    notional: str, rate: str, margin: str
) -> None:
    assert bracket_of(Decimal(notional), TERMS).mmr == Decimal(rate)
    assert maintenance(Decimal(notional), TERMS) == Decimal(margin)


def test_cums_of_the_2021_table_follow_from_its_rates() -> None:
    cums = bracket_cums([(line.notional_max, line.mmr) for line in BRACKETS])
    assert cums == [line.cum for line in BRACKETS]


def test_a_symbol_without_brackets_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="BTCUSDT has no margin brackets"):
        bracket_of(Decimal(1), replace(TERMS, brackets=()))


@pytest.mark.parametrize(("side", "price"), [("BUY", "38152.61"), ("SELL", "41832.67")])
def test_liquidation_at_20x_from_40000_is_where_definitions_say(side: Side, price: str) -> None:
    margin = initial_margin(Decimal(40_000), 20)
    found = liquidation_price(
        side=side, quantity=Decimal(1), entry=Decimal(40_000), isolated_margin=margin, terms=TERMS
    )
    assert found is not None
    assert round(found, 2) == Decimal(price)
    way = isolated_distance(side=side, leverage=20, mmr=Decimal("0.004"))
    assert abs(found - Decimal(40_000)) == pytest.approx(way * 40_000)


def test_a_long_at_1x_has_no_liquidation_price_and_a_short_has() -> None:
    price = Decimal(40_000)

    def liquidation(side: Side) -> Decimal | None:
        return liquidation_price(
            side=side, quantity=Decimal(1), entry=price, isolated_margin=price, terms=TERMS
        )

    assert liquidation("BUY") is None
    short = liquidation("SELL")
    assert short is not None
    assert Decimal(79_000) < short < Decimal(80_000)


@given(
    side=st.sampled_from(["BUY", "SELL"]),
    quantity=st.decimals("0.001", "20", places=3),
    entry=st.decimals("100", "60000", places=2),
    leverage=st.integers(2, 100),
)
@settings(max_examples=200, deadline=None)
def test_margin_at_the_liquidation_price_is_the_maintenance_margin(
    side: Side, quantity: Decimal, entry: Decimal, leverage: int
) -> None:
    margin = initial_margin(quantity * entry, leverage)
    price = liquidation_price(
        side=side, quantity=quantity, entry=entry, isolated_margin=margin, terms=TERMS
    )
    assert price is not None
    pnl = (1 if side == "BUY" else -1) * quantity * (price - entry)
    assert margin + pnl == pytest.approx(maintenance(quantity * price, TERMS), abs=Decimal("1e-9"))


def test_cross_margin_counts_the_wallet_and_the_other_symbols() -> None:
    def price(wallet: str, others: str, pnl: str) -> Decimal | None:
        return cross_liquidation_price(
            side="BUY",
            quantity=Decimal(1),
            entry=Decimal(40_000),
            wallet=Decimal(wallet),
            other_maintenance=Decimal(others),
            other_unrealised=Decimal(pnl),
            terms=TERMS,
        )

    isolated = liquidation_price(
        side="BUY",
        quantity=Decimal(1),
        entry=Decimal(40_000),
        isolated_margin=Decimal(2000),
        terms=TERMS,
    )
    assert price("2000", "0", "0") == isolated
    assert price("2150", "100", "-50") == isolated
    assert price("50000", "0", "0") is None


@pytest.mark.parametrize(
    ("side", "distance", "buffer_pct", "leverage"),
    [
        ("BUY", "0.05", "20", 15),
        ("SELL", "0.05", "20", 14),
        ("BUY", "0.02", "20", 34),
        ("BUY", "0.8", "20", 1),
        ("BUY", "0.8001", "20", 0),
        ("BUY", "0.01", "100", 0),
    ],
)
def test_leverage_follows_from_the_stop_distance(
    side: Side, distance: str, buffer_pct: str, leverage: int
) -> None:
    found = leverage_for_stop(
        side=side, distance=Decimal(distance), buffer_pct=Decimal(buffer_pct), mmr=Decimal("0.004")
    )
    assert found == leverage


@given(
    side=st.sampled_from(["BUY", "SELL"]),
    distance=st.decimals("0.001", "0.7", places=4),
    buffer_pct=st.decimals("0", "50", places=1),
)
@settings(max_examples=200, deadline=None)
def test_leverage_is_the_highest_that_keeps_the_stop_inside_the_buffer(
    side: Side, distance: Decimal, buffer_pct: Decimal
) -> None:
    mmr = Decimal("0.004")
    share = 1 - buffer_pct / 100
    leverage = leverage_for_stop(side=side, distance=distance, buffer_pct=buffer_pct, mmr=mmr)

    def inside(candidate: int) -> bool:
        way = isolated_distance(side=side, leverage=candidate, mmr=mmr)
        return way > 0 and distance <= share * way * (1 + Decimal("1e-20"))

    assert leverage == 0 or inside(leverage)
    assert not inside(leverage + 1)


def test_a_wider_stop_lowers_leverage_by_itself() -> None:
    found = [
        leverage_for_stop(
            side="BUY", distance=Decimal(d), buffer_pct=Decimal(20), mmr=Decimal("0.004")
        )
        for d in ("0.01", "0.015", "0.025", "0.08")
    ]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


def test_cost_to_open_assumes_the_prices_of_the_venue() -> None:
    def cost(side: Side, price: str, *, limit: bool = False) -> Decimal:
        return cost_to_open(
            side=side,
            quantity=Decimal(1),
            order_price=Decimal(price),
            limit=limit,
            bid=Decimal(39_999),
            ask=Decimal(40_001),
            mark=Decimal(40_010),
            leverage=10,
        )

    assert cost("BUY", "40001") == Decimal(40_001) * Decimal("1.0005") / 10
    assert cost("BUY", "40110", limit=True) == Decimal(4011) + Decimal(100)
    assert cost("SELL", "39999") == Decimal(4001) + Decimal(11)


def test_margin_use_of_an_account_without_balance_is_unknown() -> None:
    assert margin_use_pct(Decimal(80), Decimal(100)) == 80
    assert margin_use_pct(Decimal(1), Decimal(0)) is None


def test_an_order_gets_the_highest_leverage_that_caps_bracket_and_stop_allow() -> None:
    def plan(distance: str | None, notional: str = "1500", most: int = 20) -> int:
        return plan_margin(
            side="BUY",
            quantity=Decimal("0.0375"),
            notional_after=Decimal(notional),
            order_price=Decimal(40_000),
            limit=False,
            bid=Decimal(40_000),
            ask=Decimal(40_000),
            mark=Decimal(40_000),
            stop_distance=None if distance is None else Decimal(distance),
            balance=Decimal(10_000),
            margin_used=Decimal(0),
            leverage_max=most,
            buffer_pct=Decimal(20),
            terms=TERMS,
        ).leverage

    assert plan("0.05") == 15
    assert plan("0.01") == 20
    assert plan(None, most=4) == 4
    assert plan("0.001", notional="900000", most=125) == 50
    assert plan("0.9") == 0


def test_margin_plan_names_the_leverage_that_margin_use_would_need() -> None:
    plan = plan_margin(
        side="SELL",
        quantity=Decimal(1),
        notional_after=Decimal(40_000),
        order_price=Decimal(40_000),
        limit=True,
        bid=Decimal(40_000),
        ask=Decimal(40_000),
        mark=Decimal(40_000),
        stop_distance=Decimal("0.05"),
        balance=Decimal(10_000),
        margin_used=Decimal(6000),
        leverage_max=10,
        buffer_pct=Decimal(20),
        terms=TERMS,
    )
    assert plan.leverage == 10
    assert plan.needed == 20
    assert plan.use_pct == 100
    assert plan.use_limit_pct == 80
    assert plan.initial_margin == plan.cost_to_open == 4000


def test_a_short_that_is_liquidated_in_the_next_bracket_meets_that_brackets_maintenance() -> None:
    quantity, entry = Decimal("1.2"), Decimal(40_000)
    margin = initial_margin(quantity * entry, 2)
    price = liquidation_price(
        side="SELL", quantity=quantity, entry=entry, isolated_margin=margin, terms=TERMS
    )
    assert price is not None
    assert bracket_of(quantity * entry, TERMS) is BRACKETS[0]
    assert bracket_of(quantity * price, TERMS) is BRACKETS[1]
    left = margin - quantity * (price - entry)
    assert abs(left - maintenance(quantity * price, TERMS)) < Decimal("1e-9")
