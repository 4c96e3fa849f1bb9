"""A broker of this room's own, with fresh topics, and a fresh database for every test."""

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from migrations import chain
from projections.projector import Projector
from runtime.kafka import EmbeddedKafka
from runtime.logs import confluent_logger
from runtime.postgres import EmbeddedPostgres
from schemas.topics import EVENT_TOPICS, partitions
from tests.projections.builders import PARTITIONS

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def own_kafka() -> Iterator[EmbeddedKafka]:
    """Topics have fixed names, so logs of these tests need a broker of their own."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    broker = EmbeddedKafka(folder / "kafka")
    broker.start()
    yield broker
    broker.kill()
    broker.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def broker(own_kafka: EmbeddedKafka) -> str:
    """Bootstrap servers of a broker whose event topics are new and empty."""
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap}, logger=confluent_logger())
    names = {topic.name for topic in EVENT_TOPICS}
    present = sorted(names & set(admin.list_topics(timeout=10).topics))
    if present:
        for done in admin.delete_topics(present).values():
            done.result(10)
    wanted = [NewTopic(t.name, partitions(t, PARTITIONS), 1) for t in EVENT_TOPICS]
    missing = {topic.topic: topic for topic in wanted}
    wait_for(lambda: _create(admin, missing), "topics")
    return own_kafka.bootstrap


def _create(admin: AdminClient, missing: dict[str, NewTopic]) -> bool:
    for name, done in admin.create_topics(list(missing.values())).items():
        try:
            done.result(10)
        except KafkaException:  # still being deleted
            continue
        del missing[name]
    return not missing


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> str:
    """URI of a new database without any generation."""
    name = f"projections_{next(_numbers)}"
    with psycopg.connect(postgres.uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return postgres.uri.replace("/postgres?", f"/{name}?")


@pytest.fixture
def migrated(database: str) -> str:
    """URI of a new database with the empty generation `live`."""
    chain.upgrade(database)
    return database


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)


def project_all(kafka: str, postgres: str, count: int) -> Projector:
    """Run a projector until `count` records are committed; returns it, stopped."""
    projector = Projector(kafka, postgres)
    projector._on_progress = lambda _: projector.stop() if projector.committed >= count else None
    projector.run()
    return projector
