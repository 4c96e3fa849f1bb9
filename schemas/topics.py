"""Topics and lanes as code: what exists, how it is keyed, how long it is kept.

Priority is a consumer of one's own: a lane is a set of topics that one follower reads.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache


class Lane(IntEnum):
    """Control before execution before market before decisions before learning."""

    CONTROL = 0
    EXECUTION = 1
    MARKET = 2
    DECISION = 3
    LEARNING = 4
    NONE = 9


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic. `keyed` topics have the configured number of account partitions, others one.

    `retention_ms` -1 keeps for ever, `retention_bytes` -1 any size; the oldest goes by whichever is
    reached first. `people` may publish to it by hand.
    """

    name: str
    lane: Lane
    keyed: bool
    retention_ms: int = -1
    retention_bytes: int = -1
    people: bool = False
    purpose: str = ""


DAY_MS = 86_400_000
PARTITIONS_EMBEDDED = 8

COMMANDS_CONTROL = Topic(
    "commands.control", Lane.CONTROL, False, people=True, purpose="commands: policy, emergency"
)
CONTROL = Topic(
    "control",
    Lane.CONTROL,
    False,
    purpose="policy changes, emergencies, safety's findings, refusals of commands",
)
ORDER = Topic("trade.order", Lane.EXECUTION, True, purpose="orders, cancels, emergency steps, flat")
EXECUTION_RES = Topic(
    "trade.execution.res", Lane.EXECUTION, True, purpose="accepted, filled, ended, unknown"
)
POSITION_UPDATE = Topic(
    "trade.position.update",
    Lane.EXECUTION,
    True,
    purpose="positions, order ends, closed trades, equity",
)
VENUE_REQUEST = Topic(
    "venue.request", Lane.EXECUTION, True, purpose="requests to the simulated venue"
)
VENUE_REPORT = Topic("venue.report", Lane.EXECUTION, True, purpose="reports of the simulated venue")
MARKET = Topic(
    "market",
    Lane.MARKET,
    False,
    retention_ms=90 * DAY_MS,
    purpose="prices, closed candles, funding, instruments",
)
CLOCK = Topic("clock", Lane.MARKET, False, retention_ms=90 * DAY_MS, purpose="ticks")
COMMANDS_TRADE = Topic(
    "commands.trade", Lane.DECISION, True, people=True, purpose="commands on positions and orders"
)
SIGNAL = Topic("trade.signal.v5", Lane.DECISION, True, people=True, purpose="signals")
INTENT = Topic(
    "trade.intent",
    Lane.DECISION,
    True,
    people=True,
    purpose="entry proposals with prices of their own",
)
SIGNAL_SAFE = Topic("trade.signal.safe", Lane.DECISION, True, purpose="verdicts")
PROGRESS = Topic(
    "progress",
    Lane.NONE,
    False,
    retention_ms=DAY_MS,
    purpose="positions of the workers (copies for speed)",
)

SNAPSHOTS = Topic(
    "snapshots",
    Lane.NONE,
    False,
    retention_ms=7 * DAY_MS,
    retention_bytes=256 * 1024 * 1024,
    purpose="states of the workers, for quick restarts (copies for speed)",
)

WORKERS = (
    "control", "signals", "risk", "execution", "gateway", "venue", "positions", "safety",
    "projector",
)  # fmt: skip


def dead_letters(processor: str) -> Topic:
    """Where a processor puts the original bytes of what it could not take."""
    return Topic(f"dlq.{processor}", Lane.NONE, False, purpose=f"dead letters of {processor}")


DEAD_LETTERS = tuple(dead_letters(name) for name in WORKERS)
EVENT_TOPICS = (
    COMMANDS_CONTROL, CONTROL, ORDER, EXECUTION_RES, POSITION_UPDATE, VENUE_REQUEST, VENUE_REPORT,
    MARKET, CLOCK, COMMANDS_TRADE, SIGNAL, INTENT, SIGNAL_SAFE,
)  # fmt: skip
TOPICS: dict[str, Topic] = {t.name: t for t in (*EVENT_TOPICS, PROGRESS, SNAPSHOTS, *DEAD_LETTERS)}


def partitions(topic: Topic, accounts: int) -> int:
    """Partition count of a topic when account-keyed topics have `accounts` partitions."""
    return accounts if topic.keyed else 1


@lru_cache(maxsize=65_536)
def partition_of(account: str, partitions: int) -> int:
    """Partition of an account key: murmur2, as Java's and librdkafka's `murmur2_random`."""
    return (murmur2(account.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Austin Appleby's MurmurHash2 with Kafka's seed, as an unsigned 32-bit number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & mask
        k ^= k >> 24
        h = ((h * m) & mask) ^ ((k * m) & mask)
    rest = data[whole:]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)
