"""The gateway's log over an outage: afterwards the log is as if nothing had happened (SAFE-7).

Method: a log in memory whose broker goes away with appends waiting, on the wire, landed without an
acknowledgement, refused by the producer; hypothesis mixes all of them.
"""

import errno
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.buffer_folder import BufferFolder
from streams.buffered_log import BufferDamagedError, BufferedLog
from streams.log import Incoming
from streams.simulated.broker import Broker
from tests.streams.failing import FailingMemoryLog

KEY, OTHER, CONTROL, REQUEST = (
    "trade.execution.res/0", "trade.execution.res/1", "control/0", "venue.request/0",
)  # fmt: skip


class World:
    """A buffered log, what was delivered of it, and its time."""

    def __init__(self, folder: Path, spare_bytes: int = 0) -> None:
        self.now = 0.0
        self.broker = Broker()
        self.inner = FailingMemoryLog(self.broker)
        self.buffer = BufferFolder(folder, {}, rotate_bytes=2_000, spare_bytes=spare_bytes or 1)
        self.log = BufferedLog(self.inner, self.buffer, clock=lambda: self.now)
        self.log.ends([KEY, OTHER])
        self.count: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self.offsets: list[int] = []

    def append(self, key: str = KEY, number: int = 1) -> None:
        for _ in range(number):
            self.count[key] += 1

            def delivered(offset: int, key: str = key) -> None:
                self.settled[key] += 1
                self.offsets.append(offset)

            self.log.append(key, b"%d" % self.count[key], "main", delivered)

    def deliver(self) -> None:
        while self.inner.deliver():
            pass

    def outage(self) -> None:
        """The broker goes away, and that is noticed."""
        self.inner.away = True
        self.later()
        assert self.log.away

    def later(self) -> None:
        self.now += 6
        self.log.look()

    def back(self) -> None:
        """The broker answers again; everything comes to rest."""
        self.inner.away = False
        for _ in range(20):
            self.deliver()
            if self.log.drain():
                break
        self.deliver()
        assert not self.log.held

    def there(self, key: str = KEY) -> list[int]:
        return [int(r.raw or b"0") for r in self.broker.partitions.get(key, ())]

    def wanted(self, key: str = KEY) -> list[int]:
        return list(range(1, self.count[key] + 1))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.buffer.close()


def test_what_is_written_while_kafka_is_away_comes_after_what_waited_each_once(
    world: World,
) -> None:
    world.append(number=3)
    world.deliver()
    world.append(number=2)
    world.outage()
    world.append(number=100)
    assert world.there() == [1, 2, 3], "nothing is there yet"
    assert world.log.waiting() == 102
    world.append(OTHER, number=2)
    world.back()
    world.append()
    world.deliver()
    assert world.there() == world.wanted()
    assert world.there(OTHER) == [1, 2]
    assert world.settled == world.count, "everybody was told, once"
    assert list(world.buffer.folder.glob("*.jsonl")) == []


def test_who_takes_sources_over_waits_until_the_buffer_is_in_the_log(world: World) -> None:
    assert world.log.wait_until_straight(0)
    world.append()
    world.outage()
    assert not world.log.wait_until_straight(0.01)
    world.inner.away = False
    waiting = threading.Thread(target=world.log.wait_until_straight, args=(60,))
    waiting.start()
    world.back()
    waiting.join(10)
    assert not waiting.is_alive()
    assert world.there() == [1]


def test_what_was_on_the_wire_is_brought_by_the_producer_and_not_again(world: World) -> None:
    world.inner.wire = 2
    world.append(number=4)
    world.outage()
    world.append()
    assert not world.log.drain()
    world.back()
    assert world.there() == world.wanted()
    assert world.settled == world.count


@pytest.mark.parametrize("landed", [True, False])
def test_what_landed_without_an_acknowledgement_is_not_written_twice(
    world: World, landed: bool
) -> None:
    world.inner.wire = 2
    world.append(number=2)
    world.outage()
    world.inner.lose_the_wire(landed=landed)
    world.append(number=2)
    world.back()
    assert world.there() == world.wanted()
    assert world.settled == world.count
    assert world.offsets == [0, 1, 2, 3]


def test_an_outage_in_the_middle_of_the_way_back_changes_nothing(world: World) -> None:
    world.append()
    world.outage()
    world.append(number=30)
    world.inner.away = False
    world.inner.breaks_after = 10
    assert not world.log.drain()
    assert world.log.held
    world.inner.breaks_after = -1
    world.append(number=3)
    world.inner.lose_the_wire(landed=False)
    world.back()
    assert world.there() == world.wanted()
    assert world.settled == world.count


def test_lines_that_the_producer_still_has_are_awaited_and_not_handed_to_it_again(
    world: World,
) -> None:
    """As on a machine so busy that the producer answers later than anybody waits."""
    world.append()
    world.outage()
    world.append(number=4)
    flush, world.inner.away = world.inner.flush, False

    def late() -> None:
        raise ConnectionError("not acknowledged in time")

    world.inner.flush = late  # type: ignore[method-assign]
    assert not world.log.drain()
    world.inner.flush = flush  # type: ignore[method-assign]
    assert not world.log.drain(), "they are on their way"
    world.back()
    assert world.there() == world.wanted()
    assert world.settled == world.count


def test_what_is_written_while_the_buffer_is_drained_follows_it(world: World) -> None:
    world.append()
    world.outage()
    more, flush = [2, 3], world.inner.flush

    def flushing() -> None:
        flush()
        if more:
            world.append(number=more.pop())

    world.inner.flush = flushing  # type: ignore[method-assign]
    world.back()
    assert more == []
    assert world.there() == world.wanted()
    assert world.settled == world.count


def test_a_record_that_the_producer_refuses_is_kept_and_those_behind_it_follow(
    world: World,
) -> None:
    world.append(number=3)
    world.inner.purge()
    assert world.log.held
    world.append()
    world.back()
    assert world.there() == world.wanted()


def test_requests_to_the_venue_and_progress_are_never_kept(world: World) -> None:
    world.append(REQUEST, number=2)
    world.log.note("progress", b"{}", "gateway")
    world.outage()
    assert world.settled[REQUEST] == 2, "given up: a late request is worth nothing"
    world.log.note("progress", b"{}", "gateway")
    world.log.note("control", b"7", "gateway")
    world.back()
    assert world.there(REQUEST) == []
    assert world.there("progress/0") == []
    assert world.there(CONTROL) == [7], "what people are to know is kept"


def test_a_record_to_be_kept_is_on_the_disk_at_once_and_in_the_log_soon(world: World) -> None:
    world.append()
    assert world.log.keep(CONTROL, b"5", "main")
    assert [line.raw for line in world.buffer.lines(CONTROL, 0)] == [b"5"]  # type: ignore[union-attr]
    world.append()
    world.back()
    assert world.there(CONTROL) == [5]
    assert world.there() == world.wanted()


def test_without_kafka_and_without_space_records_wait_in_order_and_none_is_said_to_be_safe(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.append()
    world.outage()
    append = BufferFolder.append

    def full(_self: BufferFolder, _key: str, _raw: bytes, _message_key: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BufferFolder, "append", full)
    world.append(number=3)
    assert not world.log.keep(CONTROL, b"5", "main"), "a close that is not safe does not leave"
    with pytest.raises(ConnectionError, match="no place on the disk"):
        world.log.flush()
    monkeypatch.setattr(BufferFolder, "append", append)
    world.log.look()
    world.log.flush()
    assert world.log.keep(CONTROL, b"5", "main")
    world.back()
    assert world.there() == world.wanted()
    assert world.there(CONTROL) == [5]


def test_a_fence_by_another_process_ends_the_way_back_before_anything_is_written(
    world: World,
) -> None:
    ended: list[bool] = []

    def fence(record: Incoming) -> bool:
        return record.raw == b"99"

    world.log.fenced, world.log.on_fenced = fence, lambda: ended.append(True)
    world.append()
    world.deliver()
    world.append()
    world.outage()
    world.append()
    other = FailingMemoryLog(world.broker)
    other.append(KEY, b"99", "main", lambda _offset: None)
    other.deliver()
    world.inner.away = False
    assert not world.log.drain()
    assert ended == [True]
    assert world.there() == [1, 99], "never under its own sequence"
    assert world.log.waiting() == 2, "what it held is still on the disk, for the other one"


def test_a_damaged_buffer_ends_the_process_instead_of_leaving_a_gap(world: World) -> None:
    world.append()
    world.outage()
    world.append(number=3)
    (path,) = world.buffer.folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"value":2', b'"value":9'))
    world.inner.away = False
    with pytest.raises(BufferDamagedError, match="checksum"):
        world.back()
    assert world.there() in ([], [1])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    actions=st.lists(
        st.sampled_from(["append", "other", "keep", "deliver", "away", "later", "back", "drain",
                         "lost", "landed", "wire", "request"]),
        max_size=40,
    )
)  # fmt: skip
def test_whatever_happens_the_log_is_as_if_nothing_had(
    actions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.mktemp("buffer"))
    for action in actions:
        if action == "append":
            world.append(number=3)
        elif action == "other":
            world.append(OTHER)
        elif action == "request" and not world.log.away:
            world.append(REQUEST)
        elif action == "keep":
            world.count[CONTROL] += 1
            assert world.log.keep(CONTROL, b"%d" % world.count[CONTROL], "main")
        elif action == "deliver":
            world.deliver()
        elif action == "away":
            world.inner.away = True
        elif action == "later":
            world.later()
        elif action == "back":
            world.inner.away = False
        elif action == "drain":
            world.log.drain()
        elif action in {"lost", "landed"}:
            world.inner.lose_the_wire(landed=action == "landed")
        elif action == "wire":
            world.inner.wire = 1 - world.inner.wire
    world.later()
    world.back()
    for key in (KEY, OTHER, CONTROL):
        assert world.there(key) == world.wanted(key)
    told = Counter({k: n for k, n in world.count.items() if k != CONTROL})
    assert world.settled == told
    assert world.log.waiting() == 0
    world.buffer.close()
