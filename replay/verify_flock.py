"""Sources that fold market, clock and control together, whatever their processor.

Inputs are folded in append order, but never beyond what the next own record of a source was based
on, and its cause last. A slice is a function of its position, so all sources that stand at the same
one share it. Sources whose bases cross (each process has an order of its own) are parted: they go
on with slices of their own. All this is free: the state is a function of the vector alone.
"""

from heapq import heapify, heappop, heappush

from replay.log import RANK
from replay.sources import RawRecord
from replay.spool import Cursor, Spool
from replay.verify_own import Head
from replay.verify_walker import Walker
from schemas.envelope import Envelope
from schemas.validity import SequenceGap

_Entry = tuple[int, int, str]


class Flock:
    """Walkers at one position of every single-partition topic; `run` goes on up to an append time.

    `places`: where the cursors of those topics stand; `at`: their next offsets.
    """

    def __init__(
        self, spool: Spool, walkers: list[Walker], places: dict[str, int], at: dict[str, int]
    ) -> None:
        self.spool = spool
        self.walkers = [w for w in walkers if w.target is not None]
        self.at = at
        self.done = not self.walkers
        self._parked: set[str] = set()
        self._heap: list[_Entry] = []
        self._owner: dict[str, list[Walker]] = {}
        self._cursors: dict[str, Cursor] = {}
        self._edge: dict[str, int] = {}
        self._groups: dict[str, list[list[Walker]]] = {}
        self._curious: dict[tuple[str, int, type[Envelope]], list[Walker]] = {}
        for key in sorted({key for w in self.walkers for key in w.shared}):
            self._cursors[key] = spool.cursor(key, places.get(key, 0))
            self.at.setdefault(key, 0)
        for walker in self.walkers:
            walker.at = self.at
            for key, cursor in walker.keyed.items():
                self._cursors[walker.source.name + key] = cursor
                self._owner[walker.source.name + key] = [walker]
            if note := self._taken_away(walker):
                walker.give_up(note, "input missing")
            walker.settle()
        self._drop_done(regroup=True)
        for key in self._cursors:
            self._push(key)

    def _regroup(self) -> None:
        """Walkers of each shared input by the slice they have in common; the first one folds it."""
        self._groups = {}
        for key in self.at:
            groups: dict[object, list[Walker]] = {}
            for walker in self.walkers:
                if key in walker.shared:
                    walker.sync()
                    groups.setdefault(walker.source.slice_type(key), []).append(walker)
            for first, *others in groups.values():
                for other in others:
                    other.source.share(key, first.source)
            self._groups[key] = list(groups.values())
        self._curious.clear()
        self._find_edges()

    def _find_edges(self) -> None:
        """The lowest basis of any walker, for each shared input: nothing is folded beyond."""
        for key, groups in self._groups.items():
            bounds = [walker.bound(key) for group in groups for walker in group]
            self._edge[key] = min(bounds, default=0)

    def _move_edges(self, walker: Walker, before: Head) -> None:
        """The same after one walker went on to another own record."""
        for key in walker.shared:
            old, new, edge = before.basis.get(key, 0), walker.bound(key), self._edge[key]
            if new < edge:
                self._edge[key] = new
            elif old <= edge < new:
                self._edge[key] = min(w.bound(key) for group in self._groups[key] for w in group)

    def run(self, until_ms: int | None) -> "list[Flock]":
        """Fold and decide everything appended before `until_ms` (None: everything). Returns flocks
        that were parted off; they go on from where this one stands."""
        parted: list[Flock] = []
        while not self.done:
            while self._heap and self.walkers:
                if until_ms is not None and self._heap[0][0] >= until_ms:
                    return parted
                self._take(heappop(self._heap)[2])
            if self.walkers:
                parted += self._unstick()
            self._drop_done()
        return parted

    def _push(self, key: str) -> None:
        record = self._cursors[key].head
        if record is not None:
            heappush(self._heap, (record.timestamp_ms, RANK.get(record.topic, 99), key))

    def _take(self, name: str) -> None:
        cursor = self._cursors.get(name)
        record = cursor.head if cursor else None
        if cursor is None or record is None:
            return
        owner = self._owner.get(name)
        if owner is None and not self._groups[name]:
            return  # all who read it have ended or were parted off
        if owner is None and record.offset + 1 < self._edge[name]:
            cursor.step()
            self._fold_shared(name, record)
            self._push(name)
            return
        key = f"{record.topic}/{record.partition}"
        walkers = owner or [w for group in self._groups[name] for w in group]
        if not all(w.target is not None and w.may_fold(key, record) for w in walkers):
            self._parked.add(name)
            return
        before = [(w, w.target) for w in walkers]
        cursor.step()
        if owner:
            self._fold_own(owner[0], key, record)
        else:
            self._fold_shared(key, record)
        self._push(name)
        moved = [(w, head) for w, head in before if w.target is not head]
        if any(w.target is None for w, _ in moved):
            self._drop_done()
        else:
            for walker, head in moved:
                assert head is not None
                self._move_edges(walker, head)
        if self._parked and (moved or any(w.lacking == 1 for w in walkers)):
            self._unpark()

    def _unpark(self) -> None:
        for key in self._parked:
            self._push(key)
        self._parked.clear()

    def _fold_own(self, walker: Walker, key: str, record: RawRecord) -> None:
        walker.now_ms = record.timestamp_ms
        try:
            walker.fold(key, record)
        except SequenceGap as gap:
            walker.broken(key, gap)

    def _fold_shared(self, key: str, record: RawRecord) -> None:
        """Fold a record once for each kind of slice, then let every walker decide on it."""
        groups, offset = self._groups[key], record.offset
        first = groups[0][0]
        taken = first.decode(key, record)
        event = taken if isinstance(taken, Envelope) else None
        self.at[key] = offset + 1
        for group in groups:
            try:
                news = group[0].source.fold(key, offset, event)
            except SequenceGap as gap:
                for walker in group:
                    walker.broken(key, gap)
                continue
            if event is not None and offset + 1 < self._edge[key] and key != "control/0":
                if news:
                    for walker in self._curious_of(key, group, type(event)):
                        walker.now_ms = record.timestamp_ms
                        walker.between(key, event)
                continue
            for walker in group:
                walker.now_ms = record.timestamp_ms
                if walker is not group[0]:
                    walker.source.advance(key, offset, event)
                walker.folded(key, record, walker.event(key, record), news)

    def _curious_of(self, key: str, group: list[Walker], kind: type[Envelope]) -> list[Walker]:
        """Those of a group who might decide on an event of this class."""
        place = (key, id(group), kind)
        found = self._curious.get(place)
        if found is None:
            found = self._curious[place] = [w for w in group if w.may_ask(key, kind)]
        return found

    # ------------------------------------------------------------------ when nothing can go on

    def _unstick(self) -> "list[Flock]":
        """Give up sources whose inputs are not in the log; part those whose bases cross."""
        given_up = False
        for walker in self.walkers:
            walker.sync()
            if note := self._lacks(walker):
                walker.give_up(note, "input missing")
                given_up = True
        if given_up:
            self._drop_done()
            self._unpark()
            return []
        first = min(self.walkers, key=lambda w: sum(w.bound(key) for key in w.shared))
        apart = [
            w
            for w in self.walkers
            if any(w.bound(key) < first.bound(key) for key in w.shared if key in first.shared)
        ] or [w for w in self.walkers if w is not first]
        if not apart:
            first.give_up("the order of its inputs cannot be found", "altered")
            self._drop_done()
            return []
        return [self._part(walker) for walker in apart]

    def _part(self, walker: Walker) -> "Flock":
        places = {key: self._cursors[key].place for key in walker.shared}
        self.walkers.remove(walker)
        for key in walker.shared:
            walker.source.copy_input(key, walker.source)
        self._forget([walker], ended=False)
        self._regroup()
        self._unpark()
        return Flock(self.spool, [walker], places, {key: self.at[key] for key in walker.shared})

    def _taken_away(self, walker: Walker) -> str | None:
        """Which input does not begin at its beginning: retention took what the state is made of."""
        for key, at in walker.source.positions.items():
            start = self.spool.starts.get(key, 0)
            if at < start and walker.bound(key):
                return f"{key} begins at offset {start}: what was before is not in this log"
        return None

    def _lacks(self, walker: Walker) -> str | None:
        """Which input the log does not have up to the target's basis."""
        for key, at in walker.source.positions.items():
            if at < walker.bound(key):
                cursor = self._cursors[key if key in self.at else walker.source.name + key]
                if cursor.head is None:
                    end = self.spool.ends.get(key, 0)
                    return f"{key} ends before offset {end}, the basis says {walker.bound(key)}"
        return None

    def _drop_done(self, *, regroup: bool = False) -> None:
        over = [w for w in self.walkers if w.target is None]
        self.walkers = [w for w in self.walkers if w.target is not None]
        if over:
            self._forget(over, ended=True)
        if over or regroup:
            self._regroup()
            self._unpark()
        self.done = not self.walkers

    def _forget(self, walkers: list[Walker], *, ended: bool) -> None:
        for walker in walkers:
            for key in walker.keyed:
                name = walker.source.name + key
                for of in (self._owner, self._cursors):
                    of.pop(name, None)
                self._parked.discard(name)
            if ended:
                walker.sync()
                walker.findings.waiting += walker.waiting()
        self._heap = [entry for entry in self._heap if entry[2] in self._cursors]
        heapify(self._heap)
