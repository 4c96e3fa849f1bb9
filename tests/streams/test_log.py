"""The contract of streams.log.Log, on the log in memory and on the real broker."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from commands import topics_apply
from runtime.kafka import EmbeddedKafka
from streams.kafka_log import KafkaLog
from streams.log import Incoming, Log
from streams.simulated.broker import Broker, MemoryLog

KEY, OTHER, THIRD = "trade.signal.safe/3", "trade.order/3", "trade.order/4"
Writers = Callable[[], Log]


@pytest.fixture(params=["memory", "broker"])
def writers(request: pytest.FixtureRequest) -> Iterator[Writers]:
    """Makes logs of processes that share one broker."""
    if request.param == "memory":
        broker = Broker()
        yield lambda: MemoryLog(broker)
        return
    kafka: EmbeddedKafka = request.getfixturevalue("kafka")
    topics_apply.apply(kafka.bootstrap)
    made: list[KafkaLog] = []

    def make() -> Log:
        made.append(KafkaLog(kafka.bootstrap, f"contract-{len(made)}"))
        return made[-1]

    yield make
    for log in made:
        log.close()


def append(log: Log, key: str, *values: bytes) -> list[int]:
    """Where each value lies. Two threads serve deliveries while a log is flushed, so who is told
    first is not promised."""
    landed: dict[int, int] = {}
    for nth, value in enumerate(values):
        log.append(key, value, "main", partial(landed.__setitem__, nth))
    log.flush()
    return [landed[nth] for nth in range(len(values))]


def since(log: Log, starts: dict[str, int]) -> list[Incoming]:
    return list(log.read({key: (start, log.end(key)) for key, start in starts.items()}))


def test_appends_keep_their_order_and_say_where_they_lie(writers: Writers) -> None:
    log = writers()
    start = log.end(KEY)
    landed = append(log, KEY, *(b"%d" % n for n in range(300)))
    assert landed == list(range(start, start + 300))
    assert log.end(KEY) == start + 300
    assert [r.raw for r in since(log, {KEY: start})] == [b"%d" % n for n in range(300)]


def test_a_record_comes_back_as_it_was_written(writers: Writers) -> None:
    log = writers()
    start = log.end(KEY)
    append(log, KEY, b'{"a":1}')
    (record,) = since(log, {KEY: start})
    assert (record.key, record.offset) == (KEY, start)
    assert (record.message_key, record.raw) == (b"main", b'{"a":1}')
    assert record.timestamp_ms > 1_600_000_000_000


def test_the_log_gives_times_that_never_go_back_within_a_partition(writers: Writers) -> None:
    log = writers()
    start = log.end(KEY)
    append(log, KEY, *[b"x"] * 50)
    times = [record.timestamp_ms for record in since(log, {KEY: start})]
    assert times == sorted(times)


def test_several_partitions_are_read_at_once_each_in_order(writers: Writers) -> None:
    log = writers()
    starts = {key: log.end(key) for key in (KEY, OTHER, THIRD)}
    for key in starts:
        append(log, key, *(key.encode() + b" %d" % n for n in range(40)))
    found = since(log, starts)
    assert len(found) == 120
    for key, start in starts.items():
        assert [r.offset for r in found if r.key == key] == list(range(start, start + 40))
        assert all(r.raw and r.raw.startswith(key.encode()) for r in found if r.key == key)


def test_a_range_ends_before_its_end_and_an_empty_one_gives_nothing(writers: Writers) -> None:
    log = writers()
    start = log.end(KEY)
    append(log, KEY, b"0", b"1", b"2", b"3")
    spans = {KEY: (start + 1, start + 3), OTHER: (log.end(OTHER), log.end(OTHER))}
    assert [r.raw for r in log.read(spans)] == [b"1", b"2"]
    assert list(log.read({})) == []


def test_nothing_is_delivered_twice_and_flush_waits_for_all(writers: Writers) -> None:
    log = writers()
    landed: dict[int, list[int]] = {n: [] for n in range(100)}
    for n in range(100):
        log.append((KEY, OTHER)[n % 2], b"%d" % n, "main", landed[n].append)
    log.flush()
    assert all(len(offsets) == 1 for offsets in landed.values())


def test_what_one_process_wrote_another_reads_at_once(writers: Writers) -> None:
    one, two = writers(), writers()
    start = two.end(KEY)
    append(one, KEY, b"one")
    append(two, KEY, b"two")
    assert [r.raw for r in since(one, {KEY: start})] == [b"one", b"two"]
    assert one.end(KEY) == two.end(KEY) == start + 2


def test_reading_again_after_stopping_early_starts_where_it_is_told(writers: Writers) -> None:
    log = writers()
    start = log.end(KEY)
    append(log, KEY, *(b"%d" % n for n in range(20)))
    first = next(iter(log.read({KEY: (start, start + 20)})))
    assert first.raw == b"0"
    assert [r.raw for r in since(log, {KEY: start + 18})] == [b"18", b"19"]


def test_a_dead_letter_does_not_touch_the_partition_it_came_from(writers: Writers) -> None:
    log = writers()
    start = log.end(KEY)
    append(log, KEY, b"{nope")
    (record,) = since(log, {KEY: start})
    log.dead_letter("risk", record, "not JSON")
    log.flush()
    assert log.end(KEY) == start + 1
