"""The file feed on a real broker: behind its barrier, killed and started again, not alone.

The workers are stood in for by one thread that reports, for each of them, that everything in the
log was read: what the feed makes of the reports is what is looked at here.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from replay.simulator.script import Fed, Script
from schemas.codec import decode, encode
from schemas.envelope import Envelope
from schemas.topics import PARTITIONS_EMBEDDED, PROGRESS, partition_of
from streams.feed import Feed
from streams.kafka_log import KafkaLog
from streams.progress import ALL
from streams.report_line import ReportLine
from streams.simulated.broker import ignored
from tests.streams.crash_scenario import ALPHA

FOREIGN = b"{nope"
WATCHED = ("market/0", "clock/0", "commands.control/0")
Feeding = Callable[[str, Path], Feed]
ALPHAS = f"trade.signal.v5/{partition_of(ALPHA, PARTITIONS_EMBEDDED)}"


def report(worker: str, positions: dict[str, int], *, epoch: int = 1) -> dict[str, Any]:
    """What a worker says that has all sources and has written nothing."""
    return {
        "worker": worker, "incarnation": str(epoch), "full": True, "positions": positions,
        "epochs": {str(number): epoch for number in range(8)},
        "ends": {}, "unresolved": 0, "time": "", "line": 0,
    }  # fmt: skip


class KilledError(Exception):
    """The feed dies here."""


@pytest.fixture(scope="module")
def log(empty_kafka: str) -> Iterator[KafkaLog]:
    made = KafkaLog(empty_kafka, "test-feed")
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def workers(empty_kafka: str) -> Iterator[None]:
    """Every worker reports about every 10 ms that it has read everything there is."""
    own = KafkaLog(empty_kafka, "workers")
    over = threading.Event()

    def tell() -> None:
        while not over.wait(0.01):
            positions = {key: own.end(key) for key in (*WATCHED, ALPHAS)}
            for worker in ALL:
                own.note(PROGRESS.name, orjson.dumps(report(worker, positions)), worker)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()
    own.close()


class Run:
    """One run that grows: a feed is always given all of it, from the beginning."""

    def __init__(self) -> None:
        self.script = Script()
        self.records: list[Fed] = [self.script.instruments(), self.script.warm_up("40000", "1")]

    def grow(self, minutes: int = 6) -> list[Fed]:
        """More of it: prices, a tick and a signal each minute."""
        start = len(self.records)
        for minute in range(minutes):
            self.records += [self.script.price(str(40_000 + minute), 60), self.script.tick()]
            self.records.append(self.script.signal(ALPHA, "BUY"))
        return self.records[start:]


@pytest.fixture(scope="module")
def run() -> Run:
    return Run()


@pytest.fixture
def feed() -> Iterator[Feeding]:
    """Makes feeds; their producers end with the test."""
    made: list[Feed] = []

    def make(bootstrap: str, folder: Path) -> Feed:
        made.append(Feed(bootstrap, folder, speed=None, accounts=PARTITIONS_EMBEDDED))
        return made[-1]

    yield make
    for each in made:
        each.log.close()


def dying(fed: list[Fed], after: int) -> Iterator[Fed]:
    yield from fed[:after]
    raise KilledError


def since(log: KafkaLog, key: str, start: int = 0) -> list[Envelope]:
    """Events of a partition that can be decoded."""
    records = log.read({key: (start, log.end(key))})
    return [decode(record.raw) for record in records if record.raw != FOREIGN]


def ids(events: list[Envelope], source: str = "/feed") -> list[str]:
    return [event.id for event in events if event.source == source]


def wanted(fed: list[Fed], topic: str) -> list[str]:
    return [event.id for name, event in fed if name == topic]


def test_workers_that_call_the_feed_are_believed_and_what_they_say_in_kafka_is_not(
    log: KafkaLog, run: Run, feed: Feeding, short_path: Path
) -> None:
    """Here they say nothing else: in Kafka stands what processes before them read."""
    run.grow()
    over = threading.Event()

    def call() -> None:
        lines = {worker: ReportLine(short_path) for worker in ALL}
        while not over.wait(0.002):
            positions = {key: log.end(key) for key in (*WATCHED, ALPHAS)}
            for worker, line in lines.items():
                line.connect()
                line.send(orjson.dumps(report(worker, positions, epoch=2)))
        for line in lines.values():
            line.close()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        feed(log.bootstrap, short_path).run(run.records)
    finally:
        over.set()
        thread.join()
    assert ids(since(log, "market/0")) == wanted(run.records, "market")
    assert not (short_path / "feed.sock").exists()


def test_a_feed_that_is_killed_again_and_again_goes_on_where_its_own_records_end(
    feed: Feeding, empty_kafka: str, log: KafkaLog, run: Run, tmp_path: Path
) -> None:
    run.grow()
    kills = (1, 3, 4, 5, 6, 11, 12)
    for after in kills:
        first = feed(empty_kafka, tmp_path)
        with pytest.raises(KilledError):
            first.run(dying(run.records, after))
    feed(empty_kafka, tmp_path).run(run.records)
    assert ids(since(log, "market/0")) == wanted(run.records, "market")
    assert ids(since(log, "clock/0")) == wanted(run.records, "clock")
    signals = ids(since(log, ALPHAS), "/probe")
    assert list(dict.fromkeys(signals)) == wanted(run.records, "trade.signal.v5")
    assert len(signals) - len(set(signals)) <= len(kills), "what came after the last feed record"


def test_each_tick_names_the_prices_that_lie_before_it(
    feed: Feeding, empty_kafka: str, log: KafkaLog, run: Run, tmp_path: Path
) -> None:
    feed(empty_kafka, tmp_path).run(run.records)
    start = log.end("clock/0"), log.end("market/0")
    new = run.grow(3)
    feed(empty_kafka, tmp_path).run(run.records)
    ticks = since(log, "clock/0", start[0])
    assert [t.id for t in ticks] == wanted(new, "clock")
    assert [t.after for t in ticks] == [{"market/0": start[1] + n} for n in (1, 2, 3)]


def test_the_feed_says_when_it_is_done_and_how_often_it_waited(
    feed: Feeding, empty_kafka: str, log: KafkaLog, run: Run, tmp_path: Path
) -> None:
    feed(empty_kafka, tmp_path).run(run.records)
    new = run.grow()
    feed(empty_kafka, tmp_path).run(run.records)
    said = orjson.loads((tmp_path / "feed.json").read_bytes())
    assert said["done"] is True
    assert said["records"] in (len(new), len(new) + 1), "the last signal may come once more"
    assert said["barriers"] == said["records"] + 1, "one before each record, one at the end"
    assert said["time"] == new[-2][1].time


def test_a_finished_feed_that_is_started_again_publishes_nothing_of_its_own_again(
    feed: Feeding, empty_kafka: str, log: KafkaLog, run: Run, tmp_path: Path
) -> None:
    run.grow(2)
    feed(empty_kafka, tmp_path).run(run.records)
    ends = log.end("market/0"), log.end("clock/0")
    feed(empty_kafka, tmp_path).run(run.records)
    assert (log.end("market/0"), log.end("clock/0")) == ends


def test_somebody_else_who_writes_to_the_market_does_not_break_it(
    feed: Feeding, empty_kafka: str, log: KafkaLog, run: Run, tmp_path: Path
) -> None:
    feed(empty_kafka, tmp_path).run(run.records)
    before = len(run.records)
    run.grow()
    start = log.end("market/0")

    def disturbed() -> Iterator[Fed]:
        for number, fed in enumerate(run.records):
            if number - before in (1, 5, 8):
                intrude(log, FOREIGN if number - before == 5 else None, number)
            yield fed

    feed(empty_kafka, tmp_path).run(disturbed())
    assert ids(since(log, "market/0", start)) == wanted(run.records[before:], "market")
    intrude(log, None, 1)
    end = log.end("market/0")
    feed(empty_kafka, tmp_path).run(run.records)
    assert log.end("market/0") == end, "it finds its own last record behind the stranger's"


def intrude(log: KafkaLog, raw: bytes | None, number: int) -> None:
    foreign = Script()
    foreign.count = 1_000_000 + number
    other = foreign.price("1")[1].model_copy(update={"source": "/stranger"})
    log.append("market/0", raw or encode(other), "market", ignored)
    log.flush()


def test_files_of_another_run_are_refused_instead_of_passed_over(
    feed: Feeding, empty_kafka: str, log: KafkaLog, run: Run, tmp_path: Path
) -> None:
    feed(empty_kafka, tmp_path).run(run.records)
    ends = {key: log.end(key) for key in WATCHED}
    other = Run()
    other.script.count = 5_000_000
    with pytest.raises(ValueError, match="not in these files"):
        feed(empty_kafka, tmp_path).run(other.grow(2))
    assert {key: log.end(key) for key in WATCHED} == ends
