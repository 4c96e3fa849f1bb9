"""Fuzzed records on every topic: each is answered, folded or kept with a reason; nothing ends.

Method: hypothesis changes golden samples. The codec alone first; then all processors on the
in-memory log take them on each topic, and trade as before afterwards. `--full`: 10,000 a topic.

Left out: what decodes and carries an epoch. A record with the number of a source is no bad input
but a forged or lost one, at which its readers stop
(`test_a_gap_stops_the_partition_and_says_where`).
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings

from replay.simulator.script import Script
from schemas.codec import RecordError, decode, decode_request, encode
from schemas.topics import ORDER, SIGNAL, VENUE_REPORT, Topic
from streams.log import Incoming
from tests.streams.crash_checks import valid
from tests.streams.crash_scenario import ALPHA, MAIN, PARTITIONS
from tests.streams.crash_world import NAMES, World
from tests.streams.fuzzing import SAMPLES, records, topics

EACH = 10_000 if os.environ.get("QUANTUM_TEST_FULL") else 120
KEYS = (ALPHA, "nobody", "", "\x00", None)
relaxed = settings(
    max_examples=EACH * 5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(3600)
@relaxed
@given(raw=records())
def test_the_codec_takes_a_record_or_says_why_not(raw: bytes | None) -> None:
    taken = by_people = None
    refused = []
    try:
        taken = decode(raw)
    except RecordError as error:
        refused.append(error)
    try:
        by_people = decode_request(raw, topic="commands.control", partition=0, offset=0)
    except RecordError as error:
        refused.append(error)
    assert taken is None or decode(encode(taken)) == taken
    assert by_people is None or by_people.id
    assert all(each.code.isupper() for each in refused)
    assert all(0 < len(each.reason) < 2_000 for each in refused), "a line, not the record"


def trading() -> tuple[World, Script]:
    """A system with an open position."""
    world, script = World(), Script()
    opening = [script.instruments(), script.warm_up("40000", "1"), script.price("40000")]
    for topic, event in [*opening, script.tick(), script.policy(ALPHA, 0, cooldown_s=0)]:
        world.feed(topic, event)
    world.feed(*script.signal(ALPHA, "BUY"))
    return world, script


def forged(raw: bytes | None) -> bool:
    """Whether it is a record with the number of a source."""
    try:
        return decode(raw).epoch is not None
    except RecordError:
        return False


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.name)
def test_whatever_lies_on_a_topic_the_workers_go_on(topic: Topic) -> None:
    world, script = trading()
    processes = {name: world.live[name][0] for name in NAMES}
    number = 0

    @settings(relaxed, max_examples=EACH)
    @given(raw=records())
    def publish(raw: bytes | None) -> None:
        nonlocal number
        if forged(raw):
            return
        number += 1
        key = f"{topic.name}/{number % PARTITIONS if topic.keyed else 0}"
        partition = world.broker.partitions.setdefault(key, [])
        account = KEYS[number % len(KEYS)]
        at_ms = partition[-1].timestamp_ms if partition else 1_700_000_000_000
        record = Incoming(
            key, len(partition), at_ms, None if account is None else account.encode(), raw
        )
        partition.append(record)
        world.broker.appends.append(record)
        if number % 20 == 0:
            world.settle()

    publish()
    world.settle()
    assert {name: world.live[name][0] for name in NAMES} == processes, "nobody ended"
    if any(p.shell.position(f"{topic.name}/0") for p in processes.values()):
        assert world.broker.dead, "what was refused is kept"
    world.feed(*script.policy(MAIN, 0, cooldown_s=0))
    accounts = {f.event.partitionkey for f in valid(world) if f.key == "control/0"}
    assert MAIN in accounts, "a command is answered afterwards"


@pytest.mark.parametrize(
    "kind", ["venue.reported.v1", "trade.signal.published.v1", "source.skipped.v1"]
)
@pytest.mark.parametrize("floor", ["basis", "after"])
def test_an_outside_record_that_names_offsets_to_come_holds_nobody_up(
    kind: str, floor: str
) -> None:
    """Such as one copied from the log of another run and pasted: a reader would wait for ever."""
    world, script = trading()
    (sample,) = (decode(raw) for raw in SAMPLES if f'"type":"{kind}"'.encode() in raw)
    pasted = sample.model_copy(
        update={"partitionkey": ALPHA, "epoch": None, "sequence": None, "basis": None}
        | {floor: {"market/0": 10**6}}
    )
    for topic in (VENUE_REPORT, SIGNAL, ORDER):
        world.publish(topic.name, pasted)
    world.settle()
    reasons = [reason for _, record, reason in world.broker.dead if record.raw == encode(pasted)]
    assert len(reasons) >= 3
    assert all(reason.startswith("INVALID_FIELD: basis and after are for") for reason in reasons)
    world.feed(*script.policy(MAIN, 0, cooldown_s=0))
    assert MAIN in {f.event.partitionkey for f in valid(world) if f.key == "control/0"}
