"""Session fixtures: one real broker and one real Postgres, started when first asked for."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.kafka import EmbeddedKafka
from runtime.postgres import EmbeddedPostgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the long forms of the long tests")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--full"):
        os.environ["QUANTUM_TEST_FULL"] = "1"  # modules look at it while they are imported


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` belong to the long forms (`--full`); the others are the suite.

    Two processes share the suite (`./quantum test`): whole systems run one after the other in one
    of them, and so do the tests of the session's broker and database; the longest begin."""
    if not config.getoption("--full"):
        long = {item for item in items if item.get_closest_marker("long")}
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]
    for item in items:
        group = _group(item)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: GROUPS.index(_group(item)))  # stable: files stay together


GROUPS = ("systems", "services", None)


def _group(item: pytest.Item) -> str | None:
    if item.path.parent.name == "system" or item.path.name == "test_bench.py":
        return "systems"
    used = set(getattr(item, "fixturenames", ()))
    return "services" if used & {"kafka", "postgres", "crash_kafka"} else None


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
