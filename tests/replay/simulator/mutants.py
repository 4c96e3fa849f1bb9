"""The faulty rules of the protocol model, put into the real code (issue 6; `protocol_model.py`).

Each is one rule of DESIGN's protocol taken back, by patching what carries it. Where the real code
has a second guard behind the rule, that guard is taken away as well, and the docstring says so.
"""

from collections.abc import Callable
from decimal import localcontext
from typing import Any

import pytest

from domain import source as source_module
from domain.average_cost import EXACT
from domain.decider import OWN
from domain.safety import Safety
from domain.safety_levels import nav_of
from domain.safety_state import equity_at, marks_now
from domain.source import Source
from schemas import ids
from schemas.codec import RecordError, decode, encode
from schemas.envelope import Envelope
from schemas.sources import SourceFenced
from schemas.topics import CONTROL, MARKET, POSITION_UPDATE
from schemas.validity import Validity
from streams import recovery, shell, snapshots
from streams.log import Log
from streams.recovery import Identity
from streams.shell import Shell
from streams.simulated.broker import MemoryLog, ignored
from streams.taking import Recovered, take
from tests.replay.simulator.effects import (
    end_while_unknown,
    exposure_two_topics,
    flat_from_two_topics,
    no_barrier,
    no_epoch_check,
    no_wait_after_fence,
    projector_forgets_fence,
    random_fill_ids,
    resend_on_timeout,
    stamp_after_check,
)

Patch = Callable[[pytest.MonkeyPatch], None]


def catchup_any_order(patch: pytest.MonkeyPatch) -> None:
    """What lies between basis and ends is taken partition by partition, by name backwards, and no
    record waits for what it was based on."""

    def catch_up(self: Shell) -> None:
        for key in sorted(self.inputs(), reverse=True):
            for record in list(self.log.read({key: (self.position(key), self.log.end(key))})):
                self.receive(record)

    patch.setattr(Shell, "_catch_up", catch_up)
    patch.setattr(Shell, "_ready", lambda *_: True)


def split_records(patch: pytest.MonkeyPatch) -> None:
    """A fact is answered for some accounts, and after a crash not for the others."""

    def recover(*arguments: Any) -> list[Recovered]:
        found = recovery.recover(*arguments)
        for recovered in found:
            recovered.redo = None
        return found

    patch.setattr(shell, "recover", recover)


def fence_in_control(patch: pytest.MonkeyPatch) -> None:
    """Fences stand on `control`: who reads another partition knows of them when it has read them
    there, not at their place among the source's records."""
    epochs: dict[int, dict[str, int]] = {}

    def fence(
        log: Log, sources: dict[str, str], identity: Identity, stands: Any, reads: Any, into: Any
    ) -> dict[str, tuple[int, Any]]:
        key, done = f"{CONTROL.name}/0", {}
        fences = [decode(r.raw) for r in log.read({key: (0, log.end(key))})]
        for name, output in sources.items():
            mine = [
                e.epoch or 0 for e in fences if isinstance(e, SourceFenced) and e.source == name
            ]
            epoch = max(mine, default=0) + 1
            opening = SourceFenced.opening(name, epoch, identity.data())
            log.append(key, encode(opening), opening.partitionkey, ignored)
            own = into.get(name, [])
            since = stands[name].position if name in stands else 0
            for record in log.read({output: (since, log.end(output))}):
                event = decode(record.raw)
                if event.source == name and not isinstance(event, SourceFenced):
                    own.append(event)
            done[name] = epoch, own
        log.flush()
        return done

    def fold(self: Source, key: str, offset: int, event: Envelope | None) -> bool:
        known = epochs.setdefault(id(self), {})
        if isinstance(event, SourceFenced):
            known[event.source] = max(known.get(event.source, 0), event.epoch or 0)
        if event is not None and (event.epoch or 1 << 60) < known.get(event.source, 0):
            event = None
        return ORIGINAL_FOLD(self, key, offset, event)

    patch.setattr(shell, "fence", fence)
    patch.setattr(Source, "fold", fold)
    patch.setattr(Validity, "admit_head", lambda self, source, epoch, sequence, fence: not fence)
    patch.setattr(Source, "ready", lambda *_: True)


ORIGINAL_FOLD = Source.fold


def epoch_by_count(patch: pytest.MonkeyPatch) -> None:
    """The epoch is the number of fences seen, and nobody looks whether another came between."""

    def fence(
        log: Log, sources: dict[str, str], identity: Identity, stands: Any, reads: Any, into: Any
    ) -> dict[str, tuple[int, Any]]:
        done = {}
        for name, output in sources.items():
            state = {name: recovery._Own.after(name, stands.get(name), into.get(name, []))}
            recovery._follow(log, {name: output}, state, {name: log.end(output)})
            epoch = state[name].validity.epoch(name) + 1
            opening = SourceFenced.opening(name, epoch, identity.data())
            log.append(output, encode(opening), opening.partitionkey, ignored)
            done[name] = (epoch, state[name].records)
        log.flush()
        return done

    patch.setattr(shell, "fence", fence)


def id_without_source(patch: pytest.MonkeyPatch) -> None:
    """The id of a record is made from account and cause alone."""
    patch.setattr(source_module, "record_id", lambda _, key, cause: ids.record_id("", key, cause))


def done_by_outputs(patch: pytest.MonkeyPatch) -> None:
    """After a restart whatever has no own record is decided, also what was folded long ago and gave
    nothing then."""

    def recover(log: Log, sources: list[Source], own: Any, partitions: int) -> list[Recovered]:
        found = recovery.recover(log, sources, own, partitions)
        for recovered in found:
            source = recovered.source
            output = log.read({source.output: (0, log.end(source.output))})
            done = {decode(r.raw).causationid for r in output}
            todo: list[tuple[str, Envelope]] = []
            for key, position in source.positions.items():
                for record in log.read({key: (0, position)}):
                    try:
                        event = take(record, partitions)
                    except RecordError:
                        continue
                    if event.id not in done and not event.type.startswith("source."):
                        todo.append((key, event))
            AGAIN[source.name] = todo
        return found

    def fenced(self: Shell, sources: list[Source]) -> None:
        for source in sources:
            for key, event in AGAIN.pop(source.name, []):
                for record in source.decide(key, event):
                    self._publish(source, record)

    patch.setattr(shell, "recover", recover)
    patch.setattr(Shell, "_fenced", fenced)


AGAIN: dict[str, list[tuple[str, Envelope]]] = {}


def trust_group_offset(patch: pytest.MonkeyPatch) -> None:
    """A worker starts where its group has committed: behind what it had taken, answered or not."""

    def recover(log: Log, sources: list[Source], own: Any, partitions: int) -> list[Recovered]:
        found = recovery.recover(log, sources, own, partitions)
        for recovered in found:
            source = recovered.source
            for key, position in list(source.positions.items()):
                for record in log.read({key: (position, log.end(key))}):
                    source.fold(key, record.offset, take(record, partitions))
        return found

    patch.setattr(shell, "recover", recover)


def hwm_in_fold(patch: pytest.MonkeyPatch) -> None:
    """Safety raises its high-water mark while it folds prices and positions, instead of recording
    that it rose: it depends on the order in which topics came."""

    def tidy(_: Safety, slices: Any) -> None:
        market = slices[MARKET.name]
        with localcontext(EXACT):
            for name, standing in slices[OWN].accounts.items():
                book = slices[POSITION_UPDATE.name].accounts.get(name)
                if book is None or book.units <= 0 or not all(map(market.mark, book.held)):
                    continue
                nav = nav_of(equity_at(book, marks_now(book, market)), book.units)
                standing.high = max(standing.high, nav)

    patch.setattr(Safety, "tidy", tidy)


def blind_snapshot(patch: pytest.MonkeyPatch) -> None:
    """A snapshot is written when its checkpoint was sent, and taken whatever became of that. (Else
    a snapshot is written only behind a checkpoint that was read back, and held against its digest.)
    """

    def write(self: snapshots.Keeper, seen: dict[str, int]) -> None:
        ORIGINAL_WRITE(self, dict.fromkeys(seen, 1 << 60))

    patch.setattr(snapshots.Keeper, "write", write)
    patch.setattr(snapshots._Whole, "why_not", lambda _: None)
    patch.setattr(snapshots, "_load", load_blindly)


ORIGINAL_WRITE = snapshots.Keeper.write


def load_blindly(source: Source, whole: Any) -> str | None:
    """Put the source there without a look at its digest."""
    snapshots.unpack(source, whole.body["state"])
    return None


def snapshot_anywhere(patch: pytest.MonkeyPatch) -> None:
    """A snapshot names a checkpoint and has the state of a later moment. (The digest that the
    checkpoint carries is not looked at.)"""

    def take(self: snapshots.Keeper, source: Source, now_s: float) -> Any:
        record, taken = ORIGINAL_TAKE(self, source, now_s)
        setattr(taken, "body", lambda: later(taken, source))  # noqa: B010
        return record, taken

    patch.setattr(snapshots, "Taken", Lasting)
    patch.setattr(snapshots.Keeper, "take", take)
    patch.setattr(snapshots, "_load", load_blindly)


class Lasting(snapshots.Taken):
    """A :class:`Taken` whose body may be replaced: it has no slots."""


def later(taken: Any, source: Source) -> bytes:
    """The body with the state that the source has now."""
    taken.state = snapshots.packed(source)
    return snapshots.Taken.body(taken)


ORIGINAL_TAKE = snapshots.Keeper.take


def gappy_producer(patch: pytest.MonkeyPatch) -> None:
    """A producer that is not idempotent: what it tries again overtakes."""

    def deliver(self: MemoryLog) -> bool:
        if len(self.flight) > 1:
            self.flight.rotate(-1)
        return ORIGINAL_DELIVER(self)

    patch.setattr(MemoryLog, "deliver", deliver)


ORIGINAL_DELIVER = MemoryLog.deliver


MUTANTS: dict[str, Patch] = {
    mutant.__name__: mutant
    for mutant in (
        catchup_any_order, split_records, fence_in_control, epoch_by_count, id_without_source,
        done_by_outputs, trust_group_offset, hwm_in_fold, blind_snapshot, snapshot_anywhere,
        gappy_producer,
        random_fill_ids, exposure_two_topics, flat_from_two_topics, end_while_unknown,
        no_wait_after_fence, no_barrier, no_epoch_check, stamp_after_check, resend_on_timeout,
        projector_forgets_fence,
    )
}  # fmt: skip
