"""Snapshots: what is loaded at a restart and what is passed over; neither changes anything."""

import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from domain.source import Source
from schemas.codec import decode
from schemas.sources import SourceCheckpointed
from schemas.topics import TOPICS
from streams.paces import Every
from streams.shell import Shell
from streams.simulated.broker import InFlight, MemoryLog, ignored
from streams.snapshots import KEY, STATE_VERSIONS, parts, restore
from tests.streams.crash_checks import state, valid
from tests.streams.crash_runs import reference
from tests.streams.crash_scenario import PARTITIONS
from tests.streams.crash_world import ALL_PURE, EVERY, IDENTITY, Process, World, rebuilt

NAME, OUTPUT = "/risk/0", "trade.signal.safe/0"


@pytest.fixture
def world() -> World:
    """The whole scenario, at rest."""
    return World.thawed(reference().frozen[-1])


def fresh(name: str) -> list[Source]:
    return [rebuilt(name, n) for n in range(1 if name == "control" else PARTITIONS)]


def restored(world: World, name: str = "risk") -> dict[str, int]:
    """Sequence at which each source of a worker is restored."""
    log, sources = MemoryLog(world.broker), fresh(name)
    stands = restore(log, sources, lambda number: rebuilt(name, number), {})
    assert {s.name: s.sequence for s in sources if s.sequence} == {
        name: stand.sequence for name, stand in stands.items()
    }
    return {name: stand.sequence for name, stand in stands.items()}


def of_source(world: World, name: str = NAME) -> list[int]:
    """Offsets of the snapshots of a source, oldest first."""
    found = world.broker.partitions[KEY]
    return [r.offset for r in found if r.message_key == name.encode()]


def body_of(raw: bytes) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(zlib.decompress(raw.partition(b"\n")[2]))
    return body


def put(world: World, body: dict[str, Any], size: int = 512_000) -> list[int]:
    """Append a snapshot as its writer would; where its parts lie."""
    raws = parts(body["source"], zlib.compress(orjson.dumps(body)), size)
    return [
        world.broker.place(InFlight(KEY, raw, body["source"], ignored)) for raw in raws
    ]  # fmt: skip


def newest(world: World, name: str = NAME) -> dict[str, Any]:
    return body_of(world.broker.partitions[KEY][of_source(world, name)[-1]].raw or b"")


def restart(world: World, name: str = "risk") -> Process:
    """A new process of a worker; AssertionError if it does not have the state the old one had."""
    old = world.live[name][0].shell
    process = Process(world, name)
    process.start()
    assert {n: state(s) for n, s in process.shell.sources.items()} == {
        n: state(s) for n, s in old.sources.items()
    }
    return process


def test_every_pure_processor_has_a_state_version() -> None:
    assert sorted(STATE_VERSIONS) == sorted(ALL_PURE)


@pytest.mark.parametrize("name", ALL_PURE)
def test_each_source_restarts_from_its_newest_snapshot(world: World, name: str) -> None:
    stands = restored(world, name)
    assert stands == {s.name: newest(world, s.name)["sequence"] for s in fresh(name)}
    restart(world, name)


def test_a_restart_from_a_snapshot_reads_less(world: World) -> None:
    reads: list[int] = []
    for keep in (True, False):
        if not keep:
            world.broker.partitions[KEY] = []
        process = Process(world, "risk")
        before = world.tick
        process.start()
        reads.append(world.tick - before)
    assert reads[0] < reads[1]


def test_a_source_without_snapshots_is_left_fresh(world: World) -> None:
    world.broker.partitions[KEY] = []
    assert restored(world) == {}
    restart(world)


def _flip(raw: bytes) -> bytes:
    at = len(raw) - 40
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def _no_json(raw: bytes) -> bytes:
    return b"{nope"


def _cut_short(raw: bytes) -> bytes:
    return raw[:-1]


@pytest.mark.parametrize("spoil", [_flip, _no_json, _cut_short])
def test_a_spoilt_snapshot_falls_back_to_the_one_before(
    world: World, spoil: Callable[[bytes], bytes]
) -> None:
    kept = world.broker.partitions[KEY]
    *_, before, last = of_source(world)
    expected = body_of(kept[before].raw or b"")["sequence"]
    assert body_of(kept[last].raw or b"")["sequence"] > expected
    _replace(world, last, spoil(kept[last].raw or b""))
    assert restored(world)[NAME] == expected
    restart(world)
    for offset in of_source(world)[:-1]:
        _replace(world, offset, spoil(kept[offset].raw or b""))
    assert NAME not in restored(world)
    restart(world)


def _replace(world: World, offset: int, raw: bytes) -> None:
    kept = world.broker.partitions[KEY]
    old = kept[offset]
    kept[offset] = type(old)(old.key, offset, old.timestamp_ms, old.message_key, raw)


def test_a_snapshot_in_parts_is_loaded_only_with_all_of_them(world: World) -> None:
    whole = newest(world)
    before = of_source(world)[-2]
    expected = body_of(world.broker.partitions[KEY][before].raw or b"")["sequence"]
    del world.broker.partitions[KEY][of_source(world)[-1] :]
    assert restored(world)[NAME] == expected
    offsets = put(world, whole, 100)
    assert len(offsets) > 5
    assert restored(world)[NAME] == whole["sequence"]
    _replace(world, offsets[2], b"")
    assert restored(world)[NAME] == expected
    restart(world)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "0-0123456789abcdef"},
        {"topics": {"trade.signal.safe": "another"}},
        {"topics": None},
        {"output": "trade.signal.safe/1"},
        {"id": "0c0f0e1e-0000-5000-8000-000000000000"},
        {"epoch": 7},
        {"sequence": 99},
        {"offset": 100_000},
        {"offset": -1},
        {"offset": "x"},
        {"offset": 0},
        {"since": 100_000},
        {"state": {}},
        {"state": None},
    ],
)
def test_a_foreign_or_wrong_snapshot_is_passed_over(world: World, changes: dict[str, Any]) -> None:
    expected = restored(world)[NAME]
    put(world, newest(world) | changes)
    assert restored(world)[NAME] == expected
    restart(world)


def test_figures_that_its_checkpoint_does_not_bear_out_are_refused(world: World) -> None:
    body = newest(world)
    expected = body["sequence"]
    accounts = body["state"]["slices"]["clock/0"]
    body["state"]["slices"]["clock/0"] = ["2031-01-01T00:00:00.000000Z", *accounts[1:]]
    put(world, body)
    world.broker.partitions[KEY] = world.broker.partitions[KEY][-1:]
    _number(world)
    assert NAME not in restored(world), f"only the forged one of {expected} is there"
    restart(world)


def _number(world: World) -> None:
    kept = world.broker.partitions[KEY]
    world.broker.partitions[KEY] = [
        type(r)(r.key, n, r.timestamp_ms, r.message_key, r.raw) for n, r in enumerate(kept)
    ]


def test_a_snapshot_of_a_fenced_zombie_is_refused(world: World) -> None:
    """It was fenced, did not look, wrote a checkpoint that is void and a snapshot that names it."""
    zombie = world.live["risk"][0].shell
    expected = restored(world)[NAME]
    restart(world).log.flush()
    for _ in range(3):
        zombie.checkpoint(100.0)
    zombie.log.flush()
    void = [decode(r.raw) for r in world.broker.partitions[OUTPUT]][-1]
    assert isinstance(void, SourceCheckpointed)
    assert void.epoch == zombie.sources[0].epoch
    assert void.id not in {f.event.id for f in valid(world)}
    written = len(of_source(world))
    zombie.keeper.write(dict.fromkeys((OUTPUT, "trade.signal.safe/1"), 1 << 40))
    zombie.log.flush()
    assert len(of_source(world)) == written + 1, "it says it saw no fence"
    assert newest(world)["id"] == void.id
    assert restored(world)[NAME] == expected
    restart(world)


def test_a_snapshot_waits_until_its_checkpoint_was_read_back_without_a_fence(world: World) -> None:
    process = world.live["risk"][0]
    for _ in range(2):
        process.shell.checkpoint(100.0)
    assert process.shell.keeper.waiting
    written = len(of_source(world))
    while process.log.deliver():
        pass
    process.shell.checkpoint(100.0)
    assert len(of_source(world)) == written
    assert not process.fenced()
    while process.log.deliver():
        pass
    assert len(of_source(world)) == written + 1


def test_a_worker_that_is_fenced_first_writes_none(world: World) -> None:
    process = world.live["risk"][0]
    process.shell.checkpoint(100.0)
    restart(world).log.flush()
    written = len(of_source(world))
    process.log.flush()
    assert process.fenced()
    process.log.flush()
    assert len(of_source(world)) == written


def test_a_snapshot_is_due_by_inputs_or_by_time_with_news_and_never_too_often() -> None:
    shell = Shell("risk", PARTITIONS, MemoryLog(World().broker), IDENTITY, every=Every(100, 60, 10))
    source = rebuilt("risk", 0)
    keeper = shell.keeper
    assert keeper.due([source], 0.0) is None
    source.positions["clock/0"] = 9
    assert keeper.due([source], 70.0) is None
    source.positions["clock/0"] = 10
    assert keeper.due([source], 59.0) is None
    assert keeper.due([source], 60.0) is source
    source.positions["clock/0"] = 100
    assert keeper.due([source], 1.0) is source
    keeper.paces.kept[NAME].cost_s = 0.05
    assert keeper.due([source], 49.0) is None, "at most a thousandth of the time"
    assert keeper.due([source], 50.0) is source


def test_snapshots_are_a_topic_of_their_own_that_forgets() -> None:
    topic = TOPICS["snapshots"]
    assert 0 < topic.retention_ms < 30 * 86_400_000
    assert 0 < topic.retention_bytes <= 1 << 28, "however often states are kept"
    assert EVERY.inputs == 1, "the exhaustive crash tests run with a snapshot at every look"
