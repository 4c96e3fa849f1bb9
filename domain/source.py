"""A source: one decider on one partition, with its slices, positions, filters and sequence.

Everything that runs deciders (the live shell, the in-process engine, crash tests, verify) runs them
through this class, so a decision is the same wherever it is taken. It does no I/O.
"""

import copy
import hashlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any

from domain.clock_state import now
from domain.decider import OWN, Decider, Decision, Slices
from domain.plain_state import plain
from schemas.control import AccountResumed
from schemas.envelope import Envelope
from schemas.ids import record_id
from schemas.sources import (
    CheckpointData,
    HaltedData,
    SkippedData,
    SourceCheckpointed,
    SourceHalted,
    SourceSkipped,
)
from schemas.topics import CONTROL
from schemas.topics import partitions as partition_count
from schemas.trusted import trusted
from schemas.upcasters import names_of
from schemas.validity import Validity


@dataclass(slots=True)
class Memory:
    """All that a source remembers apart from its slices, as a snapshot keeps it."""

    sequence: int
    duplicates: int
    positions: dict[str, int]
    validity: dict[str, dict[str, tuple[int, int]]]
    seen: set[str]
    halted_at: dict[str, int]
    resumed: dict[str, int]


class Source:
    """State of a source. `partitions`: how many account partitions there are."""

    def __init__(self, decider: Decider, partition: int, partitions: int) -> None:
        self.decider = decider
        self.partition = partition
        self.name = f"/{decider.name}/{partition}"
        self.output = f"{decider.output.name}/{partition if decider.output.keyed else 0}"
        self.epoch = 0
        self.sequence = 0
        self.duplicates = 0
        self.slices = Slices()
        self.catch_up: Callable[[Source], None] | None = None
        """Runs that fold in bulk: called before a decision, to bring market and clock up to date.
        Which accounts a record other than theirs asks for never depends on these two."""
        self.positions: dict[str, int] = {}
        self.validity: dict[str, Validity] = {}
        self.requests: dict[str, bool] = {}
        self.seen: set[str] = set()
        """Ids of outside requests that were answered; decided records cannot come twice."""
        self._halted_at: dict[str, int] = {}
        self._resumed: dict[str, int] = {}
        self._slice_of: dict[str, tuple[str, Any]] = {}
        for read in decider.reads:
            topic = read.topic
            numbers = (
                range(partition_count(topic, partitions))
                if read.full or not topic.keyed
                else [partition]
            )
            states = tuple(decider.begin(topic.name) for _ in numbers)
            for number, state in zip(numbers, states, strict=True):
                key = f"{topic.name}/{number}"
                self.positions[key] = 0
                self.validity[key] = Validity()
                self.requests[key] = read.request
                self._slice_of[key] = (topic.name, state)
            self.slices[topic.name] = states if read.full and topic.keyed else states[0]
        self.slices[OWN] = decider.begin(OWN)
        self._order = tuple(sorted(self.positions))

    # ------------------------------------------------------------------ folding inputs

    def fold(self, key: str, offset: int, event: Envelope | None) -> bool:
        """Fold the record at `offset` of input `key` (``topic/partition``); None: undecodable.

        True if it is valid and news, that is, if :meth:`decide` is to be called next.
        Raises ValueError when the offset was folded before: positions never go back.
        """
        positions = self.positions
        if offset < positions[key]:
            raise ValueError(
                f"{self.name} folded {key} up to {self.positions[key]}, got {offset} again"
            )
        positions[key] = offset + 1
        if event is None or not self.validity[key].admit(event) or event.type.startswith("source."):
            return False
        if self.requests[key] and event.epoch is None:
            if event.id in self.seen:
                self.duplicates += 1
                return False
            self.seen.add(event.id)
        if isinstance(event, AccountResumed):
            self._note_resumed(offset, event)
        topic, state = self._slice_of[key]
        news = self.decider.evolve(topic, state, event)
        self.decider.tidy(self.slices)
        return news

    def changes(self, key: str) -> frozenset[str] | None:
        """Names of the types, old versions too, that change the slice of an input; None: maybe
        all do."""
        kinds = getattr(type(self._slice_of[key][1]), "folds", None)
        return None if kinds is None else names_of(kinds)

    def pass_over(self, key: str, offset: int, source: str, epoch: int, sequence: int) -> None:
        """Fold a decided record whose type changes nothing in this input's slice, by its envelope:
        only position and filter move."""
        self.positions[key] = offset + 1
        self.validity[key].admit_head(source, epoch, sequence, False)

    def fold_last(self, key: str, offset: int, last: Envelope, count: int) -> None:
        """Fold a run of one source's decided facts, `count` of them from `offset` on, by folding
        the last: only for deciders with `equity_last`, and position updates of equity alone.

        Raises ValueError where the run is not what comes next in this input.
        """
        if (
            self.positions[key] != offset
            or last.epoch is None
            or last.sequence is None
            or not self.validity[key].admit_run(
                last.source, last.epoch, last.sequence - count + 1, last.sequence
            )
        ):
            raise ValueError(f"{self.name}: records from {key} {offset} on do not follow its own")
        self.positions[key] = offset + count
        topic, state = self._slice_of[key]
        self.decider.evolve(topic, state, last)
        self.decider.tidy(self.slices)

    def fold_own_last(self, last: Envelope, count: int) -> None:
        """Fold a run of `count` own records of equity alone by folding the last of them."""
        self.sequence += count - 1
        self.fold_own(last)

    def share(self, key: str, other: "Source") -> None:
        """Use `other`'s slice, filter and position for a single-partition input from now on. Both
        must stand at the same position: a slice is a function of its position."""
        if self.positions[key] != other.positions[key]:
            raise ValueError(f"{self.name} and {other.name} stand at different positions of {key}")
        topic, state = other._slice_of[key]
        self._slice_of[key] = (topic, state)
        self.slices[topic] = state
        self.validity[key] = other.validity[key]

    def slice_type(self, key: str) -> type:
        """What kind of slice an input is folded into."""
        return type(self._slice_of[key][1])

    def copy_input(self, key: str, other: "Source") -> None:
        """Stand where `other` stands in an input, with a slice and filter of one's own."""
        topic, state = other._slice_of[key]
        self._slice_of[key] = (topic, copy.deepcopy(state))
        self.slices[topic] = self._slice_of[key][1]
        self.validity[key] = Validity(other.validity[key].sources)
        self.positions[key] = other.positions[key]
        if topic == CONTROL.name:  # accounts are resumed there; elsewhere others may stand ahead
            self._resumed = dict(other._resumed)
            self._refresh_halted()

    def advance(self, key: str, offset: int, event: Envelope | None) -> None:
        """Note that another source folded the record at `offset` into a slice shared with it."""
        self.positions[key] = offset + 1
        if event is not None:
            self._note_resumed(offset, event)
            self.decider.tidy(self.slices)

    def would_admit(self, key: str, event: Envelope) -> bool:
        """Whether the record would be valid if it were folded next; folds nothing."""
        current, last = self.validity[key].sources.get(event.source, (0, 0))
        return event.epoch is None or (event.epoch == current and event.sequence == last + 1)

    def ready(self, key: str, event: Envelope) -> bool:
        """Causal delivery: whether everything this record was based on is folded here already."""
        floor = event.basis or event.after
        if not floor or not self.would_admit(key, event):
            return True
        positions = self.positions
        return all(positions.get(k, n) >= n for k, n in floor.items())

    def _note_resumed(self, offset: int, event: Envelope) -> None:
        if isinstance(event, AccountResumed) and event.data.processor == self.decider.name:
            self._resumed[event.partitionkey] = offset + 1
            self._refresh_halted()

    # ------------------------------------------------------------------ deciding

    def basis(self) -> dict[str, int]:
        """The vector of positions: next offset of each input; own records are sequence - 1."""
        positions = self.positions
        return {key: positions[key] for key in self._order}

    def decide(
        self, key: str, cause: Envelope, *, answered: Container[str] = ()
    ) -> Iterator[Envelope]:
        """Records that answer `cause`: one for a request, at most one an account for a fact.

        Each record is folded into own state when it is yielded, so a later one sees it. An
        exception in a decision becomes a `source.halted` record of that account. `answered`:
        accounts that have their record of this cause already (a crash cut the others off).
        """
        if self.requests[key]:
            accounts = [cause.partitionkey]
        else:
            accounts = list(self.decider.asks(self.slices, cause))
        if accounts and self.catch_up is not None:
            self.catch_up(self)
        for account in accounts:
            if account in answered:
                continue
            record = self.answer(key, cause, account)
            if record is not None:
                self.fold_own(record)
                yield record

    def answer(self, key: str, cause: Envelope, account: str) -> Envelope | None:
        """The record that answers `cause` for one account, with the next sequence; not folded."""
        identity = record_id(self.name, account, cause.id)
        try:
            decision = self.decider.decide(self.slices, cause, account, identity)
            record = decision and self._record(decision, cause, identity)
        except Exception as error:
            record = self._halted(account, cause, identity, error)
        if record is None and self.requests[key]:
            raise AssertionError(f"{self.name} did not answer request {cause.id}")
        return record

    def _record(self, decision: Decision, cause: Envelope, identity: str) -> Envelope:
        account = decision.account
        return trusted(
            decision.event,
            id=identity,
            source=self.name,
            subject=f"{account}/{decision.symbol}" if decision.symbol else account,
            time=now(self.slices, cause),
            partitionkey=account,
            sequence=self.sequence + 1,
            epoch=self.epoch,
            causationid=cause.id,
            correlationid=cause.correlationid or cause.id,
            basis=self.basis(),
            data=decision.data,
        )

    def _halted(self, account: str, cause: Envelope, identity: str, error: Exception) -> Envelope:
        note = f"{type(error).__name__}: {error}"[:500]
        return self._about(
            SourceHalted,
            identity,
            account,
            HaltedData(account=account, cause_id=cause.id, error=note),
            cause,
        )

    def _about(
        self, event: type[Envelope], identity: str, key: str, data: Any, cause: Envelope | None
    ) -> Envelope:
        return event(
            id=identity,
            source=self.name,
            subject=key,
            time=now(self.slices, cause) if cause else self._now(),
            partitionkey=key,
            sequence=self.sequence + 1,
            epoch=self.epoch,
            causationid=cause.id if cause else None,
            correlationid=(cause.correlationid or cause.id) if cause else None,
            basis=self.basis(),
            data=data,
        )  # type: ignore[call-arg]

    def _now(self) -> str:
        return max(
            (self.slices[t].time for t in ("clock", "market") if t in self.slices),
            default="1970-01-01T00:00:00.000000Z",
        )

    def skipped(self, key: str, offset: int, raw: bytes | None, reason: str) -> Envelope:
        """The record that says an input could not be taken; replays follow it and skip the same."""
        data = SkippedData.of(key, offset, raw, reason)
        identity = record_id(self.name, self.decider.name, f"skipped {key} {offset}")
        record = self._about(SourceSkipped, identity, self.decider.name, data, None)
        self.fold_own(record)
        return record

    def checkpoint(self) -> Envelope:
        """A record without events: basis and digest of the state there."""
        identity = record_id(
            self.name, self.decider.name, f"checkpoint {self.epoch} {self.sequence}"
        )
        data = CheckpointData(digest=self.digest())
        record = self._about(SourceCheckpointed, identity, self.decider.name, data, None)
        self.fold_own(record)
        return record

    def fold_own(self, record: Envelope) -> None:
        """Fold one of the own records, just decided or read back at a restart."""
        if record.sequence != self.sequence + 1:
            raise ValueError(f"{self.name}: own sequence {record.sequence} after {self.sequence}")
        self.sequence = record.sequence
        if isinstance(record, SourceHalted):
            self._halted_at[record.data.account] = (record.basis or {}).get("control/0", 0)
            self._refresh_halted()
        elif not isinstance(record, SourceSkipped | SourceCheckpointed):
            self.decider.evolve(OWN, self.slices[OWN], record)
            self.decider.tidy(self.slices)

    def _refresh_halted(self) -> None:
        """Halted is an account whose last halt's basis stands after its last resumption on control:
        a comparison of two slices, so it does not matter which was folded first."""
        self.slices.halted = {
            account
            for account, at in self._halted_at.items()
            if self._resumed.get(account, 0) <= at
        }

    # ------------------------------------------------------------------ what is remembered

    def memory(self) -> Memory:
        """What it remembers beside its slices. Not a copy."""
        return Memory(
            self.sequence,
            self.duplicates,
            self.positions,
            {key: validity.sources for key, validity in self.validity.items()},
            self.seen,
            self._halted_at,
            self._resumed,
        )

    def slices_by_key(self) -> dict[str, Any]:
        """Its slices by input (``topic/partition``), and that of own records by `OWN`. No copy."""
        return {key: state for key, (_, state) in self._slice_of.items()} | {OWN: self.slices[OWN]}

    def remember(self, memory: Memory, slices: dict[str, Any]) -> None:
        """Stand where another run of this source stood. ValueError where inputs are not its own."""
        if slices.keys() != self._slice_of.keys() | {OWN} or not (
            memory.positions.keys() == memory.validity.keys() == self._slice_of.keys()
        ):
            raise ValueError(f"{self.name} has other inputs: {sorted(slices)}")
        self.sequence, self.duplicates, self.seen = memory.sequence, memory.duplicates, memory.seen
        self._halted_at, self._resumed = memory.halted_at, memory.resumed
        tuples: dict[str, list[Any]] = {}
        for key, (topic, _) in self._slice_of.items():
            self.positions[key] = memory.positions[key]
            self.validity[key] = Validity(memory.validity[key])
            self._slice_of[key] = (topic, slices[key])
            tuples.setdefault(topic, []).append(slices[key])
        for topic, states in tuples.items():
            full = isinstance(self.slices[topic], tuple)
            self.slices[topic] = tuple(states) if full else states[0]
        self.slices[OWN] = slices[OWN]
        self._refresh_halted()

    # ------------------------------------------------------------------ digest

    def digest(self) -> str:
        """SHA-256 of the whole state in a canonical form: equal states have equal digests."""
        parts = [
            self.name,
            self.sequence,
            self.basis(),
            plain(dict(self.slices)),
            sorted(self.slices.halted),
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()
