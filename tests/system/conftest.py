"""Runs of the whole system that several tests look at: each is made once a session."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from replay.log import LogRecord
from tests.system.running import (
    Checkout,
    Told,
    scratch,
    told_by_engine,
    valid_records,
    wait_until,
)

ENDED_EARLY = ("finished", "running")
"""Systems that end with the last test that looks at them: idle, each takes a fifth of a core."""
_ends = {name: ExitStack() for name in ENDED_EARLY}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """End what no later test of this process needs."""
    try:
        return (yield)
    finally:
        for name in ENDED_EARLY:
            users = [i for i in item.session.items if name in getattr(i, "fixturenames", ())]
            if users and users[-1] is item:
                _ends[name].close()


@dataclass(frozen=True, slots=True)
class Finished:
    """A demo that has run: what it printed, and the same run reopened by `up --run last`."""

    checkout: Checkout
    report: dict[str, Any]
    reopened: dict[str, str]
    records: list[LogRecord]

    @property
    def kafka(self) -> str:
        return self.reopened["kafka"]


@pytest.fixture(scope="session")
def hours(full: bool) -> tuple[str, str]:
    """First minute and end of the compared runs."""
    return ("2021-05-17", "2021-05-20") if full else ("2021-05-19T11:00", "2021-05-19T15:00")


@pytest.fixture(scope="session")
def by_engine(hours: tuple[str, str]) -> Told:
    """What the in-process engine writes for these hours."""
    return told_by_engine(*hours)


@pytest.fixture(scope="session")
def finished(hours: tuple[str, str], full: bool) -> Iterator[Finished]:
    """The demo at full speed, and its run reopened."""
    with _ends["finished"] as end:
        yield end.enter_context(_finished(hours, full))


@contextmanager
def _finished(hours: tuple[str, str], full: bool) -> Iterator[Finished]:
    with scratch() as data:
        checkout = Checkout(data, PYTHONHASHSEED="0")
        limit_s = 1500 if full else 200
        report = checkout.json("demo", "--from", hours[0], "--to", hours[1], timeout_s=limit_s)
        assert checkout.left() == [], "the demo left processes behind"
        reopened = checkout.json("up", "--run", "last", "--detach", timeout_s=150)
        try:
            yield Finished(checkout, report, reopened, valid_records(reopened["kafka"]))
        finally:
            checkout.run("down", timeout_s=90)
        assert checkout.left() == []


@pytest.fixture(scope="session")
def running() -> Iterator[Checkout]:
    """A system that runs in the background, fed with the crash at five times its speed."""
    with _ends["running"] as end:
        yield end.enter_context(_running())


@contextmanager
def _running() -> Iterator[Checkout]:
    files = [f"data/market/{name}-1m-20210516-20210522.parquet" for name in ("BTCUSDT", "ETHUSDT")]
    feeds = [word for file in files for word in ("--feed", file)]
    days = ("--from", "2021-05-19T11:00", "--to", "2021-05-20T11:00", "--speed", "5")
    with scratch() as data:
        checkout = Checkout(data)
        checkout.json("up", "--detach", *feeds, *days, timeout_s=150)
        try:
            wait_until(
                lambda: bool(checkout.json("status")["prices"]), "prices are fed", seconds=90
            )
            yield checkout
        finally:
            checkout.run("down", timeout_s=90)
        assert checkout.left() == [], "down left processes behind"
        for path, text in checkout.outputs():
            assert "Traceback" not in text, path
