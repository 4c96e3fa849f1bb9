"""The one shell: causal delivery, refused bytes, halted accounts, checkpoints, progress."""

from typing import Any

import pytest

from domain.risk import Risk
from replay.simulator.script import Script
from schemas.codec import decode, encode
from schemas.control import AccountResume, AccountResumeData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.sources import SourceCheckpointed, SourceFenced, SourceHalted, SourceSkipped
from schemas.trade import SignalJudged
from schemas.validity import SequenceGap
from streams.log import Incoming
from streams.paces import CHECKPOINT_INPUTS, CHECKPOINT_S
from streams.recovery import Identity
from streams.shell import Shell
from streams.simulated.broker import Broker, InFlight, MemoryLog, ignored
from tests.streams.crash_checks import valid
from tests.streams.crash_runs import reference
from tests.streams.crash_scenario import ALPHA, HOT, MAIN, PARTITIONS, scenario
from tests.streams.crash_world import World

RESULTS = "trade.execution.res/0"
SIGNALS, VERDICTS, ORDERS = "trade.signal.v5/0", "trade.signal.safe/0", "trade.order/0"
MARKET, CONTROL = "market/0", "control/0"


class Bench:
    """One processor's shell on a log that the test writes."""

    def __init__(self, processor: str, **more: Any) -> None:
        self.broker = Broker()
        self.log = MemoryLog(self.broker)
        self.shell = Shell(processor, PARTITIONS, self.log, Identity("b", "c"), **more)
        self.shell.acquire(range(1 if processor == "control" else PARTITIONS))

    def put(self, key: str, raw: bytes, message_key: str) -> Incoming:
        offset = self.broker.place(InFlight(key, raw, message_key, ignored))
        record = self.broker.partitions[key][offset]
        self.shell.receive(record)
        return record

    def feed(self, topic: str, event: Envelope, key: str = "") -> None:
        self.put(key or f"{topic}/0", encode(event), event.partitionkey)

    def written(self, key: str) -> list[Envelope]:
        """What the shell wrote there, without fences."""
        self.log.flush()
        found = [decode(record.raw) for record in self.broker.partitions.get(key, [])]
        return [event for event in found if not isinstance(event, SourceFenced)]


def past() -> dict[str, list[Incoming]]:
    """Partitions of the log up to the first verdict and what it was based on."""
    partitions = World.thawed(reference().frozen[8]).broker.partitions
    basis = decode(partitions[VERDICTS][-1].raw).basis or {}
    return {key: records[: basis.get(key)] for key, records in partitions.items()}


def pass_on(bench: Bench, records: list[Incoming]) -> None:
    for record in records:
        bench.put(record.key, record.raw or b"", (record.message_key or b"").decode())


# ---------------------------------------------------------------- causal delivery


def test_a_verdict_is_not_decided_on_before_the_market_it_was_based_on() -> None:
    log, bench = past(), Bench("execution")
    pass_on(bench, log[CONTROL] + log["clock/0"] + log[RESULTS] + log[VERDICTS])
    assert bench.written(ORDERS) == []
    market = log[MARKET]
    pass_on(bench, market[:-1])
    assert bench.written(ORDERS) == [], "one record of the market is still missing"
    pass_on(bench, market[-1:])
    (order,) = bench.written(ORDERS)
    assert (order.basis or {})[MARKET] == len(market)
    assert order.causationid == decode(log[VERDICTS][-1].raw).id


def test_a_tick_of_a_fed_run_waits_for_the_prices_that_were_published_before_it() -> None:
    """Two partitions of one lane come in any order; an hour's equity would be told at old marks."""
    bench, script = Bench("positions"), Script()
    listed, price, tick = script.instruments(), script.price("40000", 60), script.tick()
    bench.feed(*listed)
    bench.feed(tick[0], tick[1].model_copy(update={"after": {MARKET: 2}}))
    assert bench.shell.position("clock/0") == 0
    bench.feed(*price)
    assert bench.shell.position("clock/0") == 1
    assert bench.shell.dead_letters == 0


def test_records_behind_one_that_waits_keep_their_order_and_none_is_lost() -> None:
    log, bench = past(), Bench("execution")
    pass_on(bench, log[VERDICTS])
    assert bench.shell.position(VERDICTS) == 1, "the fence is folded, the verdict waits"
    now = bench.shell.snapshot()
    assert now is not None
    assert now.unresolved == len(log[VERDICTS]) - 1, "what waits keeps the feed waiting"
    pass_on(bench, log[CONTROL] + log["clock/0"] + log[RESULTS] + log[MARKET])
    assert bench.shell.position(VERDICTS) == len(log[VERDICTS])
    assert len(bench.written(ORDERS)) == len(log[VERDICTS]) - 1


def test_control_never_waits_for_a_lower_lane() -> None:
    log, bench = past(), Bench("execution")
    policies = [decode(record.raw) for record in log[CONTROL]]
    assert any((event.basis or {}).get(MARKET) for event in policies)
    pass_on(bench, log[CONTROL])
    assert bench.shell.position(MARKET) == 0
    assert bench.shell.position(CONTROL) == len(log[CONTROL])
    assert bench.shell.sources[0].slices["control"].accounts.keys() == {ALPHA, HOT, MAIN}


def test_what_was_folded_is_dropped_when_it_comes_again() -> None:
    log, bench = past(), Bench("risk")
    pass_on(bench, log[CONTROL])
    before = bench.shell.sources[0].digest()
    for record in bench.broker.partitions[CONTROL]:
        bench.shell.receive(record)
    assert bench.shell.sources[0].digest() == before


# ---------------------------------------------------------------- what cannot be taken


@pytest.mark.parametrize(
    ("raw", "message_key", "why"),
    [
        (b"{nope", ALPHA, "not JSON"),
        (b"\xff\xfe", ALPHA, "not JSON"),
        (b'{"type":"no.such.v1"}', ALPHA, ""),
        (encode(Script().signal(ALPHA, "BUY")[1]), HOT, "message key"),
        (encode(Script().signal(MAIN, "BUY")[1]), MAIN, "belongs on partition 1"),
    ],
)
def test_what_cannot_be_taken_is_skipped_kept_and_nothing_after_it_is_lost(
    raw: bytes, message_key: str, why: str
) -> None:
    bench = Bench("risk")
    record = bench.put(SIGNALS, raw, message_key)
    bench.feed(*Script().signal(ALPHA, "BUY"))
    note, verdict = bench.written(VERDICTS)
    assert isinstance(note, SourceSkipped)
    assert (note.data.topic, note.data.partition, note.data.offset) == ("trade.signal.v5", 0, 0)
    assert why in note.data.reason
    assert isinstance(verdict, SignalJudged)
    assert bench.broker.dead == [("risk", record, note.data.reason)]
    assert bench.shell.figures()["dead_letters"] == 1


def test_a_request_that_is_not_admitted_is_skipped_without_a_dead_letter() -> None:
    bench = Bench("risk", admits=lambda event: "too late" if event.subject == ALPHA else None)
    bench.feed(*Script().signal(ALPHA, "BUY"))
    bench.feed(*Script().signal(HOT, "BUY"))
    note, verdict = bench.written(VERDICTS)
    assert isinstance(note, SourceSkipped)
    assert note.data.reason == "NOT_ADMITTED: too late"
    assert verdict.partitionkey == HOT
    assert bench.broker.dead == []


def test_a_request_that_comes_twice_is_answered_once_and_counted() -> None:
    bench, (topic, event) = Bench("risk"), Script().signal(ALPHA, "BUY")
    for _ in range(3):
        bench.feed(topic, event)
    assert len(bench.written(VERDICTS)) == 1
    assert bench.shell.figures()["duplicates"] == 2


def test_a_sequence_that_jumps_stops_the_worker() -> None:
    log, bench = past(), Bench("risk")
    own = [r for r in log[CONTROL] if b'"source":"/control/0"' in (r.raw or b"")]
    pass_on(bench, own[:2])
    with pytest.raises(SequenceGap, match="jumped from sequence 1 to 3"):
        pass_on(bench, own[3:4])


def test_an_exception_in_evolve_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench("risk")

    def evolve(*_: object) -> bool:
        raise ArithmeticError("torn")

    monkeypatch.setattr(Risk, "evolve", evolve)
    with pytest.raises(ArithmeticError, match="torn"):
        bench.feed(*Script().signal(ALPHA, "BUY"))
    assert bench.written(VERDICTS) == []


# ---------------------------------------------------------------- halted accounts


def halted_world(monkeypatch: pytest.MonkeyPatch) -> tuple[World, Script]:
    """The scenario up to its policies; then the decision on a signal of alpha fails."""
    world, script = World(), Script()
    for topic, event in list(scenario())[:7]:
        world.feed(topic, event)
    script.count, script.us = 1_000, script.us + 15_000_000
    decide = Risk.decide

    def failing(self: Risk, slices: Any, cause: Envelope, account: str, identity: str) -> Any:
        if account == ALPHA:
            raise ZeroDivisionError("no price to divide by")
        return decide(self, slices, cause, account, identity)

    with monkeypatch.context() as patch:
        patch.setattr(Risk, "decide", failing)
        world.feed(*script.signal(ALPHA, "BUY"))
    return world, script


def reasons(world: World) -> list[tuple[str, str]]:
    verdicts = [f.event for f in valid(world) if isinstance(f.event, SignalJudged)]
    return [(v.partitionkey, str(item.reason)) for v in verdicts for item in v.data.items]


def test_an_exception_in_decide_halts_the_account_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, script = halted_world(monkeypatch)
    (halt,) = [f.event for f in valid(world) if isinstance(f.event, SourceHalted)]
    assert halt.data.account == ALPHA
    assert halt.data.error == "ZeroDivisionError: no price to divide by"
    assert [(p, r.key) for p, r, _ in world.broker.dead] == [("risk", SIGNALS)]
    world.feed(*script.signal(ALPHA, "BUY"))
    world.feed(*script.price("40001"))
    world.feed(*script.signal(HOT, "BUY"))
    world.feed(*script.signal(MAIN, "BUY"))
    (refused, *others) = reasons(world)
    assert refused == (ALPHA, "HALTED")
    assert others == [(HOT, "None"), (MAIN, "None")]
    assert world.live["risk"][0].shell.figures()["halted"] == 1


def test_a_halt_survives_a_restart_and_ends_when_the_account_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, script = halted_world(monkeypatch)
    world.live["risk"].clear()
    world.begin("risk")
    assert world.live["risk"][0].shell.figures()["halted"] == 1
    data = AccountResumeData(processor="risk", operator="anna", reason="mended")
    resume = AccountResume(
        id=natural_id("resume"), source="/person", subject=ALPHA, time=script_time(script),
        partitionkey=ALPHA, data=data,
    )  # fmt: skip
    world.feed("commands.control", resume)
    assert world.live["risk"][0].shell.figures()["halted"] == 0
    world.feed(*script.price("40001"))
    world.feed(*script.signal(ALPHA, "BUY"))
    assert reasons(world) == [(ALPHA, "None")]


def script_time(script: Script) -> str:
    return script.tick()[1].time


def test_a_halt_is_told_to_whoever_wants_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, told = Bench("risk"), []
    bench.shell.on_halt = lambda *what: told.append(what)

    def decide(*_: object) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(Risk, "decide", decide)
    topic, event = Script().signal(ALPHA, "BUY")
    bench.feed(topic, event)
    assert told == [(ALPHA, event.id, "KeyError: 'gone'")]


# ---------------------------------------------------------------- checkpoints and progress


def checkpoints(bench: Bench) -> int:
    return sum(isinstance(event, SourceCheckpointed) for event in bench.written(VERDICTS))


def test_a_checkpoint_is_written_after_some_time_of_inputs_without_a_record() -> None:
    bench, script = Bench("risk"), Script()
    bench.feed(*script.signal(ALPHA, "BUY"))
    bench.shell.checkpoint(1.0)
    bench.feed(*script.tick())
    bench.shell.checkpoint(0.5 + CHECKPOINT_S)
    assert checkpoints(bench) == 0, "too early"
    bench.shell.checkpoint(1.5 + CHECKPOINT_S)
    assert checkpoints(bench) == 1
    bench.shell.checkpoint(9.0 + 2 * CHECKPOINT_S)
    assert checkpoints(bench) == 1, "nothing was folded since"


def test_a_checkpoint_is_written_after_a_thousand_inputs_without_a_record() -> None:
    bench, script = Bench("risk"), Script()
    bench.feed(*script.signal(ALPHA, "BUY"))
    bench.shell.checkpoint(1.0)
    for _ in range(CHECKPOINT_INPUTS):
        bench.feed(*script.tick(1))
    bench.shell.checkpoint(1.0)
    assert checkpoints(bench) == 1


def test_a_source_that_never_wrote_writes_no_checkpoint() -> None:
    bench = Bench("risk")
    for now_s in (0.0, 5 * CHECKPOINT_S):
        bench.feed(*Script().tick())
        bench.shell.checkpoint(now_s)
    assert checkpoints(bench) == 0


def test_there_is_no_snapshot_while_an_append_is_in_flight() -> None:
    bench = Bench("risk")
    idle: list[int] = []
    bench.shell.on_idle = lambda: idle.append(bench.broker.end(VERDICTS))
    bench.feed(*Script().signal(ALPHA, "BUY"))
    assert bench.shell.snapshot() is None
    assert idle == []
    bench.log.flush()
    now = bench.shell.snapshot()
    assert now is not None
    assert idle == [2]
    assert now.ends[VERDICTS] == 2
    assert now.positions[SIGNALS] == 1
    assert now.folded == {"trade.signal.published.v1"}


def test_a_successor_reports_what_its_predecessor_wrote_and_never_reported() -> None:
    log, bench = past(), Bench("execution")
    pass_on(bench, [r for key in (CONTROL, "clock/0", RESULTS, MARKET, VERDICTS) for r in log[key]])
    bench.log.flush()
    written = len(bench.broker.partitions[ORDERS])
    successor = Shell("execution", PARTITIONS, MemoryLog(bench.broker), Identity("b", "c"))
    successor.acquire(range(PARTITIONS))
    told = successor.snapshot()
    assert told is not None
    assert told.ends[ORDERS] == written + 1, "the orders and the fence behind them"


def test_sources_given_up_are_not_written_for_any_more() -> None:
    bench = Bench("risk")
    bench.shell.release([0])
    bench.feed(*Script().signal(ALPHA, "BUY"))
    bench.feed("trade.signal.v5", Script().signal(MAIN, "BUY")[1], key="trade.signal.v5/1")
    assert bench.written(VERDICTS) == []
    assert len(bench.written("trade.signal.safe/1")) == 1
    assert set(bench.shell.outputs()) == {"trade.signal.safe/1"}


def test_what_came_between_giving_a_source_up_and_taking_it_over_again_is_not_lost() -> None:
    bench, script = Bench("risk"), Script()
    bench.shell.release([0])
    first, second = script.signal(ALPHA, "BUY"), script.signal(HOT, "BUY")
    bench.broker.place(InFlight(SIGNALS, encode(first[1]), ALPHA, ignored))
    bench.feed(*second)
    bench.shell.acquire([0])
    assert [event.partitionkey for event in bench.written(VERDICTS)] == [ALPHA, HOT]
