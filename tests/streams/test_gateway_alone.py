"""The gateway without Kafka (SAFE-7): nothing is lost, no entry leaves, exits do.

Goal: what the venue says during an outage stands in the log afterwards as if there had been none,
whether the gateway lives through it, is killed in it, or is fenced meanwhile.
Method: the in-memory system with a venue that is reached without Kafka.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replay.simulator.script import BTC, Script
from runtime.halt_file import Halt
from schemas.codec import encode
from schemas.halting import HaltClosed
from schemas.ids import natural_id
from schemas.trade import Ended, ExecutionData, ExecutionReported, Filled, Unknown
from schemas.venue import VenueEnded, VenueRequested
from streams.log import Delivered
from tests.streams.alone_world import AloneWorld
from tests.streams.crash_checks import valid
from tests.streams.crash_scenario import ALPHA, HOT
from tests.streams.test_halt import items, open_in

FLATTEN = Halt("flatten", "ann", "kafka is away", "2026-11-21T18:00:00Z", "k1")


def opened(folder: Path) -> tuple[AloneWorld, Script]:
    """Two accounts on one partition, each with a long position, its stop and its target."""
    world, script = AloneWorld(folder), Script()
    world.feeds(script.instruments(), script.warm_up("40000", "1"), script.price("40000"))
    world.feeds(script.tick())
    for account in (ALPHA, HOT):
        world.feed(*script.policy(account, 0, cooldown_s=0))
    for account in (ALPHA, HOT):
        world.publish(*script.signal(account, "BUY"))
    world.settle()
    world.feeds(script.price("40010"), script.tick())
    assert all(open_in(world, name) for name in (ALPHA, HOT))
    return world, script


def stopped_out(world: AloneWorld, script: Script) -> None:
    """A fall through both stops, seen by the venue alone if Kafka is away."""
    world.feeds(script.price("39000"), script.price("38900"))


def on_disk(world: AloneWorld) -> int:
    return len(list(world.folder.rglob("*.jsonl")))


def once(world: AloneWorld) -> None:
    """Nothing is said twice, nothing is missing, nothing is left on the disk."""
    world.gateway.checkpoint(0.0)
    for account in (ALPHA, HOT):
        assert open_in(world, account) == {}
        ids = Counter(item.id for item in items(world, account, object))
        assert set(ids.values()) == {1}
    assert on_disk(world) == 0


def test_after_an_outage_the_log_is_as_if_there_had_been_none(tmp_path: Path) -> None:
    calm, script = opened(tmp_path / "calm")
    stopped_out(calm, script)
    world, script = opened(tmp_path / "outage")
    before = len(world.reports())
    world.outage()
    stopped_out(world, script)
    assert len(world.reports()) == before
    assert on_disk(world) == 1
    assert world.log.waiting() > 0
    world.back()
    once(world)
    # the targets of what was stopped out are cancelled once execution reads of it, so later
    assert [r[2:3] + r[4:] for r in world.reports()] == [r[2:3] + r[4:] for r in calm.reports()]
    fills = [r for r in world.reports() if '"filled"' in r[4]]
    assert fills == [r for r in calm.reports() if '"filled"' in r[4]]


def test_no_entry_leaves_while_kafka_is_away_and_those_that_wait_leave_afterwards(
    tmp_path: Path,
) -> None:
    world, script = AloneWorld(tmp_path), Script()
    world.feeds(script.instruments(), script.warm_up("40000", "1"), script.price("40000"))
    world.feeds(script.tick())
    world.feed(*script.policy(ALPHA, 0, cooldown_s=0))
    world.publish(*script.signal(ALPHA, "BUY"))
    for _ in range(4):
        for name in ("control", "signals", "risk", "execution"):
            world.live[name][0].turn()
    while world.live["gateway"][0]._take():
        pass
    world.outage()
    for _ in range(5):
        world.gateway.pump()
        world.wall_us += 1_000_000
    assert world.venue.offsets["/venue/0 venue.request/0"] == 1, "the deposit, long before"
    world.back()
    assert items(world, ALPHA, Filled)


def test_flatten_closes_without_kafka_and_what_it_closed_is_on_the_disk_before_it_leaves(
    tmp_path: Path,
) -> None:
    world, script = opened(tmp_path)
    world.outage()
    kept: list[int] = []
    send = world.venue.send

    def sending(request: VenueRequested, partition: int, arrived: Delivered | None = None) -> None:
        kept.append(world.log.buffer.last("control/0"))
        send(request, partition, arrived)

    world.venue.send = sending  # type: ignore[method-assign]
    world.gateway.stops.halt = lambda: FLATTEN
    settled(world, lambda: world.gateway.gateways[0].second.left == [])
    assert kept[0] < kept[-1], "a reading leaves before there is anything to close, a close behind"
    assert open_in(world, ALPHA), "nobody but the venue and the gateway know"
    world.back()
    closes = [found.event for found in valid(world) if isinstance(found.event, HaltClosed)]
    assert sorted(event.partitionkey for event in closes) == [ALPHA, HOT]
    world.gateway.stops.halt = lambda: None
    settled(world, lambda: not world.gateway.unresolved())
    for _ in range(2):
        world.feeds(script.price("40020"), script.tick())
    once(world)


def settled(world: AloneWorld, true: Callable[[], bool]) -> None:
    for _ in range(40):
        world.settle()
        if true():
            return
        world.wall_us += 1_000_000
    raise AssertionError("it did not become so")


def test_a_close_that_finds_no_place_on_the_disk_does_not_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = opened(tmp_path)
    world.outage()
    sent: list[str] = []
    send = world.venue.send

    def sending(request: VenueRequested, partition: int, arrived: Delivered | None = None) -> None:
        sent.append(request.data.request.kind)
        send(request, partition, arrived)

    world.venue.send = sending  # type: ignore[method-assign]
    monkeypatch.setattr(world.log, "keep", lambda *_: False)
    world.gateway.stops.halt = lambda: FLATTEN
    for _ in range(3):
        world.settle()
        world.wall_us += 1_000_000
    assert set(sent) == {"read_account"}
    monkeypatch.undo()
    settled(world, lambda: world.gateway.gateways[0].second.left == [])
    assert "place" in sent


def test_a_stop_that_fails_while_kafka_is_away_closes_its_position(tmp_path: Path) -> None:
    world, script = opened(tmp_path)
    world.outage()
    dropped(world, script)
    second = world.gateway.gateways[0].second
    settled(world, lambda: second.busy and second.left == [])
    world.back()
    assert open_in(world, ALPHA) == {}
    assert open_in(world, HOT), "the other account has its stop"
    assert [end.status for end in items(world, ALPHA, Ended)].count("EXPIRED") >= 1


def dropped(world: AloneWorld, script: Script) -> None:
    """The venue drops a stop of ALPHA."""
    stops = world.gateway.gateways[0].core.unguarded.stops()
    stop = next(live for live in stops.values() if live.account == ALPHA)
    ended = VenueEnded(
        client_order_id=stop.order.client_order_id, symbol=BTC, status="EXPIRED",
        filled_quantity="0", why="the venue dropped it",
    )  # fmt: skip
    world.venue.says(ALPHA, ended, script.us)


def sent(world: AloneWorld) -> list[str]:
    """What leaves from now on: kinds of requests, and types of orders."""
    found: list[str] = []
    send = world.venue.send

    def sending(request: VenueRequested, partition: int, arrived: Delivered | None = None) -> None:
        about = request.data.request
        found.append(getattr(about, "order_type", about.kind))
        send(request, partition, arrived)

    world.venue.send = sending  # type: ignore[method-assign]
    return found


def waited(world: AloneWorld, seconds: int) -> None:
    for _ in range(seconds):
        world.now_s += 1
        world.wall_us += 1_000_000
        world.settle()


def test_a_stop_that_failed_before_the_outage_was_noticed_closes_its_position(
    tmp_path: Path,
) -> None:
    world, script = opened(tmp_path)
    leaving = sent(world)
    world.kafka_away = world.inner.away = True
    dropped(world, script)
    waited(world, 3)
    assert (world.gateway.figures()["away"], leaving) == (0, [])
    waited(world, 8)
    assert (world.gateway.figures()["away"], leaving.count("MARKET")) == (1, 1)
    world.back()
    assert open_in(world, ALPHA) == {}
    assert open_in(world, HOT)


def test_a_stop_that_failed_long_before_an_outage_is_not_the_gateways_any_more(
    tmp_path: Path,
) -> None:
    world, script = opened(tmp_path)
    leaving = sent(world)
    dropped(world, script)
    waited(world, 20)  # execution has closed the position itself
    assert open_in(world, ALPHA) == {}
    leaving.clear()
    world.outage()
    waited(world, 10)
    assert leaving == []


def test_an_entry_that_is_filled_without_kafka_is_closed_after_two_seconds(tmp_path: Path) -> None:
    """Nobody places its stop (DEFINITIONS 5)."""
    world, script = AloneWorld(tmp_path), Script()
    world.feeds(script.instruments(), script.warm_up("40000", "1"), script.price("40000"))
    world.feeds(script.tick())
    world.feed(*script.policy(ALPHA, 0, cooldown_s=0))
    world.publish(*script.intent(ALPHA, "BUY", BTC, "39900"))
    world.settle()
    world.feeds(script.price("39990"), script.tick())
    leaving = sent(world)
    world.outage()
    world.feeds(script.price("39800"), script.price("39700"))
    waited(world, 1)
    assert leaving == []
    waited(world, 10)
    assert leaving.count("MARKET") == 1
    second = world.gateway.gateways[0].second
    assert second.busy
    assert second.left == []
    world.back()
    assert open_in(world, ALPHA) == {}


def test_under_halt_all_nothing_leaves_and_what_has_no_stop_is_closed_once_it_is_lifted(
    tmp_path: Path,
) -> None:
    world, script = opened(tmp_path)
    world.gateway.stops.halt = lambda: Halt("all", "ann", "gone mad", FLATTEN.at, "k2")
    leaving = sent(world)
    world.outage()
    dropped(world, script)
    waited(world, 10)
    assert leaving == []
    world.gateway.stops.halt = lambda: None
    waited(world, 10)
    assert leaving.count("MARKET") == 1


def test_flatten_with_a_full_disk_closes_once_the_log_has_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = opened(tmp_path)
    leaving = sent(world)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.log.buffer, "append", full)
    world.gateway.stops.halt = lambda: FLATTEN
    second = world.gateway.gateways[0].second
    settled(world, lambda: second.busy and second.left == [])
    assert leaving.count("MARKET") == 2
    closes = [found.event for found in valid(world) if isinstance(found.event, HaltClosed)]
    assert sorted(event.partitionkey for event in closes) == [ALPHA, HOT], "each once"


@pytest.mark.parametrize("again", [False, True])
def test_a_gateway_that_is_killed_in_an_outage_leaves_its_buffer_to_the_next(
    tmp_path: Path, again: bool
) -> None:
    world, script = opened(tmp_path)
    calm, calmly = opened(tmp_path.parent / f"{tmp_path.name}-calm")
    stopped_out(calm, calmly)
    world.outage()
    stopped_out(world, script)
    world.kill_the_gateway()
    (file,) = world.folder.rglob("*.jsonl")
    if again:
        file.write_bytes(file.read_bytes() + b'{"crc32":"0')  # it was writing
    world.kafka_away = False
    world.begin("gateway")
    world.settle()
    once(world)
    assert [r[4] for r in world.reports()] == [r[4] for r in calm.reports()]
    assert bool(list(world.folder.rglob("*.torn"))) is again


def test_a_gateway_that_was_fenced_leaves_its_buffer_and_writes_nothing_of_it(
    tmp_path: Path,
) -> None:
    world, script = opened(tmp_path)
    world.outage()
    stopped_out(world, script)
    old, log = world.gateway, world.log
    ended: list[bool] = []
    log.fenced, log.on_fenced = old.fenced, lambda: ended.append(True)
    world.live["gateway"].clear()  # paused; another one takes over
    world.kafka_away = False
    world.begin("gateway")
    assert on_disk(world) == 1, "it is not touched while its process lives"
    ends = {key: world.broker.end(key) for key in world.broker.partitions}
    log.inner.away = False  # type: ignore[attr-defined]
    assert not log.drain()
    assert ended == [True]
    assert {key: world.broker.end(key) for key in world.broker.partitions} == ends
    log.buffer.release()
    world.gateway.checkpoint(0.0)
    world.settle()
    once(world)


def test_what_a_process_said_on_its_own_account_is_not_taken_from_its_buffer(
    tmp_path: Path,
) -> None:
    """A gateway that was taken over without noticing had a stop on its disk as never sent, which
    the other had sent long since. Found by the simulator (seed 1443, November 2026)."""
    world, _ = opened(tmp_path)
    source = world.gateway.gateways[0]
    stop = next(iter(source.core.unguarded.stops().values()))
    about: dict[str, Any] = {
        "order_id": stop.order.id,
        "client_order_id": stop.order.client_order_id,
        "symbol": stop.order.symbol,
    }
    words: list[Any] = [
        Ended(id=natural_id("x", status), status=status, filled_quantity="0", **about)
        for status in ("NEVER_SENT", "EXPIRED")
    ]
    words.append(Unknown(id=natural_id("x", "unknown"), attempt=0, **about))
    fact = Ended(id=natural_id("x", "fact"), status="CANCELED", filled_quantity="0", **about)

    def buffered(*items: Any) -> bytes:
        data = ExecutionData(items=items)
        return encode(source.core.record(data, stop.account, None, None, 7, 1))

    for word in words:
        assert source.offered(buffered(word)) is None
    taken = source.offered(buffered(*words, fact))
    assert isinstance(taken, ExecutionReported)
    assert taken.data.items == (fact,)


def test_an_order_that_rests_is_asked_about_where_a_buffer_says_that_it_ended(
    tmp_path: Path,
) -> None:
    """The venue may have said so, or nobody: what is known there is in the log in the end, and the
    buffer stays until then."""
    world, _ = opened(tmp_path)
    world.settle()
    source = world.gateway.gateways[0]
    stop = next(iter(source.core.unguarded.stops().values()))
    end = Ended(
        id=natural_id("x", "end"),
        status="EXPIRED",
        filled_quantity="0",
        order_id=stop.order.id,
        client_order_id=stop.order.client_order_id,
        symbol=stop.order.symbol,
    )
    record = source.core.record(ExecutionData(items=(end,)), stop.account, None, None, 7, 1)
    assert world.gateway.unresolved() == 0
    assert source.offered(encode(record)) is None
    assert source.doubts(encode(record))
    assert world.gateway.unresolved() == 1
    world.settle()
    assert not source.doubts(encode(record)), "it rests, as the venue says"
    assert stop.order.id in source.core.unguarded.stops()
    assert world.gateway.unresolved() == 0
