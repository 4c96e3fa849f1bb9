"""The independent checker passes what the engine wrote and refuses every doctored log.

The log is that of 19 May 2021, 11:00 to 13:30 UTC, three accounts, run once on the in-process
engine; each test changes one thing in it and names what the checker must say.
"""

import ast
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from gateways.candles import read_candles, read_funding
from gateways.feed_records import Scripted, fed_records
from gateways.probes import demo_script
from replay.engine import Engine
from replay.summary import Summary
from replay.summary_json import summary_json
from runtime.kafka import EmbeddedKafka
from schemas.codec import encode
from schemas.control import EmergencyStop, EmergencyStopData
from schemas.ids import natural_id
from schemas.instruments import load_instruments
from schemas.topics import EVENT_TOPICS, PARTITIONS_EMBEDDED, partitions
from schemas.validity import Validity
from tests.checker import check
from tests.system.doctored_logs import (
    APPROVED,
    DOCTORED,
    VERDICT,
    Raw,
    edit,
    place_of,
)

ROOT = Path(__file__).parents[2]
MARKET = ROOT / "data" / "market"
START = datetime(2021, 5, 19, 11, tzinfo=UTC)


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
    skip = 0
    while (
        json.loads(stopped_log[place_of(stopped_log, VERDICT, APPROVED, skip)][3])["partitionkey"]
        != "hot"
    ):
        skip += 1
    at = place_of(stopped_log, VERDICT, APPROVED, skip)
    late = edit(stopped_log[at][3], lambda e: e["basis"].update({"control/0": offset + 1}))
    doctored = [*stopped_log[:at], (*stopped_log[at][:3], late), *stopped_log[at + 1 :]]
    assert any("approved in an emergency" in line for line in check(doctored)[1])


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
        "json", "sys", "decimal", "collections", "confluent_kafka",
    }  # fmt: skip
    assert len(source.splitlines()) < 150


@pytest.mark.timeout(120)
def test_it_reads_a_log_from_a_broker_as_a_third_party(log: list[Raw], short_path: Path) -> None:
    broker = EmbeddedKafka(short_path / "kafka")
    broker.start()
    try:
        publish(broker.bootstrap, log)
        done = subprocess.run(
            [sys.executable, "tests/checker.py", broker.bootstrap],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        broker.kill()
        broker.stop()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert json.loads(done.stdout) == check(log)[0] | {"violations": []}


def publish(bootstrap: str, log: list[Raw]) -> None:
    """The log on a broker, record by record where it was."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics(
        [NewTopic(t.name, partitions(t, PARTITIONS_EMBEDDED), 1) for t in EVENT_TOPICS]
    )
    for future in made.values():
        future.result(20)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for topic, partition, _, raw in log:
        producer.produce(topic, raw, partition=partition)
    assert producer.flush(20) == 0


def test_without_an_address_it_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "tests/checker.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "BOOTSTRAP" in done.stderr
    assert "Traceback" not in done.stderr
