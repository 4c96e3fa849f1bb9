"""The file feed: candles on disk as records of `market` and `clock`, each behind the barrier.

``python -m streams.feed --kafka … --folder … --from 2021-05-17 --to 2021-05-20 --demo PATH…``

A killed feed goes on where its own records in the log end: the sequence of records is a function of
the files, and every record has a natural id.
"""

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
from confluent_kafka import KafkaException

from gateways.candles import CandleFileError, read_candles, read_funding
from gateways.feed_records import fed_records
from gateways.probes import demo_script
from runtime import entry, logs
from runtime.health import port
from runtime.settings import Settings
from schemas.codec import RecordError, decode, encode
from schemas.envelope import Envelope
from schemas.ids import natural_id
from schemas.instruments import load_instruments
from schemas.market import CandlesClosed, ClockTicked, TickData
from schemas.scalars import micros, time_text
from schemas.topics import (
    CLOCK,
    EVENT_TOPICS,
    MARKET,
    PARTITIONS_EMBEDDED,
    PROGRESS,
    TOPICS,
    partition_of,
    partitions,
)
from streams.barrier import PACED, Agreement, Barrier
from streams.feed_health import FeedHealth
from streams.kafka_log import KafkaLog, consumer, watermarks
from streams.log import Incoming
from streams.progress import ALL, REACTORS
from streams.report_line import ReportLines

logger = logging.getLogger(__name__)
PRICES = f"{MARKET.name}/0"
"""Not all have read the last prices when a tick follows: it names how far to read first."""
SECOND_US = 1_000_000
REPORT_S = 0.5
EXIT_AWAY, EXIT_INPUT = 1, 2


class Feed:
    """Publishes outside records one at a time; `speed`: event seconds a second (None: max)."""

    def __init__(self, bootstrap: str, folder: Path, *, speed: float | None, accounts: int) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.speed = speed
        self.accounts = accounts
        self.log = KafkaLog(bootstrap, "feed")
        self.records = 0
        self.barriers = 0
        self.started = time.monotonic()
        self._reported = 0.0
        self._ends: dict[str, int] = {}
        self._delivered = 0
        self._moved: list[tuple[str, int, tuple[str, ...]]] = []
        self._barrier: Barrier | None = None
        self._wall_at: tuple[int, float] | None = None
        self.health: FeedHealth | None = None

    def run(self, records: Iterable[tuple[str, Envelope]]) -> None:
        """Publish all records that are not in the log yet; return when the system is quiet."""
        known = self._ends = {
            f"{t.name}/{n}": self.log.end(f"{t.name}/{n}")
            for t in EVENT_TOPICS
            for n in range(partitions(t, self.accounts))
        }
        others = {key: end for key, end in known.items() if key not in PACED}
        lines = ReportLines(self.folder)
        self._barrier = Barrier(self.bootstrap, others, self.accounts, lines=lines)
        for key in PACED:
            self._barrier.agreement.require(key, known[key], ALL)
        with contextlib.closing(self._barrier):
            self._publish_all(records, self._barrier.agreement)

    def _publish_all(self, records: Iterable[tuple[str, Envelope]], agreement: Agreement) -> None:
        known = self._ends
        last_time = ""
        for topic, event in self._resume(records):
            warm_up = isinstance(event, CandlesClosed) and event.data.warm_up
            if not warm_up:
                self._pace(event)
                if event.source != "/feed":  # what people send names no offsets: all come so far
                    agreement.require(PRICES, known[PRICES], ALL)
                self._wait()
            reactors = ALL if warm_up else REACTORS.get(event.type, ALL)
            if isinstance(event, ClockTicked):
                behind = {"after": {PRICES: known[PRICES]}}
                self._publish(topic, event.model_copy(update=behind), reactors)
            else:
                self._publish(topic, event, reactors)
            last_time = event.time if event.source == "/feed" else last_time
            self._report(last_time)
        self._wait()
        self._report(last_time, done=True)

    def tick(self, records: Iterable[tuple[str, Envelope]]) -> None:
        """Publish without a barrier: a live clock waits for nobody, and a tick that could not be
        delivered while Kafka was away is worth nothing afterwards."""
        self._ends = {key: self.log.end(key) for key in PACED}
        for topic, event in records:
            raw = encode(event)
            self.log.append(f"{topic}/0", raw, event.partitionkey, _passed, failed=_missed)
            self.records += 1
            self._report(event.time)

    def _resume(self, records: Iterable[tuple[str, Envelope]]) -> Iterator[tuple[str, Envelope]]:
        """Skip what the log has already: everything up to the feed's last records there."""
        last = {self._last_id(key) for key in PACED} - {""}
        if not last:
            yield from records
            return
        script: list[tuple[str, Envelope]] = []
        skipping = iter(records)
        for topic, event in skipping:
            if event.source == "/feed":
                script.clear()
                last.discard(event.id)
            else:
                script.append((topic, event))
            if not last:
                break
        if last:
            raise ValueError(
                "the log's last record of market or clock is not in these files: the run was fed "
                "from others; give those, or start a new run"
            )
        logger.info("going on after what the log has")
        yield from script
        yield from skipping

    def last_tick_us(self) -> int:
        """Event time of the last tick in the log; 0 without any."""
        last = self._last(f"{CLOCK.name}/0")
        return micros(last.time) if last is not None else 0

    def _last_id(self, key: str) -> str:
        last = self._last(key)
        return last.id if last is not None else ""

    def _last(self, key: str) -> Envelope | None:
        """Our own last record in a partition."""
        end = self.log.end(key)
        reader = consumer(self.bootstrap)
        low, _ = watermarks(reader, key, 10)
        reader.close()
        for offset in range(end - 1, max(low, end - 100) - 1, -1):
            for record in self.log.read({key: (offset, offset + 1)}):
                event = _own(record)
                if event is not None:
                    return event
        return None

    def _pace(self, event: Envelope) -> None:
        listing = event.type == "market.instruments.listed.v1"  # stands before the warm-up
        if self.speed is None or event.source != "/feed" or listing:
            return
        at = micros(event.time)
        if self._wall_at is None:
            self._wall_at = (at, time.monotonic())
            return
        due = self._wall_at[1] + (at - self._wall_at[0]) / 1e6 / self.speed
        delay = due - time.monotonic()
        assert self._barrier is not None
        self._barrier.pause(delay)

    def _publish(self, topic: str, event: Envelope, reactors: tuple[str, ...]) -> None:
        assert self._barrier is not None
        number = partition_of(event.partitionkey, self.accounts) if TOPICS[topic].keyed else 0
        key = f"{topic}/{number}"

        def delivered(offset: int) -> None:
            self._delivered += 1
            if offset + 1 != end:
                self._moved.append((key, offset + 1, reactors))

        end = self._ends[key] = self._ends[key] + 1
        self.log.append(key, encode(event), event.partitionkey, delivered)
        self.records += 1
        self._require(key, end, reactors)

    def _require(self, key: str, end: int, reactors: tuple[str, ...]) -> None:
        assert self._barrier is not None
        if key in PACED:
            self._barrier.agreement.require(key, end, reactors)
        else:
            self._barrier.agreement.extend(key, end)

    def _wait(self) -> None:
        assert self._barrier is not None
        self._barrier.wait(self._settled)
        self.barriers += 1

    def _settled(self) -> bool:
        """Whether all that was published lies where expected; records of others move it."""
        while self._moved:
            key, end, reactors = self._moved.pop()
            self._ends[key] = max(self._ends[key], end)
            self._require(key, end, reactors)
        return self._delivered == self.records

    def _report(self, event_time: str, *, done: bool = False) -> None:
        now = time.monotonic()
        if self.health:
            self.health.beat(self.records)
        if not done and now - self._reported < REPORT_S:
            return
        self._reported = now
        report = {
            "worker": "feed",
            "incarnation": "feed",
            "full": True,
            "epochs": {"0": 0},
            "positions": {},
            "ends": {},
            "unresolved": 0,
            "time": event_time,
            "records": self.records,
            "seconds": round(now - self.started, 3),
            "done": done,
        }
        self.log.note(PROGRESS.name, orjson.dumps(report), "feed")
        if done:
            self.log.flush()
            target = self.folder / "feed.json"
            target.with_suffix(".part").write_bytes(
                orjson.dumps(report | {"barriers": self.barriers})
            )
            target.with_suffix(".part").replace(target)


def _passed(_offset: int) -> None:
    """Nobody waits for a tick."""


def _missed(why: str) -> None:
    logger.warning("a tick was not delivered: %s", why)


def _own(record: Incoming) -> Envelope | None:
    try:
        event = decode(record.raw)
    except RecordError:
        return None
    return event if event.source == "/feed" else None


def fed(options: argparse.Namespace) -> Iterator[tuple[str, Envelope]]:
    """The records a feed publishes for its command line; also what a replay of the run takes."""
    candles = [read_candles(path) for path in options.paths]
    instruments = load_instruments()
    rates = [read_funding(path) for path in options.funding]
    start, end = options.start, options.end
    script = demo_script(candles, start=start, end=end) if options.demo else ()
    return fed_records(
        candles,
        start=start,
        end=end,
        warm_up_start=start - timedelta(hours=options.warm_up_h),
        instruments=instruments,
        funding=rates,
        script=script,
    )


def moment(value: str) -> datetime:
    """A day or a moment (ISO, UTC unless it names a zone) as people write it; a whole minute."""
    try:
        if len(value) == len("2021-05-19"):
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{value!r} is no time; write 2021-05-19 or 2021-05-19T11:00"
        ) from None


def ticking(
    after_us: int = 0,
    wall_ns: Callable[[], int] = time.time_ns,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, Envelope]]:
    """A live clock: one tick a second of wall time, for a system without a market feed.

    Event time never goes back: where the host's clock was set to before the last tick (`after_us`
    at the start), ticks go on from there, a second apart, until it has caught up."""
    told = False
    while True:
        now_us = wall_ns() // 1_000_000_000 * 1_000_000
        behind = now_us <= after_us
        if behind and after_us - now_us > SECOND_US and not told:
            logger.error(
                "the host's clock is %d s behind the last tick: it was set back; ticks go on from "
                "there and entries are refused as stale or early until it has caught up",
                (after_us - now_us) // SECOND_US,
            )
        told = behind
        now_us = after_us = after_us + SECOND_US if behind else now_us
        stamp = time_text(now_us)
        yield (
            CLOCK.name,
            ClockTicked(
                id=natural_id("tick", stamp),
                source="/feed",
                subject="clock",
                time=stamp,
                partitionkey="clock",
                data=TickData(candle_s=1),
            ),
        )
        wait(min(1.0, max(0.0, (now_us + SECOND_US - wall_ns() // 1000) / 1e6)))


def parser() -> argparse.ArgumentParser:
    """The feed's command line."""
    known = argparse.ArgumentParser(description="Feed of candles on disk, or of the clock alone")
    known.add_argument("paths", nargs="*", type=Path, help="candle files, one a symbol")
    known.add_argument("--kafka", default=Settings.load().kafka, help="bootstrap servers")
    known.add_argument("--health-port", type=port, default=0, help="port of /health; 0: free one")
    known.add_argument("--folder", required=True, type=Path)
    known.add_argument("--from", dest="start", type=moment)
    known.add_argument("--to", dest="end", type=moment)
    known.add_argument("--warm-up-h", type=int, default=24)
    known.add_argument("--funding", type=Path, action="append", default=[])
    known.add_argument(
        "--demo", action="store_true", help="open the demo's accounts, send its probes"
    )
    known.add_argument(
        "--speed", type=float, default=None, help="event seconds a second; none: max"
    )
    known.add_argument("--partitions", type=int, default=PARTITIONS_EMBEDDED)
    return known


def main(arguments: list[str] | None = None) -> None:
    """Run the feed; bad input ends it with one line on stderr and exit code 2."""
    known = parser()
    options = known.parse_args(arguments)
    if options.kafka is None:
        known.error("say --kafka HOST:PORT, or set QUANTUM_KAFKA")
    logs.configure("feed", options.folder)
    try:
        feed = Feed(options.kafka, options.folder, speed=options.speed, accounts=options.partitions)
        feed.health = FeedHealth(
            options.folder, port=options.health_port, ticking=not options.paths
        )
        if options.paths:
            feed.run(fed(options))
        else:
            feed.tick(ticking(feed.last_tick_us()))
    except (ConnectionError, KafkaException) as error:
        logger.warning("Kafka does not answer, and the feed is to be started again: %s", error)
        raise SystemExit(EXIT_AWAY) from None
    except (CandleFileError, ValueError, OSError, TimeoutError) as error:
        logger.error("the feed stopped: %s", error)
        print(f"feed: {error}", file=sys.stderr)
        (options.folder / "feed.error").write_text(str(error))
        raise SystemExit(EXIT_INPUT) from None


if __name__ == "__main__":
    entry.run(main)
