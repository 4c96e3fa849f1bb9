"""Goal: trades become records in order of time; nothing is decided on a price it could not know.

The shipped two hours of APEUSDT, fed from the second hour on.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from domain.market_state import MarketState
from gateways.candles import CandleFileError, FundingRates
from gateways.feed_records import Scripted
from gateways.instrument_files import instruments_for
from gateways.tick_records import tick_records
from gateways.ticks import Ticks, read_ticks
from schemas.codec import decode, encode
from schemas.envelope import Envelope
from schemas.market import (
    CandlesClosed,
    ClockTicked,
    FundingSettled,
    Instrument,
    InstrumentsListed,
    PricesObserved,
    TickData,
)
from schemas.scalars import micros

SHIPPED = (
    Path(__file__).parents[2]
    / "data" / "market" / "APEUSDT_PERP-aggTrades-20241018T13-20241018T14.parquet"
)  # fmt: skip
FIRST = datetime(2024, 10, 18, 14, tzinfo=UTC)
LAST = datetime(2024, 10, 18, 15, tzinfo=UTC)
BEGIN = datetime(2024, 10, 18, 13, tzinfo=UTC)


@pytest.fixture(scope="module")
def trades() -> Ticks:
    return read_ticks(SHIPPED)


@pytest.fixture(scope="module")
def table(trades: Ticks) -> Instrument:
    at = "2024-10-18T00:00:00.000000Z"
    (table,) = instruments_for([trades.candles], at=at, assume=True)
    return table


def fed(trades: Ticks, table: Instrument, **changes: Any) -> list[tuple[str, Envelope]]:
    options: dict[str, Any] = {
        "start": FIRST, "end": LAST, "warm_up_start": BEGIN, "instruments": [table],
    }  # fmt: skip
    return list(tick_records([trades], **{**options, **changes}))


@pytest.fixture(scope="module")
def records(trades: Ticks, table: Instrument) -> list[tuple[str, Envelope]]:
    return fed(trades, table)


def test_every_trade_of_the_hour_is_in_one_record_of_its_instant(
    records: list[tuple[str, Envelope]],
) -> None:
    rows = [r for r in pa_parquet.read_table(SHIPPED).to_pylist()
            if r["ts_us"] >= FIRST.timestamp() * 1e6]  # fmt: skip
    seen = []
    for _, event in records:
        if isinstance(event, PricesObserved):
            (item,) = event.data.items
            assert item.trades
            assert item.last == item.trades[-1].price
            seen += [
                (micros(event.time), float(t.price), float(t.quantity), t.aggressor == "SELL")
                for t in item.trades
            ]
    assert seen == [(r["ts_us"], r["price"], r["qty"], r["buyer_is_maker"]) for r in rows]


def test_instruments_and_warm_up_come_first_then_time_goes_on(
    records: list[tuple[str, Envelope]],
) -> None:
    assert isinstance(records[0][1], InstrumentsListed)
    warm = [e for _, e in records if isinstance(e, CandlesClosed) and e.data.warm_up]
    assert len(warm) == 60
    assert [e for _, e in records[1:61]] == warm
    prices = [e.time for _, e in records if isinstance(e, PricesObserved)]
    assert prices == sorted(set(prices)), "an instant is one record"


def test_a_closed_candle_is_heard_of_a_latency_after_its_close_and_no_earlier(
    records: list[tuple[str, Envelope]],
) -> None:
    last = 0
    closes = 0
    after: list[tuple[int, int]] = []
    for number, (_, event) in enumerate(records[61:], start=61):
        if isinstance(event, PricesObserved):
            last = micros(event.time)
        elif isinstance(event, CandlesClosed):
            closes += 1
            at = micros(event.time) + 250_000
            assert last <= at, "nothing of what comes later is folded yet"
            following = next(
                (micros(e.time) for _, e in records[number + 1 :] if isinstance(e, PricesObserved)),
                at + 1,
            )
            assert following > at, "everything up to then is"
            after.append((last, at))
            assert isinstance(records[number + 1][1], ClockTicked)
    assert closes == 60
    assert any(at - 250_000 < last for last, at in after), "trades within the latency were folded"


def test_the_latency_is_the_runs_own(trades: Ticks, table: Instrument) -> None:
    slow = fed(trades, table, latency_ms=5000)
    last = ""
    late = 0
    for _, event in slow[61:]:
        if isinstance(event, PricesObserved):
            last = event.time
        elif isinstance(event, CandlesClosed):
            late += last > event.time
    assert late > 50


def test_a_scripted_event_follows_every_trade_up_to_its_arrival(
    trades: Ticks, table: Instrument
) -> None:
    at = "2024-10-18T14:10:03.000000Z"
    event = ClockTicked(
        id="00000000-0000-0000-0000-000000000001", source="/test", subject="clock", time=at,
        partitionkey="clock", data=TickData(candle_s=60),
    )  # fmt: skip
    out = [e for _, e in fed(trades, table, script=[Scripted(at, "clock", event)])]
    place = out.index(event)
    before = max(e.time for e in out[:place] if isinstance(e, PricesObserved))
    after = min(e.time for e in out[place:] if isinstance(e, PricesObserved))
    assert before <= "2024-10-18T14:10:03.250000Z" < after


def test_funding_settles_before_the_trades_of_its_second(trades: Ticks, table: Instrument) -> None:
    ms = int(FIRST.timestamp() * 1000) + 60_000
    rates = FundingRates(SHIPPED, "APEUSDT", np.array([ms]), np.array([0.0001]))
    out = [e for _, e in fed(trades, table, funding=[rates])]
    (settled,) = [e for e in out if isinstance(e, FundingSettled)]
    assert settled.data.items[0].rate == "0.0001"
    place = out.index(settled)
    assert all(e.time < settled.time for e in out[61:place] if isinstance(e, PricesObserved))
    assert all(e.time >= settled.time for e in out[place:] if isinstance(e, PricesObserved))


def test_two_symbols_are_merged_by_time(trades: Ticks, table: Instrument, tmp_path: Path) -> None:
    rows = pa_parquet.read_table(SHIPPED)
    path = tmp_path / "TWINUSDT-aggTrades-1-1.parquet"
    pa_parquet.write_table(rows, path)
    twin, other = read_ticks(path), table.model_copy(update={"symbol": "TWINUSDT"})
    out = tick_records(
        [trades, twin], start=FIRST, end=LAST, warm_up_start=BEGIN, instruments=[table, other]
    )
    prices = [e for _, e in out if isinstance(e, PricesObserved)]
    assert all([i.symbol for i in e.data.items] == ["APEUSDT", "TWINUSDT"] for e in prices)


def test_what_comes_later_in_a_file_changes_nothing_before(
    trades: Ticks, table: Instrument, tmp_path: Path, records: list[tuple[str, Envelope]]
) -> None:
    rows = pa_parquet.read_table(SHIPPED)
    path = tmp_path / SHIPPED.name
    cut = int(datetime(2024, 10, 18, 14, 30, tzinfo=UTC).timestamp() * 1e6)
    pa_parquet.write_table(rows.filter(pa.compute.less(rows["ts_us"], cut)), path)
    half = datetime(2024, 10, 18, 14, 30, tzinfo=UTC)
    short = fed(read_ticks(path), table, end=half)
    # What closes at the cut is heard of after it; up to there both feeds are the same bytes.
    upto = [e for _, e in short if e.time < "2024-10-18T14:30"]
    assert [encode(e) for e in upto] == [encode(e) for _, e in records[: len(upto)]]


def test_records_of_trades_are_canonical_and_fold_to_the_last_trade(
    records: list[tuple[str, Envelope]],
) -> None:
    state = MarketState()
    for _, event in records[:2000]:
        assert decode(encode(event)) == event
        state.fold(event)
    last = [e for _, e in records[:2000] if isinstance(e, PricesObserved)][-1]
    known = state.symbols["APEUSDT"]
    assert (str(known.last), known.at, known.point) == (last.data.items[0].last, last.time, None)


def test_prices_off_the_tick_and_times_without_data_are_refused(
    trades: Ticks, table: Instrument
) -> None:
    coarse = table.model_copy(update={"tick": "0.001"})
    with pytest.raises(CandleFileError, match="row 1: prices off the tick"):
        fed(trades, coarse)
    later = {"start": datetime(2025, 1, 1, tzinfo=UTC), "end": datetime(2025, 1, 2, tzinfo=UTC)}
    with pytest.raises(CandleFileError, match="no candle between"):
        fed(trades, table, warm_up_start=None, **later)
    with pytest.raises(ValueError, match="not in this order"):
        fed(trades, table, start=LAST, end=FIRST)
