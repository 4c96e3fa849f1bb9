"""A broker of this room's own where a test needs empty topics: their names are fixed."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import topics_apply
from runtime.kafka import EmbeddedKafka


@pytest.fixture(scope="module")
def empty_kafka() -> Iterator[str]:
    """Bootstrap servers of a broker with all topics, all empty, for one module."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    broker = EmbeddedKafka(folder / "kafka")
    broker.start()
    topics_apply.apply(broker.bootstrap)
    yield broker.bootstrap
    broker.kill()
    broker.stop()
    shutil.rmtree(folder, ignore_errors=True)
