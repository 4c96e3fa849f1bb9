"""A live system to measure: its accounts, market and signals are made here, by natural ids.

Every account has a policy that raises all limits and executes every check: no cooldown, no limit on
trades or entries that a run can reach, stops required. The price stands still, so no stop fires and
each approval is an entry that is sized, protected, ordered and filled.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition

from commands import live
from commands.console import CommandError, ExitCode, say
from commands.lag import board
from commands.live import FeedPlan, LiveSystem
from replay.log import ends
from runtime.settings import Settings
from schemas.codec import decode, encode
from schemas.control import PolicySet, PolicySetData
from schemas.envelope import Envelope
from schemas.ids import natural_id, part_id, record_id
from schemas.instruments import shipped_instrument
from schemas.market import (
    Candle,
    CandlesClosed,
    CandlesData,
    InstrumentsData,
    InstrumentsListed,
    Price,
    PricesData,
    PricesObserved,
)
from schemas.scalars import time_text
from schemas.topics import (
    COMMANDS_CONTROL,
    MARKET,
    PARTITIONS_EMBEDDED,
    POSITION_UPDATE,
    SIGNAL,
    SIGNAL_SAFE,
    WORKERS,
    partition_of,
)
from schemas.trade import Signal, SignalData, SignalJudged, SignalPublished
from streams.kafka_log import KafkaLog, consumer
from streams.processors import AGENTS

MINUTE_US = 60_000_000
WARM_UP_MINUTES = 16 * 60
PRICE = "40000"
SIZE_PCT = "0.05"
OPEN_S = 120.0
LOOK_S = 0.5
LIMITS: dict[str, Any] = {
    "start_equity_usdt": "1000000",
    "max_position_usd": "1000000000",
    "max_size_pct": "100000",
    "max_gross_pct": "100000",
    "max_risk_open_pct": "100000",
    "max_risk_trade_pct": "100",
    "max_concurrent_trades": 1_000,
    "max_entries_per_position": 1_000_000,
    "max_trades_per_hour": 10_000_000,
    "cooldown_s": 0,
    "signal_stale_s": 3_600,
    "approval_stale_s": 3_600,
    "participation_pct": "100",
    "stops_required": True,
}


@contextmanager
def own_system(
    purpose: str, feed: FeedPlan | None, *, workers: tuple[str, ...] = WORKERS
) -> Iterator[LiveSystem]:
    """A running system in `bench/` of the data folder: never the one that trades, never an
    external broker, whatever the environment says. feed None: no feed, not even a clock."""
    folder = Settings.load().data / "bench"
    with live.own_system({"command": f"bench {purpose}"}, data=folder) as system:
        system.start(feed, workers=workers)
        say(f"running: {system.run.folder}")
        yield system


def wall_us() -> int:
    """Wall time in microseconds since 1970."""
    return time.time_ns() // 1000


class Published(NamedTuple):
    """A signal record ready to be sent; `verdicts`: ids its verdicts' parts will have."""

    partition: int
    account: str
    raw: bytes
    verdicts: tuple[str, ...]


class World:
    """Accounts `bench-0001`… on all partitions and symbols `B01USDT`…, on a running system."""

    def __init__(self, system: LiveSystem, *, accounts: int, symbols: int) -> None:
        self.system = system
        self.kafka = system.kafka
        self.accounts = [f"bench-{n:04d}" for n in range(1, accounts + 1)]
        self.symbols = [f"B{n:02d}USDT" for n in range(1, symbols + 1)]
        self.log = KafkaLog(self.kafka, "bench")
        self._stopping = threading.Event()
        self._numbers = itertools.count(1)
        self._pricing = threading.Thread(target=self._price_forever, name="prices", daemon=True)

    def open(self) -> None:
        """Instruments, candles, prices each second, policies; returns when all are funded and
        every worker knows it: a signal before that is refused for want of a price."""
        now = wall_us()
        self._market(self._instruments(now))
        first = now // MINUTE_US - WARM_UP_MINUTES
        for minute in range(first, now // MINUTE_US):
            self._market(self._candles(minute * MINUTE_US))
        self._pricing.start()
        for account in self.accounts:
            self.log.append(f"{COMMANDS_CONTROL.name}/0", encode(_policy(account)), account, _noted)
        self.log.flush()
        self._wait_for_funds()
        self._wait_for_workers()

    def close(self) -> None:
        """Stop the prices."""
        self._stopping.set()
        if self._pricing.is_alive():
            self._pricing.join(2)
        self.log.close()

    # ------------------------------------------------------------------ market

    def _market(self, event: Envelope) -> None:
        self.log.append(f"{MARKET.name}/0", encode(event), event.partitionkey, _noted)

    def _instruments(self, now: int) -> InstrumentsListed:
        model = shipped_instrument("BTCUSDT")
        items = tuple(model.model_copy(update={"symbol": symbol}) for symbol in self.symbols)
        return InstrumentsListed(**_head("instruments", now), data=InstrumentsData(items=items))

    def _candles(self, opened: int) -> CandlesClosed:
        items = tuple(
            Candle(
                symbol=symbol,
                interval="1m",
                opened_at=time_text(opened),
                open=PRICE,
                high="40120",
                low="39880",
                close=PRICE,
                volume="1000",
            )
            for symbol in self.symbols
        )
        data = CandlesData(warm_up=True, items=items)
        return CandlesClosed(**_head("candles", opened + MINUTE_US), data=data)

    def _price_forever(self) -> None:
        while not self._stopping.is_set():
            items = tuple(Price(symbol=symbol, last=PRICE) for symbol in self.symbols)
            self._market(PricesObserved(**_head("prices", wall_us()), data=PricesData(items=items)))
            self._stopping.wait(1.0)

    def _wait_for_funds(self) -> None:
        missing = set(self.accounts)
        reader = consumer(self.kafka)
        topic = POSITION_UPDATE.name
        reader.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS_EMBEDDED)])
        deadline = time.monotonic() + OPEN_S
        while missing:
            self.check()
            for message in reader.consume(500, 0.1):
                missing.discard((message.key() or b"").decode())
            if time.monotonic() > deadline:
                raise CommandError(f"{len(missing)} accounts were not funded in {OPEN_S:.0f} s")
        reader.close()

    def _wait_for_workers(self) -> None:
        until = ends(self.kafka)
        deadline = time.monotonic() + OPEN_S
        while behind := self._behind(until):
            self.check()
            if time.monotonic() > deadline:
                names = ", ".join(behind)
                raise CommandError(f"{names} did not take in the accounts in {OPEN_S:.0f} s")
            time.sleep(LOOK_S)

    def _behind(self, until: dict[str, int]) -> list[str]:
        """Workers that have not reported, or not so far."""
        lag = board(self.kafka).lag(until)
        return [name for name in AGENTS if lag.get(name, 1)]

    # ------------------------------------------------------------------ signals

    def signal(self, account: str, symbols: list[str]) -> Published:
        """A signal record of this moment with one part a symbol; an entry, long."""
        identity = natural_id("bench signal", account, str(next(self._numbers)))
        partition = partition_of(account, PARTITIONS_EMBEDDED)
        items = tuple(
            Signal(
                id=part_id(identity, ordinal),
                symbol=symbol,
                side="BUY",
                confidence="0.9",
                origin="bench",
                position_size_pct=SIZE_PCT,
            )
            for ordinal, symbol in enumerate(symbols)
        )
        event = SignalPublished(
            id=identity,
            source="/bench",
            subject=f"{account}/{symbols[0]}" if len(symbols) == 1 else account,
            time=time_text(wall_us()),
            partitionkey=account,
            data=SignalData(items=items),
        )
        answer = record_id(f"/risk/{partition}", account, identity)
        verdicts = tuple(part_id(answer, ordinal) for ordinal in range(len(symbols)))
        return Published(partition, account, encode(event), verdicts)

    def send(self, signal: Published) -> None:
        """Publish a signal; returns at once."""
        key = f"{SIGNAL.name}/{signal.partition}"
        self.log.append(key, signal.raw, signal.account, _noted)

    def verdicts(self) -> tuple[int, dict[str, int]]:
        """How many parts were approved so far, and how many were rejected, by reason."""
        keys = [f"{SIGNAL_SAFE.name}/{n}" for n in range(PARTITIONS_EMBEDDED)]
        approved, rejected = 0, dict[str, int]()
        for record in self.log.read({key: (0, self.log.end(key)) for key in keys}):
            event = decode(record.raw)
            for item in event.data.items if isinstance(event, SignalJudged) else ():
                if item.reason is None:
                    approved += 1
                else:
                    rejected[item.reason.value] = rejected.get(item.reason.value, 0) + 1
        return approved, rejected

    def check(self) -> None:
        """One round of the supervisor; CommandError when the person interrupts."""
        self.system.check()
        if self.system.interrupted:
            raise CommandError("interrupted; everything is stopped", ExitCode.INTERRUPTED)


def _head(kind: str, at_us: int) -> dict[str, Any]:
    time = time_text(at_us)
    return {
        "id": natural_id(f"bench {kind}", time),
        "source": "/feed",
        "subject": "market",
        "time": time,
        "partitionkey": "market",
    }


def _policy(account: str) -> PolicySet:
    time = time_text(wall_us())
    return PolicySet(
        id=natural_id("bench policy", account),
        source="/bench",
        subject=account,
        time=time,
        partitionkey=account,
        data=PolicySetData(
            expected_version=0,
            operator="bench",
            reason="limits raised, every check executed",
            profile="production",
            changes=LIMITS,
        ),
    )


def _noted(_offset: int) -> None:
    """Whether a record arrived shows in what follows from it."""
