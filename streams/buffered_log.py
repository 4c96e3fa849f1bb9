"""The gateway's log: Kafka while it answers, the disk buffer while it does not (SAFE-7).

A record goes to the producer and is remembered until it is acknowledged. When nothing is
acknowledged for `away_s`, or a record cannot be delivered, what is open is written to the buffer,
and so is everything that comes after it. Kafka back: the buffer goes into the log first, in order,
each record once; then records go straight to the producer again.

Requests to the venue are never kept: signed for a second, a late one is worth nothing. Progress
reports are copies: dropped while Kafka is away.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from gateways.buffer import Damage
from gateways.buffer_folder import BufferFolder, LeftBehind
from schemas.topics import PROGRESS, VENUE_REQUEST
from streams.log import Delivered, FailingLog, Incoming
from streams.owed import Owed, ignored

logger = logging.getLogger(__name__)
AWAY_S = 5.0
LOOK_S = 0.1
ANSWER_S = 1.0
BATCH = 500
PROBE = f"{PROGRESS.name}/0"
"""A partition that is asked for, whatever is in the buffer, to hear whether Kafka answers."""


class BufferDamagedError(RuntimeError):
    """The own buffer cannot be read as it was written: records of ours would be missing."""


@dataclass(slots=True)
class _Flight:
    """An append that was handed to the producer. `line`: its number in the buffer, if it is there
    too; `kept`: whether it may not get lost."""

    key: str
    raw: bytes
    message_key: str
    delivered: Delivered
    at_s: float
    kept: bool
    line: int = 0
    written: bool = False


class BufferedLog:
    """Passes the contract tests of a log. `clock`: monotonic seconds.

    :meth:`look` and :meth:`drain` are to be called several times a second: :meth:`start` has a
    thread do it."""

    def __init__(
        self,
        inner: FailingLog,
        buffer: BufferFolder,
        *,
        away_s: float = AWAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inner, self.buffer = inner, buffer
        self.away = False
        """Kafka does not answer."""
        self.held = False
        """Records go to the buffer: Kafka is away, or is back and has not got all of it yet."""
        self.fenced: Callable[[Incoming], bool] = _never
        """Whether a record of an own partition is a fence by another one."""
        self.on_fenced: Callable[[], None] = _nothing
        self._away_s, self._clock = away_s, clock
        self._lock = threading.RLock()
        self._draining = threading.Lock()
        self._flights: dict[int, _Flight] = {}
        self._count = 0
        self._marks: dict[str, int] = {}
        """Own partitions: an offset below which all our records of it were acknowledged."""
        self._owed = Owed()
        """Callbacks of lines without a flight."""
        self._acked: dict[str, set[int]] = {}
        self._done: dict[str, int] = {}
        """Lines up to this number are in the log."""
        self._bringing = 0
        """Lines that were handed to the producer and are neither in the log nor refused."""
        self._torn = ""
        self._straight = threading.Event()
        self._straight.set()
        self._unwritten: deque[tuple[str, bytes, str, _Flight | None]] = deque()
        """What found no place on the disk, in order."""

    # ------------------------------------------------------------------ writing

    def append(self, key: str, raw: bytes, message_key: str, delivered: Delivered) -> None:
        kept = key.rpartition("/")[0] != VENUE_REQUEST.name
        with self._lock:
            if self.held and kept:
                self._keep(key, raw, message_key, None)
                self._owed.add(key, delivered)
            else:
                self._send(_Flight(key, raw, message_key, delivered, self._clock(), kept))

    def keep(self, key: str, raw: bytes, message_key: str) -> bool:
        """Bring a record to the disk now, and into the log as soon as it takes it. False: there is
        no place for it; it is not remembered then."""
        with self._lock:
            if self._unwritten:
                return False
            try:
                self.buffer.append(key, raw, message_key)
            except OSError as error:
                logger.critical("a record finds no place on the disk: %s", error)
                return False
            self._owed.add(key, ignored)
            self._hold()
            return True

    def note(self, topic: str, raw: bytes, message_key: str) -> None:
        """An outside record for people. Progress reports are not kept."""
        with self._lock:
            if topic != PROGRESS.name:
                self.append(f"{topic}/0", raw, message_key, ignored)
            elif not self.away:
                key = f"{topic}/0"
                self._send(_Flight(key, raw, message_key, ignored, self._clock(), kept=False))

    def _send(self, flight: _Flight) -> None:
        self._count = number = self._count + 1
        self._flights[number] = flight
        self.inner.append(
            flight.key,
            flight.raw,
            flight.message_key,
            partial(self._delivered, number),
            partial(self._failed, number),
        )

    def _delivered(self, number: int, offset: int) -> None:
        with self._lock:
            flight = self._flights.pop(number)
            if flight.kept:
                self._marks[flight.key] = max(self._marks.get(flight.key, 0), offset + 1)
            if flight.line:
                self._acked.setdefault(flight.key, set()).add(flight.line)
            flight.written = True  # where it waited for a place on the disk, it needs none now
        flight.delivered(offset)

    def _failed(self, number: int, why: str) -> None:
        with self._lock:
            flight = self._flights[number]
            if flight.kept:
                logger.error("a record for %s was not delivered: %s", flight.key, why)
                self._go_away()
                self._owed.add(flight.key, flight.delivered)
            del self._flights[number]
        if not flight.kept:
            flight.delivered(-1)

    # ------------------------------------------------------------------ the buffer

    def look(self) -> None:
        """Go over to the buffer if Kafka has acknowledged nothing for too long."""
        with self._lock:
            oldest = next(iter(self._flights.values()), None)
            if not self.away and oldest and self._clock() - oldest.at_s > self._away_s:
                self._go_away()
            self._write_what_waits()
            away = self.away
        if away:
            self.inner.purge()

    def _go_away(self) -> None:
        if self.away:
            return
        self.away = True
        logger.critical(
            "Kafka does not answer: no entry leaves, records go to %s", self.buffer.folder
        )
        self._hold()

    def _hold(self) -> None:
        """From now on records go to the buffer, behind those that are not acknowledged."""
        if self.held:
            return
        self.held = True
        self._straight.clear()
        for flight in self._flights.values():
            if flight.kept:
                self._keep(flight.key, flight.raw, flight.message_key, flight)

    def _keep(self, key: str, raw: bytes, message_key: str, flight: _Flight | None) -> None:
        self._unwritten.append((key, raw, message_key, flight))
        self._write_what_waits()

    def _write_what_waits(self) -> None:
        while self._unwritten:
            key, raw, message_key, flight = self._unwritten[0]
            if flight is None or not flight.written:
                try:
                    line = self.buffer.append(key, raw, message_key)
                except OSError as error:
                    logger.critical("a record finds no place on the disk and waits: %s", error)
                    return
                if flight is not None:
                    flight.line, flight.written = line, True
            self._unwritten.popleft()

    def waiting(self) -> int:
        """Records that are in the buffer and not in the log."""
        with self._lock:
            return len(self._unwritten) + sum(
                self.buffer.last(key) - self._done.get(key, 0) - len(self._acked.get(key, ()))
                for key in self.buffer.partitions()
            )

    # ------------------------------------------------------------------ the way back

    def drain(self) -> bool:
        """Bring the buffer into the log, if Kafka answers. True if nothing is held any more."""
        if not self.held:
            return True
        with self._draining:
            try:
                return self._drain()
            except ConnectionError as error:
                logger.debug("Kafka is still away: %s", error)
                return False

    def _drain(self) -> bool:
        keys = self.buffer.partitions()
        ends = self.inner.ends([*keys, PROBE], timeout_s=ANSWER_S)
        with self._lock:
            flying = any(f.kept or self.away for f in self._flights.values())
            if self._unwritten or self._bringing or flying:
                return False  # the producer brings them itself, or says that it could not
            self.away = False
        there = {key: self._there(key, ends[key]) for key in keys}
        while True:
            for key in keys:
                self._append_lines(key, there.get(key, {}))
            with self._lock:
                keys = self.buffer.partitions()
                if not self._unwritten and all(self._is_done(key) for key in keys):
                    self._straight_again()
                    return True

    def wait_until_straight(self, timeout_s: float) -> bool:
        """Whether nothing is held, or soon is. Not under a lock that reading own records needs."""
        return self._straight.wait(timeout_s)

    def _there(self, key: str, end: int) -> dict[bytes, int]:
        """Records behind the last acknowledged one, with their offsets: among them are ours whose
        acknowledgement got lost."""
        begin = self._marks.get(key)
        found: dict[bytes, int] = {}
        if begin is None or begin >= end:
            return found
        # read to the end first: who looks for a fence may wait for somebody who waits to read
        for record in list(self.inner.read({key: (begin, end)})):
            if self.fenced(record):
                self.on_fenced()
                raise ConnectionError(f"another process writes {key} now")
            if record.raw is not None:
                found[record.raw] = record.offset
        return found

    def _append_lines(self, key: str, there: Mapping[bytes, int]) -> None:
        last = self.buffer.last(key)  # what is behind it may be half written
        if self._done.get(key, 0) == last:
            return
        failures: list[str] = []
        sent = 0
        for line in self.buffer.lines(key, self._done.get(key, 0)):
            if isinstance(line, Damage):
                raise BufferDamagedError(f"{line.file} at byte {line.at}: {line.why}")
            acked = self._acked.get(key, ())
            if line.n in acked or line.raw in there or sent >= BATCH:
                self._flush(failures)  # so that lines are done in order
                sent = 0
            if line.n in acked:
                with self._lock:
                    self._acked[key].discard(line.n)
                    self._done[key] = line.n
            elif line.raw in there:
                self._settled(key, line.n, there[line.raw])
            else:
                with self._lock:
                    self._bringing += 1
                brought = partial(self._brought, key, line.n)
                refused = partial(self._refused, failures)
                self.inner.append(key, line.raw, line.message_key, brought, refused)
                sent += 1
            if line.n == last:
                break
        self._flush(failures)

    def _brought(self, key: str, n: int, offset: int) -> None:
        with self._lock:
            self._bringing -= 1
        self._settled(key, n, offset)

    def _refused(self, failures: list[str], why: str) -> None:
        with self._lock:
            self._bringing -= 1
            failures.append(why)

    def _flush(self, failures: list[str]) -> None:
        self.inner.flush()
        if self._torn:
            raise BufferDamagedError(self._torn)
        if failures:
            raise ConnectionError(failures[0])

    def _settled(self, key: str, n: int, offset: int) -> None:
        with self._lock:
            before = self._done.get(key, 0)
            if n != before + 1:  # the producer is in order: what persists is a prefix
                self._torn = f"line {n} of {key} is in the log, and line {before + 1} is not"
            self._done[key] = n
            self._marks[key] = max(self._marks.get(key, 0), offset + 1)
        self._owed.settle(key, offset)

    def _is_done(self, key: str) -> bool:
        return self._done.get(key, 0) == self.buffer.last(key)

    def _straight_again(self) -> None:
        self.buffer.clear()
        self.held = self.away = False
        self._straight.set()
        logger.warning("the buffer is in the log; records go to Kafka again")

    # ------------------------------------------------------------------ what others left

    def left_behind(self) -> Iterator[LeftBehind]:
        """Buffers of processes that have ended."""
        return self.buffer.left_behind()

    # ------------------------------------------------------------------ reading

    def end(self, key: str, *, timeout_s: float = 10.0) -> int:
        return self.ends([key], timeout_s=timeout_s)[key]

    def ends(self, keys: Iterable[str], *, timeout_s: float = 10.0) -> dict[str, int]:
        if self.away:
            raise ConnectionError("Kafka is away")
        found = self.inner.ends(keys, timeout_s=timeout_s)
        if found.keys() <= self._marks.keys():
            return found
        with self._lock:
            flown = {flight.key for flight in self._flights.values()}
            for key, end in found.items():
                if key not in self._marks and key not in flown and not self.held:
                    self._marks[key] = end
        return found

    def start(self, key: str) -> int:
        return self.inner.start(key)

    def read(self, ranges: Mapping[str, tuple[int, int]]) -> Iterator[Incoming]:
        return self.inner.read(ranges)

    def flush(self) -> None:
        """Return when everything is in the log or on the disk. ConnectionError if it is neither."""
        if not self.held:
            self.inner.flush()
        elif self._unwritten:
            raise ConnectionError("records find no place on the disk while Kafka is away")

    def dead_letter(self, processor: str, record: Incoming, reason: str) -> None:
        self.inner.dead_letter(processor, record, reason)

    # ------------------------------------------------------------------ running

    def start_looking(self, failed: Callable[[BaseException], None]) -> None:
        """Look and drain in a thread from now on; `failed` ends the process."""
        threading.Thread(
            target=self._forever, args=(failed,), name="disk-buffer", daemon=True
        ).start()

    def _forever(self, failed: Callable[[BaseException], None]) -> None:
        try:
            while True:
                time.sleep(LOOK_S)
                self.look()
                self.drain()
        except BaseException as error:
            failed(error)


def _nothing() -> None:
    """Nobody is to be told."""


def _never(_record: Incoming) -> bool:
    return False
