"""Session fixtures: one real broker and one real Postgres, started when first asked for."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.kafka import EmbeddedKafka
from runtime.postgres import EmbeddedPostgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the long forms of the long tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` belong to the long forms (`--full`); the others are the suite."""
    if not config.getoption("--full"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long forms are wanted (`./quantum test --full`)."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets; pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[EmbeddedKafka]:
    """The session's broker. Tests use topics and groups of names of their own."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    broker = EmbeddedKafka(folder / "kafka")
    broker.start()
    yield broker
    broker.kill()  # an orderly end waits for clients that tests left behind, and nothing is kept
    broker.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The session's database. Tests use schemas or databases of names of their own."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
