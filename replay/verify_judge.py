"""Which class a difference is of, and whether a record that the log lacks is missing for sure."""

from collections.abc import Iterator

from domain.source import Source
from replay.decide_again import Moment
from replay.decide_again import elsewhere as decide_elsewhere
from replay.rebuilt import Make, stand
from replay.spool import Spool
from replay.verify_findings import Class
from replay.verify_own import Head, envelope
from replay.verify_walker import Walker
from runtime.build import code_digest
from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.validity import SequenceGap

ELSEWHERE_MAX = 1
CONFIRMED_MAX = 5
DOUBTS_MAX = 20


class Judge:
    """Judges what walkers of one verification find. `build`: digest of this code; `elsewhere`:
    whether other processes are asked about the first difference."""

    def __init__(self, spool: Spool, build: str, make: Make, *, elsewhere: bool) -> None:
        self.spool, self.build, self.make = spool, build, make
        self.count = spool.counts.get("trade.order", 1)
        self._code = code_digest()
        self._elsewhere = 0 if elsewhere else ELSEWHERE_MAX
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
