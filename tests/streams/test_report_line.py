"""The short way of reports: in order, told anew to a new feed, given up rather than waited for."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.barrier import Agreement
from streams.progress import Progress, Snapshot
from streams.report_line import FILE, ReportLine, ReportLines

PRICES = "market.prices.observed.v1"
SOON_S = 2.0


class Talking:
    """A worker with a line; what it notes in Kafka is kept."""

    def __init__(self, folder: Path, *, epoch: int) -> None:
        self.line = ReportLine(folder)
        self.epoch = epoch
        self.at = 0
        self.noted: list[dict[str, Any]] = []
        self.progress = Progress("venue", f"venue-{epoch}", self, self, line=self.line)

    def snapshot(self) -> Snapshot:
        return Snapshot({"market/0": self.at}, {}, {PRICES}, 0, "", {0: self.epoch})

    def note(self, _topic: str, raw: bytes, _key: str) -> None:
        self.noted.append(orjson.loads(raw))

    def flush(self) -> None:
        """Everything is there at once."""

    def report(self, at: int, *, full: bool = False) -> None:
        self.at = at
        self.progress.touch(full=full)


Hiring = Callable[..., Talking]


@pytest.fixture
def hire(short_path: Path) -> Iterator[Hiring]:
    """Makes workers; they hang up with the test."""
    made: list[Talking] = []

    def new(folder: Path = short_path, *, epoch: int = 1) -> Talking:
        made.append(Talking(folder, epoch=epoch))
        return made[-1]

    yield new
    for worker in made:
        worker.line.close()


@pytest.fixture
def lines(short_path: Path) -> Iterator[ReportLines]:
    found = ReportLines(short_path)
    yield found
    found.close()


def told(lines: ReportLines, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        more = list(lines.take(SOON_S))
        assert more, f"{count - len(found)} more were expected after {found}"
        found += more
    return found


def positions(reports: list[dict[str, Any]]) -> list[int | None]:
    return [report["positions"].get("market/0") for report in reports]


def test_a_feed_hears_everything_in_order_and_kafka_a_full_report_each_time_one_is_due(
    hire: Hiring, lines: ReportLines
) -> None:
    worker = hire()
    worker.report(1, full=True)
    found = told(lines, 1)
    for at in range(2, 50, 2):
        worker.report(at)
        worker.report(at + 1)
        found += told(lines, 2)
    assert positions(found) == list(range(1, 50))
    assert [report["full"] for report in found] == [True] + 48 * [False]
    assert lines.workers == {"venue"}
    assert all(lines.has(report) for report in worker.noted)
    assert worker.noted[0]["full"]
    assert len(worker.noted) < 49
    worker.report(60, full=True)
    assert (worker.noted[-1]["full"], positions(worker.noted[-1:])) == (True, [60])


def test_without_a_feed_everything_goes_to_kafka(hire: Hiring) -> None:
    worker = hire()
    worker.report(1, full=True)
    worker.report(2)
    assert positions(worker.noted) == [1, 2]
    assert not worker.line.open


def test_what_a_feed_left_behind_that_was_killed_is_no_feed(short_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(short_path / FILE))
    listener.close()
    assert not ReportLine(short_path).connect()
    again = ReportLines(short_path)
    found = ReportLine(short_path)
    assert found.connect()
    found.close()
    again.close()
    assert not (short_path / FILE).exists()


def test_a_feed_that_is_gone_is_noticed_and_the_next_is_told_everything(
    short_path: Path, hire: Hiring
) -> None:
    worker = hire()
    first = ReportLines(short_path)
    worker.report(1, full=True)
    told(first, 1)
    first.close()
    worker.report(2)
    assert not worker.line.open
    assert (worker.noted[-1]["full"], positions(worker.noted[-1:])) == (True, [2])
    second = ReportLines(short_path)
    worker.report(3, full=True)
    (found,) = told(second, 1)
    assert (found["full"], found["positions"]) == (True, {"market/0": 3})
    second.close()


def test_a_feed_that_does_not_read_holds_no_worker_up(hire: Hiring, lines: ReportLines) -> None:
    worker = hire()
    worker.report(0, full=True)
    while worker.line.open:
        worker.report(worker.at + 1)
    assert (worker.noted[-1]["full"], positions(worker.noted[-1:])) == (True, [worker.at])
    heard = positions(list(lines.take(SOON_S)))
    assert heard == list(range(worker.at))
    assert not lines.has(worker.noted[-1]), "what comes by Kafka from now on is news"
    worker.report(worker.at, full=True)
    assert positions(told(lines, 1)) == [worker.at]
    assert lines.has(worker.noted[-1])


def test_what_is_no_report_is_passed_over(
    short_path: Path, hire: Hiring, lines: ReportLines
) -> None:
    worker = hire()
    worker.report(1, full=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect(str(short_path / FILE))
        for nonsense in (b"hello", b"[1]", b'{"worker": "venue"}', b"\xff", b"", b"3"):
            stranger.send(nonsense)
    worker.report(2)
    assert positions(told(lines, 2)) == [1, 2]


def test_a_folder_too_deep_for_a_socket_leaves_kafka(tmp_path: Path, hire: Hiring) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    lines = ReportLines(deep)
    worker = hire(deep)
    worker.report(1, full=True)
    assert list(lines.take(0)) == []
    assert positions(worker.noted) == [1]
    lines.close()


def test_who_says_that_it_takes_over_is_heard_before_what_its_predecessor_says_then(
    hire: Hiring, lines: ReportLines
) -> None:
    """Decision 0004: the report of a process that is fenced already proves nothing."""
    agreement = Agreement({"venue": (0,)}, {})

    def waiting() -> str:
        for report in lines.take(SOON_S):
            agreement.fold(report)
        return agreement.waiting_for()

    before, after = hire(), hire(epoch=2)
    before.report(1, full=True)
    assert waiting() == "nothing"
    agreement.require("market/0", 2, ("venue",))
    after.progress.taking([0])
    before.report(2)
    assert waiting() == "no report of venue; venue has not read market/0"
    after.report(2)
    assert waiting() == "nothing"
