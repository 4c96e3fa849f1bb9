"""Applying one batch of messages to a generation: folded in memory, written in one transaction."""

import logging
from collections.abc import Sequence
from typing import Protocol

import psycopg

from projections.fold import Fold
from projections.log import Cursor, absorb, skip
from projections.reading import Partition

Message = tuple[Partition, int, bytes | None]
UNSTORABLE = (psycopg.DataError, psycopg.IntegrityError)


class Target(Protocol):
    """Where a batch goes: a generation in Postgres (`writing.Writer`), or tables in memory."""

    def known_fills(self, ids: Sequence[str]) -> list[str]: ...
    def commit(self, fold: Fold, before: dict[Partition, int], after: Sequence[Cursor]) -> None: ...


log = logging.getLogger("projections.batch")


def apply_all(
    writer: Target, cursors: dict[Partition, Cursor], batch: Sequence[Message]
) -> dict[Partition, Cursor]:
    """As :func:`apply`, and a record that Postgres cannot store is indexed as undecodable; nothing
    after it is lost. If not even that can be stored, its partition stops before it."""
    try:
        return apply(writer, cursors, batch)
    except UNSTORABLE as error:
        reason = str(error).splitlines()[0]
        if len(batch) == 1:
            log.error("cannot be stored: %s", reason)
            return _refused(writer, cursors, batch, reason)
    middle = len(batch) // 2
    moved = apply_all(writer, cursors, batch[:middle])
    return moved | apply_all(writer, {**cursors, **moved}, batch[middle:])


def _refused(
    writer: Target, cursors: dict[Partition, Cursor], batch: Sequence[Message], reason: str
) -> dict[Partition, Cursor]:
    try:
        return apply(writer, cursors, batch, ValueError(f"not storable: {reason}"))
    except UNSTORABLE as error:
        ((key, offset, _),) = batch
        stopped = cursors[key].copy()
        stopped.stopped = (
            f"Postgres stores neither the record at offset {offset} ({reason}) nor a note of it "
            f"({str(error).splitlines()[0]})"
        )
        return {key: stopped}


def apply(
    writer: Target,
    cursors: dict[Partition, Cursor],
    batch: Sequence[Message],
    refused: Exception | None = None,
) -> dict[Partition, Cursor]:
    """Write the effects of `batch`; returns the cursors it moved, `cursors` stay as they are.

    refused: index every message of the batch as undecodable for this reason. Raises what
    :meth:`Target.commit` raises, then nothing was written.
    """
    fold, moved = _fold(cursors, batch, refused, ())
    counted = writer.known_fills([str(key[0]) for key in fold.appends["fills"]])
    if counted:  # reported again: as if the fold had begun with them
        fold, moved = _fold(cursors, batch, refused, counted)
    before = {key: cursors[key].next_offset for key in moved}
    after = [moved[key] for key in sorted(moved) if moved[key].next_offset != before[key]]
    if after:
        writer.commit(fold, before, after)
    return moved


def _fold(
    cursors: dict[Partition, Cursor],
    batch: Sequence[Message],
    refused: Exception | None,
    counted: Sequence[str],
) -> tuple[Fold, dict[Partition, Cursor]]:
    fold = Fold(counted)
    moved = {key: cursors[key].copy() for key in {key for key, _, _ in batch}}
    for key, offset, raw in batch:
        cursor = moved[key]
        if refused is None:
            absorb(fold, cursor, offset, raw)
        elif offset >= cursor.next_offset:
            skip(fold, cursor, offset, raw, refused)
    return fold, moved
