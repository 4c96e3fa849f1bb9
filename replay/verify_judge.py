"""Which class a difference is of, and whether a record that the log lacks is missing for sure."""

import copy
from collections.abc import Iterator
from itertools import chain, combinations, islice, product

from replay.decide_again import Moment
from replay.decide_again import elsewhere as decide_elsewhere
from replay.rebuilt import Make, further, stand
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
ORDERS_MAX = 64
PLACES_MAX = 1_024


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

        Between two own records the log does not say in which order topics were folded. Orders are
        tried (:func:`vectors`) until one gives no record. Doubt is counted, not reported.
        """
        if walker.source.requests[key] or self._confirmed >= CONFIRMED_MAX:
            return True
        if self._doubts < DOUBTS_MAX and self._in_any_order(walker, key, cause, account):
            self._confirmed += 1
            return True
        self._doubts += 1
        walker.findings.unsure += 1
        return False

    def _in_any_order(self, walker: Walker, key: str, cause: Envelope, account: str) -> bool:
        source, target = walker.source, walker.target
        assert target is not None
        floor = {**(cause.basis or {}), **(cause.after or {})}
        low = {k: max(walker.before.get(k, 0), floor.get(k, 0)) for k in source.positions}
        low[key] = source.positions[key]
        high = {k: max(n, target.basis.get(k, 0)) for k, n in low.items()} | {key: low[key]}
        skips = {target.skipped} if target.skipped else set()
        fresh = self.make(source.decider.name, source.partition, self.count)
        try:
            begin = stand(self.spool, fresh, low, source.sequence)
            begin.epoch = source.epoch
            for vector in vectors(self.spool, low, high, cause.time):
                there = further(self.spool, copy.deepcopy(begin), vector, skips)
                if account not in there.decider.asks(there.slices, cause):
                    return False
                if there.answer(key, cause, account) is None:
                    return False
        except SequenceGap:
            pass
        return True


def vectors(
    spool: Spool, low: dict[str, int], high: dict[str, int], time: str
) -> Iterator[dict[str, int]]:
    """Where a source may have stood between two vectors when it folded a record of `time`.

    The inputs up to that time, with it and without; then each choice of inputs that were read to
    the end while the others had not come: few first, then all but few; then every place of each
    input with every place of the others, as many as there is patience for. Each with what its
    records were based on, so none stands where no source can.
    """
    moved = sorted(k for k in low if low[k] < high[k])
    between = {k: _between(spool, k, low[k], high[k]) for k in moved}
    wanted = [
        {
            key: next(
                (o for o, at, _ in found if at > time or (at == time and not same)), high[key]
            )
            for key, found in between.items()
        }
        for same in (True, False)
    ]
    sizes = sorted(range(len(moved) + 1), key=lambda size: min(size, len(moved) - size))
    chosen = (c for size in sizes for c in combinations(moved, size))
    wanted += [{k: high[k] for k in choice} for choice in islice(chosen, ORDERS_MAX)]
    places = product(*(range(low[k], high[k] + 1) for k in moved))
    every = (dict(zip(moved, place, strict=True)) for place in islice(places, PLACES_MAX))
    tried: set[tuple[int, ...]] = set()
    for each in chain(wanted, every):
        vector = _closed(low | each, high, between)
        place = tuple(vector.values())
        if place not in tried:
            tried.add(place)
            yield vector


Between = list[tuple[int, str, dict[str, int]]]


def _between(spool: Spool, key: str, low: int, high: int) -> Between:
    """Offset, event time and causal floor of the records of an input between two positions."""
    found: Between = []
    for record in spool.records_of(key):
        if record.offset >= high:
            break
        if record.offset >= low:
            body = envelope(record.value) or {}
            floor = body.get("basis") or body.get("after") or {}
            found.append((record.offset, str(body.get("time", "")), floor))
    return found


def _closed(
    vector: dict[str, int], high: dict[str, int], between: dict[str, Between]
) -> dict[str, int]:
    """The least vector from `vector` on at which everything is folded that its records need. What
    an altered record says it needs beyond `high` was not there."""
    moved = True
    while moved:
        moved = False
        for key, found in between.items():
            for offset, _, floor in found:
                if offset >= vector[key]:
                    break
                for other, needed in floor.items():
                    if other in between and vector[other] < min(needed, high[other]):
                        vector[other] = min(needed, high[other])
                        moved = True
    return vector
