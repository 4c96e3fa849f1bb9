"""A broker that stalls without dying, and a consumer group that another program sits in.

Goal: workers say what they wait for, and go on by themselves when it is over. Method: a real broker
that is stopped (SIGSTOP), a real foreign client that was in the group first, real worker processes.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from commands.asking import ask
from commands.publish import build
from runtime.kafka import EmbeddedKafka
from runtime.logs import confluent_logger
from runtime.settings import ROOT
from schemas.topics import SIGNAL
from streams import broker_topics
from streams.app import EXIT_AGENT
from streams.worker import EXIT_STRANGER
from tests.streams.conftest import own_broker
from tests.streams.test_workers_watched import get, start, stop, wait_ready

GAVE_UP = """
import sys
from aiokafka.consumer.group_coordinator import GroupCoordinator
from streams import worker

async def gone(self):
    return

GroupCoordinator._coordination_routine = gone
worker.LOOK_S = 0.3
worker.main(["control", "--kafka", sys.argv[1], "--folder", sys.argv[2]])
"""
"""A worker whose client ends joining its group, as it does when it meets a broker that has just
started and names no brokers yet ("Did we not perform bootstrap?")."""
FAILED = """
import sys
from aiokafka.consumer.group_coordinator import GroupCoordinator
from streams import worker

async def failing(self):
    raise AssertionError("Did we not perform bootstrap?")

GroupCoordinator._GroupCoordinator__coordination_routine = failing
worker.LOOK_S = 1_000
worker.main(["control", "--kafka", sys.argv[1], "--folder", sys.argv[2]])
"""
"""The same, told by what that client says of itself: nobody has to look into the group."""
LOST = """
import sys
from streams import worker
from streams.kafka_log import KafkaLog

KafkaLog.heard_at = property(lambda self: 0.0, lambda self, at: None)
worker.LOOK_S, worker.JOINED_LOOKS = 0.3, 10_000
worker.main(["control", "--kafka", sys.argv[1], "--folder", sys.argv[2]])
"""
"""A worker whose producer hears nothing more, as one that was told of no brokers at all."""
WENT = """
import sys, threading
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from streams import worker

there = AIOKafkaClient.bootstrap

async def gone(self):
    if threading.current_thread() is threading.main_thread():
        return await there(self)
    raise KafkaConnectionError("Unable to bootstrap")

AIOKafkaClient.bootstrap = gone
worker.main(["control", "--kafka", sys.argv[1], "--folder", sys.argv[2]])
"""
"""A worker whose broker goes just before Faust asks for it."""
pytestmark = pytest.mark.timeout(180)
STALL_S = 25.0 if os.environ.get("QUANTUM_TEST_FULL") else 11.0
"""Longer than the session of a member of a group (10 s)."""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with own_broker(EmbeddedKafka) as found:
        yield found


class Foreign(threading.Thread):
    """A program that calls its group as the workers call theirs, and has all partitions."""

    def __init__(self, bootstrap: str, group: str, topic: str) -> None:
        super().__init__(daemon=True)
        settings = {"bootstrap.servers": bootstrap, "group.id": group}
        self._consumer = Consumer(settings, logger=confluent_logger())
        self._consumer.subscribe([topic], on_assign=lambda *_: self.there.set())
        self._ending = threading.Event()
        self.there = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            self._consumer.poll(0.1)
        self._consumer.close()

    def leave(self) -> None:
        self._ending.set()
        self.join(10)


def until(port: int, path: str, status: int, seconds: float) -> dict[str, object]:
    """The answer of a health page, once it has this status."""
    deadline = time.monotonic() + seconds
    while (answer := get(port, path))[0] != status:
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    told: dict[str, object] = json.loads(answer[1])
    return told


def test_a_stalled_broker_is_waited_for_and_said_to_be_silent(
    broker: EmbeddedKafka, folder: Path
) -> None:
    process = start("control", folder, "--kafka", broker.bootstrap)
    data = {"expected_version": 0, "operator": "ann", "reason": "x", "profile": "production",
            "changes": {}}  # fmt: skip
    command = build("policy.set", "stalled", data, time="2021-05-19T12:00:00.000000Z")
    try:
        port = wait_ready(process, folder / "control.port")
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            try:
                told = until(port, "/readyz", 503, 9)
                assert "Kafka has acknowledged nothing for" in str(told["reason"])
                while time.monotonic() - stopped < STALL_S:
                    assert get(port, "/livez")[0] == 200, "it waits, it does not hang"
                    time.sleep(0.2)
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            answer = pool.submit(ask, broker.bootstrap, command, 60).result(90)
        assert answer.event.type == "policy.changed.v2"
        assert until(port, "/readyz", 200, 30)["state"] == "live"
        assert process.poll() is None, "it was never started again"
    finally:
        stop(process)


def test_a_foreign_member_of_the_group_is_named_and_once_it_is_gone_the_worker_works(
    broker: EmbeddedKafka, folder: Path
) -> None:
    foreign = Foreign(broker.bootstrap, "quantum-risk", SIGNAL.name)
    foreign.start()
    assert foreign.there.wait(30)
    process = start("risk", folder, "--kafka", broker.bootstrap)
    try:
        assert process.wait(60) == EXIT_STRANGER
        log = (folder / "risk.log").read_text()
        assert "consumer group quantum-risk is used by another program (client rdkafka at" in log
        assert "give it a group of its own" in log
        foreign.leave()
        (folder / "risk.port").unlink()
        process = start("risk", folder, "--kafka", broker.bootstrap)
        wait_ready(process, folder / "risk.port")
    finally:
        foreign.leave()
        stop(process)


def test_a_client_that_never_learns_of_the_topics_is_replaced_by_another(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[AdminClient] = []

    class Lost(AdminClient):
        """Was told of no brokers, the first time, and waits for some."""

        def describe_topics(self, *args: Any, **kwargs: Any) -> Any:
            asked.append(self)
            if len(asked) > 1:
                return super().describe_topics(*args, **kwargs)
            answer: Future[Any] = Future()
            answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
            assert kwargs["request_timeout"] <= 10
            return {"market": answer}

    expected = broker_topics.topic_ids(broker.bootstrap)
    monkeypatch.setattr(broker_topics, "AdminClient", Lost)
    assert broker_topics.topic_ids(broker.bootstrap) == expected
    assert len(set(map(id, asked))) == 2
    asked.clear()
    with pytest.raises(TimeoutError, match="does not say which topics it has"):
        broker_topics.topic_ids(broker.bootstrap, timeout_s=-1)


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        (GAVE_UP, EXIT_STRANGER, "no member of its group; the process ends"),
        (FAILED, EXIT_AGENT, "no member of its group any more: KafkaError"),
        (LOST, EXIT_STRANGER, "Kafka answers others and not this process, which ends"),
        (WENT, EXIT_AGENT, "Kafka does not answer; ending the process"),
    ],
)
def test_a_worker_whose_client_gave_up_joining_or_lost_the_broker_ends_to_be_started_again(
    broker: EmbeddedKafka, folder: Path, program: str, code: int, said: str
) -> None:
    command = [sys.executable, "-c", program, broker.bootstrap, str(folder)]
    with (folder / "control.out").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        assert process.wait(60) == code
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (folder / "control.out").read_text()
    assert said in (folder / "control.log").read_text()
