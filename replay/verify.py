"""`verify`: every recorded decision of a log is taken again and compared byte for byte.

For each pure source its own valid records are walked in order; inputs are folded up to the `basis`
of each, the decider decides on its cause, and the canonical bytes are compared. The other way
round, every fact and request up to a source's last basis must have led to a record exactly where
the log has one. docs/verify.md says how to read what comes out.
"""

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from domain.processors import PROCESSORS, partitions_of
from domain.source import Source
from replay.decide_again import Moment
from replay.decide_again import elsewhere as decide_elsewhere
from replay.log import LogRecord
from replay.memory_log import Stored
from replay.rebuilt import Make, make, stand
from replay.sources import EventLog, RawRecord, RecordedLog
from replay.spool import Spool
from replay.verify_findings import Class, Verified
from replay.verify_flock import Flock
from replay.verify_inputs import Decoder
from replay.verify_own import Head, envelope
from replay.verify_walker import Walker
from runtime.build import code_digest
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.topics import EVENT_TOPICS
from schemas.validity import SequenceGap

CHUNK = 2_000
"""Flocks go through the log together, this many records at a time: each is decoded once."""
ELSEWHERE_MAX = 1
CONFIRMED_MAX = 5
DOUBTS_MAX = 20
COLLECT_EVERY = 100_000


def verify(
    log: EventLog | Iterable[LogRecord | Stored | RawRecord],
    *,
    processors: Iterable[str] = tuple(PROCESSORS),
    build: str | None = None,
    make: Make = make,
    elsewhere: bool = True,
) -> Verified:
    """Decide everything again that is recorded in `log` (a log, or records in append order with
    what is not valid among them). `build`: digest of this code, by default computed; `make`: makes
    the empty sources; `elsewhere`: ask other processes where bytes differ.

    Memory does not grow with the log; the local disk (TMPDIR) takes a copy of it meanwhile.
    Raises DamagedLogError where a broker's checksums or an archive's digests do not hold.
    """
    began, cpu = time.monotonic(), time.process_time()
    known = log if isinstance(log, EventLog) else RecordedLog(log)
    with _rarely_collected(), Spool(known, EVENT_TOPICS) as spool:
        judge = _Judge(spool, build or code_digest(), make, 0 if elsewhere else ELSEWHERE_MAX)
        found = _verified(spool, tuple(processors), judge)
        found.records = spool.records
    found.details.sort(key=lambda each: each.order)
    found.seconds = time.monotonic() - began
    found.cpu_seconds = time.process_time() - cpu
    return found


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Records come and go by the thousand and hold no cycles: looking for some takes a quarter."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _verified(spool: Spool, processors: tuple[str, ...], judge: "_Judge") -> Verified:
    findings = Verified(build=judge.build)
    decoder = Decoder(spool.counts)
    count = judge.count
    walkers = []
    for name in processors:
        for number in partitions_of(name, count):
            walker = Walker(judge.make(name, number, count), spool, decoder, findings)
            walker.confirm, walker.classify = judge.surely, judge.class_of
            findings.sources += walker.target is not None
            findings.waiting += walker.waiting() if walker.target is None else 0
            walkers.append(walker)
    flocks = [Flock(spool, walkers, {}, {})]
    for until in (*spool.times(CHUNK), None):
        todo = [flock for flock in flocks if not flock.done]
        while todo:
            parted = todo.pop().run(until)
            flocks += parted
            todo += parted
    return findings


class _Judge:
    """Says which class a difference is of, and whether a missing record is missing for sure."""

    def __init__(self, spool: Spool, build: str, make: Make, asked: int) -> None:
        self.spool, self.build, self.make = spool, build, make
        self.count = spool.counts.get("trade.order", 1)
        self._code = code_digest()
        self._elsewhere = asked
        self._confirmed = 0
        self._doubts = 0

    def class_of(
        self,
        walker: Walker,
        head: Head | None,
        key: str,
        cause: Envelope,
        account: str,
        again: bytes | None,
    ) -> Class:
        """By the fence's build, then by deciding again: here, and in other processes."""
        if walker.build not in ("", self.build):
            return "decided by other code"
        said = {again}
        for _ in range(2):
            record = walker.source.answer(key, cause, account)
            said.add(None if record is None else encode(record))
        if self._elsewhere < ELSEWHERE_MAX and len(said) == 1 and self._code == code_digest():
            self._elsewhere += 1
            moment = Moment.of(walker.source, self.count, key, cause, account)
            said |= set(decide_elsewhere(moment))
        return "altered" if len(said) == 1 else "nondeterminism"

    def surely(self, walker: Walker, key: str, cause: Envelope, account: str) -> bool:
        """Whether a record that the log lacks would have been written in whatever order.

        Between two own records the log does not say in which order topics were folded. Four are
        tried: the other topics as at the own record before, as at the one after, and up to the
        event time of the cause with and without it. Doubt is counted, not reported.
        """
        if walker.source.requests[key] or self._confirmed >= CONFIRMED_MAX:
            return True
        if self._doubts < DOUBTS_MAX:
            for vector in self._vectors(walker, key, cause):
                if not self._writes(walker.source, vector, key, cause, account):
                    break
            else:
                self._confirmed += 1
                return True
        self._doubts += 1
        walker.findings.unsure += 1
        return False

    def _vectors(self, walker: Walker, key: str, cause: Envelope) -> Iterator[dict[str, int]]:
        source, target = walker.source, walker.target
        assert target is not None
        floor = {**(cause.basis or {}), **(cause.after or {})}
        low = {k: max(walker.before.get(k, 0), floor.get(k, 0)) for k in source.positions}
        high = {k: target.basis.get(k, 0) for k in source.positions}
        here = {key: source.positions[key]}
        for inclusive in (True, False):
            times = {k: self._at(k, low[k], high[k], cause.time, inclusive) for k in low}
            yield times | here
        yield low | here
        yield high | here

    def _at(self, key: str, low: int, high: int, time: str, inclusive: bool) -> int:
        """Position in an input, between two others, up to an event time."""
        if low >= high:
            return low
        for record in self.spool.records_of(key):
            if record.offset >= high:
                break
            said = str((envelope(record.value) or {}).get("time", ""))
            if record.offset >= low and (said > time or (said == time and not inclusive)):
                return record.offset
        return high

    def _writes(
        self, source: Source, vector: dict[str, int], key: str, cause: Envelope, account: str
    ) -> bool:
        """Whether the source writes a record about the cause where it stands at this vector."""
        fresh = self.make(source.decider.name, source.partition, self.count)
        try:
            there = stand(self.spool, fresh, vector, source.sequence)
        except SequenceGap:
            return True
        there.epoch = source.epoch
        asked = account in there.decider.asks(there.slices, cause)
        return asked and there.answer(key, cause, account) is not None
