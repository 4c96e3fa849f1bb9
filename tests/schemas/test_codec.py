"""The codec takes canonical bytes and refuses everything else, saying what and where."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from schemas import codec
from schemas.codec import BYTES_MAX, RecordError, decode, decode_request, encode, reread
from schemas.control import PolicySet
from schemas.ids import natural_id, part_id
from schemas.market import ClockTicked, PricesObserved
from schemas.scalars import EPOCH_TEXT
from schemas.trade import SignalJudged, SignalPublished

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden"
PRICES = (GOLDEN / "market.prices.observed.v1.json").read_bytes()[:-1]
TICK = (GOLDEN / "clock.ticked.v1.json").read_bytes()[:-1]


def refusal(raw: bytes | None) -> RecordError:
    with pytest.raises(RecordError) as caught:
        decode(raw)
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) <= 500
    return caught.value


def with_price(text: str) -> bytes:
    """The sample of prices with another number text for the first price."""
    last = json.loads(PRICES)["data"]["items"][0]["last"]
    return PRICES.replace(f'"last":"{last}"'.encode(), f'"last":{text}'.encode(), 1)


def with_time(text: str) -> bytes:
    time = json.loads(TICK)["time"]
    return TICK.replace(time.encode(), text.encode(), 1)


def test_a_record_comes_back_as_it_was_written() -> None:
    event = decode(PRICES)
    assert isinstance(event, PricesObserved)
    assert encode(event) == PRICES
    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "NOT_JSON"),
        (b"", "NOT_JSON"),
        (b"\xff\xfe\x00", "NOT_JSON"),
        (b'{"type":"clock.ticked.v1"', "NOT_JSON"),
        (b"42", "NOT_AN_EVENT"),
        (b"null", "NOT_AN_EVENT"),
        (b"[]", "NOT_AN_EVENT"),
        (b'{"type":7}', "NOT_AN_EVENT"),
        (b'{"hello":"world"}', "NOT_AN_EVENT"),
        (TICK.replace(b"clock.ticked.v1", b"clock.stopped.v1"), "UNKNOWN_TYPE"),
        (TICK.replace(b"clock.ticked.v1", b"clock.ticked.v2"), "FUTURE_VERSION"),
        (TICK + b" " * BYTES_MAX, "TOO_LARGE"),
        (b"[" * 100_000, "NOT_JSON"),
    ],
)
def test_what_is_no_known_event_is_refused_with_its_code(raw: bytes | None, code: str) -> None:
    assert refusal(raw).code == code


@pytest.mark.parametrize(
    "text",
    [
        "39432.42", "1", "NaN", "Infinity", "null", "true",
        '"NaN"', '"Infinity"', '"1E+3"', '"1e3"', '"-0"', '"-1"', '"0"', '"0.00"', '"+1"', '"01"',
        '".5"', '"1."', '"1_000"', '"1,5"', '" 1"', '"1 "', '"1\\n"', '""', '"\\u0661"',
        '"' + "1" * 41 + '"',
        '"0.' + "1" * 40 + '"',
    ],
)  # fmt: skip
def test_a_price_is_positive_canonical_text_and_nothing_else(text: str) -> None:
    assert refusal(with_price(text)).code in ("INVALID_FIELD", "NOT_JSON")


def test_forty_digits_are_the_most_a_decimal_may_have() -> None:
    longest = with_price('"' + "1" * 40 + '"')
    assert encode(decode(longest)) == longest


@pytest.mark.parametrize("amount", ["-0", "-0.0", "1E2", "--1", "- 1", "-01"])
def test_a_signed_amount_has_one_form(amount: str) -> None:
    raw = (GOLDEN / "market.funding.settled.v1.json").read_bytes()[:-1]
    rate = json.loads(raw)["data"]["items"][0]["rate"]
    changed = raw.replace(f'"rate":"{rate}"'.encode(), f'"rate":"{amount}"'.encode())
    assert refusal(changed).code == "INVALID_FIELD"


@pytest.mark.parametrize(
    "time",
    [
        "2021-05-19T12:58:00Z", "2021-05-19T12:58:00.000Z", "2021-05-19T12:58:00.000000+00:00",
        "2021-05-19T14:58:00.000000+02:00", "2021-05-19 12:58:00.000000Z", "2021-05-19",
        "2021-5-19T12:58:00.000000Z", "2021-02-30T12:58:00.000000Z", "2021-05-19T24:00:00.000000Z",
        "2021-05-19T12:60:00.000000Z", "2021-05-19T12:58:60.000000Z", "1621429080",
    ],
)  # fmt: skip
def test_a_time_has_one_form_and_is_on_the_calendar(time: str) -> None:
    error = refusal(with_time(time))
    assert error.code == "INVALID_FIELD"
    assert "time" in str(error)


@pytest.mark.parametrize(
    "raw",
    [
        b" " + TICK,
        TICK + b"\n",
        TICK.replace(b'":"', b'": "', 1),
        json.dumps(json.loads(TICK), sort_keys=True, separators=(",", ":")).encode(),
        TICK.replace(b'{"candle_s":60}', b'{"candle_s":60,"candle_s":60}'),
        TICK.replace(b'"partitionkey"', b'"sequence":null,"partitionkey"'),
        TICK.replace(b"clock.ticked", b"clock.tick\\u0065d"),
    ],
    ids=["space", "newline", "white space", "key order", "duplicate key", "null", "escape"],
)
def test_the_same_content_in_other_bytes_is_refused(raw: bytes) -> None:
    error = refusal(raw)
    assert error.code in ("NOT_CANONICAL", "INVALID_FIELD")
    assert str(error)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        (b'{"candle_s":60}', b'{"candle_s":"60"}', "data.candle_s"),
        (b'{"candle_s":60}', b'{"candle_s":0}', "data.candle_s"),
        (b'{"candle_s":60}', b'{"candle_s":60,"more":1}', "data.more"),
        (b'{"candle_s":60}', b"{}", "data.candle_s"),
        (b'"source":"/feed"', b'"source":"feed"', "source"),
        (b'"specversion":"1.0"', b'"specversion":"2.0"', "specversion"),
    ],
)
def test_a_wrong_field_is_named(old: bytes, new: bytes, where: str) -> None:
    error = refusal(TICK.replace(old, new))
    assert error.code == "INVALID_FIELD"
    assert str(error).startswith(where)


# ---------------------------------------------------------------- made by hand


def by_hand(body: Any, offset: int = 5) -> Any:
    raw = json.dumps(body).encode()
    return decode_request(raw, topic="commands.control", partition=0, offset=offset)


COMMAND: dict[str, Any] = {
    "type": "command.policy.set.v1",
    "subject": "main",
    "data": {
        "operator": "anna", "reason": "smaller", "expected_version": 1,
        "changes": {"risk_target_pct": "0.25"},
    },
}  # fmt: skip


def test_a_command_may_leave_out_id_time_source_and_key_order() -> None:
    event = by_hand(COMMAND)
    assert isinstance(event, PolicySet)
    assert event.id == natural_id("hand", "commands.control", "0", "5")
    assert (event.source, event.time, event.partitionkey) == ("/hand", EPOCH_TEXT, "main")
    assert event.data.changes == {"risk_target_pct": "0.25"}


def test_the_made_up_id_is_that_of_the_place_in_the_log() -> None:
    assert by_hand(COMMAND).id == by_hand(COMMAND).id != by_hand(COMMAND, offset=6).id


def test_parts_of_a_signal_made_by_hand_get_ids() -> None:
    item = {"symbol": "BTCUSDT", "side": "BUY", "confidence": "0.7", "origin": "hand"}
    body = {"type": "trade.signal.published.v1", "subject": "main", "data": {"items": [item, item]}}
    event = by_hand(body)
    assert isinstance(event, SignalPublished)
    assert [i.id for i in event.data.items] == [part_id(event.id, 0), part_id(event.id, 1)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"type": None}, "NOT_AN_EVENT"),
        ({"type": "command.policy.sett.v1"}, "UNKNOWN_TYPE"),
        ({"type": "command.policy.set.v9"}, "FUTURE_VERSION"),
        ({"subject": None}, "INVALID_FIELD"),
        ({"data": None}, "INVALID_FIELD"),
        ({"data": {"operator": "anna"}}, "INVALID_FIELD"),
        ({"time": "yesterday"}, "INVALID_FIELD"),
        ({"id": "mine"}, "INVALID_FIELD"),
        ({"sequence": 1}, "INVALID_FIELD"),
        ({"epoch": 1}, "INVALID_FIELD"),
        ({"basis": {}}, "INVALID_FIELD"),
        ({"after": {}}, "INVALID_FIELD"),
        ({"favourite": "colour"}, "INVALID_FIELD"),
    ],
)
def test_type_and_data_may_not_be_left_out_and_nothing_may_be_added(
    change: dict[str, Any], code: str
) -> None:
    with pytest.raises(RecordError) as caught:
        by_hand({k: v for k, v in {**COMMAND, **change}.items() if v is not None})
    assert caught.value.code == code


def test_canonical_bytes_are_taken_as_they_are() -> None:
    event = decode_request(TICK, topic="commands.control", partition=0, offset=5)
    assert isinstance(event, ClockTicked)
    assert encode(event) == TICK


# ---------------------------------------------------------------------- limits seen before


def _of_two_parts() -> bytes:
    event = decode((GOLDEN / "trade.signal.judged.v1.json").read_bytes()[:-1])
    assert isinstance(event, SignalJudged)
    data = event.data.model_copy(update={"items": event.data.items[:2]})
    return encode(event.model_copy(update={"data": data}))


JUDGED = _of_two_parts()
ALPHABET = b'"{}[],:\\0a1-.'


def outcome(raw: bytes) -> object:
    """The event, or the reason of its refusal."""
    try:
        return decode(raw)
    except RecordError as error:
        return error.reason


def test_a_verdict_whose_limits_were_seen_before_is_the_same_event() -> None:
    codec._KNOWN_LIMITS.clear()
    first, again, last = decode(JUDGED), decode(JUDGED), decode(JUDGED)
    assert first == again == last
    assert encode(again) == JUDGED
    assert isinstance(again, SignalJudged)
    assert isinstance(last, SignalJudged)
    assert last.data.items[1].limits is again.data.items[1].limits, "and they are kept once"
    assert last.data.items[1].limits


def test_damaged_verdicts_are_refused_alike_whether_or_not_their_limits_were_seen() -> None:
    chance = random.Random(11)
    for _ in range(1_500):
        at, width = chance.randrange(len(JUDGED)), chance.choice((0, 1, 1, 9, 300))
        put = bytes(chance.choices(ALPHABET, k=chance.choice((0, 1, 2))))
        raw = JUDGED[:at] + put + JUDGED[at + width :]
        codec._KNOWN_LIMITS.clear()
        expected = outcome(raw)
        codec._KNOWN_LIMITS.clear()
        decode(JUDGED)
        assert outcome(raw) == expected, raw
        assert outcome(raw) == expected, raw


def test_limits_from_elsewhere_are_not_taken_for_those_of_a_verdict() -> None:
    (begin, end), _ = codec.limits_sections(JUDGED)
    broken = JUDGED[:begin] + b'{"name":7}' + JUDGED[end:]
    for raw in (broken, JUDGED.replace(b'"limits":[', b'"limits":[],"limits":[', 1)):
        for _ in range(2):
            with pytest.raises(RecordError):
                decode(raw)


def test_no_more_lists_of_limits_are_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_LIMITS_KEPT", 3)
    codec._KNOWN_LIMITS.clear()
    (begin, end), _ = codec.limits_sections(JUDGED)
    for count in range(1, 9):
        limits = b",".join((b'{"name":"a","value":"1"}',) * count)
        decode(JUDGED[:begin] + limits + JUDGED[end:])
        assert 0 < len(codec._KNOWN_LIMITS) <= 3


def test_what_was_taken_before_is_read_again_as_the_same_event() -> None:
    for path in sorted(GOLDEN.glob("*.json")):
        raw = path.read_bytes()[:-1]
        assert reread(raw) == decode(raw), path.name
    for wrong in (None, b"", TICK[:-1], with_price("7")):
        with pytest.raises(RecordError):
            reread(wrong)


def test_reading_again_looks_at_the_structure_and_not_at_single_characters() -> None:
    for text in ("2021-02-30T00:00:00.000000Z", "noon"):
        assert reread(with_time(text)).time == text
        with pytest.raises(RecordError):
            decode(with_time(text))
    for wrong in (with_price("7,"), TICK.replace(b'"candle_s"', b'"candles"')):
        with pytest.raises(RecordError):
            reread(wrong)


def test_within_a_simulation_equal_bytes_are_one_event_and_wrong_ones_are_refused_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "SHARED_MAX", 2)
    assert decode(PRICES) is not decode(PRICES)
    with codec.shared_decoding():
        first = decode(PRICES)
        assert decode(bytes(bytearray(PRICES))) is first
        for _ in range(2):
            assert refusal(TICK[:-1]).code == "NOT_JSON"
            assert refusal(None).code == "NOT_JSON"
        assert isinstance(decode(TICK), ClockTicked)
        decode(with_price('"7"'))  # the third: what was kept is let go
        again = decode(PRICES)
        assert again == first
        assert again is not first
    assert decode(PRICES) is not again
