"""Latency and throughput from a signal to its order record, on a running system.

Times are of the probe's own monotonic clock: from just before `produce` of a signal until the
probe's consumer hands over the order record that carries its verdict out.
"""

import gc
import itertools
import sys
import threading
import time
from typing import Any

import orjson
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from commands.bench_machine import cpu_seconds, spent, summary
from commands.bench_relay import FLOOR
from commands.bench_world import Published, World
from commands.console import CommandError, say
from runtime.supervisor import ProcessSpec
from schemas.topics import ORDER, PARTITIONS_EMBEDDED
from streams.kafka_log import client, consumer

DRAIN_S = 10.0
STALLED_S = 30.0
WARM_UP = 100
"""Signals before the measured ones: the first ones open connections and fill caches."""


class Arrivals:
    """Reads orders (and the floor's last topic) and notes when each verdict's order arrived."""

    def __init__(self, kafka: str, *, floor: bool) -> None:
        self.orders: dict[str, int] = {}
        self.floor: dict[int, int] = {}
        self._reader = consumer(kafka)
        places = [(ORDER.name, number) for number in range(PARTITIONS_EMBEDDED)]
        places += [(FLOOR[2], 0)] if floor else []
        starts = []
        for topic, number in places:
            _, end = self._reader.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            starts.append(TopicPartition(topic, number, end))
        self._reader.assign(starts)

    def take(self, timeout_s: float) -> int:
        """Read what is there; how many messages. Waits at most `timeout_s` for the first."""
        message = self._reader.poll(timeout_s)
        count = 0
        while message is not None:
            self._note(message, time.monotonic_ns())
            count += 1
            message = self._reader.poll(0)
        return count

    def _note(self, message: Message, at_ns: int) -> None:
        raw = message.value()
        if message.error() is not None or raw is None:
            return
        if message.topic() == FLOOR[2]:
            self.floor[int(message.key() or b"0")] = at_ns
            return
        data = orjson.loads(raw)["data"]
        for item in data.get("items", ()):
            request = item.get("request_id")
            if request is not None and item["kind"] == "order":
                self.orders.setdefault(request, at_ns)

    def close(self) -> None:
        """Give the consumer back."""
        self._reader.close()


def start_floor(world: World) -> None:
    """Topics and relay processes of the floor, under the system's supervisor."""
    admin = AdminClient(client(world.kafka))
    made = admin.create_topics([NewTopic(name, 1, 1) for name in FLOOR])
    for future in made.values():
        future.result()
    argv = [sys.executable, "-P", "-m", "commands.bench_relay", "--kafka", world.kafka]
    world.system.supervisor.add(
        [
            ProcessSpec(
                name=f"relay-{source}",
                argv=[*argv, "--from", source, "--to", target],
                env=world.system.environment(),
            )
            for source, target in itertools.pairwise(FLOOR)
        ]
    )


class Paced(threading.Thread):
    """Sends signals at a steady rate and, half a step later, a message of the same size through
    the floor: both see the same machine."""

    def __init__(self, world: World, *, rate: int, count: int) -> None:
        super().__init__(name="signals", daemon=True)
        self.world, self.rate, self.count = world, rate, count
        self.sent: dict[str, int] = {}
        self.floor_sent: dict[int, int] = {}

    def run(self) -> None:
        world, step = self.world, 1 / self.rate
        accounts, symbols = world.accounts, world.symbols
        began = time.monotonic()
        for n in range(self.count):
            account = accounts[n % len(accounts)]
            symbol = symbols[n // len(accounts) % len(symbols)]
            _sleep_until(began + n * step)
            signal = world.signal(account, [symbol])
            self.sent[signal.verdicts[0]] = time.monotonic_ns()
            world.send(signal)
            _sleep_until(began + (n + 0.5) * step)
            self.floor_sent[n] = time.monotonic_ns()
            world.log.producer.produce(FLOOR[0], signal.raw, str(n), 0)


def _sleep_until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)


def latency(world: World, *, rate: int, seconds: int) -> dict[str, Any]:
    """Signal to order at `rate` signals a second, beside the floor in the same run."""
    start_floor(world)
    arrivals = Arrivals(world.kafka, floor=True)
    paced = _run_paced(world, arrivals, rate=rate, count=min(WARM_UP, rate * seconds))
    say(f"{rate} signals/s for {seconds} s over {len(world.accounts)} accounts")
    gc.collect()
    gc.freeze()
    before, used = world.verdicts(), cpu_seconds(world.system.supervisor.pids())
    paced = _run_paced(world, arrivals, rate=rate, count=rate * seconds)
    used = spent(used, cpu_seconds(world.system.supervisor.pids()))
    arrivals.close()
    after = world.verdicts()
    found = _milliseconds(paced.sent, arrivals.orders)
    floor = _milliseconds(paced.floor_sent, arrivals.floor)
    return {
        "n": len(found),
        **summary(found),
        **{f"floor_{k}": v for k, v in summary(floor).items()},
        "signals": len(paced.sent),
        "approved": after[0] - before[0],
        "rejected": {k: v - before[1].get(k, 0) for k, v in after[1].items()},
        "rate": rate,
        "seconds": seconds,
        "accounts": len(world.accounts),
        "cpu_seconds": used,
    }


def _run_paced(world: World, arrivals: Arrivals, *, rate: int, count: int) -> Paced:
    paced = Paced(world, rate=rate, count=count)
    paced.start()
    checked = time.monotonic()
    drained = None
    while True:
        arrivals.take(0.1)
        now = time.monotonic()
        if now - checked > 0.5:
            checked = now
            world.check()
        if paced.is_alive():
            continue
        drained = drained or now + DRAIN_S
        complete = paced.sent.keys() <= arrivals.orders.keys() and len(paced.floor_sent) <= len(
            arrivals.floor.keys() & paced.floor_sent.keys()
        )
        if complete or now > drained:
            return paced


def _milliseconds(sent: dict[Any, int], arrived: dict[Any, int]) -> list[float]:
    return [(arrived[key] - at) / 1e6 for key, at in sent.items() if key in arrived]


def throughput(world: World, *, signals: int, parts: int) -> dict[str, Any]:
    """All signals at once, `parts` symbols a record; until the last order record is durable."""
    made = _records(world, signals, parts)
    expected = {verdict for record in made for verdict in record.verdicts}
    arrivals = Arrivals(world.kafka, floor=False)
    say(f"{len(expected):,} signals, {parts} a record, over {len(world.accounts)} accounts")
    gc.collect()
    gc.freeze()
    used = cpu_seconds(world.system.supervisor.pids())
    began = time.monotonic_ns()
    for record in made:
        world.send(record)
    sent_ns = time.monotonic_ns() - began
    moved = checked = time.monotonic()
    known = 0
    while not expected <= arrivals.orders.keys():
        arrivals.take(0.1)
        now = time.monotonic()
        if len(arrivals.orders) > known:  # what protects fills comes on the same topic
            known, moved = len(arrivals.orders), now
        if now - checked > 0.5:
            checked = now
            world.check()
        if now - moved > STALLED_S:
            break
    used = spent(used, cpu_seconds(world.system.supervisor.pids()))
    arrivals.close()
    ended = {v: arrivals.orders[v] for v in expected if v in arrivals.orders}
    if not ended:
        raise CommandError("no signal led to an order: see the workers' logs of this run")
    seconds = (max(ended.values()) - began) / 1e9
    approved, rejected = world.verdicts()
    return {
        "per_second": round(len(ended) / seconds, 1),
        "seconds": round(seconds, 3),
        "orders": len(ended),
        "signals": len(expected),
        "approved": approved,
        "rejected": rejected,
        "parts_a_record": parts,
        "records": len(made),
        "accounts": len(world.accounts),
        "sending_seconds": round(sent_ns / 1e9, 3),
        "cpu_seconds": used,
    }


def _records(world: World, signals: int, parts: int) -> list[Published]:
    slots = slots_for(world.accounts, world.symbols, signals=signals, parts=parts)
    return [world.signal(account, group) for account, group in slots]


def slots_for(
    accounts: list[str], symbols: list[str], *, signals: int, parts: int
) -> list[tuple[str, list[str]]]:
    """Accounts and symbols of each record: every pair once, since an approval without an end
    blocks the next one in its symbol (guard A). CommandError where there are too few."""
    groups = [symbols[n : n + parts] for n in range(0, len(symbols), parts)]
    slots = [(account, group) for group in groups for account in accounts]
    chosen, left = [], signals
    for account, group in slots:
        if left <= 0:
            break
        chosen.append((account, group[:left]))
        left -= len(group)
    if left > 0:
        raise CommandError(
            f"--signals {signals}: {signals - left} at most with {len(accounts)} accounts and "
            f"{len(symbols)} symbols; raise --accounts or --symbols"
        )
    return chosen
