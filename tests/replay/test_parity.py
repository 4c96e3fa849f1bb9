"""Goal: what a backtest does not repeat is counted and put down to what caused it.

Method: recorded runs in memory, some of them doctored as a live run might have gone: a command that
was read later than it stands, an input that is gone, an answer of the venue that nobody can repeat.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from commands.publish import TOPIC_OF, build
from replay.log import LogRecord
from replay.parity import Parity, parity
from replay.parity_causes import by_hand
from replay.sources import RecordedLog
from schemas.codec import encode
from schemas.control import PolicySet
from schemas.envelope import Envelope
from schemas.trade import Ended, ExecutionReported, Filled, SignalJudged
from tests.replay.recorded_runs import crash, night, records, steered

BUILD = "engine"


def doctored(log: RecordedLog, change: Callable[[LogRecord], LogRecord | None]) -> RecordedLog:
    """The log with each record as `change` leaves it; None takes it out."""
    return RecordedLog([r for record in records(log) if (r := change(record)) is not None])


def rewritten(record: LogRecord, event: Envelope) -> LogRecord:
    return LogRecord(
        record.topic, record.partition, record.offset, record.timestamp_ms, record.key,
        encode(event), event, record.valid,
    )  # fmt: skip


def first_verdict_after(log: RecordedLog, account: str, time: str) -> SignalJudged:
    return next(
        r.event
        for r in records(log)
        if isinstance(r.event, SignalJudged)
        and r.event.partitionkey == account
        and r.event.time >= time
    )


def other_verdict(wanted: str) -> Callable[[LogRecord], LogRecord]:
    """Gives the verdict record `wanted` another confidence."""

    def change(record: LogRecord) -> LogRecord:
        event = record.event
        if not isinstance(event, SignalJudged) or event.id != wanted:
            return record
        items = (event.data.items[0].model_copy(update={"confidence": "0.123"}),)
        data = event.data.model_copy(update={"items": (*items, *event.data.items[1:])})
        return rewritten(record, event.model_copy(update={"data": data}))

    return change


def test_a_run_nobody_touched_is_repeated_whole() -> None:
    result = parity(crash(), build=BUILD)
    assert result.decisions == result.identical > 100
    assert result.identical_pct == 100
    plain = result.as_json(5)
    assert plain["classes"] == {}
    assert plain["interventions"] == []
    assert plain["explained"]
    assert plain["pnl_live"] == plain["pnl_backtest"]


def test_what_people_did_explains_what_differs_and_nothing_else_does() -> None:
    result = parity(steered(), build=BUILD)
    assert set(result.classes) == {"policy_by_hand", "emergency_by_hand"}
    assert result.unexplained == 0
    assert 0 < result.identical_pct < 100
    by_account: dict[str, set[str]] = {}
    for each in result.divergences:
        by_account.setdefault(each.difference.account, set()).add(each.cause.name)
        assert each.difference.time >= "2021-05-19T12:35:00.000000Z"
    assert by_account["main"] == {"policy_by_hand"}
    assert "probe" not in by_account
    assert [i.name for i in result.interventions] == [
        "policy_by_hand", "policy_by_hand", "emergency_by_hand",
    ]  # fmt: skip
    assert result.as_json(0)["pnl_live"]["probe"] == result.as_json(0)["pnl_backtest"]["probe"]


def test_a_trade_and_a_deposit_made_at_the_venue_are_named() -> None:
    result = parity(night(), build=BUILD)
    assert [i.name for i in result.interventions] == ["venue_by_hand"] * 2
    assert result.unexplained == 0
    assert set(result.classes) <= {"venue_by_hand"}
    assert result.as_json(0)["pnl_live"] != result.as_json(0)["pnl_backtest"]


def test_a_command_that_raced_with_decisions_is_told_by_how_far_each_had_read() -> None:
    """The change of `main`'s policy is read after twenty more minutes than where it took effect."""
    log = steered()
    held: list[LogRecord] = []
    moved: list[LogRecord] = []
    for record in records(log):
        event = record.event
        mine = isinstance(event, PolicySet) and event.partitionkey == "main"
        if mine and isinstance(event, PolicySet) and event.data.expected_version == 1:
            held.append(record)
            continue
        moved.append(record)
        if held and event is not None and event.time >= "2021-05-19T13:10:00.000000Z":
            moved.append(held.pop())
    result = parity(RecordedLog(moved), build=BUILD)
    timing = [d for d in result.divergences if d.cause.name == "command_timing"]
    assert timing
    assert all(d.difference.account == "main" for d in timing)
    assert result.unexplained == 0
    assert "12:35" in timing[0].cause.because
    assert "13:10" in timing[0].cause.because


def test_decisions_taken_on_another_basis_name_the_side_that_had_read_more() -> None:
    """A verdict whose basis lacks the policy change that stands before it in the log."""
    log = steered()
    wanted = first_verdict_after(log, "main", "2021-05-19T12:36:00.000000Z")
    assert wanted.basis is not None
    behind = {**wanted.basis, "control/0": wanted.basis["control/0"] - 2}

    def change(record: LogRecord) -> LogRecord:
        if record.event is None or record.event.id != wanted.id:
            return record
        lagging = other_verdict(wanted.id)(record).event
        assert lagging is not None
        return rewritten(record, lagging.model_copy(update={"basis": behind}))

    result = parity(doctored(log, change), build=BUILD)
    found = [d for d in result.divergences if d.cause.name == "command_timing"]
    assert {d.difference.record_id for d in found} == {wanted.id}
    assert found[0].cause.because == "the backtest had read 2 more of control/0 when it decided"


def test_a_tick_is_fed_before_a_later_price_of_the_same_millisecond() -> None:
    """A broker's log merges topics by append time; ties between market and clock go by theirs."""
    log = records(crash())
    pairs = [
        n
        for n in range(len(log) - 1)
        if (log[n].topic, log[n + 1].topic) == ("clock", "market")
        and log[n].event is not None
        and log[n + 1].event is not None
    ]
    assert len(pairs) > 50
    for n in pairs:
        log[n + 1] = replace(log[n + 1], timestamp_ms=log[n].timestamp_ms)
        log[n], log[n + 1] = log[n + 1], log[n]
    result = parity(RecordedLog(log), build=BUILD)
    assert result.identical == result.decisions > 100


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("position.close", {"symbol": "BTCUSDT"}, "order_by_hand"),
        ("symbol.pause", {"symbol": "BTCUSDT"}, "policy_by_hand"),
        ("emergency.stop", {}, "emergency_by_hand"),
        ("account.resume", {"processor": "risk"}, "resumed_by_hand"),
        ("trade.delete", {"trade_id": "00000000-0000-5000-8000-000000000001"}, None),
    ],
)
def test_each_command_has_its_class_and_a_label_has_none(
    name: str, data: dict[str, str], expected: str | None
) -> None:
    command = build(
        name, "main", {**data, "operator": "ann", "reason": "x"}, time="2021-05-19T12:00:00.000000Z"
    )
    topic = TOPIC_OF[command.type].name
    found = by_hand(LogRecord(topic, 0, 0, 0, "main", encode(command), command, True), 7)
    assert (found and found.name) == expected


def test_missing_inputs_are_found_by_their_offsets() -> None:
    gone = next(
        r for r in records(crash())
        if r.topic == "market" and r.event is not None
        and r.event.type == "market.candles.closed.v1"
        and r.event.time >= "2021-05-19T12:30:00.000000Z"
    )  # fmt: skip
    log = doctored(crash(), lambda r: None if r.place == gone.place else r)
    result = parity(log, build=BUILD)
    assert result.divergences
    assert set(result.classes) <= {"missing_input", "latency"}
    assert result.classes["missing_input"] or result.classes["latency"]


def test_an_answer_of_the_venue_that_is_not_repeated_is_a_venue_fault() -> None:
    log = crash()
    wanted = next(
        r.event
        for r in records(log)
        if isinstance(r.event, ExecutionReported)
        and r.event.partitionkey == "hot"
        and any(isinstance(item, Filled) for item in r.event.data.items)
    )
    later = first_verdict_after(log, "hot", wanted.time[:17] + "59.000000Z")

    def refused(record: LogRecord) -> LogRecord:
        event = record.event
        if not isinstance(event, ExecutionReported) or event.id != wanted.id:
            return other_verdict(later.id)(record)
        items: list[Any] = []
        for item in event.data.items:
            if isinstance(item, Ended):
                why = {"status": "REJECTED", "why": "the venue was busy"}
                items.append(item.model_copy(update=why))
            else:
                items.append(item)
        data = event.data.model_copy(update={"items": tuple(items)})
        return rewritten(record, event.model_copy(update={"data": data}))

    result = parity(doctored(log, refused), build=BUILD)
    assert result.classes == {"venue_fault": 1}
    assert "the venue was busy" in result.divergences[0].cause.because
    assert result.divergences[0].cause.root == wanted.id


@pytest.mark.parametrize(
    ("builds", "name"), [(BUILD, "unexplained"), ("0123456789abcdef", "other_code")]
)
def test_a_changed_verdict_is_unexplained_unless_other_code_decided(builds: str, name: str) -> None:
    log = crash()
    wanted = first_verdict_after(log, "main", "2021-05-19T12:40:00.000000Z")

    def change(record: LogRecord) -> LogRecord:
        event = record.event
        if event is not None and event.type == "source.fenced.v1":
            data: Any = event.data  # type: ignore[attr-defined]
            update = {"data": data.model_copy(update={"build": builds})}
            return rewritten(record, event.model_copy(update=update))
        return other_verdict(wanted.id)(record)

    result: Parity = parity(doctored(log, change), build="fedcba9876543210")
    assert result.classes == {name: 1}
    assert result.divergences[0].difference.field == "confidence"
    plain = result.as_json(1)
    assert plain["divergences"][0]["live"] == "0.123"
    assert plain["explained"] is (name != "unexplained")
