"""What a worker reports and when: at once if a feed may wait for it, else once a second."""

from typing import Any

import orjson

from schemas.topics import TOPICS
from streams.progress import ALL, REACTORS, Progress, Snapshot

PRICES, CANDLES, TICK = (
    "market.prices.observed.v1",
    "market.candles.closed.v1",
    "clock.ticked.v1",
)


class Reporting:
    """A worker whose snapshot is set by the test, and the topic its reports go to."""

    def __init__(self, worker: str = "venue") -> None:
        self.now: Snapshot | None = None
        self.raw: list[tuple[str, bytes, str]] = []
        self.progress = Progress(worker, "p1", self, self)  # type: ignore[arg-type]

    def snapshot(self) -> Snapshot | None:
        return self.now

    def note(self, topic: str, raw: bytes, message_key: str) -> None:
        self.raw.append((topic, raw, message_key))

    def touch(self, *folded: str, full: bool = False, **fields: Any) -> dict[str, Any] | None:
        """The report that follows from a snapshot, if one does."""
        known = Snapshot({}, {}, set(), 0, "")
        self.now = known._replace(folded=set(folded), **fields)
        before = len(self.raw)
        self.progress.touch(full=full)
        return orjson.loads(self.raw[-1][1]) if len(self.raw) > before else None


def test_the_first_report_is_full_and_lies_under_the_workers_name() -> None:
    world = Reporting()
    found = world.touch(PRICES, positions={"market/0": 4}, ends={"venue.report/1": 2}, unresolved=1)
    assert found == {
        "worker": "venue", "incarnation": "p1", "full": True, "positions": {"market/0": 4},
        "ends": {"venue.report/1": 2}, "unresolved": 1, "epochs": {}, "time": "", "line": 0,
    }  # fmt: skip
    assert (world.raw[0][0], world.raw[0][2]) == ("progress", "venue")
    assert "progress" in TOPICS


def test_nothing_is_said_while_an_append_is_not_delivered() -> None:
    world = Reporting()
    world.progress.touch(full=True)
    assert world.raw == []


def test_a_later_report_has_only_what_changed() -> None:
    world = Reporting()
    world.touch(PRICES, positions={"market/0": 4, "clock/0": 1})
    found = world.touch(PRICES, positions={"market/0": 5, "clock/0": 1})
    assert found is not None
    assert (found["full"], found["positions"]) == (False, {"market/0": 5})


def test_what_the_worker_cannot_answer_is_not_reported_at_once() -> None:
    world = Reporting("venue")
    world.touch(PRICES, positions={"market/0": 1})
    assert world.touch(CANDLES, positions={"market/0": 3}) is None
    found = world.touch(PRICES, positions={"market/0": 4})
    assert found is not None
    assert found["positions"] == {"market/0": 4}


def test_a_full_report_comes_whatever_has_changed_and_says_everything() -> None:
    world = Reporting("venue")
    world.touch(positions={"market/0": 1, "clock/0": 1})
    found = world.touch(TICK, full=True, positions={"market/0": 1, "clock/0": 2})
    assert found is not None
    assert (found["full"], found["positions"]) == (True, {"market/0": 1, "clock/0": 2})


def test_own_ends_and_unresolved_orders_are_reported_at_once() -> None:
    world = Reporting("signals")
    read, ends = {"market/0": 1}, {"trade.signal.v5/0": 1}
    world.touch(CANDLES, positions=read)
    assert world.touch(PRICES, positions=read, ends=ends) is not None
    assert world.touch(PRICES, positions=read, ends=ends, unresolved=2) is not None
    assert world.touch(PRICES, positions=read, ends=ends, unresolved=2) is None


def test_records_of_other_workers_are_always_reported_at_once() -> None:
    world = Reporting("risk")
    world.touch(PRICES)
    assert world.touch("trade.position.updated.v1", positions={"trade.position.update/0": 1})


def test_reactors_are_workers_that_exist() -> None:
    for workers in REACTORS.values():
        assert set(workers) <= set(ALL)
