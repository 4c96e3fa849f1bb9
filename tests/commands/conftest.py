"""A broker of its own that holds three hours of the crash, as a system without workers."""

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner, Result

from commands import topics_apply
from commands.app import create
from domain.processors import build
from domain.source import Source
from replay.log import LogRecord
from replay.memory_log import Stored
from replay.tail import Tail
from runtime.kafka import EmbeddedKafka
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.sources import FencedData, SourceFenced
from schemas.topics import PARTITIONS_EMBEDDED, TOPICS, partition_of, partitions
from tests.crash_hours import crash_log


@contextmanager
def crash_broker() -> Iterator[str]:
    """Bootstrap of a broker of one's own with the real topics, filled with the crash."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    broker = EmbeddedKafka(folder / "kafka")
    broker.start()
    _write_in_order(broker.bootstrap, crash_log())
    topics_apply.apply(broker.bootstrap)
    yield broker.bootstrap
    broker.kill()
    broker.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _write_in_order(bootstrap: str, log: Sequence[Stored]) -> None:
    """Append records a millisecond apart. One producer sends partitions when it likes: by the
    broker's clock they would lie in an order in which nobody ever wrote them."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    stamped = {"message.timestamp.type": "CreateTime"}  # from the start: a change takes a moment
    made = [NewTopic(topic.name, partitions(topic, PARTITIONS_EMBEDDED), 1,
                     config=topics_apply.settings_of(topic) | stamped)
            for topic in TOPICS.values()]  # fmt: skip
    for future in admin.create_topics(made).values():
        future.result(10)
    while not admin.list_topics(timeout=10).topics.keys() >= TOPICS.keys():
        time.sleep(0.02)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    first_ms = time.time_ns() // 1_000_000 - len(log)
    for nth, stored in enumerate(log):
        topic, _, number = stored.key.rpartition("/")
        raw, key = encode(stored.event), stored.event.partitionkey
        producer.produce(topic, raw, key, int(number), timestamp=first_ms + nth)
        producer.poll(0)
    producer.flush(30)


@pytest.fixture(scope="session")
def crash_kafka() -> Iterator[str]:
    """The same, shared: what is written there is for all that come after."""
    with crash_broker() as bootstrap:
        yield bootstrap


class Quantum:
    """Runs commands in this process."""

    def __init__(self) -> None:
        self.app = create()

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(self.app, list(arguments))


@pytest.fixture
def quantum(crash_kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quantum:
    """The command line pointed at the crash."""
    monkeypatch.setenv("QUANTUM_KAFKA", crash_kafka)
    monkeypatch.setenv("QUANTUM_DATA", str(tmp_path))
    monkeypatch.delenv("QUANTUM_POSTGRES", raising=False)
    return Quantum()


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quantum:
    """The command line of a checkout in which nothing runs."""
    monkeypatch.delenv("QUANTUM_KAFKA", raising=False)
    monkeypatch.delenv("QUANTUM_POSTGRES", raising=False)
    monkeypatch.setenv("QUANTUM_DATA", str(tmp_path))
    return Quantum()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Handlers of signals as they were, after systems of this process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    kept = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


class Answering(threading.Thread):
    """Processors on the broker in one thread: what `--wait` waits for. The crash is their past."""

    def __init__(self, bootstrap: str, sources: list[Source]) -> None:
        super().__init__(daemon=True)
        self.ending = threading.Event()
        self.deaf = ""
        """A topic that is not read until a command was refused."""
        self._unread: list[tuple[str, LogRecord]] = []
        self.bootstrap = bootstrap
        self.sources = sources
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        for source in sources:
            for stored in crash_log():
                if stored.key in source.positions:
                    source.fold(stored.key, stored.offset, stored.event)
                if stored.event.source == source.name and stored.event.sequence:
                    source.fold_own(stored.event)
            source.epoch = 2
            about = FencedData(build="test", configuration="test", topic_ids={})
            self._publish(source, SourceFenced.opening(source.name, 2, about))
        self.producer.flush(10)

    def _publish(self, source: Source, record: Envelope) -> None:
        topic, _, number = source.output.rpartition("/")
        self.producer.produce(topic, encode(record), record.partitionkey, int(number))
        self.producer.poll(0)

    def run(self) -> None:
        places = {key: at for source in self.sources for key, at in source.positions.items()}
        with Tail(self.bootstrap, places) as tail:
            while not self.ending.is_set():
                for record in tail.poll(0.02):
                    if record.topic == self.deaf:
                        self._unread.append((f"{record.topic}/{record.partition}", record))
                    else:
                        self._take(f"{record.topic}/{record.partition}", record)
                while self._unread and not self.deaf:
                    self._take(*self._unread.pop(0))

    def _take(self, key: str, record: LogRecord) -> None:
        for source in self.sources:
            if source.positions.get(key, record.offset + 1) <= record.offset and source.fold(
                key, record.offset, record.event
            ):
                assert record.event is not None
                for answer in source.decide(key, record.event):
                    self._publish(source, answer)
                    if answer.type == "command.rejected.v1":
                        self.deaf = ""


@pytest.fixture(scope="session")
def answering(crash_kafka: str) -> Iterator[None]:
    """The control processor; risk for the accounts main and doctor; execution for main."""
    numbers = sorted({partition_of(account, 8) for account in ("main", "doctor")})
    risk = [Source(build("risk", number, 8), number, 8) for number in numbers]
    main = partition_of("main", 8)
    execution = Source(build("execution", main, 8), main, 8)
    thread = Answering(crash_kafka, [Source(build("control", 0, 8), 0, 8), *risk, execution])
    thread.start()
    yield
    thread.ending.set()
    thread.join(10)
