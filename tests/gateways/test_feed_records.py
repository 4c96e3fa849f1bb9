"""The order and number of a fed run's outside records."""

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from domain.points import points
from gateways.candles import COLUMNS, CandleFileError, Candles, exact, read_candles, read_funding
from gateways.feed_records import Record, Scripted, fed_records, stamp
from gateways.probes import demo_script
from schemas.codec import decode, encode
from schemas.instruments import load_instruments, shipped_instrument, shipped_symbols
from schemas.market import (
    CandlesClosed,
    ClockTicked,
    FundingSettled,
    InstrumentsListed,
    PricesObserved,
)

ROOT = Path(__file__).parents[2]
MARKET = ROOT / "data" / "market"
GAP = ROOT / "tests" / "data"
LISTED = load_instruments("BTCUSDT", "ETHUSDT")
FUNDING = (read_funding(MARKET / "BTCUSDT_PERP-funding-20210501-20210531.parquet"),)


def may(day: int, hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2021, 5, day, hour, minute, second, tzinfo=UTC)


def week() -> list[Candles]:
    return [
        read_candles(MARKET / f"{symbol}-1m-20210516-20210522.parquet")
        for symbol in ("ETHUSDT", "BTCUSDT")
    ]


def crash(minutes: int = 10) -> list[Record]:
    """The first minutes of 19 May from 13:00, five minutes of warm-up."""
    return list(
        fed_records(
            week(),
            warm_up_start=may(19, 12, 55),
            start=may(19, 13, 0),
            end=datetime(2021, 5, 19, 13, minutes, tzinfo=UTC),
            instruments=LISTED,
            funding=FUNDING,
        )
    )


def kinds(records: list[Record]) -> str:
    """A letter a record: instruments, warm-up, funding, prices, candles, tick, other."""
    letters = {InstrumentsListed: "i", FundingSettled: "f", PricesObserved: "p", ClockTicked: "t"}
    return "".join(
        ("w" if event.data.warm_up else "c")
        if isinstance(event, CandlesClosed)
        else letters.get(type(event), "o")
        for _, event in records
    )


def test_the_demo_has_25920_prices_4320_candles_and_4320_ticks() -> None:
    records = list(
        fed_records(
            week(),
            warm_up_start=date(2021, 5, 16),
            start=date(2021, 5, 17),
            end=date(2021, 5, 20),
            instruments=LISTED,
            funding=FUNDING,
        )
    )
    assert Counter(kinds(records)) == {"p": 25_920, "c": 4320, "t": 4320, "w": 1440, "f": 9, "i": 1}
    assert len({event.id for _, event in records}) == len(records)
    assert all(a.time <= b.time for (_, a), (_, b) in pairwise(records))
    topics = Counter(topic for topic, _ in records)
    assert topics == {"clock": 4320, "market": len(records) - 4320}
    assert records[-1][1].time == "2021-05-20T00:00:00.000000Z"
    assert kinds(records[-2:]) == "ct"
    for _, event in records[::401]:
        assert decode(encode(event)) == event


def test_at_one_instant_prices_come_before_the_candle_and_the_tick_last() -> None:
    assert kinds(crash(2)) == "i" + "wwwww" + "pppppp" + "pct" + "ppppp" + "ct"


def test_funding_comes_first_at_its_instant() -> None:
    records = list(
        fed_records(
            week(),
            start=may(19, 15, 59),
            end=may(19, 16, 2),
            instruments=LISTED,
            funding=FUNDING,
        )
    )
    assert kinds(records) == "i" + "pppppp" + "fpct" + "ppppp" + "pct" + "ppppp" + "ct"


def test_a_candle_is_known_at_its_close_and_prices_follow_the_path() -> None:
    records = crash()
    candle = next(e for _, e in records if isinstance(e, CandlesClosed) and not e.data.warm_up)
    item = candle.data.items[0]
    assert (item.opened_at[14:19], candle.time[14:19]) == ("00:00", "01:00")
    prices = [e for _, e in records if isinstance(e, PricesObserved)][:6]
    assert [e.data.point for e in prices] == [0, 1, 2, 3, 4, 5]
    expected = points(
        Decimal(item.open),
        Decimal(item.high),
        Decimal(item.low),
        Decimal(item.close),
        Decimal("0.01"),
    )
    assert [Decimal(e.data.items[0].last) for e in prices] == list(expected)
    assert [i.symbol for i in prices[0].data.items] == ["BTCUSDT", "ETHUSDT"]


def test_records_up_to_an_instant_do_not_depend_on_what_comes_after() -> None:
    short, long = crash(5), crash(10)
    assert long[: len(short) - 2] == short[:-2]
    last = [record for record in long if record[1].time <= short[-1][1].time]
    assert [r for r in last if not isinstance(r[1], PricesObserved)] == [
        r for r in short if not isinstance(r[1], PricesObserved)
    ]


def test_in_a_gap_nothing_is_made_up_and_ticks_run_on() -> None:
    files = [
        read_candles(GAP / f"{s}-1m-20230324-20230324.parquet") for s in ("BTCUSDT", "ETHUSDT")
    ]
    records = list(
        fed_records(
            files,
            start=datetime(2023, 3, 24, 12, 39, tzinfo=UTC),
            end=datetime(2023, 3, 24, 14, 1, tzinfo=UTC),
            instruments=LISTED,
        )
    )
    assert kinds(records) == "i" + "pppppp" + "ct" + "t" * 79 + "pt" + "ppppp" + "ct"


def test_a_symbol_without_a_candle_is_left_out_of_the_instant() -> None:
    btc, eth = sorted(week(), key=lambda file: file.symbol)
    keep = eth.ts_ms != 1_621_429_260_000  # 13:01 is missing
    holed = Candles(
        eth.path, eth.symbol, 60, *(getattr(eth, c)[keep] for c in ("ts_ms", *COLUMNS[1:]))
    )
    records = list(
        fed_records(
            [btc, holed],
            start=may(19, 13, 0),
            end=may(19, 13, 3),
            instruments=LISTED,
        )
    )
    sizes = [len(e.data.items) for _, e in records if isinstance(e, PricesObserved)]
    assert sizes == [2] * 6 + [1] * 6 + [2] * 6


def test_scripted_events_come_last_at_their_instant_and_at_the_start_before_any_price() -> None:
    script = demo_script(
        week(),
        start=may(19, 11, 0),
        end=may(19, 15, 0),
    )
    late = Scripted("2021-05-19T11:02:34.000000Z", script[0].topic, script[0].event)
    records = list(
        fed_records(
            week(),
            start=may(19, 11, 0),
            end=may(19, 15, 0),
            instruments=LISTED,
            script=[late, *script],
        )
    )
    written = kinds(records)
    assert written.startswith(
        "i" + "ooo" + "pppppp" + "pct" + "ppppp" + "pct" + "o" + "pppo" + "pp"
    )
    assert written.count("o") == len(script) + 1
    assert len(records) == 1 + 240 * 8 + len(script) + 1


def test_a_run_without_data_tables_or_sense_is_refused_before_it_begins() -> None:
    first, last = date(2021, 5, 17), date(2021, 5, 18)
    with pytest.raises(CandleFileError, match=r"no candle between 2022-01-01.*choose other dates"):
        fed_records(week(), start=date(2022, 1, 1), end=date(2022, 1, 2), instruments=LISTED)
    with pytest.raises(ValueError, match="no filters, fees and brackets for ETHUSDT"):
        fed_records(week(), instruments=LISTED[:1], start=first, end=last)
    with pytest.raises(ValueError, match="two files"):
        fed_records(week() + week()[:1], instruments=LISTED, start=first, end=last)
    with pytest.raises(ValueError, match="not in this order"):
        fed_records(week(), start=date(2021, 5, 18), end=date(2021, 5, 17), instruments=LISTED)
    with pytest.raises(ValueError, match="not a whole minute"):
        fed_records(
            week(),
            start=datetime(2021, 5, 17, 0, 0, 30, tzinfo=UTC),
            end=date(2021, 5, 18),
            instruments=LISTED,
        )
    script = demo_script(week(), start=date(2021, 5, 19), end=date(2021, 5, 20))
    with pytest.raises(ValueError, match="after the run's end"):
        fed_records(week(), instruments=LISTED, script=script, start=first, end=last)


def test_prices_are_written_as_the_exact_decimal_of_the_file() -> None:
    files = week()
    candles = [e for _, e in crash(2) if isinstance(e, CandlesClosed)]
    row = int(files[1].ts_ms.searchsorted(1_621_428_900_000))
    assert stamp(int(files[1].ts_ms[row])) == candles[0].data.items[0].opened_at
    assert Decimal(candles[0].data.items[0].volume) == exact(files[1].volume[row])
    assert Decimal(candles[0].data.items[0].close) == exact(files[1].close[row])


def test_instrument_tables_are_dated_and_an_unknown_symbol_says_what_to_do() -> None:
    assert shipped_symbols() == ("BTCUSDT", "ETHUSDT")
    assert shipped_instrument("BTCUSDT", at="2021-05-19T00:00:00.000000Z").as_of < "2021-05-19"
    with pytest.raises(LookupError, match=r"add schemas/instruments/DOGEUSDT-YYYYMMDD\.json"):
        shipped_instrument("DOGEUSDT")


def test_brackets_are_continuous_in_the_maintenance_margin() -> None:
    """cum_k = cum_(k-1) + floor_k (mmr_k - mmr_(k-1)), DEFINITIONS 2."""
    for listed in LISTED:
        for below, above in pairwise(listed.brackets):
            assert below.notional_max is not None
            rise = (Decimal(above.mmr_pct) - Decimal(below.mmr_pct)) / 100
            assert Decimal(above.cum) == Decimal(below.cum) + Decimal(below.notional_max) * rise
