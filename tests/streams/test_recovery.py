"""Fence and restart: who writes, what of the own records is final, where inputs are taken up."""

from pathlib import Path

import pytest

from domain.plain_state import plain
from replay.simulator.found import Found
from replay.simulator.script import Script
from schemas.codec import RecordError, decode, encode
from schemas.envelope import Envelope
from schemas.ids import record_id
from schemas.scalars import EPOCH_TEXT
from schemas.sources import CheckpointData, SourceCheckpointed, SourceFenced, SourceSkipped
from streams import taking
from streams.log import Incoming
from streams.recovery import Identity, fence, fenced_by, recover
from streams.shell import Shell
from streams.simulated.broker import Broker, InFlight, MemoryLog, ignored
from streams.snapshots import Stand
from streams.taking import take
from tests.streams.crash_checks import state, valid
from tests.streams.crash_runs import reference
from tests.streams.crash_scenario import ALPHA, HOT, PARTITIONS
from tests.streams.crash_world import ALL_PURE, NAMES, Process, World, rebuilt

GOLDEN = Path(__file__).parents[2] / "schemas" / "golden"
NAME, OUTPUT = "/risk/0", "trade.signal.safe/0"
IDENTITY = Identity("build", "configuration", {"trade.signal.safe": "id"})


@pytest.fixture
def world() -> World:
    """The whole scenario, at rest."""
    return World.thawed(reference().frozen[-1])


def put(broker: Broker, key: str, raw: bytes, message_key: str = ALPHA) -> Incoming:
    offset = broker.place(InFlight(key, raw, message_key, ignored))
    return broker.partitions[key][offset]


def opening(epoch: int) -> bytes:
    return encode(SourceFenced.opening(NAME, epoch, IDENTITY.data()))


def finals(log: MemoryLog) -> tuple[int, list[Envelope]]:
    epoch, records = fence(log, {NAME: OUTPUT}, IDENTITY)[NAME]
    assert isinstance(records, list)
    return epoch, records


def test_each_start_opens_the_next_epoch_in_its_own_output() -> None:
    broker = Broker()
    for epoch in (1, 2, 3):
        found = fence(MemoryLog(broker), {NAME: OUTPUT}, IDENTITY)
        assert found == {NAME: (epoch, [])}
    written = [decode(record.raw) for record in broker.partitions[OUTPUT]]
    assert [(e.type, e.source, e.epoch) for e in written] == [
        ("source.fenced.v1", NAME, epoch) for epoch in (1, 2, 3)
    ]
    assert isinstance(written[0], SourceFenced)
    assert written[0].data.topic_ids == {"trade.signal.safe": "id"}


@pytest.mark.parametrize("after", range(1, 6))
def test_a_fence_that_another_one_came_before_begins_again(after: int) -> None:
    """Another process fences at each micro-step of ours: the later fence has the higher epoch."""
    broker = Broker()
    put(broker, OUTPUT, opening(1))
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        if steps == after:
            fence(MemoryLog(broker), {NAME: OUTPUT}, IDENTITY)
        return steps

    ((epoch, _),) = fence(MemoryLog(broker, step), {NAME: OUTPUT}, IDENTITY).values()
    epochs = [decode(record.raw).epoch or 0 for record in broker.partitions[OUTPUT]]
    assert epochs.count(epoch) == 1 or epochs.index(epoch) == len(epochs) - 1
    later = epochs[max(n for n, e in enumerate(epochs) if e == epoch) :]
    assert all(e >= epoch for e in later), "whoever fenced last has the highest epoch"


def test_own_records_that_land_before_the_fence_are_final_and_later_ones_void(world: World) -> None:
    old = world.live["risk"][0].shell
    judged = [f for f in valid(world) if f.key == OUTPUT and f.event.source == NAME]
    last = world.broker.partitions[OUTPUT].pop()
    assert last.offset == judged[-1].offset
    log = MemoryLog(world.broker)
    late = InFlight(OUTPUT, last.raw or b"", ALPHA, ignored)
    world.broker.place(late)
    epoch, records = finals(log)
    assert epoch == old.sources[0].epoch + 1
    assert [r.id for r in records] == [f.event.id for f in judged]
    world.broker.place(late)
    again = finals(log)[1]
    assert [r.id for r in again] == [f.event.id for f in judged]


@pytest.mark.parametrize("name", ALL_PURE)
def test_a_restart_stands_at_the_basis_of_its_last_own_record(world: World, name: str) -> None:
    log = MemoryLog(world.broker)
    fresh = [rebuilt(name, n) for n in range(1 if name == "control" else PARTITIONS)]
    own = fence(log, {source.name: source.output for source in fresh}, IDENTITY)
    for recovered in recover(log, fresh, own, PARTITIONS):
        records = own[recovered.source.name][1]
        assert isinstance(records, list)
        expected = (records[-1].basis or {}) if records else dict.fromkeys(recovered.basis, 0)
        assert recovered.source.basis() == (expected or recovered.source.basis())
        assert recovered.source.sequence == len(records)
        assert recovered.source.epoch == own[recovered.source.name][0]


@pytest.mark.parametrize("name", ALL_PURE)
def test_what_a_slice_does_not_fold_changes_nothing_in_it(world: World, name: str) -> None:
    source = world.live[name][0].shell.sources[0]
    samples = [decode(path.read_bytes()[:-1]) for path in sorted(GOLDEN.glob("*.json"))]
    named = {key: kinds for key in source.positions if (kinds := source.changes(key)) is not None}
    for key, kinds in named.items():
        state = source.slices_by_key()[key]
        for event in samples:
            if event.type in kinds or event.type.startswith("source."):
                continue
            about = event.model_copy(update={"partitionkey": ALPHA})
            before = plain(state)
            source.decider.evolve(key.rpartition("/")[0], state, about)
            assert plain(state) == before, f"{name} {key} {event.type}"
    assert named or name in ("venue", "control"), "each other worker reads control"


def test_a_restart_reads_only_envelopes_of_what_it_does_not_fold(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Incoming] = []

    def noted(record: Incoming, partitions: int, *, again: bool = False) -> Envelope:
        decoded.append(record)
        return take(record, partitions, again=again)

    monkeypatch.setattr(taking, "take", noted)
    log = MemoryLog(world.broker)
    fresh = [rebuilt("positions", n) for n in range(PARTITIONS)]
    recover(log, fresh, fence(log, {s.name: s.output for s in fresh}, IDENTITY), PARTITIONS)
    end = max(source.positions["control/0"] for source in fresh)
    control = {r.offset for r in decoded if r.key == "control/0"}
    marked = {
        r.offset
        for r in world.broker.partitions["control/0"]
        if b'"safety.equity.marked.v1"' in (r.raw or b"") and r.offset < end
    }
    assert marked - control, "safety's marks are many, and positions keeps nothing of them"


@pytest.mark.parametrize("name", NAMES)
def test_a_restarted_worker_has_the_state_the_old_one_had(world: World, name: str) -> None:
    old = world.live[name][0].shell
    fresh = Process(world, name)
    fresh.start()
    assert {n: state(s) for n, s in fresh.shell.sources.items()} == {
        n: state(s) for n, s in old.sources.items()
    }
    assert {k: fresh.shell.position(k) for k in fresh.shell.inputs()} == {
        k: world.broker.end(k) for k in fresh.shell.inputs()
    }
    assert not fresh.log.flight or name == "gateway", "nothing was decided again"


def test_a_restart_answers_the_accounts_of_a_fact_that_a_crash_cut_off(world: World) -> None:
    """The venue wrote alpha's report of a price and died before hot's."""
    reports = [f for f in valid(world) if f.key == "venue.report/0"]
    cause = next(
        f.event.causationid
        for f in reports
        if len([g for g in reports if g.event.causationid == f.event.causationid]) > 1
    )
    first, second = (f for f in reports if f.event.causationid == cause)
    broker = Broker(per_ms=world.broker.per_ms)
    for record in world.broker.appends[: world.broker.appends.index(_record(world, second))]:
        put(broker, record.key, record.raw or b"", (record.message_key or b"").decode())
    assert first.event.partitionkey == ALPHA
    log = MemoryLog(broker)
    shell = Shell("venue", PARTITIONS, log, IDENTITY, make=world.source_of_venue)
    shell.acquire(range(PARTITIONS))
    log.flush()
    answers = [decode(r.raw) for r in broker.partitions["venue.report/0"][second.offset :]]
    again = [e for e in answers if not isinstance(e, SourceFenced)]
    assert [(e.id, e.partitionkey) for e in again] == [(second.event.id, HOT)]


def _record(world: World, found: Found) -> Incoming:
    return world.broker.partitions[found.key][found.offset]


def test_a_skipped_input_is_skipped_again_after_a_restart() -> None:
    broker = Broker()
    log = MemoryLog(broker)
    shell = Shell("risk", PARTITIONS, log, IDENTITY)
    shell.acquire([0])
    shell.receive(put(broker, "trade.signal.v5/0", b"{nope"))
    log.flush()
    again = Shell("risk", PARTITIONS, log, IDENTITY)
    again.acquire([0])
    log.flush()
    found = [decode(r.raw) for r in broker.partitions[OUTPUT]]
    assert [type(e) for e in found] == [SourceFenced, SourceSkipped, SourceFenced]
    assert again.sources[0].sequence == 1
    assert again.position("trade.signal.v5/0") == 1
    assert [processor for processor, _, _ in broker.dead] == ["risk"]


def test_a_higher_epoch_of_a_source_of_ours_fences_us_and_nothing_else_does() -> None:
    def record(raw: bytes | None) -> Incoming:
        return Incoming(OUTPUT, 0, 0, b"risk", raw)

    assert fenced_by(record(opening(3)), {NAME: 2})
    assert not fenced_by(record(opening(2)), {NAME: 2}), "our own"
    assert not fenced_by(record(opening(3)), {"/risk/1": 2}), "not one of ours"
    assert not fenced_by(record(b'{"type":"source.fenced.v1"'), {NAME: 2})
    assert not fenced_by(record(None), {NAME: 2})


def _signal() -> tuple[str, Envelope]:
    return Script().signal(ALPHA, "BUY")


@pytest.mark.parametrize(
    ("key", "message_key", "why"),
    [
        ("trade.signal.v5/0", b"hot", "message key b'hot', expected 'alpha'"),
        ("trade.signal.v5/0", None, "message key None"),
        ("trade.signal.v5/1", b"alpha", "alpha belongs on partition 0, not 1"),
    ],
)
def test_a_record_under_a_wrong_key_is_refused(
    key: str, message_key: bytes | None, why: str
) -> None:
    raw = encode(_signal()[1])
    with pytest.raises(RecordError, match=why):
        take(Incoming(key, 0, 0, message_key, raw), PARTITIONS)


def test_people_may_leave_out_what_a_machine_must_not() -> None:
    raw = encode(_signal()[1]).replace(b'"specversion":"1.0",', b"")
    assert take(Incoming("trade.signal.v5/0", 0, 0, b"alpha", raw), PARTITIONS).subject == ALPHA
    with pytest.raises(RecordError):
        take(Incoming("trade.signal.safe/0", 0, 0, b"alpha", raw), PARTITIONS)


def test_sources_that_share_an_output_are_each_read_from_where_they_stand() -> None:
    """Found by the simulator (seeds 55, 84, 117): safety writes to control from every partition.
    One source stood at a snapshot, another did not, and its records up to there were not read."""
    log = MemoryLog(Broker())
    names = {"/safety/0": "control/0", "/safety/1": "control/0"}
    fence(log, names, Identity("a", "a"))
    log.append("control/0", encode(checkpoint("/safety/0", 1)), "safety", ignored)
    log.flush()
    stands = {"/safety/1": Stand(epoch=1, sequence=0, position=log.end("control/0"))}
    opened = fence(log, names, Identity("b", "b"), stands)
    assert {name: epoch for name, (epoch, _) in opened.items()} == {"/safety/0": 2, "/safety/1": 2}
    assert [record.sequence for record in opened["/safety/0"][1]] == [1]  # type: ignore[union-attr]


def checkpoint(source: str, sequence: int) -> SourceCheckpointed:
    """An own record of a source in epoch 1."""
    return SourceCheckpointed(
        id=record_id(source, "safety", str(sequence)),
        source=source,
        subject="safety",
        time=EPOCH_TEXT,
        partitionkey="safety",
        sequence=sequence,
        epoch=1,
        basis={},
        data=CheckpointData(digest="0" * 64),
    )
