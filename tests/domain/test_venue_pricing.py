"""Goal: costs and room of DEFINITIONS 9 and 10. Method: figures worked by hand."""

from decimal import Decimal, localcontext

from domain.market_state import ClosedCandle, InstrumentTerms, SymbolMarket
from domain.venue_pricing import (
    age_s,
    impact,
    room,
    sigma,
    stale_after_s,
    taker_price,
    to_tick,
    touch,
)
from tests.domain.venue_world import BTC, instrument

AT = "2021-05-19T12:01:00.000000Z"


OPENED = "2021-05-19T12:00:00.000000Z"


def candle(high: str, low: str, volume: str) -> ClosedCandle:
    top, bottom = Decimal(high), Decimal(low)
    return ClosedCandle(OPENED, bottom, top, bottom, top, Decimal(volume))


def known(previous: ClosedCandle | None) -> SymbolMarket:
    terms = InstrumentTerms.of(instrument(BTC))
    last = Decimal(40000)
    return SymbolMarket(last=last, mark=last, at=AT, point=0, candle=previous, terms=terms)


def test_sigma_is_the_range_over_twice_the_root_of_ln_2() -> None:
    # ln(1.01) / 1.66510922... = 0.00995033 / 1.66510922
    assert sigma(candle("40400", "40000", "10")) == Decimal("0.005975782681")
    assert sigma(candle("40000", "40000", "10")) == 0
    assert sigma(None) == 0


def test_impact_is_sigma_times_the_root_of_the_share_of_volume() -> None:
    previous = candle("40400", "40000", "100")
    assert impact(Decimal(1), previous) == (sigma(previous) / 10).quantize(Decimal("1E-12"))
    assert impact(Decimal(100), previous) == sigma(previous)


def test_without_volume_a_close_pays_one_sigma() -> None:
    assert impact(Decimal(5), candle("40400", "40000", "0")) == Decimal("0.005975782681")
    assert impact(Decimal(5), None) == 0


def test_impact_does_not_depend_on_the_callers_decimal_context() -> None:
    previous = candle("40400", "40001.7", "123.457")
    plain = impact(Decimal("0.037"), previous)
    with localcontext() as context:
        context.prec = 6
        assert impact(Decimal("0.037"), previous) == plain


def test_a_taker_pays_half_spread_and_impact_rounded_against_him() -> None:
    quiet = known(candle("40000", "40000", "100"))
    assert taker_price(Decimal("40000.3"), "BUY", Decimal(1), quiet) == Decimal("40004.4")
    assert taker_price(Decimal("40000.3"), "SELL", Decimal(1), quiet) == Decimal("39996.2")
    assert touch(Decimal(40000), "BUY", quiet) == 40004
    assert touch(Decimal(40000), "SELL", quiet) == 39996


def test_no_price_is_ever_rounded_to_zero() -> None:
    assert to_tick(Decimal("0.04"), "SELL", Decimal("0.1")) == Decimal("0.1")


def test_room_is_a_tenth_of_the_previous_volume_less_what_was_used_on_the_step() -> None:
    market = known(candle("40400", "40000", "12.3456"))
    assert room(market, Decimal(0), AT) == Decimal("1.234")
    assert room(market, Decimal("1.2"), AT) == Decimal("0.034")
    assert room(market, Decimal(9), AT) == 0


def test_zero_volume_and_a_gap_leave_no_room() -> None:
    assert room(known(candle("40000", "40000", "0")), Decimal(0), AT) == 0
    assert room(known(None), Decimal(0), AT) == 0
    market = known(candle("40400", "40000", "100"))
    assert room(market, Decimal(0), "2021-05-19T12:03:00.000000Z") == 10
    assert room(market, Decimal(0), "2021-05-19T12:03:00.000001Z") == 0


def test_prices_are_stale_after_two_candles_in_replay_and_five_seconds_live() -> None:
    assert stale_after_s(60) == 120
    assert stale_after_s(1) == 5
    assert age_s(known(None), "2021-05-19T12:01:01.500000Z") == Decimal("1.5")
