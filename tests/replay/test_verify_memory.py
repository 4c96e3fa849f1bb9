"""Verify holds states, never the log: a log twice as long takes no more memory."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from domain.source import Source
from replay.log import LogRecord
from replay.rebuilt import make
from replay.sources import RawRecord, Topics
from replay.verify import verify
from schemas.codec import encode
from schemas.control import PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.market import Price, PricesData, PricesObserved
from schemas.sources import FencedData, SourceFenced
from schemas.topics import EVENT_TOPICS

GROWTH_MAX = 1_500_000
BEGIN = datetime(2021, 5, 19, tzinfo=UTC)


class Long:
    """A log made while it is read: a policy, so many prices, and another policy based on them."""

    name = "generated"

    def __init__(self, prices: int) -> None:
        self.prices = prices

    def raw(self, topics: Topics = EVENT_TOPICS) -> Iterator[RawRecord]:
        control: Source = make("control", 0, 8)
        control.epoch = 1
        about = FencedData(build="", configuration="", topic_ids={})
        yield _raw("control/0", 0, 0, SourceFenced.opening("/control/0", 1, about))
        yield from self._answered(control, 0)
        for n in range(self.prices):
            event = _prices(n)
            control.fold("market/0", n, event)
            yield _raw("market/0", n, 10 + n, event)
        yield from self._answered(control, 1)

    def _answered(self, control: Source, n: int) -> Iterator[RawRecord]:
        command = _command(n)
        at = 1 + n * (self.prices + 20)
        yield _raw("commands.control/0", n, at, command)
        control.fold("commands.control/0", n, command)
        for answer in control.decide("commands.control/0", command):
            yield _raw("control/0", n + 1, at + 1, answer)

    def starts(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return {"trade.order/7": 0}

    def ends(self, topics: Topics = EVENT_TOPICS) -> dict[str, int]:
        return {}

    def topic_ids(self) -> dict[str, str]:
        return {}

    def read(
        self, topics: Topics = EVENT_TOPICS, *, since: int | None = None
    ) -> Iterator[LogRecord]:
        return iter(())


def _raw(key: str, offset: int, at: int, event: Envelope) -> RawRecord:
    topic, _, number = key.rpartition("/")
    return RawRecord(topic, int(number), offset, at, event.partitionkey.encode(), encode(event))


def _prices(n: int) -> PricesObserved:
    return PricesObserved(
        id=natural_id("prices", str(n)),
        source="/feed",
        subject="market",
        time=f"{BEGIN + timedelta(seconds=n):%Y-%m-%dT%H:%M:%S.%f}Z",
        partitionkey="market",
        data=PricesData(point=0, items=(Price(symbol="BTCUSDT", last=str(40_000 + n % 7)),)),
    )


def _command(n: int) -> PolicySet:
    data = PolicySetData(
        expected_version=n,
        operator="me",
        reason="test",
        profile=None if n else "production",
        changes={"max_concurrent_trades": 3} if n else {},
    )
    return PolicySet(
        id=natural_id("command", str(n)),
        source="/test",
        subject="main",
        time="2021-05-19T00:00:00.000000Z",
        partitionkey="main",
        data=data,
    )


def peak(prices: int) -> int:
    """Bytes that Python held at most while such a log was verified."""
    tracemalloc.start()
    try:
        found = verify(Long(prices), processors=("control",), build="")
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.decisions, found.different) == (2, 0), found.details
    assert found.records == prices + 5
    return held


def test_a_longer_log_takes_no_more_memory() -> None:
    peak(10)  # what is imported and cached the first time
    assert peak(12_000) < peak(6_000) + GROWTH_MAX
