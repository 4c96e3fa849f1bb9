"""Brokers that are slow, were used by others before, or have other topics than they should.

Goal: a worker works all the same, or ends with a line that says what is wrong; it never works on
what it misunderstands. Method: a real broker behind a proxy that delays, real worker processes.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from commands import topics_apply
from commands.asking import ask
from commands.doctor import _fleet
from commands.publish import build
from commands.system import System
from runtime.entry import EXIT_FAILED, EXIT_SETTINGS
from runtime.logs import confluent_logger
from runtime.processes import free_port
from runtime.settings import ROOT
from schemas.codec import encode
from schemas.control import WorkerStarted, WorkerStartedData
from schemas.ids import natural_id
from schemas.topics import COMMANDS_CONTROL, CONTROL, SIGNAL
from streams.app import EXIT_AGENT
from streams.barrier import Barrier
from streams.feed import EXIT_AWAY
from streams.followers import Follower
from streams.gateway import GatewayShell
from streams.kafka_log import EXIT_DELIVERY, KafkaLog
from streams.recovery import Identity
from streams.worker import Worker
from tests.streams.conftest import own_broker
from tests.streams.slow_broker import SlowKafka
from tests.streams.test_workers_watched import start, stop, wait_ready

pytestmark = pytest.mark.timeout(180)
DELIVERING = """
import sys
from confluent_kafka import Producer
from streams import kafka_log
kafka_log.Producer = lambda settings: Producer({**settings, "delivery.timeout.ms": 500})
log = kafka_log.KafkaLog(sys.argv[1], "test")
log.append("control/0", b"x", "a", print)
log.flush()
"""
FAILING = """
import sys
from confluent_kafka import KafkaError, KafkaException, Producer
from streams import kafka_log

class Failing(Producer):
    def poll(self, timeout):
        code = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
        raise KafkaException(KafkaError(code, "sequence desynchronization", fatal=True))

kafka_log.Producer = Failing
log = kafka_log.KafkaLog(sys.argv[1], "test")
log.append("control/0", b"x", "a", print)
log.flush()
"""
GONE = """
from confluent_kafka import KafkaError, KafkaException
from runtime import entry

def main():
    raise KafkaException(KafkaError(KafkaError._TRANSPORT))

entry.run(main)
"""
NOON = "2021-05-19T12:00:00.000000Z"


@pytest.fixture(scope="module")
def broker() -> Iterator[SlowKafka]:
    with own_broker(SlowKafka, lambda broker: broker.slow) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def lonely(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """A feed without broker; it takes ten seconds to give up, meanwhile the other tests run."""
    folder = tmp_path_factory.mktemp("lonely")
    servers = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "streams.feed", "--kafka", servers, "--folder", str(folder)]
    with (folder / "feed.out").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    yield folder, process
    process.kill()
    process.wait()


def opens(bootstrap: str, account: str) -> str:
    """Type of the answer to a first policy of an account."""
    data = {"expected_version": 0, "operator": "ann", "reason": "x", "profile": "production",
            "changes": {}}  # fmt: skip
    return ask(bootstrap, build("policy.set", account, data, time=NOON), 60).event.type


def ended(process: "subprocess.Popen[bytes]", folder: Path, name: str) -> tuple[int, str]:
    """Exit code of a worker that gives up, and its log."""
    code = process.wait(60)
    return code, (folder / f"{name}.log").read_text()


def _committed(other: Consumer, place: TopicPartition) -> bool:
    """A broker that has just started has no coordinator for a group at once."""
    try:
        other.commit(offsets=[place], asynchronous=False)
    except KafkaException:
        return False
    return True


def test_behind_a_slow_broker_commands_are_answered_later_and_a_left_over_group_does_not_matter(
    broker: SlowKafka, folder: Path
) -> None:
    """Another program has committed an offset far beyond the end in the worker's group."""
    other = Consumer(
        {"bootstrap.servers": broker.slow, "group.id": "quantum-control"},
        logger=confluent_logger(),
    )
    place = TopicPartition(COMMANDS_CONTROL.name, 0, 1_000_000)
    deadline = time.monotonic() + 30
    while not _committed(other, place):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    other.close()
    process = start("control", folder, "--kafka", broker.slow)
    try:
        wait_ready(process, folder / "control.port")
        assert opens(broker.slow, "before") == "policy.changed.v2"
        broker.late(0.15)
        began = time.monotonic()
        assert opens(broker.slow, "slow") == "policy.changed.v2"
        assert time.monotonic() - began > 0.3, "it was slow"
        assert process.poll() is None
    finally:
        broker.late(0)
        stop(process)


def test_while_the_broker_answers_slowly_no_entry_leaves_the_gateway(
    broker: SlowKafka, caplog: pytest.LogCaptureFixture
) -> None:
    log = KafkaLog(broker.slow, "test")
    shell = GatewayShell(8, log, Identity("test", "test"), sender=False, barrier_s=0.5)
    shell.acquire([0])
    try:
        for record in log.read({key: (0, log.end(key)) for key in shell.outputs()}):
            shell.fenced(record)
        assert shell._barrier([0])
        broker.late(0.15)
        with caplog.at_level(logging.WARNING):
            assert not shell._barrier([0])
        assert "no entries go out" in caplog.text
        broker.late(0)
        deadline = time.monotonic() + 30
        while not shell._barrier([0]):  # the question before may still be on its way
            assert time.monotonic() < deadline
    finally:
        broker.late(0)
        log.close()


def test_a_rebalance_in_the_middle_of_another_leaves_each_record_one_reader(
    broker: SlowKafka, folder: Path
) -> None:
    """A worker that was away for longer than its session is given its partitions twice at once."""
    worker = Worker("control", broker.slow, folder, instance="twice", partitions=8)
    with ThreadPoolExecutor(4) as pool:
        taken = [pool.submit(worker.acquire, {(COMMANDS_CONTROL.name, 0)}) for _ in range(4)]
        starts = [each.result(60) for each in taken]
    followers = [t for t in threading.enumerate() if isinstance(t, Follower) and t.is_alive()]
    assert sorted(followers, key=id) == sorted(worker.followers._running, key=id)
    assert all(each.keys() == {(COMMANDS_CONTROL.name, 0)} for each in starts)
    worker.followers.stop()
    worker.kafka.close()


def test_workers_of_different_builds_are_named_by_the_doctor(broker: SlowKafka) -> None:
    log = KafkaLog(broker.slow, "test")
    for worker, started in (("risk", "one"), ("execution", "other")):
        about = WorkerStartedData(worker=worker, build=started, configuration="c", epoch={})
        event = WorkerStarted(
            id=natural_id("test", worker), source="/worker", subject=worker, time=NOON,
            partitionkey=worker, data=about,
        )  # fmt: skip
        log.note(CONTROL.name, encode(event), worker)
    log.flush()
    log.close()
    outcome, words = _fleet(System(broker.slow, None, None))
    assert outcome == "failed"
    assert "MIXED FLEET" in words
    assert "execution other/c" in words


def test_a_topic_that_was_made_anew_is_not_taken_for_the_one_before(
    broker: SlowKafka, folder: Path
) -> None:
    admin = AdminClient({"bootstrap.servers": broker.slow}, logger=confluent_logger())
    process = start("control", folder, "--kafka", broker.slow)
    try:
        wait_ready(process, folder / "control.port")
        opens(broker.slow, "anew")
    finally:
        stop(process)
    name = COMMANDS_CONTROL.name
    admin.delete_topics([name])[name].result(10)
    deadline = time.monotonic() + 20
    while name in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    topics_apply.apply(broker.slow)
    code, log = ended(start("control", folder, "--kafka", broker.slow), folder, "control")
    assert code == EXIT_AGENT
    assert "topic commands.control was made anew" in log


def test_a_topic_with_another_partition_count_is_refused_by_a_worker(
    broker: SlowKafka, folder: Path
) -> None:
    """What people and workers take for an account's partition must be one thing."""
    admin = AdminClient({"bootstrap.servers": broker.slow}, logger=confluent_logger())
    name = SIGNAL.name
    admin.delete_topics([name])[name].result(10)
    deadline = time.monotonic() + 20
    while name in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    admin.create_topics([NewTopic(name, 4, 1)])[name].result(10)
    process = start("risk", folder, "--kafka", broker.slow)
    assert process.wait(60) == EXIT_SETTINGS
    (line,) = (folder / "risk.out").read_text().splitlines()
    assert f"topic {name} has 4 partitions, 8 are wanted" in line


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        (DELIVERING, EXIT_DELIVERY, "a record for control/0 was not delivered"),
        (FAILING, EXIT_DELIVERY, "the producer has failed"),
        (GONE, EXIT_FAILED, "Kafka does not answer"),
    ],
)
def test_a_record_that_is_not_delivered_or_a_broker_that_goes_at_the_start_ends_the_process(
    program: str, code: int, said: str
) -> None:
    """What persists is a prefix: nothing may be decided after a record that is lost."""
    nobody = f"127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, "-c", program, nobody], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_feed_that_meets_no_broker_is_to_be_started_again_and_ends_nobody_else(
    lonely: tuple[Path, "subprocess.Popen[bytes]"],
) -> None:
    folder, process = lonely
    assert process.wait(60) == 1
    assert not (folder / "feed.error").exists(), "that would end the whole run"
    assert "is to be started again" in (folder / "feed.log").read_text()
    assert "Traceback" not in (folder / "feed.out").read_text()


def test_a_feed_that_waits_for_somebody_silent_ends_and_names_them(broker: SlowKafka) -> None:
    barrier = Barrier(broker.slow, {"commands.control/0": 0}, 8)
    with pytest.raises(TimeoutError, match=r"did not come to rest: no report of .*risk"):
        barrier.wait(lambda: True, stalled_s=0.3)


def test_a_feed_outlives_a_broker_that_does_not_answer(broker: SlowKafka, folder: Path) -> None:
    """A broker that is away is no bad input: that would take everything down with the feed."""
    barrier = Barrier(broker.slow, {"commands.control/0": 0}, 8)
    ended: list[str] = []

    def wait() -> None:
        with pytest.raises(TimeoutError):
            barrier.wait(lambda: True, stalled_s=0.3)
        ended.append("it does not come to rest")

    waiting = threading.Thread(target=wait)
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        waiting.start()
        done = subprocess.run(
            [sys.executable, "-m", "streams.feed", "--kafka", f"127.0.0.1:{free_port()}",
             "--folder", str(folder)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == EXIT_AWAY, done.stderr
        assert not (folder / "feed.error").exists(), "nobody ends the system for this"
        assert ended == []
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    waiting.join(30)
    assert ended, "with a broker that answers, silence is somebody's fault again"
