"""Restart of a worker with a long log behind it: from kill -9 until it reports again.

The log is the one of :mod:`commands.bench_log` without what the worker does not read, closed by a
checkpoint of each of its sources, so that everything lies below the basis of its last own record.
Some events before the end the worker's own shell takes it over here, in this process, and writes a
snapshot of each source. It is measured with these, then without: they are deleted from the topic.
"""

import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from commands.bench_log import Message, Template, accounts_for, cut, messages, produce, producer
from commands.bench_machine import cpu_seconds
from commands.bench_world import own_system
from commands.console import CommandError, ExitCode, say
from commands.live import LiveSystem, health
from domain.processors import build
from domain.source import Source
from runtime.build import code_digest
from schemas.codec import encode
from schemas.topics import PARTITIONS_EMBEDDED, PROGRESS, SNAPSHOTS
from streams.broker_topics import topic_ids
from streams.kafka_log import KafkaLog, client, consumer
from streams.recovery import Identity
from streams.shell import Shell
from streams.worker import configuration

GIVE_UP_S = 600.0
PARTITIONS = PARTITIONS_EMBEDDED
WORKER = "risk"


class History:
    """Writes the log. `positions`: records of each partition so far, those of fences not counted in
    outputs; `sequences`: last own sequence of each source, by processor and partition."""

    def __init__(self, kafka: str) -> None:
        self.kafka = kafka
        self.positions: Counter[str] = Counter()
        self.sequences: dict[tuple[str, int], int] = {}
        self.epoch = 1
        self._sources = [self._source(number) for number in range(PARTITIONS)]
        self._read = {key.rpartition("/")[0] for s in self._sources for key in s.positions}
        self._output = self._sources[0].output.rpartition("/")[0]
        self._refused: list[str] = []
        self._producer: Producer = producer(kafka, self._refused)

    def _source(self, number: int) -> Source:
        return Source(build(WORKER, number, PARTITIONS), number, PARTITIONS)

    def write(self, events: int, behind: int) -> int:
        """Append about `events` records, with snapshots `behind` before the end; how many."""
        shared, templates = cut()
        kept = {name: [t for t in line if self._wanted(t)] for name, line in templates.items()}
        accounts = accounts_for(events, shared, kept)
        count = 0
        snapshots_at = events - behind
        told = self._told(shared, kept, accounts)
        while True:
            if count == snapshots_at:  # before the next record takes its sequence
                self._close()
                self._snapshots()
            message = next(told, None)
            if message is None:
                break
            self._append(message)
            count += 1
        self._close()
        return count

    def _wanted(self, template: Template) -> bool:
        return template.topic in self._read or template.topic == self._output

    def _told(
        self, shared: list[Message], kept: dict[str, list[Template]], accounts: int
    ) -> Iterator[Message]:
        for message in messages(shared, kept, accounts, PARTITIONS, self.sequences):
            if message[0] == self._output and self.epoch > 1:  # the takeover opened another epoch
                topic, partition, key, raw = message
                now = b'"epoch":%d,' % self.epoch
                yield topic, partition, key, raw.replace(b'"epoch":1,', now, 1)
            else:
                yield message

    def _append(self, message: Message) -> None:
        produce(self._producer, message, self._refused)
        self.positions[f"{message[0]}/{message[1]}"] += 1

    def _close(self) -> None:
        """A checkpoint of each source on everything written so far. Its digest is of no interest:
        only a snapshot is held against one."""
        for number in range(PARTITIONS):
            source = self._source(number)
            source.epoch = self.epoch
            source.sequence = self.sequences.get((WORKER, number), 0)
            for key in source.positions:
                source.positions[key] = self.positions[key]
            record = source.checkpoint()
            self.sequences[WORKER, number] = source.sequence
            message = (self._output, number, record.partitionkey.encode(), encode(record))
            self._append(message)
        self._producer.flush()
        if self._refused:
            raise CommandError(f"the broker refused {len(self._refused)}: {self._refused[0]}")

    def _snapshots(self) -> None:
        """Take the sources over as a worker does, and write a snapshot of each."""
        say(f"taking snapshots after {self.positions.total():,} records")
        log = KafkaLog(self.kafka, "bench-restart")
        try:
            identity = Identity(code_digest(), configuration(), topic_ids(log.bootstrap))
            shell = Shell(WORKER, PARTITIONS, log, identity)
            shell.acquire(range(PARTITIONS))
            for source in shell.sources.values():
                record, taken = shell.keeper.take(source, 0.0)
                log.append(source.output, encode(record), record.partitionkey, taken.delivered)
                self.sequences[WORKER, source.partition] = source.sequence
                self.epoch = source.epoch
            log.flush()
            shell.keeper.write({source.output: 1 << 62 for source in shell.sources.values()})
            log.flush()
        finally:
            log.close()


def restart(*, events: int, behind: int, times: int) -> dict[str, Any]:
    """Median and maximum of `times` restarts with snapshots `behind` events old, and without any.

    `cpu_seconds` are those of the restarted process until it reported: what can be compared on a
    machine that does other work too. Raises CommandError when it does not come back.
    """
    with own_system("restart", None, workers=()) as system:
        say(f"writing {events:,} records")
        history = History(system.kafka)
        count = history.write(events, behind)
        size = _snapshot_bytes(system.kafka)
        system.add_worker(WORKER)
        with_snapshot = _measured(system, times)
        _forget_snapshots(system.kafka)
        without = _measured(system, times)
    return {
        "events": count,
        "seconds": with_snapshot["seconds"],
        "seconds_without": without["seconds"],
        "worker": WORKER,
        "behind": behind,
        "snapshot_bytes": size,
        "with_snapshot": with_snapshot,
        "without": without,
    }


def _snapshot_bytes(kafka: str) -> int:
    reader = consumer(kafka)
    try:
        end = reader.get_watermark_offsets(TopicPartition(SNAPSHOTS.name, 0), timeout=10)[1]
        reader.assign([TopicPartition(SNAPSHOTS.name, 0, 0)])
        size = read = 0
        while read < end:
            for message in reader.consume(100, 1.0):
                read += 1
                size += len(message.value() or b"")
        return size
    finally:
        reader.close()


def _forget_snapshots(kafka: str) -> None:
    admin = AdminClient(client(kafka))  # what it promises is kept only while it is there
    place = TopicPartition(SNAPSHOTS.name, 0, OFFSET_END)
    for done in admin.delete_records([place]).values():
        done.result(30)


def _measured(system: LiveSystem, times: int) -> dict[str, Any]:
    """`times` kills and what came after each."""
    found = [_restarted(system) for _ in range(times)]
    seconds = [each["seconds"] for each in found]
    return {
        "seconds": round(statistics.median(seconds), 2),
        "seconds_max": max(seconds),
        "cpu_seconds": round(statistics.median(each["cpu_seconds"] for each in found), 2),
        "restored": min(each["restored"] for each in found),
        "memory_mib": max(each["memory_mib"] for each in found),
        "all": seconds,
    }


def _restarted(system: LiveSystem) -> dict[str, Any]:
    reader = consumer(system.kafka)
    try:
        place = TopicPartition(PROGRESS.name, 0)
        reader.assign([TopicPartition(PROGRESS.name, 0, reader.get_watermark_offsets(place)[1])])
        before = report(system, reader, WORKER, "")
        os.kill(system.supervisor.pids()[WORKER], signal.SIGKILL)
        began = time.monotonic()
        report(system, reader, WORKER, before["incarnation"])
        seconds = time.monotonic() - began
    finally:
        reader.close()
    pid = system.supervisor.pids()[WORKER]
    told = health(system.run.logs / f"{WORKER}.port")
    say(f"{WORKER}: {seconds:.2f} s, {told.get('restored', 0)} sources from snapshots")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": cpu_seconds({WORKER: pid}).get(WORKER, 0.0),
        "restored": told.get("restored", 0),
        "memory_mib": _memory_mib(pid),
    }


def _memory_mib(pid: int) -> int:
    """Most memory the process has had."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = [line for line in file if line.startswith("VmHWM")]
        return int(lines[0].split()[1]) // 1024
    except (OSError, IndexError):
        return 0


def report(system: LiveSystem, reader: Any, worker: str, known: str) -> dict[str, Any]:
    """The next full report of another incarnation of `worker` than the known one."""
    began = time.monotonic()
    while time.monotonic() - began < GIVE_UP_S:
        message = reader.poll(0.01)
        system.check()
        if system.interrupted:
            raise CommandError("interrupted; everything is stopped", ExitCode.INTERRUPTED)
        if message is None or message.error() is not None:
            continue
        told: dict[str, Any] = orjson.loads(message.value())
        if told["worker"] == worker and told.get("full") and told["incarnation"] != known:
            return told
    raise CommandError(f"{worker} did not report within {GIVE_UP_S:.0f} s: see its log")
