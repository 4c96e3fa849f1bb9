"""The demo's script: what is published, for whom and when."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from gateways.candles import read_candles
from gateways.probes import ACCOUNTS, demo_script
from schemas.codec import decode, encode
from schemas.control import PolicySet
from schemas.policy import Policy, field_path, profile_policy
from schemas.trade import IntentPublished, SignalPublished

MARKET = Path(__file__).parents[2] / "data" / "market"
FILES = [
    read_candles(MARKET / f"{symbol}-1m-20210516-20210522.parquet")
    for symbol in ("BTCUSDT", "ETHUSDT")
]
START = datetime(2021, 5, 19, 11, tzinfo=UTC)
END = datetime(2021, 5, 19, 15, tzinfo=UTC)


def test_three_accounts_are_opened_with_values_their_policy_takes() -> None:
    opened = [
        s.event for s in demo_script(FILES, start=START, end=END) if isinstance(s.event, PolicySet)
    ]
    assert [event.partitionkey for event in opened] == ["main", "hot", "probe"]
    for event, account in zip(opened, ACCOUNTS, strict=True):
        body = profile_policy(account.profile).model_dump()
        for name, value in event.data.changes.items():
            where = field_path(name)
            assert where is not None
            section = body if len(where) == 1 else body[where[0]]
            section[where[-1]] = value
        Policy.model_validate(body)
        assert event.data.expected_version == 0


def test_one_id_comes_twice_and_all_others_once() -> None:
    ids = Counter(scripted.event.id for scripted in demo_script(FILES, start=START, end=END))
    assert sorted(ids.values())[-2:] == [1, 2]
    parts = {
        item.id
        for s in demo_script(FILES, start=START, end=END)
        if isinstance(s.event, SignalPublished | IntentPublished)
        for item in s.event.data.items
    }
    assert len(parts) == 14 - 1 + 12


def test_every_probe_is_labelled_and_canonical() -> None:
    for scripted in demo_script(FILES, start=START, end=END):
        assert decode(encode(scripted.event)) == scripted.event
        if isinstance(scripted.event, SignalPublished | IntentPublished):
            assert scripted.event.source == "/probe"
            assert all(item.label for item in scripted.event.data.items)


def test_the_burst_is_one_record_of_twelve_over_both_symbols_without_duplicates() -> None:
    (burst,) = [
        s.event.data.items
        for s in demo_script(FILES, start=START, end=END)
        if isinstance(s.event, SignalPublished) and len(s.event.data.items) > 1
    ]
    assert Counter(item.symbol for item in burst) == {"BTCUSDT": 6, "ETHUSDT": 6}
    assert len({(item.origin, item.symbol, item.side) for item in burst}) == 12


def test_the_stale_probe_is_two_minutes_old_when_it_is_published() -> None:
    late = [s for s in demo_script(FILES, start=START, end=END) if s.event.time != s.time]
    assert [(s.time[11:19], s.event.time[11:19]) for s in late] == [("11:05:00", "11:03:00")]


def test_the_off_collar_intent_is_three_percent_below_the_price() -> None:
    (intent,) = [
        s.event
        for s in demo_script(FILES, start=START, end=END)
        if isinstance(s.event, IntentPublished)
    ]
    row = int(FILES[0].ts_ms.searchsorted(1_621_422_420_000))
    price = float(intent.data.items[0].limit_price or 0)
    assert abs(price / float(FILES[0].open[row]) - 0.97) < 0.0001


def test_the_three_days_get_three_blocks_and_a_short_run_the_part_that_fits() -> None:
    days = demo_script(FILES, start=date(2021, 5, 17), end=date(2021, 5, 20))
    assert len(days) == 3 + 3 * 15 + 1  # and the reset of the breaker
    assert len({s.event.id for s in days}) == 3 + 3 * 14 + 1
    short = demo_script(FILES, start=START, end=START + timedelta(minutes=20))
    assert len(short) == 3 + 11
