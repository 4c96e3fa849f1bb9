"""Running the real system: the command line as a person uses it, or a system of this process.

Every system has a data folder of its own, and is looked through for processes left behind.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from confluent_kafka import KafkaException, TopicPartition

from commands import values
from commands.demo import demo_plan
from commands.live import LiveSystem
from gateways.probes import demo_script
from replay.engine import Engine, accounts_of
from replay.log import LogRecord, read_kafka
from replay.memory_log import Stored
from replay.simulator.recorded import judge
from runtime import jars, java
from runtime.settings import ROOT, Settings
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.topics import CLOCK
from streams import feed
from streams.feed import parser
from streams.kafka_log import consumer
from tests import checker

LIMIT_S = 3000 if os.environ.get("QUANTUM_TEST_FULL") else 300
"""How long a test that runs a whole system may take, on a machine that others use as well."""
STEP_S = 0.03
System = TypeVar("System", bound=LiveSystem)
DECISIONS = ("trade.signal.v5", "trade.signal.safe", "trade.order", "trade.position.update")
"""Topics of pure sources, whose records are those of a run that nobody disturbed."""
Told = dict[tuple[str, str], list[tuple[str, str, str, str]]]
"""By topic and account, in order: type, subject, time and data of each record."""


class Checkout:
    """The command line with a data folder of its own; no output of it may hold a traceback."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        kept = {k: v for k, v in os.environ.items() if not k.startswith("QUANTUM_")}
        if cached := os.environ.get("QUANTUM_CACHE"):
            kept["QUANTUM_CACHE"] = cached
        self.environment = kept | {
            "PYTHONPATH": str(ROOT),
            "QUANTUM_DATA": str(data),
            "COLUMNS": "250",
            **environment,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command, in a process group of its own, as a terminal would."""
        return subprocess.Popen(
            [sys.executable, "-m", "commands", *arguments],
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *arguments: str, code: int = 0, timeout_s: float = 60) -> tuple[str, str]:
        """Run a command to its end; stdout and stderr. `code`: the exit code it must have."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate(timeout=30)
            pytest.fail(
                f"{arguments} took more than {timeout_s:.0f} s: {out[-2000:]} {err[-2000:]}"
            )
        assert "Traceback" not in out + err, err
        assert process.returncode == code, (
            f"{arguments} ended with {process.returncode}: {err}{out[:3000]}"
        )
        return out, err

    def json(self, *arguments: str, code: int = 0, timeout_s: float = 60) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json", code=code, timeout_s=timeout_s)[0])

    def left(self) -> list[str]:
        """Command lines of processes of this data folder."""
        return left_of(self.data)

    def outputs(self) -> Iterator[tuple[Path, str]]:
        """All that processes of this folder wrote on stdout and stderr."""
        for path in (*self.data.glob("runs/*/logs/*.out"), *self.data.glob("*.log")):
            yield path, path.read_text(errors="replace")


def left_of(data: Path) -> list[str]:
    """Command lines of the processes that work in a data folder, but for zombies and ourselves."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            place = (process / "cwd").readlink()
        except OSError:
            continue
        mine = str(data) in command or place.is_relative_to(data)
        if mine and command and int(process.name) != os.getpid():
            found.append(f"{process.name} {command[:150]}")
    return found


@contextmanager
def scratch() -> Iterator[Path]:
    """A data folder with a path short enough for Postgres's socket; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="qt-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def live(kind: type[System], **environment: str) -> Iterator[System]:
    """A whole system under this process, not yet started; no process of it is left afterwards."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    with scratch() as data, pytest.MonkeyPatch.context() as patch:
        # of a killed broker it says the same four times a second
        patch.setattr(logging.getLogger("librdkafka"), "disabled", True)
        for name in ("QUANTUM_KAFKA", "QUANTUM_POSTGRES"):
            patch.delenv(name, raising=False)
        for name, value in {"QUANTUM_DATA": str(data), **environment}.items():
            patch.setenv(name, value)
        try:
            with kind(details={"command": "test"}) as system:
                try:
                    yield system
                except BaseException as error:
                    error.add_note(last_words(system))
                    raise
                assert system.feed_error() is None
            for path in system.run.logs.glob("*.out"):
                assert "Traceback" not in path.read_text(errors="replace"), path
            assert left_of(data) == []
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def last_words(system: LiveSystem, lines: int = 8) -> str:
    """The end of each process' log: the folder is gone when a failure is read."""
    told = []
    for path in sorted([*system.run.logs.glob("*.log"), *system.run.folder.glob("kafka/*.log")]):
        end = path.read_text(errors="replace").splitlines()[-lines:]
        told += [f"--- {path.name}", *(line[:400] for line in end)]
    return "\n".join(told)


class Minutes:
    """How many candle minutes the feed of a running system has ticked; the last known while the
    broker is away."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = consumer(bootstrap)
        self._known = 0
        self._asked = 0.0

    def __call__(self) -> int:
        if time.monotonic() - self._asked > 0.1:
            self._asked = time.monotonic()
            try:
                partition = TopicPartition(CLOCK.name, 0)
                self._known = int(self._consumer.get_watermark_offsets(partition, timeout=0.2)[1])
            except KafkaException:
                pass
        return self._known

    def close(self) -> None:
        self._consumer.close()


def run_to_end(
    system: LiveSystem,
    each: Callable[[int], None] = lambda _minute: None,
    *,
    limit_s: float = LIMIT_S,
) -> None:
    """Supervise until the feed has published everything; `each` is called between, with the minute
    the feed has come to."""
    minutes = Minutes(system.kafka)
    deadline = time.monotonic() + limit_s
    try:
        while system.feed_done() is None:
            system.check()
            assert system.feed_error() is None, system.feed_error()
            if system.interrupted:
                raise KeyboardInterrupt  # it was meant for all of us
            assert time.monotonic() < deadline, f"minute {minutes()}: {system.supervisor.state()}"
            each(minutes())
            time.sleep(STEP_S)
    finally:
        minutes.close()


def wait_until(true: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    """Return when it is so; fails naming `what` otherwise."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(STEP_S)


def console_tool(main: str, *arguments: str, given: str | None = None) -> str:
    """Run one of Kafka's own console tools; its stdout."""
    cache = Settings.load().cache
    path = jars.tools_classpath(cache)
    command = java.command(path, main, *arguments, cache=cache / "without-archive")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, input=given, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------------- what is compared


def valid_records(bootstrap: str) -> list[LogRecord]:
    """The valid records of all event topics, in append order."""
    return [record for record in read_kafka(bootstrap) if record.valid]


def told(events: Iterable[tuple[str, Envelope]]) -> Told:
    """What `trade.*` events say, from (topic, event). One that came again says nothing: a feed that
    was killed sends what people do once more, under the same id."""
    said: Told = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for topic, event in events:
        again = (topic, event.id) in seen
        seen.add((topic, event.id))
        if event.type.startswith("trade.") and not again:
            data: Any = event.data  # type: ignore[attr-defined]
            said[topic, event.partitionkey].append(
                (event.type, event.subject, event.time, data.model_dump_json(exclude_none=True))
            )
    return said


def told_by(records: Iterable[LogRecord]) -> Told:
    """The same from records of the log."""
    return told((r.topic, r.event) for r in records if r.event is not None)


@lru_cache(4)
def engine_log(start: str, end: str, script: Any = demo_script) -> tuple[Stored, ...]:
    """What the in-process engine writes for a demo of these hours, in append order. `script`: what
    people do meanwhile."""
    plan = demo_plan(moment(start), moment(end), "max")
    options = parser().parse_args(["--kafka", "none", "--folder", "none", *plan.arguments])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "demo_script", script)
        records = list(feed.fed(options))
    engine = Engine(accounts_of(event for _, event in records))
    for topic, event in records:
        engine.feed(topic, event)
    return tuple(engine.log.order)


def told_by_engine(start: str, end: str, script: Any = demo_script) -> Told:
    """What its `trade.*` events say."""
    written = engine_log(start, end, script)
    return told((each.key.partition("/")[0], each.event) for each in written)


def moment(text: str) -> datetime:
    """A time as people write it on the command line."""
    return values.moment("--from", text)


def assert_same(found: Told, expected: Told) -> None:
    """The same records in the same order; the first that differs is shown otherwise."""
    assert sorted(found) == sorted(expected)
    for key, records in expected.items():
        for ours, right in zip(found[key], records, strict=False):
            assert ours == right, f"{key}:\n{ours}\nand not\n{right}"
        assert len(found[key]) == len(records), key


def fills(records: Iterable[LogRecord | Stored]) -> set[tuple[str, str, str, str]]:
    """Account, client order id, quantity and price of every fill."""
    return {
        (record.event.partitionkey, item.client_order_id, item.quantity, item.price)
        for record in records
        if record.event is not None and record.event.type == "trade.execution.reported.v1"
        for item in record.event.data.items  # type: ignore[attr-defined]
        if item.kind == "filled"
    }


def ends_of_orders(records: Iterable[LogRecord | Stored]) -> None:
    """Every order was decided once, has one end at most, and none only where it was accepted."""
    ordered: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    accepted: set[str] = set()
    for record in records:
        items = getattr(getattr(record.event, "data", None), "items", ())
        kind = record.event.type if record.event else ""
        if kind == "trade.order.decided.v1":
            ordered.update(item.id for item in items if item.kind == "order")
        elif kind == "trade.execution.reported.v1":
            ends.update(item.order_id for item in items if item.kind == "ended")
            accepted |= {item.order_id for item in items if item.kind == "accepted"}
    assert set(ordered.values()) == {1}
    assert set(ends.values()) == {1}
    assert ends.keys() <= ordered.keys()
    assert ordered.keys() - ends.keys() <= accepted


def checked(bootstrap: str) -> dict[str, Any]:
    """Figures of the independent checker, which finds nothing wrong in the log of a system at rest;
    and every promise that simulations are judged by holds of it."""
    records = list(read_kafka(bootstrap))
    assert judge(records).orders > 0
    return _judged((r.topic, r.partition, r.offset, r.raw or b"") for r in records)


def checked_engine(records: Iterable[Stored]) -> dict[str, Any]:
    """The same of a log in memory."""
    places = ((each.key.rpartition("/"), each) for each in records)
    return _judged((t, int(n), each.offset, encode(each.event)) for (t, _, n), each in places)


def _judged(records: Iterable[tuple[str, int, int, bytes]]) -> dict[str, Any]:
    figures: dict[str, Any]
    figures, wrong = checker.check(records)
    assert wrong == []
    return figures
