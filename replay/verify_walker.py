"""One source of a log, decided again: from one own record's basis to the next.

The state is a function of the vector of positions, and each own record names its vector. A walker
folds inputs up to there, decides, compares bytes, and folds the record as the log has it.
"""

from collections.abc import Callable
from typing import NamedTuple

from domain.source import Source
from replay.sources import RawRecord
from replay.spool import Cursor, Spool
from replay.verify_findings import Class, Kind, Verified, fields
from replay.verify_inputs import Decoder
from replay.verify_own import CHECKPOINT, Head, OwnRecords
from replay.verify_reports import Reporter, newest
from schemas.codec import RecordError, decode, encode
from schemas.envelope import Envelope
from schemas.ids import record_id
from schemas.topics import TOPICS
from schemas.validity import SequenceGap


class Cause(NamedTuple):
    """An input that was folded and is news: whom the decider wants to decide for."""

    key: str
    event: Envelope
    accounts: list[str]


Confirm = Callable[["Walker", str, Envelope, str], bool]
Classify = Callable[["Walker", Head | None, str, Envelope, str, bytes | None], Class]


class Walker(Reporter):
    """`target`: the own record to come to; `lacking`: how many inputs are not at its basis yet.

    `confirm` says whether a record that the log lacks would surely have been written; `classify`
    what kind of difference one is.
    """

    def __init__(self, source: Source, spool: Spool, decoder: Decoder, findings: Verified) -> None:
        super().__init__(source, findings)
        self.spool, self.decode = spool, decoder
        self.own = OwnRecords(self.source.name, spool.cursor(self.source.output))
        self.keyed: dict[str, Cursor] = {
            key: spool.cursor(key)
            for key in self.source.positions
            if TOPICS[key.rpartition("/")[0]].keyed
        }
        self.shared = [key for key in self.source.positions if key not in self.keyed]
        about = getattr(source.decider, "asks_about", None)
        self._about: frozenset[type] | None = None if about is None else frozenset(about)
        self.decode.read(self.source.positions)
        self.target: Head | None = None
        self.lacking = 0
        self.cause: Cause | None = None
        self.confirm: Confirm = lambda *_: True
        self.classify: Classify = lambda *_: "altered"
        self.before: dict[str, int] = {}
        """Basis of the own record before the target."""
        self.at: dict[str, int] = {}
        """Positions of the shared inputs, kept by the flock."""
        self._answered: set[str] = set()
        self._next()

    @property
    def build(self) -> str:
        """The build that wrote the target."""
        epoch = self.target.body["epoch"] if self.target else self.source.epoch
        return self.own.builds.get(epoch, "")

    def bound(self, key: str) -> int:
        """Offsets before this one were folded when the target was decided."""
        assert self.target is not None
        return self.target.basis.get(key, 0)

    # ------------------------------------------------------------------ inputs

    def may_fold(self, key: str, record: RawRecord) -> bool:
        """Whether the record comes next: before the target's basis, and its cause last of all."""
        assert self.target is not None
        bound = self.target.basis.get(key, 0)
        if record.offset >= bound:
            return False
        if record.offset == bound - 1 and self.lacking > 1:
            return not self._causes_target(key, record)
        return True

    def _causes_target(self, key: str, record: RawRecord) -> bool:
        assert self.target is not None
        if self.target.skipped == (key, record.offset):
            return True
        cause = self.target.cause
        if cause is None:
            return False
        event = self.decode(key, record)
        return isinstance(event, Envelope) and event.id == cause

    def fold(self, key: str, record: RawRecord) -> None:
        """Fold an input of one's own, and decide on it. Raises SequenceGap."""
        event = self.event(key, record)
        news = self.source.fold(key, record.offset, event)
        self.folded(key, record, event, news)

    def event(self, key: str, record: RawRecord) -> Envelope | None:
        """The record's event; None where the source skipped it, or ought to have."""
        taken = self.decode(key, record)
        if self.target is not None and self.target.skipped == (key, record.offset):
            return None
        if isinstance(taken, RecordError):
            self._unreadable(key, record, taken)
            return None
        return taken

    def folded(self, key: str, record: RawRecord, event: Envelope | None, news: bool) -> None:
        """Decide on a record that was just folded into this source's slices."""
        target = self.target
        if target is None:
            return
        if record.offset + 1 == target.basis.get(key, 0):
            self._count_lacking(target)
        if target.skipped == (key, record.offset):
            self._skip(key, record)
        elif news and event is not None:
            if self.lacking or event.id != target.cause:
                self.between(key, event)
            else:
                self.cause, self._answered = Cause(key, event, self._asked(key, event)), set()
        self.settle()

    def between(self, key: str, event: Envelope) -> None:
        """Decide on an input that caused none of the recorded decisions: there must be none."""
        accounts = self._asked(key, event)
        if accounts:
            self.sync()
            for account in accounts:
                self._expect_nothing(key, event, account)

    def may_ask(self, key: str, kind: type[Envelope]) -> bool:
        """Whether anybody could be asked about an event of this class."""
        return self._about is None or kind in self._about or self.source.requests[key]

    def _asked(self, key: str, event: Envelope) -> list[str]:
        source = self.source
        if source.requests[key]:
            self.findings.consulted += 1
            return [event.partitionkey]
        if self._about is not None and type(event) not in self._about:
            return []
        accounts = list(source.decider.asks(source.slices, event))
        self.findings.consulted += len(accounts) or 1
        return accounts

    def sync(self) -> None:
        """Note how far the flock has folded the shared inputs."""
        at, positions = self.at, self.source.positions
        for key in self.shared:
            positions[key] = at.get(key, 0)

    def _count_lacking(self, target: Head) -> None:
        self.sync()
        positions = self.source.positions
        lacking = 0
        for key, needed in target.basis.items():
            if positions.get(key, needed) < needed:
                lacking += 1
        self.lacking = lacking

    # ------------------------------------------------------------------ own records

    def settle(self) -> None:
        """Decide everything that was decided at this vector."""
        while self.target is not None and not self.lacking:
            head = self.target
            self.sync()
            if head.type == CHECKPOINT:
                self._tidy()
                self._compare(head, self.source.checkpoint(), folded=True)
            elif head.skipped is not None:
                self._no_input(head)
            else:
                self._decide(head)
            self._next()

    def _decide(self, head: Head) -> None:
        cause, account = self.cause, head.account
        if cause is None or cause.event.id != head.cause:
            self._no_input(head)
            return
        if account not in cause.accounts or account in self._answered:
            self._record(head, None, "unexpected", "this account was not asked about this cause")
            return
        self._tidy()
        for earlier in cause.accounts[: cause.accounts.index(account)]:
            if earlier not in self._answered:
                self._expect_nothing(cause.key, cause.event, earlier)
                self._answered.add(earlier)
        self._answered.add(account)
        expected = self.source.answer(cause.key, cause.event, account)
        self._compare(head, expected)

    def _next(self) -> None:
        """Go on to the next own record; what the last cause gave besides must be nothing."""
        before, self.target = self.target, self.own.next()
        target, cause = self.target, self.cause
        if cause is not None and (target is None or target.cause != cause.event.id):
            self.cause = None
            for account in cause.accounts if target is not None else ():
                if account not in self._answered:
                    self._expect_nothing(cause.key, cause.event, account)
        if target is None:
            return
        self.findings.builds[self.build] += 1
        self.source.epoch = target.body["epoch"]
        self.before = before.basis if before else {}
        if any(target.basis.get(k, 0) < n for k, n in self.before.items()):
            self._report(
                "different", "altered", target, "its basis goes back behind the one before"
            )
        self._count_lacking(target)

    def _skip(self, key: str, record: RawRecord) -> None:
        """Compare the record that says that an input was not taken."""
        head, taken = self.target, self.decode(key, record)
        assert head is not None
        said = str(head.body["data"].get("reason", ""))
        if isinstance(taken, RecordError):
            reason: str | None = taken.reason
        else:  # what a process does not admit by the wall clock is not decided again
            reason = said if said.startswith("NOT_ADMITTED") else None
        if reason is None:
            self._record(head, None, "unexpected", f"{key}/{record.offset} can be read")
        else:
            skipped = self.source.skipped(key, record.offset, record.value, reason)
            self._compare(head, skipped, folded=True)
        self._next()

    def _expect_nothing(self, key: str, cause: Envelope, account: str) -> None:
        """The log has no record for this account and cause: deciding again must give none."""
        again = self.source.answer(key, cause, account)
        if again is None:
            self.findings.nothing += 1
            return
        head = self.target
        if head is not None and head.lost:
            head.lost -= 1
            self._report_lost(head, again)
            self.source.fold_own(again)
        elif self.confirm(self, key, cause, account):
            place = f"{key}/{self.source.positions[key] - 1}"
            note = f"{self.source.name} answers {cause.type} {cause.id} with nothing in the log"
            self._difference(
                "missing",
                self.classify(self, None, key, cause, account, encode(again)),
                note,
                place=place,
                about=encode(again),
                found=fields(None, encode(again)),
            )

    def _compare(self, head: Head, again: Envelope | None, *, folded: bool = False) -> None:
        """Compare a recorded decision with the one just made, and fold what the log has."""
        raw = None if again is None else encode(again)
        if again is not None and (raw == head.raw or raw == newest(head)):
            self.findings.decisions += 1
            self.findings.identical += 1
            if raw == head.raw:
                self.decode.decided(self.source.output, head, again)
            if not folded:
                self.source.fold_own(again)
            return
        kind: Kind = "different" if again is not None else "unexpected"
        note = "decided again, it has other bytes" if again else "decided again, there is none"
        self._record(head, raw, kind, note, folded=folded)

    def _record(
        self, head: Head, raw: bytes | None, kind: Kind, note: str, *, folded: bool = False
    ) -> None:
        """Report a record that is not what was decided, and fold it all the same."""
        self.findings.decisions += 1
        cls = self._own_class(head, raw)
        self._difference(
            kind,
            cls,
            note,
            place=f"{self.source.output}/{head.offset}",
            about=head.raw,
            found=fields(head.raw, raw) if raw is not None else (),
        )
        if folded:
            return
        if head.lost:
            self.source.sequence += head.lost
        try:
            self.source.fold_own(decode(head.raw))
        except (RecordError, ValueError):
            self.source.sequence = head.body["sequence"]

    def _own_class(self, head: Head, raw: bytes | None) -> Class:
        cause = head.cause
        if cause is not None and head.body["id"] != record_id(
            self.source.name, head.account, cause
        ):
            return "altered"
        try:
            decode(head.raw)
        except RecordError:
            return "altered"
        if self.cause is not None:
            key, event, _ = self.cause
            return self.classify(self, head, key, event, head.account, raw)
        return "altered" if self.build in ("", self.findings.build) else "decided by other code"

    def _no_input(self, head: Head) -> None:
        """The record's cause is not where its basis ends."""
        identity = head.cause and record_id(self.source.name, head.account, head.cause)
        whole = identity is None or identity == head.body["id"]
        what = f"its cause {head.cause}" if head.cause else "the input it skipped"
        note = f"{what} is not among the last inputs of its basis" + (
            ", or is old news there" if whole else "; its own id does not belong to that cause"
        )
        self._record(head, None, "unexpected", note)

    # ------------------------------------------------------------------ reports

    def broken(self, key: str, gap: SequenceGap) -> None:
        """An input partition is broken: nothing behind it can be decided again."""
        self.give_up(
            f"{key} is broken at offset {self.source.positions[key] - 1}: {gap}", "altered"
        )

    def give_up(self, note: str, cls: Class) -> None:
        """Report this record and all after it as not to be verified."""
        head, count = self.target, 0
        assert head is not None
        while self.target is not None:
            count += 1
            self.target = self.own.next()
        self.findings.decisions += count
        self._difference(
            "unverifiable",
            cls,
            f"{note}; {count} records of {self.source.name} from here on cannot be decided again",
            place=f"{self.source.output}/{head.offset}",
            about=head.raw,
            records=count,
        )

    def _tidy(self) -> None:
        self.source.decider.tidy(self.source.slices)

    # ------------------------------------------------------------------ the end

    def waiting(self) -> int:
        """Fold the requests behind the last own record: how many have no answer yet."""
        count = 0
        for key, cursor in self.keyed.items():
            if not self.source.requests[key]:
                continue
            while (record := cursor.head) is not None:
                event = self.decode(key, record)
                try:
                    taken = event if isinstance(event, Envelope) else None
                    count += record.offset >= self.source.positions[key] and self.source.fold(
                        key, record.offset, taken
                    )
                except SequenceGap:
                    break
                cursor.step()
        return count
