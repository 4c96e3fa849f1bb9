"""The independent checker passes what the engine wrote and refuses every doctored log.

The log is that of 19 May 2021, 11:00 to 13:30 UTC, three accounts, run once on the in-process engine;
each test changes one thing in it and names what the checker must say.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateways.candles import read_candles, read_funding
from gateways.feed_records import Scripted, fed_records
from gateways.probes import demo_script
from replay.engine import Engine
from replay.summary import Summary
from replay.summary_json import summary_json
from schemas.codec import encode
from schemas.control import EmergencyStop, EmergencyStopData
from schemas.ids import natural_id
from schemas.instruments import load_instruments
from schemas.validity import Validity
from tests.checker import check

ROOT = Path(__file__).parents[2]
MARKET = ROOT / "data" / "market"
START = datetime(2021, 5, 19, 11, tzinfo=UTC)
Raw = tuple[str, int, int, bytes]


def run(minutes: int, *more: Scripted) -> Engine:
    """The engine after the first minutes of the afternoon."""
    files = [
        read_candles(MARKET / f"{symbol}-1m-20210516-20210522.parquet")
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    end = START + timedelta(minutes=minutes)
    script = sorted([*demo_script(files, start=START, end=end), *more], key=lambda s: s.time)
    records = fed_records(
        files,
        start=START,
        end=end,
        warm_up_start=START - timedelta(hours=24),
        instruments=load_instruments("BTCUSDT", "ETHUSDT"),
        funding=[read_funding(MARKET / "BTCUSDT_PERP-funding-20210501-20210531.parquet")],
        script=script,
    )
    engine = Engine(["main", "hot", "probe"])
    for topic, event in records:
        engine.feed(topic, event)
    return engine


def raw_log(engine: Engine) -> list[Raw]:
    """The log as a third party reads it."""
    out = []
    for stored in engine.log.order:
        topic, _, partition = stored.key.rpartition("/")
        out.append((topic, int(partition), stored.offset, encode(stored.event)))
    return out


@pytest.fixture(scope="module")
def engine() -> Engine:
    return run(150)


@pytest.fixture(scope="module")
def log(engine: Engine) -> list[Raw]:
    return raw_log(engine)


@pytest.fixture(scope="module")
def open_log() -> list[Raw]:
    """A log that ends with open positions."""
    return raw_log(run(105))


@pytest.fixture(scope="module")
def stopped_log() -> list[Raw]:
    """The same with an emergency stop of `hot` ten minutes before its end."""
    time = (START + timedelta(minutes=95)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    stop = EmergencyStop(
        id=natural_id("stop"), source="/cli", subject="hot", time=time, partitionkey="hot",
        data=EmergencyStopData(operator="anna", reason="a test"),
    )  # fmt: skip
    return raw_log(run(105, Scripted(time, "commands.control", stop)))


# ------------------------------------------------------------------ logs it must pass


def test_a_true_log_passes_with_the_figures_of_the_summary(engine: Engine, log: list[Raw]) -> None:
    found, bad = check(log)
    assert bad == []
    validity: dict[str, Validity] = {}
    valid = [
        s.event for s in engine.log.order
        if validity.setdefault(s.key, Validity()).admit(s.event)
    ]  # fmt: skip
    told = summary_json(Summary.of(valid))
    assert (found["signals"], found["events"]) == (told["signals"], told["events"])
    assert set(found["accounts"]) == set(told["accounts"])
    for name, figures in found["accounts"].items():
        assert figures == {key: told["accounts"][name][key] for key in figures}, name
        assert figures["fills"] > 0


def test_logs_with_open_positions_and_with_an_emergency_pass(
    open_log: list[Raw], stopped_log: list[Raw]
) -> None:
    found, bad = check(open_log)
    assert bad == []
    assert sum(account["open_positions"] for account in found["accounts"].values()) > 0
    found, bad = check(stopped_log)
    assert bad == []
    assert found["accounts"]["hot"]["emergencies"] == 1
    assert found["accounts"]["hot"]["open_positions"] == 0


def test_the_order_in_which_topics_are_read_does_not_matter(log: list[Raw]) -> None:
    assert check(reversed(log)) == check(log)


def test_a_zombie_s_records_are_not_looked_at(log: list[Raw]) -> None:
    fence = next(r for r in log if r[0] == "trade.order" and b"source.fenced" in r[3])
    last = max(r for r in log if r[:2] == fence[:2])
    new_fence = fence[3].replace(b'"epoch":1', b'"epoch":2')
    zombie = edit(last[3], lambda e: e.update(sequence=e["sequence"] + 1, id="another"))
    doctored = [*log, (*last[:2], last[2] + 1, new_fence), (*last[:2], last[2] + 2, zombie)]
    assert check(doctored) == check(log)


def test_what_a_source_skipped_is_not_looked_at(log: list[Raw]) -> None:
    end = max(r[2] for r in log if r[:2] == ("trade.intent", 3)) + 1
    own = max(r for r in log if r[:2] == ("trade.signal.safe", 3))
    skip = edit(own[3], lambda e: e.update(
        type="source.skipped.v1", sequence=e["sequence"] + 1, id="skip",
        data={"topic": "trade.intent", "partition": 3, "offset": end, "digest": "", "reason": ""},
    ))  # fmt: skip
    garbage = ("trade.intent", 3, end, b"\xff not JSON")
    assert check([*log, garbage])[1]
    assert check([*log, garbage, (*own[:2], own[2] + 1, skip)])[1] == []


# ------------------------------------------------------------------ logs it must refuse


def edit(raw: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    event = json.loads(raw)
    change(event)
    return json.dumps(event, separators=(",", ":")).encode()


def place_of(log: list[Raw], event_type: str, want: dict[str, Any], skip: int = 0) -> int:
    """Index of the record of a type with a part of these values (`skip`: not the first ones)."""
    for index, (_, _, _, raw) in enumerate(log):
        event = json.loads(raw)
        items = event["data"].get("items", [{}])
        hit = any(all(item.get(k) == v for k, v in want.items()) for item in items)
        if event["type"] == f"{event_type}.v1" and hit:
            if not skip:
                return index
            skip -= 1
    raise AssertionError(f"no {event_type} with {want}")


def part(event: dict[str, Any], want: dict[str, Any]) -> dict[str, Any]:
    """The first part of these values."""
    found: dict[str, Any] = next(
        i for i in event["data"]["items"] if all(i.get(k) == v for k, v in want.items())
    )
    return found


def changed(log: list[Raw], event_type: str, want: dict[str, Any], **values: Any) -> list[Raw]:
    """The log with other values in one part."""
    at = place_of(log, event_type, want)
    new = edit(log[at][3], lambda e: part(e, want).update(values))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


def without(log: list[Raw], event_type: str, want: dict[str, Any]) -> list[Raw]:
    """The log without one part; its record stays."""
    at = place_of(log, event_type, want)
    new = edit(log[at][3], lambda e: e["data"]["items"].remove(part(e, want)))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


def twice(log: list[Raw], event_type: str, want: dict[str, Any], **values: Any) -> list[Raw]:
    """The log with one part a second time in the same record, with other values."""
    at = place_of(log, event_type, want)
    new = edit(
        log[at][3], lambda e: e["data"]["items"].append({**part(e, want), **values})
    )
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


RESULT, ORDER, UPDATE = "trade.execution.reported", "trade.order.decided", "trade.position.updated"
VERDICT = "trade.signal.judged"
FILL, ENDED, ENTRY = {"kind": "filled"}, {"kind": "ended"}, {"kind": "order", "purpose": "entry"}
STOP, EXIT = {"kind": "order", "purpose": "stop"}, {"kind": "order", "purpose": "exit_signal"}
APPROVED = {"kind": "entry", "verdict": "approved"}
DOCTORED: dict[str, tuple[Callable[[list[Raw]], list[Raw]], str]] = {
    "a fee is changed": (lambda log: changed(log, RESULT, FILL, fee="0.01"), "'equity'"),
    "a price is changed": (lambda log: changed(log, RESULT, FILL, price="40000"), "'equity'"),
    "a quantity is changed": (lambda log: changed(log, RESULT, FILL, quantity="9"), "filled too much"),
    "a side is changed": (lambda log: changed(log, RESULT, {**FILL, "side": "BUY"}, side="SELL"), "no open order"),
    "a fill is dropped": (lambda log: without(log, RESULT, FILL), "filled 0"),
    "a fill is doubled": (lambda log: twice(log, RESULT, FILL), "result told twice"),
    "a fill is doubled under another id": (lambda log: twice(log, RESULT, FILL, id="x"), "filled too much"),
    "a fill is of an unknown order": (lambda log: changed(log, RESULT, FILL, order_id="x"), "no open order"),
    "a deposit is dropped": (lambda log: without(log, RESULT, {"kind": "transferred"}), "'equity'"),
    "a deposit is larger": (lambda log: changed(log, RESULT, {"kind": "transferred"}, amount="1"), "'equity'"),
    "an end is dropped": (lambda log: without(log, RESULT, {**ENDED, "status": "FILLED"}), "neither ends nor rests"),
    "an end comes twice": (lambda log: twice(log, RESULT, ENDED, id="x"), "ended of no open order"),
    "an end says more was filled": (lambda log: changed(log, RESULT, ENDED, filled_quantity="7"), "filled "),
    "equity is off by the last digit": (lambda log: bump(log, "equity"), "'equity'"),
    "fees told are off": (lambda log: bump(log, "fees"), "'equity'"),
    "gross is off": (lambda log: bump(log, "gross"), "'equity'"),
    "an equity is missing at the end": (lambda log: last_equity_gone(log), "no equity tells"),
    "a mark is not the market's": (lambda log: other_mark(log), "marks are"),
    "a position is off": (lambda log: changed(log, UPDATE, {"kind": "position"}, quantity="7"), "position is"),
    "a verdict is missing": (lambda log: without(log, VERDICT, {"verdict": "rejected"}), "has no verdict"),
    "a verdict comes twice": (lambda log: twice(log, VERDICT, {"verdict": "rejected"}, id="x"), "a second time"),
    "a verdict answers nothing": (lambda log: changed(log, VERDICT, APPROVED, request_id="x"), "answers no request"),
    "a verdict is on another symbol": (lambda log: changed(log, VERDICT, APPROVED, symbol="X"), "answers no request"),
    "an entry has no approval": (lambda log: changed(log, ORDER, ENTRY, request_id="x"), "not approved so"),
    "a rejected signal is ordered": (lambda log: rejected(log), "not approved so"),
    "more is ordered than approved": (lambda log: changed(log, ORDER, ENTRY, quantity="9"), "not approved so"),
    "an exit has no approval": (lambda log: changed(log, ORDER, EXIT, request_id="x"), "not approved so"),
    "an order is there twice": (lambda log: twice(log, ORDER, ENTRY), "ordered twice"),
    "a client order id is there twice": (lambda log: twice(log, ORDER, ENTRY, id="x"), "ordered twice"),
    "a stop has no owner": (lambda log: changed(log, ORDER, STOP, owner_id="x"), "no position"),
    "a stop is not reduce-only": (lambda log: changed(log, ORDER, STOP, reduce_only=False), "no position"),
    "a sequence is missing": (lambda log: [r for r in log if r is not log[place_of(log, ORDER, ENTRY)]], "follows"),
    "a record id is there twice": (lambda log: same_id(log), "twice"),
    "a decision has no epoch": (lambda log: no_epoch(log), "of no source"),
    "an epoch has no fence": (lambda log: [r for r in log if b"source.fenced" not in r[3]], "follows"),
    "bytes are no event": (lambda log: [*log, ("market", 0, 10**6, b"{")], "no event"),
}  # fmt: skip


def bump(log: list[Raw], name: str) -> list[Raw]:
    """One equity item with its last digit one higher."""
    at = place_of(log, UPDATE, {"kind": "equity"}, skip=5)

    def change(event: dict[str, Any]) -> None:
        item = part(event, {"kind": "equity"})
        item[name] += "01" if "." in item[name] else ".000000000001"

    return [*log[:at], (*log[at][:3], edit(log[at][3], change)), *log[at + 1 :]]


def last_equity_gone(log: list[Raw]) -> list[Raw]:
    at = max(n for n, r in enumerate(log) if r[0] == "trade.position.update" and b'"equity"' in r[3])
    new = edit(log[at][3], lambda e: e["data"]["items"].remove(part(e, {"kind": "equity"})))
    return [*log[:at], (*log[at][:3], new), *log[at + 1 :]]


def other_mark(log: list[Raw]) -> list[Raw]:
    """One price of the market changed, at which an open position was marked."""
    at = next(
        n for n, r in enumerate(log)
        if r[0] == "trade.position.update" and b'"marks":{"' in r[3]
    )  # fmt: skip
    basis = json.loads(log[at][3])["basis"]["market/0"]
    price = max(
        (r for r in log if r[0] == "market" and r[2] < basis and b"prices.observed" in r[3]),
        key=lambda r: r[2],
    )
    index = log.index(price)
    new = edit(price[3], lambda e: [i.update(last="1", mark="1") for i in e["data"]["items"]])
    return [*log[:index], (*price[:3], new), *log[index + 1 :]]


def rejected(log: list[Raw]) -> list[Raw]:
    """The approval of an order turned into a refusal."""
    at = place_of(log, VERDICT, APPROVED)

    def change(event: dict[str, Any]) -> None:
        item = part(event, APPROVED)
        del item["plan"]
        item.update(verdict="rejected", reason="COOLDOWN")

    return [*log[:at], (*log[at][:3], edit(log[at][3], change)), *log[at + 1 :]]


def same_id(log: list[Raw]) -> list[Raw]:
    first = place_of(log, ORDER, ENTRY)
    second = place_of(log, ORDER, ENTRY, skip=1)
    known = json.loads(log[first][3])["id"]
    new = edit(log[second][3], lambda e: e.update(id=known))
    return [*log[:second], (*log[second][:3], new), *log[second + 1 :]]


def no_epoch(log: list[Raw]) -> list[Raw]:
    at = place_of(log, UPDATE, {"kind": "equity"})
    extra = edit(log[at][3], lambda e: (e.pop("epoch"), e.pop("sequence"), e.update(id="x")))
    return [*log, (*log[at][:2], 10**6, extra)]


@pytest.mark.parametrize("name", DOCTORED)
def test_a_doctored_log_is_refused_when(name: str, log: list[Raw]) -> None:
    doctor, why = DOCTORED[name]
    _, bad = check(doctor(log))
    assert any(why in line for line in bad), bad[:5]


def test_an_open_position_without_its_stop_is_refused(open_log: list[Raw]) -> None:
    stopless = [
        (*r[:3], edit(r[3], lambda e: [i.update(purpose="target") for i in e["data"]["items"]
                                       if i.get("purpose") == "stop"]))
        if r[0] == "trade.order" and b"items" in r[3] else r
        for r in open_log
    ]  # fmt: skip
    assert any("no stop rests" in line for line in check(stopless)[1])


def test_a_policy_may_do_without_stops(open_log: list[Raw]) -> None:
    bare = [
        (*r[:3], r[3].replace(b'"purpose":"stop"', b'"purpose":"target"')
         .replace(b'"stops_required":true', b'"stops_required":false'))
        for r in open_log
    ]  # fmt: skip
    assert check(bare)[1] == []


def test_an_approval_that_knew_of_an_emergency_is_refused(stopped_log: list[Raw]) -> None:
    offset = next(r[2] for r in stopped_log if b"emergency.activated" in r[3])
    for topic, why in ((VERDICT, "approved in an emergency"), (ORDER, "ordered in an emergency")):
        want = APPROVED if topic == VERDICT else ENTRY
        skip = 0
        while json.loads(stopped_log[place_of(stopped_log, topic, want, skip)][3])[
            "partitionkey"
        ] != "hot":
            skip += 1
        at = place_of(stopped_log, topic, want, skip)
        late = edit(stopped_log[at][3], lambda e: e["basis"].update({"control/0": offset + 1}))
        doctored = [*stopped_log[:at], (*stopped_log[at][:3], late), *stopped_log[at + 1 :]]
        assert any(why in line for line in check(doctored)[1])


# ------------------------------------------------------------------ what it is itself


def test_it_uses_nothing_of_ours_and_is_short() -> None:
    path = ROOT / "tests" / "checker.py"
    source = path.read_text("utf-8")
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert names <= {
        "json", "sys", "decimal", "types", "typing", "collections", "collections.abc", "confluent_kafka",
    }  # fmt: skip
    assert len(source.splitlines()) < 150


def test_without_an_address_it_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "tests/checker.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "BOOTSTRAP" in done.stderr
    assert "Traceback" not in done.stderr
