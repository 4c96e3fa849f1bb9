"""How fast an emergency is obeyed while every lower lane is saturated (SAFE-8).

More signals are published than the risk worker can judge, so that at every emergency at least
`unread` of them lie before it in the decision lane, and orders, requests and reports flow as fast
as they can. Accounts are stopped one at a time, in turn; the others trade on. All times are the
broker's (LogAppendTime): from the record `emergency.activated` to the last request for that account
that would have increased its risk, until the account was reset.
"""

import gc
import itertools
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Consumer, Message

from commands.bench_machine import cpu_seconds, spent, summary
from commands.bench_policy import Change, Folding, reached
from commands.bench_rebuilds import Rebuilds
from commands.bench_relay import FLOOR
from commands.bench_speed import start_floor
from commands.bench_world import World, wall_us
from commands.console import CommandError, say
from commands.publish import build
from schemas.codec import encode
from schemas.scalars import time_text
from schemas.topics import (
    COMMANDS_CONTROL,
    CONTROL,
    ORDER,
    PARTITIONS_EMBEDDED,
    PROGRESS,
    SIGNAL,
    SIGNAL_SAFE,
    VENUE_REQUEST,
)
from streams.kafka_log import assign, consumer

SURPLUS = 5_000
"""Signals published beyond what is asked for: what is read while an emergency is on its way."""
REST_S = 1.0
"""Between two emergencies."""
FLOWING_MS = 500
"""An account trades if a request that increases its risk is not older."""
WARM_UP_S = 5.0
"""From the first entry to the first emergency: the first records open connections, fill caches."""
STALLED_S = 120.0
VACUOUS_MAX = 0.1
"""Largest part of the emergencies that may have had nothing to stop; they are in no figure."""
OPERATOR = {"operator": "bench", "reason": "emergency under load"}


@dataclass(slots=True)
class Emergency:
    """One emergency; times in broker milliseconds, None until they are known."""

    account: str
    command_id: str
    number: int
    commanded_ms: int | None = None
    activated_ms: int | None = None
    offset: int = -1
    """Of `emergency.activated` on `control`."""
    id: str = ""
    flat_ms: int | None = None
    reset_ms: int | None = None
    reset_id: str = ""
    reset_offset: int = -1
    lag: int = 0
    """Signals before it on the broker that were not judged yet."""
    floor_ms: int | None = None
    approved_after: int = 0
    """Approvals that knew of it: there must be none."""
    refused_after: int = 0
    """Signals refused because of it, before the reset: what would have gone on."""


@dataclass(slots=True)
class Witness:
    """Reads what the broker appends while the run goes on."""

    world: World
    emergencies: list[Emergency] = field(default_factory=list)
    risky: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Account -> broker time of each request that increases its risk."""
    judged: dict[str, int] = field(default_factory=dict)
    """Signal partition -> the risk worker's position, as it last reported."""
    _open: dict[str, Emergency] = field(default_factory=dict)
    """Account -> its emergency that is not reset."""
    _floor: dict[bytes, int] = field(default_factory=dict)
    _flats: dict[str, int] = field(default_factory=dict)
    """Emergency id -> when its `flat` was appended."""
    _reader: Consumer = field(init=False)

    def __post_init__(self) -> None:
        topics = [COMMANDS_CONTROL.name, CONTROL.name, PROGRESS.name, FLOOR[0], FLOOR[2]]
        keys = [f"{topic}/0" for topic in topics]
        for topic in (ORDER.name, VENUE_REQUEST.name):
            keys += [f"{topic}/{number}" for number in range(PARTITIONS_EMBEDDED)]
        self._reader = consumer(self.world.kafka)
        assign(self._reader, self.world.log.ends(keys))

    def declare(self, emergency: Emergency) -> None:
        """Say what is about to be published."""
        self.emergencies.append(emergency)
        self._open[emergency.account] = emergency

    def stopped(self, account: str) -> bool:
        """Whether an emergency of the account is under way."""
        return account in self._open

    def to_reset(self) -> list[Emergency]:
        """Emergencies that are flat and whose reset was not asked for."""
        for emergency in self._open.values():
            emergency.flat_ms = self._flats.get(emergency.id)
        return [e for e in self._open.values() if e.flat_ms is not None and not e.reset_id]

    def take(self, timeout_s: float) -> None:
        """Read what is there; waits at most `timeout_s` for the first record."""
        for message in self._reader.consume(1_000, timeout_s):
            if message.error() is None:
                self._note(message, message.value() or b"", message.timestamp()[1])

    def _note(self, message: Message, raw: bytes, at_ms: int) -> None:
        topic = message.topic()
        if topic == VENUE_REQUEST.name:
            if b'"kind":"place"' in raw and b'"reduce_only":false' in raw:
                self.risky[(message.key() or b"").decode()].append(at_ms)
        elif topic == ORDER.name:
            if b'"kind":"flat"' in raw:
                self._flat(raw, at_ms)
        elif topic == PROGRESS.name:
            report = orjson.loads(raw)
            if report["worker"] == "risk":
                self.judged |= report["positions"]
        elif topic in FLOOR:
            self._relayed(message, at_ms)
        else:
            self._controlled(orjson.loads(raw), at_ms, message.offset() or 0)

    def _relayed(self, message: Message, at_ms: int) -> None:
        key = message.key() or b""
        if message.topic() == FLOOR[0]:
            self._floor[key] = at_ms
        elif (began := self._floor.pop(key, None)) is not None:
            self.emergencies[int(key)].floor_ms = at_ms - began

    def _flat(self, raw: bytes, at_ms: int) -> None:
        for item in orjson.loads(raw)["data"]["items"]:
            if item["kind"] == "flat":
                self._flats[item["emergency_id"]] = at_ms

    def _controlled(self, event: dict[str, Any], at_ms: int, offset: int) -> None:
        emergency = self._open.get(event["partitionkey"])
        if emergency is None:
            return
        if event["id"] == emergency.command_id:
            emergency.commanded_ms = at_ms
        elif event.get("causationid") == emergency.command_id:
            _expected(event, "emergency.activated")
            emergency.activated_ms, emergency.offset = at_ms, offset
            emergency.id = event["data"]["emergency_id"]
        elif emergency.reset_id and event.get("causationid") == emergency.reset_id:
            if event["data"].get("code") == "NOT_FLAT":
                emergency.reset_id = ""  # control reads `flat` by itself, maybe after us: again
                return
            _expected(event, "emergency.reset")
            emergency.reset_ms, emergency.reset_offset = at_ms, offset
            del self._open[emergency.account]

    def close(self) -> None:
        """Give the consumer back."""
        self._reader.close()


def _expected(event: dict[str, Any], kind: str) -> None:
    if not event["type"].startswith(kind):
        raise CommandError(f"{kind} of {event['partitionkey']} was refused: {event['data']}")


class Flood:
    """Keeps the decision lane full: signals over all accounts and symbols in turn."""

    def __init__(self, world: World, witness: Witness, unread: int) -> None:
        self.world, self.witness, self.unread = world, witness, unread
        self._pairs = itertools.cycle(
            [(account, symbol) for symbol in world.symbols for account in world.accounts]
        )
        self.published: dict[str, int] = defaultdict(int)

    @property
    def lag(self) -> int:
        """Signals that were not judged when the risk worker last reported."""
        judged = self.witness.judged
        return sum(max(0, n - judged.get(key, 0)) for key, n in self.published.items())

    def full(self) -> bool:
        """Whether enough are unread, with some to spare for the age of the report."""
        return self.lag >= self.unread + SURPLUS // 2

    def top_up(self) -> None:
        """Publish what is missing."""
        for _ in range(self.unread + SURPLUS - self.lag):
            account, symbol = next(self._pairs)
            signal = self.world.signal(account, [symbol])
            self.published[f"{SIGNAL.name}/{signal.partition}"] += 1
            self.world.send(signal)


def emergency(
    world: World, *, emergencies: int, unread: int, rebuild: bool = False
) -> dict[str, Any]:
    """`emergencies` of them, each with at least `unread` signals before it. `rebuild`: meanwhile
    the tables are made anew, again and again."""
    start_floor(world)
    witness = Witness(world)
    flood = Flood(world, witness, unread)
    say(f"{emergencies} emergencies over {len(world.accounts)} accounts, {unread:,} unread each")
    gc.collect()
    gc.freeze()
    used = cpu_seconds(world.system.supervisor.pids())
    began = time.monotonic()
    folding = Folding(world.system.run.logs)
    rebuilds = Rebuilds(world.system, wanted=rebuild)
    try:
        with rebuilds:
            _run(world, witness, flood, emergencies, rebuilds)
        folded = folding.figures()
    finally:
        witness.close()
    seconds = time.monotonic() - began
    used = spent(used, cpu_seconds(world.system.supervisor.pids()))
    _looked_up(world, witness.emergencies)
    approved, rejected = world.verdicts()
    rows = [_row(each, witness.risky[each.account]) for each in witness.emergencies]
    wrong = findings(rows, unread)
    floor = [row["floor_ms"] for row in rows if row["floor_ms"] is not None]
    told = [row for row in rows if row["requests_second_before"]] or rows
    return {
        "n": len(told),
        "vacuous": len(rows) - len(told),
        **summary([row["obeyed_ms"] for row in told]),
        **{f"floor_{k}": v for k, v in summary(floor).items()},
        **{f"command_{k}": v for k, v in summary([r["command_ms"] for r in rows]).items()},
        "policy": reached(world.log, _changes(witness.emergencies)) | {"folded": folded},
        "flat_seconds": round(sorted(row["flat_ms"] for row in rows)[len(rows) // 2] / 1000, 2),
        "unread_min": min(row["unread"] for row in rows),
        "late_requests": sum(row["late_requests"] for row in rows),
        "valid": not wrong,
        "wrong": wrong,
        "signals": sum(flood.published.values()),
        "approved": approved,
        "rejected": rejected,
        "entries_sent": sum(map(len, witness.risky.values())),
        **(rebuilds.figures() if rebuild else {}),
        "accounts": len(world.accounts),
        "symbols": len(world.symbols),
        "seconds": round(seconds, 1),
        "cpu_seconds": used,
        "emergencies": rows,
    }


def _run(world: World, witness: Witness, flood: Flood, wanted: int, rebuilds: Rebuilds) -> None:
    turn = deque(world.accounts)
    last = moved = checked = time.monotonic()
    last += STALLED_S  # no emergency before entries flow
    while len(witness.emergencies) < wanted or any(map(witness.stopped, world.accounts)):
        witness.take(0.02)
        flood.top_up()
        now = time.monotonic()
        if now - checked > 0.25:
            checked = now
            world.check()
            rebuilds.look()
        for flat in witness.to_reset():
            flat.reset_id = _command(world, "emergency.reset", flat.account)
            moved = now
        if last > now and witness.risky:
            last = min(last, now + WARM_UP_S - REST_S)
        due = len(witness.emergencies) < wanted and now - last > REST_S and flood.full()
        account = next((a for a in turn if _trades(witness, a)), None) if due else None
        if account is not None:
            number = len(witness.emergencies)
            turn.remove(account)
            turn.append(account)
            stop = build("emergency.stop", account, OPERATOR, time=time_text(wall_us()))
            witness.declare(Emergency(account, stop.id, number))
            world.log.append(f"{COMMANDS_CONTROL.name}/0", encode(stop), account, _noted)
            world.log.producer.produce(FLOOR[0], encode(stop), str(number), 0)
            last = moved = now
        if now - moved > STALLED_S:
            still = [name for name in world.accounts if witness.stopped(name)]
            raise CommandError(
                f"nothing moved for {STALLED_S:.0f} s after {len(witness.emergencies)} "
                f"emergencies; stopped: {', '.join(still) or 'none'}, unread: {flood.lag:,}"
            )


def _trades(witness: Witness, account: str) -> bool:
    """Whether requests that increase the account's risk were leaving just now."""
    if witness.stopped(account) or not witness.risky[account]:
        return False
    return witness.risky[account][-1] > time.time() * 1000 - FLOWING_MS


def _command(world: World, kind: str, account: str) -> str:
    event = build(kind, account, OPERATOR, time=time_text(wall_us()))
    world.log.append(f"{COMMANDS_CONTROL.name}/0", encode(event), account, _noted)
    return event.id


def _looked_up(world: World, emergencies: list[Emergency]) -> None:
    """Lag and approvals at each emergency, from the log itself: what was reported may be old."""
    keys = [f"{t.name}/{n}" for t in (SIGNAL, SIGNAL_SAFE) for n in range(PARTITIONS_EMBEDDED)]
    appended: dict[str, list[int]] = defaultdict(list)
    judged: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for record in world.log.read({key: (0, end) for key, end in world.log.ends(keys).items()}):
        topic, _, number = record.key.rpartition("/")
        signals = f"{SIGNAL.name}/{number}"
        if topic == SIGNAL.name:
            appended[signals].append(record.timestamp_ms)
            continue
        event = orjson.loads(record.raw or b"{}")
        basis = event.get("basis") or {}
        judged[signals].append((record.timestamp_ms, basis.get(signals, 0)))
        verdicts = event["data"].get("items", ())
        for each in emergencies:
            knew = basis.get(f"{CONTROL.name}/0", 0) > each.offset >= 0
            before_reset = each.reset_ms is None or record.timestamp_ms < each.reset_ms
            if each.account == event["partitionkey"] and knew and before_reset:
                approved = sum(item.get("verdict") == "approved" for item in verdicts)
                each.approved_after += approved
                each.refused_after += len(verdicts) - approved
    for each in emergencies:
        at_ms = each.activated_ms or 0
        there = sum(sum(at <= at_ms for at in times) for times in appended.values())
        read = sum(max([n for at, n in rows if at <= at_ms] or [0]) for rows in judged.values())
        each.lag = there - read


def _changes(emergencies: list[Emergency]) -> Iterator[Change]:
    """Every change of policy of the run: emergencies and resets."""
    for each in emergencies:
        yield Change(each.offset, each.activated_ms or 0)
        if each.reset_ms is not None:
            yield Change(each.reset_offset, each.reset_ms)


def _row(each: Emergency, risky: list[int]) -> dict[str, Any]:
    at_ms, commanded_ms = each.activated_ms or 0, each.commanded_ms or 0
    reset_ms = each.reset_ms or 1 << 62
    late = [at - at_ms for at in risky if at_ms < at < reset_ms]
    obeyed_ms = float(max(late, default=0))
    return {
        "account": each.account,
        "unread": each.lag,
        "obeyed_ms": obeyed_ms,
        "command_ms": float(at_ms - commanded_ms) + obeyed_ms,
        "late_requests": len(late),
        "requests_second_before": sum(at_ms - 1000 < at <= at_ms for at in risky),
        "approved_after": each.approved_after,
        "refused_after": each.refused_after,
        "flat_ms": (each.flat_ms or 0) - at_ms,
        "floor_ms": None if each.floor_ms is None else float(each.floor_ms),
    }


def findings(rows: list[dict[str, Any]], unread: int) -> list[str]:
    """Why these figures would say nothing, or that an emergency was not obeyed."""
    found = []
    for number, row in enumerate(rows, 1):
        if row["unread"] < unread:
            found.append(f"emergency {number}: {row['unread']} signals unread, not {unread}")
        if row["approved_after"]:
            found.append(f"emergency {number}: {row['approved_after']} approvals knew of it")
        if row["flat_ms"] < 0:
            found.append(f"emergency {number}: never flat")
    vacuous = sum(not row["requests_second_before"] for row in rows)
    if vacuous > len(rows) * VACUOUS_MAX:
        found.append(f"{vacuous} of {len(rows)}: no entry was sent in the second before")
    if not any(row["refused_after"] for row in rows):
        found.append("no signal was refused because of an emergency")
    return found


def _noted(_offset: int) -> None:
    """Whether a record arrived shows in what follows from it."""
