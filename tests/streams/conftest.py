"""Brokers and folders of this room's own: names of topics are fixed, some tests need empty ones."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from commands import topics_apply
from runtime.kafka import EmbeddedKafka

Kafka = TypeVar("Kafka", bound=EmbeddedKafka)


@contextmanager
def own_broker(
    kind: type[Kafka], bootstrap: Callable[[Kafka], str] = lambda broker: broker.bootstrap
) -> Iterator[Kafka]:
    """A broker with all topics, all empty. `bootstrap`: where its clients find it."""
    with short_folder() as folder:
        broker = kind(folder / "kafka")
        broker.start()
        topics_apply.apply(bootstrap(broker))
        yield broker
        broker.kill()
        broker.stop()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def empty_kafka() -> Iterator[str]:
    """Bootstrap servers of a broker with all topics, all empty, for one module."""
    with own_broker(EmbeddedKafka) as broker:
        yield broker.bootstrap


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for processes; what they write on their outputs may hold no traceback."""
    with short_folder() as made:
        yield made
        for output in made.glob("*.out"):
            assert "Traceback" not in output.read_text(), output
