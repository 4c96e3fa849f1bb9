"""Bad input on a running system: each is answered, nothing after it is lost, no traceback.

All of it goes to one system that trades: undecodable bytes on every topic, records that are no
events or not canonical, requests that must be refused. Afterwards the same processes still work.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer

from commands.letters import letters
from commands.publish import build
from gateways.candles import read_candles
from gateways.feed_records import fed_records, milliseconds, stamp
from replay.engine import Engine
from replay.log import LogRecord, read_kafka
from runtime import runs
from runtime.settings import ROOT
from runtime.supervisor import read_state
from schemas.codec import encode
from schemas.ids import natural_id
from schemas.instruments import load_instruments
from schemas.market import CandlesClosed, PricesObserved
from schemas.topics import DEAD_LETTERS, EVENT_TOPICS, MARKET, SIGNAL, SIGNAL_SAFE, partition_of
from streams.kafka_log import client
from tests.system.running import LIMIT_S, Checkout, scratch, wait_until

pytestmark = pytest.mark.timeout(LIMIT_S)
ACCOUNT = "input"
WHO = ("--operator", "ann", "--reason", "test")
NOW = "2021-05-19T11:00:00.000000Z"


def paste(kind: str, account: str, data: dict[str, Any], **more: Any) -> bytes:
    """A hand-made message as a person pastes it."""
    return json.dumps({"type": kind, "subject": account, "data": data, **more}).encode()


@dataclass(slots=True)
class Hand:
    """Somebody who writes to topics whatever they like."""

    checkout: Checkout
    bootstrap: str

    def write(
        self, topic: str, raw: bytes, key: str = ACCOUNT, partition: int | None = None
    ) -> bytes:
        """Append bytes, delivered when this returns."""
        producer = Producer(client(self.bootstrap, partitioner="murmur2_random"))
        producer.produce(topic, raw, key, -1 if partition is None else partition)
        assert producer.flush(30) == 0
        return raw

    def buried(self, raw: bytes) -> list[dict[str, Any]]:
        """The dead letters that hold these bytes."""
        found = letters(self.bootstrap, [topic.name for topic in DEAD_LETTERS])
        return [row for row in found if base64.b64decode(row["base64"] or "") == raw]

    def becomes_a_letter(self, raw: bytes, *, reason: str) -> None:
        """Wait for the dead letter of these bytes; its reason holds `reason`."""
        wait_until(lambda: bool(self.buried(raw)), f"a dead letter of {raw[:80]!r}")
        reasons = {row["reason"] for row in self.buried(raw)}
        assert any(reason in each for each in reasons), reasons

    def answers(self, request: str) -> list[LogRecord]:
        """Verdicts on a signal."""
        return [
            record
            for record in read_kafka(self.bootstrap, (SIGNAL_SAFE,))
            if record.valid and record.event is not None and record.event.causationid == request
        ]


@pytest.fixture(scope="module")
def hand(running: Checkout) -> Iterator[Hand]:
    """A person at the running system, with an account that trades."""
    wanted = ("start_equity_usdt=10000", "--profile", "testnet", "--account", ACCOUNT)
    running.run("policy", "set", *wanted, *WHO)
    before = pids(running)
    yield Hand(running, running.json("status")["kafka"])
    assert pids(running) == before, "a process ended on bad input"


def pids(running: Checkout) -> dict[str, int | None]:
    """Process id of everything that is supervised."""
    run = runs.running(running.data)
    assert run is not None
    return {name: state["pid"] for name, state in read_state(run.state_file).items()}


def a_price(hand: Hand) -> PricesObserved:
    """The last prices the feed told."""
    found = [
        record.event
        for record in read_kafka(hand.bootstrap, (MARKET,))
        if isinstance(record.event, PricesObserved)
    ]
    return found[-1]


def test_undecodable_bytes_on_every_topic_are_kept_and_nothing_after_them_is_lost(
    hand: Hand,
) -> None:
    junk = {t.name: hand.write(t.name, b"\xff\xfe " + t.name.encode()) for t in EVENT_TOPICS}
    for raw in junk.values():
        hand.becomes_a_letter(raw, reason="NOT_JSON")
    places = {row["topic"] for raw in junk.values() for row in hand.buried(raw)}
    assert places == junk.keys()
    listed = hand.checkout.json("dlq", "list")
    assert {base64.b64decode(row["base64"]) for row in listed} >= set(junk.values())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":1}', "NOT_AN_EVENT"),
        (b"[1]", "NOT_AN_EVENT"),
        (paste("no.such.thing.v1", ACCOUNT, {}), "UNKNOWN_TYPE"),
        (paste("trade.signal.published.v9", ACCOUNT, {"items": []}), "FUTURE_VERSION"),
        (paste("trade.signal.published.v1", ACCOUNT, {"items": []}, epoch=1), "INVALID_FIELD"),
        (
            paste(
                "trade.signal.published.v1",
                ACCOUNT,
                {"items": [{"symbol": "BTCUSDT", "side": "BUY", "confidence": "1e0"}]},
            ),
            "INVALID_FIELD",
        ),
        (
            paste("trade.signal.published.v1", ACCOUNT, {"items": []}, time="2021-05-19 11:00"),
            "INVALID_FIELD",
        ),
    ],
)
def test_what_is_no_event_is_kept_with_the_reason(hand: Hand, raw: bytes, reason: str) -> None:
    hand.write(SIGNAL.name, raw)
    hand.becomes_a_letter(raw, reason=reason)


@pytest.mark.parametrize("price", ["-1", "NaN", "1e4", "0100"])
def test_a_price_that_is_none_never_reaches_the_market(hand: Hand, price: str) -> None:
    known = a_price(hand)
    good = encode(known).decode()
    first = known.data.items[0].last
    raw = good.replace(f'"last":"{first}"', f'"last":"{price}"', 1).encode()
    assert raw != good.encode()
    hand.write(MARKET.name, raw, known.partitionkey)
    hand.becomes_a_letter(raw, reason="INVALID_FIELD")


def test_a_wrong_key_is_refused(hand: Hand) -> None:
    data = {"items": [{"symbol": "BTCUSDT", "side": "BUY", "confidence": "0.8", "origin": "hand"}]}
    raw = encode(build("signal", ACCOUNT, data, time=NOW))
    hand.write(SIGNAL.name, raw, "somebody")
    hand.becomes_a_letter(raw, reason="WRONG_KEY")
    right = partition_of(ACCOUNT, 8)
    elsewhere = encode(build("signal", ACCOUNT, data, time=NOW))
    hand.write(SIGNAL.name, elsewhere, ACCOUNT, partition=(right + 1) % 8)
    hand.becomes_a_letter(elsewhere, reason="WRONG_KEY")


def test_an_id_that_was_seen_gets_no_second_verdict(hand: Hand) -> None:
    data = {"items": [{"symbol": "ETHUSDT", "side": "BUY", "confidence": "0.1", "origin": "hand"}]}
    event = build("signal", ACCOUNT, data, time=a_price(hand).time)
    hand.write(SIGNAL.name, encode(event))
    hand.write(SIGNAL.name, encode(event))
    last = hand.checkout.json(
        *("send", "signal", "symbol=ETHUSDT", "side=SELL", "confidence=0.1"),
        *("--account", ACCOUNT, "--wait"),
        code=4,
    )
    assert last["refused"].startswith("LOW_CONFIDENCE")
    assert len(hand.answers(event.id)) == 1


def test_a_candle_twice_or_out_of_order_changes_nothing(hand: Hand) -> None:
    candles = [
        record
        for record in read_kafka(hand.bootstrap, (MARKET,))
        if isinstance(record.event, CandlesClosed)
    ]
    for record in (candles[-1], candles[0]):
        hand.write(MARKET.name, record.raw or b"", record.key or "")
    latest = candles[-1].event
    assert latest is not None
    late = latest.model_copy(update={"id": natural_id("again"), "source": "/hand"})
    hand.write(MARKET.name, encode(late), late.partitionkey)
    signals = [r for r in read_kafka(hand.bootstrap, (SIGNAL,)) if r.valid and r.event is not None]
    assert late.id not in {r.event.causationid for r in signals if r.event is not None}


def test_a_symbol_without_filters_is_refused(hand: Hand) -> None:
    fields = ("symbol=NOSUCHUSDT", "side=BUY", "confidence=0.9", "--account", ACCOUNT)
    refused = hand.checkout.json("send", "signal", *fields, "--wait", code=4)
    assert refused["refused"].startswith("SYMBOL_UNKNOWN")


def test_a_command_with_a_wrong_field_is_refused_by_the_command_line(hand: Hand) -> None:
    set_ = ("policy", "set", "--account", ACCOUNT, *WHO)
    _, err = hand.checkout.run(*set_, "no_such_limit=1", code=2)
    assert "no_such_limit" in err
    _, err = hand.checkout.run(*set_, "max_leverage=1000000", code=4)
    assert "max_leverage" in err
    assert "1000000" in err


def test_a_pasted_command_with_a_wrong_field_is_kept_and_the_next_is_taken(hand: Hand) -> None:
    wrong = {"expected_version": 1, "operator": "ann", "reason": "x", "changes": {}, "colour": 1}
    raw = hand.write("commands.control", paste("command.policy.set.v1", ACCOUNT, wrong))
    hand.becomes_a_letter(raw, reason="INVALID_FIELD")
    change = hand.checkout.json("policy", "set", "cooldown_s=61", "--account", ACCOUNT, *WHO)
    assert change["after"]["cooldown_s"] in (61, "61")


def test_after_all_this_everything_works(hand: Hand) -> None:
    last = a_price(hand).time
    wait_until(lambda: a_price(hand).time > last, "the feed goes on")
    assert hand.checkout.json("doctor", "--loop")["failed"] == []
    assert hand.checkout.json("rebuild", "--verify", timeout_s=120)["equal"] is True


def test_a_broken_file_is_refused_before_anything_starts() -> None:
    with scratch() as data:
        file = data / "BTCUSDT-1m-20210516-20210522.parquet"
        file.write_bytes(b"PAR1 and nothing else")
        days = ("--from", "2021-05-19", "--to", "2021-05-20")
        _, err = Checkout(data / "q").run("up", "--feed", str(file), *days, code=2)
        assert str(file.name) in err


def test_in_the_gap_of_24_march_2023_timers_run_and_nothing_is_filled() -> None:
    files = [
        read_candles(ROOT / "tests" / "data" / f"{symbol}-1m-20230324-20230324.parquet")
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    begin, end = moment(11, 15), moment(14, 5)
    engine = Engine([ACCOUNT])
    opening = {
        "expected_version": 0,
        "operator": "ann",
        "reason": "gap",
        "profile": "testnet",
        "changes": {"max_time_in_trade_s": 5000, "start_equity_usdt": "10000"},
    }
    entry = {"items": [{"symbol": "BTCUSDT", "side": "BUY", "confidence": "0.9", "origin": "hand"}]}
    records = fed_records(
        files, start=begin, end=end, warm_up_start=moment(11, 0), instruments=load_instruments()
    )
    asked = False
    for topic, event in records:
        if isinstance(event, CandlesClosed) and event.data.items[0].opened_at < FIRST:
            for earlier in hours_before(event):
                engine.feed(MARKET.name, earlier)
        engine.feed(topic, event)
        if not asked and topic == "clock" and event.time >= "2023-03-24T11:20":
            asked = True
            engine.feed("commands.control", build("policy.set", ACCOUNT, opening, time=event.time))
            engine.feed(SIGNAL.name, build("signal", ACCOUNT, entry, time=event.time))
    ticks = [s.event.time for s in engine.log.order if s.event.type == "clock.ticked.v1"]
    assert len([t for t in ticks if GAP[0] < t < GAP[1]]) >= 78, "the clock runs on"
    orders = [
        (stored.event.time, item.purpose)
        for stored in engine.log.order
        if stored.event.type == "trade.order.decided.v1"
        for item in stored.event.data.items  # type: ignore[attr-defined]
        if item.kind == "order"
    ]
    assert {purpose for at, purpose in orders if GAP[0] < at < GAP[1]} == {"exit_time"}
    filled = [
        (item.filled_at, item.price)
        for stored in engine.log.order
        if stored.event.type == "trade.execution.reported.v1"
        for item in stored.event.data.items  # type: ignore[attr-defined]
        if item.kind == "filled"
    ]
    assert len(filled) == 2
    assert [at for at, _ in filled if GAP[0] < at < GAP[1]] == []


FIRST = "2023-03-24T11:00:30"
"""Just after the excerpt's first candle; it begins too late for an average range of 14 hours."""


def hours_before(first: CandlesClosed) -> Iterator[CandlesClosed]:
    """The last candle of each of the 18 hours before the excerpt, made of its first candle."""
    for back in range(18, 0, -1):
        opened = datetime(2023, 3, 24, 11, tzinfo=UTC) - timedelta(hours=back - 1, minutes=1)
        items = tuple(
            item.model_copy(update={"opened_at": stamp(milliseconds(opened))})
            for item in first.data.items
        )
        closed = stamp(milliseconds(opened + timedelta(minutes=1)))
        yield first.model_copy(
            update={
                "id": natural_id("candles", "1m", items[0].opened_at),
                "time": closed,
                "data": first.data.model_copy(update={"items": items}),
            }
        )


GAP = ("2023-03-24T12:40:00.000000Z", "2023-03-24T14:00:00.000000Z")


def moment(hour: int, minute: int) -> datetime:
    """A time on the day of the gap."""
    return datetime(2023, 3, 24, hour, minute, tzinfo=UTC)
