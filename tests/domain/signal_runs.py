"""Runs of the signals decider over the shipped week, for several tests.

As a script it prints the digest of what it decided: ``python -m tests.domain.signal_runs``.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

from domain.signals import Signals
from domain.source import Source
from domain.strategies import STRATEGIES
from domain.strategy import Strategy
from gateways.candles import read_candles
from gateways.feed_records import fed_records
from schemas.codec import encode
from schemas.control import PolicyChange, PolicyChanged, PolicyChangedData
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.instruments import load_instruments
from schemas.policy import profile_policy
from schemas.topics import partition_of
from schemas.trade import Signal, SignalPublished

MARKET = Path(__file__).parents[2] / "data" / "market"
PARTITIONS = 8


@cache
def fed(
    start: date = date(2021, 5, 17),
    end: date = date(2021, 5, 20),
    warm_up: date = date(2021, 5, 16),
) -> tuple[tuple[str, Envelope], ...]:
    """Outside records of days of the crash week."""
    files = [
        read_candles(MARKET / f"{symbol}-1m-20210516-20210522.parquet")
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    return tuple(
        fed_records(
            files, start=start, end=end, warm_up_start=warm_up, instruments=load_instruments()
        )
    )


def policy(account: str, strategy: str | None, version: int = 1, **changes: str) -> PolicyChanged:
    """A policy of the production profile, as control would record it."""
    body = profile_policy("production").model_copy(update={"strategy": strategy, **changes})
    change = PolicyChange(
        id=natural_id("change", account, str(version)),
        account=account,
        version=version,
        operator="test",
        reason="test",
        before={},
        after={},
        policy=body,
        origins={},
        trading_state="ACTIVE",
    )
    return PolicyChanged(
        id=natural_id("policy", account, str(version)),
        source="/control/0",
        subject=account,
        time="2021-05-16T00:00:00.000000Z",
        partitionkey=account,
        sequence=None,
        data=PolicyChangedData(items=(change,)),
    )


class Run:
    """One source of the decider, fed by hand. `records`: what it published."""

    def __init__(
        self, account: str = "main", strategies: Mapping[str, Strategy] = STRATEGIES
    ) -> None:
        number = partition_of(account, PARTITIONS)
        self.source = Source(Signals(number, PARTITIONS, strategies), number, PARTITIONS)
        self.source.epoch = 1
        self.records: list[Envelope] = []

    def feed(self, records: Iterable[tuple[str, Envelope]]) -> "Run":
        for topic, event in records:
            key = f"{topic}/0"
            if self.source.fold(key, self.source.positions[key], event):
                self.records += self.source.decide(key, event)
        return self

    def signals(self) -> list[tuple[str, str, Signal]]:
        """(time, account, signal) of every part published."""
        return [
            (record.time, record.partitionkey, item)
            for record in self.records
            if isinstance(record, SignalPublished)
            for item in record.data.items
        ]


def run(strategy: str = "baseline", records: Iterable[tuple[str, Envelope]] | None = None) -> Run:
    """A run of account `main` with a strategy, over the demo's three days unless told otherwise."""
    return (
        Run()
        .feed([("control", policy("main", strategy))])
        .feed(fed() if records is None else records)
    )


def morning(hour: int) -> datetime:
    return datetime(2021, 5, 17, hour, tzinfo=UTC)


if __name__ == "__main__":
    done = run(records=fed(end=morning(12)))
    everything = b"\n".join(encode(record) for record in done.records)
    print(hashlib.sha256(everything).hexdigest(), done.source.digest())
