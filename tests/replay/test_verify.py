"""Verify on three hours of the crash: all of it is identical, and whatever is doctored is named."""

import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import count

import orjson
import pytest

from domain.decider import Decision
from domain.policy_state import AccountPolicy
from domain.positions import Positions
from replay.sources import RawRecord, RecordedLog
from replay.verify import verify
from replay.verify_findings import Verified
from tests.crash_hours import crash_log

ENGINE = "engine"
"""The build that the engine's fences name."""
PURE = (
    "policy.changed", "trade.signal.published", "trade.signal.judged", "trade.order.decided",
    "venue.reported", "trade.position.updated",
)  # fmt: skip
OUTSIDE = (
    "command.policy.set", "market.instruments.listed", "market.prices.observed",
    "market.candles.closed", "trade.execution.reported", "venue.requested",
)  # fmt: skip


@cache
def recorded() -> tuple[RawRecord, ...]:
    return tuple(RecordedLog(crash_log()).records)


def doctored(place: tuple[str, int, int], value: bytes) -> list[RawRecord]:
    """The log with other bytes at one place."""
    return [r._replace(value=value) if r[:3] == place else r for r in recorded()]


def again(records: list[RawRecord], build: str = ENGINE) -> Verified:
    return verify(RecordedLog(records), build=build, elsewhere=False)


def of_type(name: str) -> list[RawRecord]:
    """Records of a type, decided ones by a pure source only."""
    return [r for r in recorded() if f'"type":"{name}.v'.encode() in (r.value or b"")]


def with_a_digit_changed(value: bytes) -> Iterator[bytes]:
    """The record with the last digit of one figure in its data changed, each figure in turn."""
    start = value.index(b'"data":')
    for found in re.finditer(rb':"\d+(?:\.\d+)?"', value[start:]):
        at = start + found.end() - 2
        yield value[:at] + (b"7" if value[at : at + 1] != b"7" else b"3") + value[at + 1 :]


@cache
def causes() -> frozenset[str]:
    """Ids of everything that something was decided on."""
    return frozenset(
        cause for r in recorded() if (cause := orjson.loads(r.value or b"").get("causationid"))
    )


def place(record: RawRecord) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def test_every_decision_of_the_crash_is_identical() -> None:
    found = verify(crash_log())
    assert found.decisions == found.identical == 350
    assert (found.different, found.waiting, found.details) == (0, 0, [])
    assert found.nothing > 300
    assert found.sources == 18
    assert found.builds == {ENGINE: 350}
    assert found.records == len(recorded())


def test_two_processes_find_what_one_finds() -> None:
    """On a log in which a verdict and an order were changed: one of each process's processors."""
    records = list(recorded())
    for name in ("trade.signal.judged", "trade.order.decided"):
        last = of_type(name)[-3]
        value = next(with_a_digit_changed(last.value or b""))
        records = [r._replace(value=value) if r[:3] == last[:3] else r for r in records]
    found = [
        verify(RecordedLog(records), build=ENGINE, elsewhere=False, split_from=count)
        for count in (1, len(records) + 1)
    ]
    told = [each.as_json() | {"seconds": 0, "cpu_seconds": 0} for each in found]
    assert told[0] == told[1]
    assert {each.source.split("/")[1] for each in found[0].details} >= {"risk", "execution"}


def test_a_decider_is_consulted_more_often_than_it_decides() -> None:
    found = again(list(recorded()))
    assert found.consulted > found.decisions + found.nothing


@pytest.mark.parametrize("name", PURE)
def test_a_changed_byte_of_a_decision_is_named_with_its_field(name: str) -> None:
    record = next(r for r in reversed(of_type(name)) if any(with_a_digit_changed(r.value or b"")))
    found = again(doctored(record[:3], next(with_a_digit_changed(record.value or b""))))
    assert found.different >= 1
    mine = next(each for each in found.details if each.place == place(record))
    assert mine.cls == "altered"
    assert mine.kind == "different"
    assert mine.fields[0][0].startswith("data.")
    assert found.identical >= found.decisions - found.different


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_changed_byte_of_an_input_is_found_where_something_was_decided_on_it(name: str) -> None:
    """The last record of the type that caused a decision; not every figure of it matters."""
    caused = [r for r in of_type(name) if orjson.loads(r.value or b"")["id"] in causes()]
    record = (caused or of_type(name))[-1]
    if name == "market.prices.observed":
        record = _price_of_a_fill()
    for changed in with_a_digit_changed(record.value or b""):
        found = again(doctored(record[:3], changed))
        if found.different:
            break
    assert found.different
    assert {each.cls for each in found.details} == {"altered"}


def _price_of_a_fill() -> RawRecord:
    """The prices at which a market order was filled."""
    fills = [orjson.loads(r.value or b"") for r in of_type("venue.reported")]
    bases = [
        f["basis"]["market/0"]
        for f in fills
        if any(i["kind"] == "filled" and "market" in i["rule"] for i in f["data"]["items"])
    ]
    return [r for r in of_type("market.prices.observed") if r.offset < bases[0]][-1]


def test_a_record_that_does_not_decode_any_more_is_named_with_what_it_was() -> None:
    record = of_type("trade.order.decided")[5]
    found = again(doctored(record[:3], (record.value or b"").replace(b'"items"', b'"itams"', 1)))
    assert found.classes.keys() == {"altered"}
    assert place(record) in {each.place for each in found.details}
    record = of_type("trade.position.updated")[-3]
    found = again(doctored(record[:3], b"\0" + (record.value or b"")[1:]))
    mine = next(e for e in found.details if e.place == place(record) and e.kind == "unreadable")
    assert mine.cls == "altered"
    assert orjson.loads(record.value or b"")["id"] in (
        mine.id,
        mine.fields[0][2],
        mine.fields[1][2],
    )


def test_an_id_that_does_not_belong_to_its_cause_is_altered() -> None:
    record = of_type("trade.signal.judged")[3]
    value = record.value or b""
    at = value.index(b'"id":"') + 6
    found = again(doctored(record[:3], value[:at] + b"0000" + value[at + 4 :]), build="another")
    assert next(e.cls for e in found.details if e.place == place(record)) == "altered"


def test_a_changed_line_of_a_decider_is_decided_by_other_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = AccountPolicy.number
    monkeypatch.setattr(AccountPolicy, "number", lambda self, name: before(self, name) * 2)
    found = again(list(recorded()), build="this one")
    assert found.classes.keys() == {"decided by other code"}
    assert found.different > 10
    assert {"/risk/3", "/risk/7"} <= {each.source for each in found.details}
    assert any(path.startswith("data.items[0]") for path, _, _ in found.details[0].fields)


def test_code_that_gives_other_bytes_each_time_is_nondeterminism(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, turn = Positions.decide, count(1)

    def restless(self: Positions, *arguments: object) -> Decision | None:
        made = before(self, *arguments)  # type: ignore[arg-type]
        return made and made._replace(symbol=f"X{next(turn)}")

    monkeypatch.setattr(Positions, "decide", restless)
    found = again(list(recorded()))
    assert found.classes.keys() == {"nondeterminism"}
    assert {each.source.split("/")[1] for each in found.details} == {"positions"}
    assert {each.fields[0][0] for each in found.details} == {"subject"}


def test_other_processes_are_asked_whether_the_code_is_to_blame() -> None:
    record = of_type("trade.signal.judged")[-1]
    doctored_log = doctored(record[:3], next(with_a_digit_changed(record.value or b"")))
    found = verify(RecordedLog(doctored_log), build=ENGINE, processors=("risk",))
    assert {each.cls for each in found.details} == {"altered"}


def test_a_decider_that_fails_now_is_told_from_one_that_failed_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(self: Positions, *_: object) -> Decision | None:
        raise ArithmeticError("no such price")

    monkeypatch.setattr(Positions, "decide", failing)
    found = again(list(recorded()), build="this one")
    assert found.details[0].fields[0][2] == "source.halted.v1"


def test_a_request_without_answer_is_found_up_to_the_last_basis() -> None:
    """An intent of main nobody answered, and a verdict whose basis says that it was read."""
    last = of_type("trade.signal.judged")[-1]
    key = f"trade.intent/{last.partition}"
    assert f'"{key}":0'.encode() in (last.value or b"")
    intent = of_type("trade.intent.published")[0]
    account = orjson.loads(last.value or b"")["partitionkey"].encode()
    value = (intent.value or b"").replace(b'"probe', b'"' + account)
    unanswered = intent._replace(
        partition=last.partition, offset=0, value=value, key=account, timestamp_ms=last.timestamp_ms
    )
    read = (last.value or b"").replace(f'"{key}":0'.encode(), f'"{key}":1'.encode())
    found = again([*doctored(last[:3], read), unanswered])
    assert [(e.kind, e.place, e.type) for e in found.details] == [
        ("missing", f"{key}/0", "trade.signal.judged.v1")
    ]


@pytest.mark.parametrize("seed", [0, 4])
def test_an_order_of_topics_that_the_log_does_not_tell_is_no_difference(seed: int) -> None:
    """Append times off by up to 60 ms, each partition ascending: several brokers, or a batch."""
    shaken, last = [], dict[tuple[str, int], int]()
    order = random.Random(seed)
    for record in recorded():
        at = max(last.get(record[:2], 0), record.timestamp_ms + order.randint(0, 60))
        last[record[:2]] = at
        shaken.append(record._replace(timestamp_ms=at))
    found = again(shaken)
    assert (found.identical, found.different) == (350, 0), found.details[0]
    assert found.nothing > 300


def test_what_was_not_read_is_waiting_and_no_difference() -> None:
    cut = [r for r in recorded() if r.topic not in ("trade.signal.safe", "trade.order")]
    found = verify(RecordedLog(cut), processors=("risk",), build=ENGINE)
    assert (found.decisions, found.different) == (0, 0)
    assert found.waiting > 30


def test_inputs_that_are_not_there_are_named() -> None:
    half = [r for r in recorded() if r.topic != "market" or r.offset < 2000]
    found = again(half)
    assert found.classes.keys() == {"input missing"}
    assert "market/0 ends before offset 2000" in found.details[0].note
    assert found.decisions == 350 == found.identical + found.different
    late = [r for r in recorded() if r.topic != "market" or r.offset >= 100]
    found = again(late)
    assert found.identical <= 3
    assert "market/0 begins at offset 100" in found.details[0].note


def test_a_broken_sequence_stops_who_reads_it_and_is_named() -> None:
    record = of_type("trade.execution.reported")[9]
    value = (record.value or b"").replace(b'"sequence":', b'"sequence":9', 1)
    found = again(doctored(record[:3], value))
    assert found.classes.keys() == {"altered"}
    broken = [each for each in found.details if each.kind == "unverifiable"]
    assert all(f"{record.topic}/{record.partition} is broken" in each.note for each in broken)
    assert {each.source.split("/")[1] for each in broken} == {"risk", "execution", "positions"}
