"""Session fixtures: one real broker and one real Postgres, started when first asked for."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from runtime.kafka import EmbeddedKafka
from runtime.postgres import EmbeddedPostgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the long forms of the long tests")
    parser.addoption("--chaos-minutes", type=float, help="chaos for so long")
    parser.addoption("--chaos-seed", type=int, default=1, help="seed of its first round")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # a shell that runs the suite in the background has it ignored, and so would all that tests
        # start and interrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # of a broker that lives for a minute the second compiler takes a quarter of the processor time
    # and gives nothing back; over three days of the demo it is the other way round
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    if config.getoption("--full"):
        os.environ["QUANTUM_TEST_FULL"] = "1"  # modules look at it while they are imported


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` belong to the long forms (`--full`); the others are the suite. The
    longest begin."""
    if not config.getoption("--full"):
        long = {item for item in items if item.get_closest_marker("long")}
        if config.getoption("--chaos-minutes"):
            long = {
                item for item in long if "chaos_minutes" not in getattr(item, "fixturenames", ())
            }
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]
    items.sort(key=lambda item: _rank(share(item.nodeid)))  # stable: files stay together


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Three processes share the suite, because systems wait most of their time: those that run in
    the background, those of a demo and those that are crashed are not started twice, nor are the
    session's broker and database but once a process. Who is done takes the next of :data:`ORDER`,
    then other files, one after the other. (Groups of pytest-xdist 3.8 do nothing with pytest 9.2,
    which keeps the ids that xdist would mark.)"""
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = share
    return scheduler


ORDER = ("crashes", "background", "services", "workers", "demo", "benches")
SHARES = {
    "tests/system/test_demo.py": "demo",
    "tests/system/test_kills.py": "demo",
    "tests/system/test_up.py": "background",
    "tests/system/test_bad_input.py": "background",
    "tests/system/test_halt.py": "background",
    "tests/system/test_verbs.py": "background",
    "tests/system/": "crashes",
    "tests/commands/test_bench.py": "benches",
    "tests/commands/": "services",
    "tests/projections/": "services",
    "tests/runtime/": "services",
    "tests/streams/": "workers",
}


def share(nodeid: str) -> str:
    """What a test is run together with: one of :data:`ORDER`, or only its own file."""
    file = nodeid.partition("::")[0]
    return next((share for start, share in SHARES.items() if file.startswith(start)), file)


def _rank(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long forms are wanted (`./quantum test --full`)."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def chaos_minutes(request: pytest.FixtureRequest) -> float:
    """How long chaos is wanted (tests/system/test_chaos.py)."""
    return float(request.config.getoption("--chaos-minutes") or 10)


@pytest.fixture(scope="session")
def chaos_seed(request: pytest.FixtureRequest) -> int:
    """Seed of the first round."""
    return int(request.config.getoption("--chaos-seed"))


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
