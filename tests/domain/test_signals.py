"""The signals decider: when it publishes, for whom, and that it never looks ahead."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domain.signals import confidence_band
from domain.strategy import Bar, Opinion, Stance, Strategy, registry
from schemas.codec import decode, encode
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.market import Candle, CandlesClosed, CandlesData
from schemas.scalars import micros, time_text
from schemas.sources import SourceHalted
from tests.domain.signal_runs import Run, fed, morning, policy, run

ROOT = Path(__file__).parents[2]
MIDNIGHT = micros("2021-05-17T00:00:00.000000Z")


def minute(
    number: int, *symbols: str, warm_up: bool = False, price: int = 100
) -> tuple[str, Envelope]:
    """The candle of minute `number` of 17 May for each symbol."""
    opened = time_text(MIDNIGHT + number * 60_000_000)
    figures = {
        "open": str(price),
        "high": str(price + 1),
        "low": str(price - 1),
        "close": str(price),
    }
    items = tuple(
        Candle(symbol=s, interval="1m", opened_at=opened, volume="2", **figures)
        for s in symbols or ("BTCUSDT",)
    )
    event = CandlesClosed(
        id=natural_id("candle", opened, *symbols, str(price)),
        source="/feed",
        subject="market",
        time=time_text(MIDNIGHT + (number + 1) * 60_000_000),
        partitionkey="market",
        data=CandlesData(warm_up=warm_up, items=items),
    )
    return "market", event


class Told(Strategy):
    """Says what it was told, bar by bar; the last thing for ever."""

    name = "told"
    history = 1

    def __init__(self, *says: tuple[Stance, float] | None) -> None:
        self.says = says
        self.seen: list[list[Bar]] = []

    def begin(self) -> list[int]:
        return [0]

    def on_bar(self, bars: Sequence[Bar], state: Any) -> Opinion:
        self.seen.append(list(bars))
        said = self.says[min(state[0], len(self.says) - 1)]
        state[0] += 1
        if said is None:
            raise ZeroDivisionError("told to fail")
        return Opinion(said[0], said[1])


def told(*says: tuple[Stance, float] | None, minutes: int, **changes: str) -> Run:
    """A run of `minutes` candles with a strategy that says `says`."""
    out = Run(strategies=registry(Told(*says)))
    out.feed([("control", policy("main", "told", 1, **changes))])
    return out.feed(minute(n) for n in range(minutes))


def published(out: Run) -> list[tuple[str, str, str]]:
    return [(time[14:16], item.side, item.confidence) for time, _, item in out.signals()]


def test_a_signal_is_published_when_side_or_band_changes_and_only_then() -> None:
    out = told(
        ("BUY", 0.7), ("BUY", 0.74), ("BUY", 0.76), ("BUY", 0.7), ("SELL", 0.7), ("SELL", 0.71),
        minutes=30,
    )  # fmt: skip
    assert published(out) == [
        ("05", "BUY", "0.7"),
        ("15", "BUY", "0.76"),
        ("20", "BUY", "0.7"),
        ("25", "SELL", "0.7"),
    ]


def test_hold_and_confidence_below_the_policys_threshold_are_never_published() -> None:
    says = [("HOLD", 0.9), ("BUY", 0.5499), ("BUY", 0.55), ("BUY", 0.9)]
    assert published(told(*says, minutes=20)) == [("15", "BUY", "0.55"), ("20", "BUY", "0.9")]  # type: ignore[arg-type]
    strict = told(*says, minutes=20, confidence_threshold="0.95")  # type: ignore[arg-type]
    assert published(strict) == []


def test_the_same_side_after_a_hold_is_news() -> None:
    out = told(("BUY", 0.7), ("HOLD", 0.5), ("BUY", 0.7), minutes=20)
    assert published(out) == [("05", "BUY", "0.7"), ("15", "BUY", "0.7")]


def test_bands_begin_at_the_policys_minimum() -> None:
    minimum = Decimal("0.65")
    values = ["0.6499", "0.65", "0.7499", "0.75", "1"]
    assert [confidence_band(Decimal(v), minimum) for v in values] == [0, 1, 1, 2, 4]


def test_nothing_is_published_on_warm_up_candles_but_they_count_as_history() -> None:
    out = Run(strategies=registry(Told(("BUY", 0.7))))
    out.feed([("control", policy("main", "told"))])
    out.feed(minute(n, warm_up=n < 10) for n in range(15))
    assert published(out) == [("15", "BUY", "0.7")]


def test_only_accounts_whose_policy_names_a_strategy_of_this_partition_are_asked() -> None:
    out = Run(strategies=registry(Told(("BUY", 0.7))))
    out.feed(
        ("control", policy(account, strategy))
        for account, strategy in [("probe", "told"), ("main", "told"), ("hot", None)]
    )
    out.feed(minute(n) for n in range(5))
    assert [account for _, account, _ in out.signals()] == ["main"]
    out.feed([("control", policy("main", None, 2))]).feed(minute(n) for n in range(5, 10))
    out.feed([("control", policy("main", "nonesuch", 3))]).feed(minute(n) for n in range(10, 15))
    assert len(out.signals()) == 1


def test_symbols_of_one_close_travel_in_one_record_in_order() -> None:
    out = Run(strategies=registry(Told(("BUY", 0.7))))
    out.feed([("control", policy("main", "told"))])
    out.feed(minute(n, "ETHUSDT", "BTCUSDT") for n in range(5))
    assert [item.symbol for _, _, item in out.signals()] == ["BTCUSDT", "ETHUSDT"]
    (record,) = out.records
    assert record.subject == "main"
    assert decode(encode(record)) == record


def test_a_bar_with_missing_minutes_is_made_of_what_is_there_and_none_makes_no_bar() -> None:
    strategy = Told(("HOLD", 0.5))
    out = Run(strategies=registry(strategy))
    out.feed([minute(1, price=50), minute(3, price=90), minute(12, price=70), minute(15)])
    assert [bars[-1] for bars in strategy.seen] == [
        Bar("2021-05-17T00:00:00.000000Z", 50.0, 91.0, 49.0, 90.0, 4.0),
        Bar("2021-05-17T00:10:00.000000Z", 70.0, 71.0, 69.0, 70.0, 2.0),
    ]


def test_a_bar_whose_last_minute_is_missing_closes_with_the_instant_when_others_trade() -> None:
    out = Run(strategies=registry(Told(("BUY", 0.7))))
    out.feed([("control", policy("main", "told"))])
    out.feed([minute(n, "BTCUSDT", "ETHUSDT") for n in range(4)] + [minute(4, "ETHUSDT")])
    assert [(time[14:16], item.symbol) for time, _, item in out.signals()] == [
        ("05", "BTCUSDT"),
        ("05", "ETHUSDT"),
    ]


def test_a_late_bar_is_history_and_no_signal() -> None:
    out = Run(strategies=registry(Told(("BUY", 0.7))))
    out.feed([("control", policy("main", "told"))])
    out.feed([minute(3), minute(7)])
    assert published(out) == []


def test_a_candle_that_comes_twice_or_late_changes_nothing() -> None:
    once, twice = Run(), Run()
    candles = [minute(n) for n in range(7)]
    once.feed(candles)
    twice.feed([*candles, minute(6, price=500), minute(2, price=5)])
    assert once.source.slices["market"] == twice.source.slices["market"]


def test_a_strategy_that_raises_halts_the_accounts_that_use_it_and_nobody_else() -> None:
    class Calm(Told):
        name = "calm"

    out = Run(strategies=registry(Told(None), Calm(("BUY", 0.7))))
    neighbour = next(
        f"calm{n}" for n in range(99) if Run(f"calm{n}").source.name == out.source.name
    )
    out.feed([("control", policy("main", "told")), ("control", policy(neighbour, "calm"))])
    out.feed(minute(n) for n in range(5))
    halted = [record for record in out.records if isinstance(record, SourceHalted)]
    assert [record.data.account for record in halted] == ["main"]
    assert "strategy told: ZeroDivisionError: told to fail" in halted[0].data.error
    assert [account for _, account, _ in out.signals()] == [neighbour]


def test_the_market_slice_knows_nothing_of_accounts() -> None:
    records = fed(end=morning(2))
    alone, among = Run().feed(records), run(records=records)
    assert alone.source.slices["market"] == among.source.slices["market"]
    assert among.records
    assert not alone.records


def test_the_baseline_speaks_on_both_sides_of_both_symbols_a_few_dozen_times() -> None:
    signals = run().signals()
    strong = Counter(
        (i.symbol, i.side) for _, _, i in signals if Decimal(i.confidence) >= Decimal("0.65")
    )
    weak = Counter(i.symbol for _, _, i in signals if Decimal(i.confidence) < Decimal("0.65"))
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert strong[symbol, "BUY"] >= 6
        assert strong[symbol, "SELL"] >= 6
        assert strong[symbol, "BUY"] + strong[symbol, "SELL"] <= 100
        assert weak[symbol] >= 10
    assert all(Decimal(i.confidence) >= Decimal("0.55") for _, _, i in signals)
    first = signals[0][2]
    assert [vote.voter for vote in first.votes] == [
        "trend",
        "breakout",
        "mean_reversion",
        "volatility",
    ]
    assert first.consensus is not None
    assert first.meta_confidence is not None
    assert (first.origin, first.interval, first.meta_override) == ("baseline", "5m", False)


@pytest.mark.parametrize("strategy", ["baseline", "donchian"])
def test_signals_up_to_a_time_are_the_same_bytes_whether_or_not_data_after_it_exist(
    strategy: str,
) -> None:
    long = run(strategy, fed(end=morning(12))).records
    short = run(strategy, fed(end=morning(7))).records
    assert len(long) > len(short) >= 10
    until = short[-1].time

    def essence(record: Envelope) -> bytes:
        return encode(record.model_copy(update={"basis": None}))

    assert [essence(r) for r in short] == [essence(r) for r in long if r.time <= until]


def test_without_warm_up_nothing_is_said_before_there_is_history() -> None:
    cold = run(records=fed(end=morning(12), warm_up=date(2021, 5, 17))).signals()
    warm = run(records=fed(end=morning(12))).signals()
    assert warm[0][0] == "2021-05-17T00:05:00.000000Z"
    assert cold[0][0] >= "2021-05-17T04:05:00.000000Z"
    noon = [(t, i.symbol, i.confidence) for t, _, i in cold if t >= "2021-05-17T08:00"]
    assert noon == [(t, i.symbol, i.confidence) for t, _, i in warm if t >= "2021-05-17T08:00"]


def test_own_records_read_back_at_a_restart_give_the_same_state_and_future() -> None:
    records = fed(end=morning(3))
    whole = run(records=records)
    half = len(records) * 2 // 3
    before = run(records=records[:half])
    again = Run().feed([("control", policy("main", "baseline"))])
    for topic, event in records[:half]:
        key = f"{topic}/0"
        again.source.fold(key, again.source.positions[key], event)
    for record in before.records:
        again.source.fold_own(record)
    assert again.source.digest() == before.source.digest()
    again.feed(records[half:])
    assert [*before.records, *again.records] == whole.records


def test_the_same_bytes_come_out_under_another_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-m", "tests.domain.signal_runs"],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "4711")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2
