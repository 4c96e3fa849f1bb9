"""The fold of :mod:`projections.fold` on trusted bytes: no models, rows as COPY wants to read them.

Only what a worker's encoder wrote is taken so (see :mod:`projections.heads`), only types with many
records, and only where no string needs an escape: canonical JSON without a backslash holds nothing
that COPY's text format would misread. Every other record goes through `absorb` and its changes are
merged here. That both ways make the same rows is a test over golden samples, a run's log and
generated records (`tests/projections/test_trusted.py`).
"""

from typing import TYPE_CHECKING

from projections.fold import Fold
from projections.heads import NOTHING, REAL_DAYS, is_outside_record, is_real, writer
from projections.log import absorb
from projections.reading import Moving
from projections.text_rows import TextRows
from projections.trusted_items import EMPTY, HANDLERS, Item, parse, shapes
from projections.trusted_verdicts import VerdictRow, Verdicts
from schemas.heads import HEAD
from schemas.topics import (
    CONTROL,
    EVENT_TOPICS,
    EXECUTION_RES,
    ORDER,
    POSITION_UPDATE,
    SIGNAL,
    SIGNAL_SAFE,
    VENUE_REPORT,
    VENUE_REQUEST,
)
from schemas.validity import SequenceGap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from re import Match

BYTES_MAX = 1_000_000

_ITEMS, _VERDICTS, _INDEX, _COUNT, _FENCE = range(5)
_TAKEN: dict[tuple[str, bytes], tuple[int, str]] = {
    (ORDER.name, b"trade.order.decided.v1"): (_ITEMS, "order cancel dropped declined"),
    (EXECUTION_RES.name, b"trade.execution.reported.v1"): (
        _ITEMS,
        "accepted unknown filled ended transferred funded",
    ),
    (POSITION_UPDATE.name, b"trade.position.updated.v1"): (
        _ITEMS,
        "position order_end trade_closed equity",
    ),
    (SIGNAL_SAFE.name, b"trade.signal.judged.v1"): (_VERDICTS, ""),
    (SIGNAL.name, b"trade.signal.published.v1"): (_INDEX, ""),
    (VENUE_REPORT.name, b"venue.reported.v1"): (_INDEX, ""),
}
for _kind in (
    b"safety.equity.marked.v1", b"safety.governor.level_changed.v1",
    b"market.flash_crash_detected.v1",
):  # fmt: skip
    _TAKEN[CONTROL.name, _kind] = (_INDEX, "")
for _topic in EVENT_TOPICS:
    _TAKEN[_topic.name, b"source.checkpointed.v1"] = (_COUNT, "")
    _TAKEN[_topic.name, b"source.fenced.v1"] = (_FENCE, "")
_NONE = b"\\N"


class DistrustError(ValueError):
    """A worker's record does not hold what such records hold: fold the log with models instead."""


class _Line:
    """A partition as it is read: who wrote the record before, and so most likely the next one."""

    __slots__ = ("kind", "kinds", "match", "place", "source", "source_name", "topic", "way")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.place = b"%s\t%d" % (topic.encode(), partition)
        self.match: Callable[[bytes], Match[bytes] | None] = NOTHING
        self.way, self.kinds, self.kind, self.source, self.source_name = (
            -1,
            shapes(""),
            b"",
            b"",
            "",
        )

    def expect(self, kind: bytes, source: bytes) -> bool:
        """Expect records of this type and source; False where only models can take them."""
        way = _TAKEN.get((self.topic, kind))
        if way is None:
            return False
        self.way, self.kinds = way[0], shapes(way[1])
        self.kind, self.source, self.source_name = kind, source, source.decode()
        self.match = writer(kind, source)
        return True


class TrustedFold:
    """Folds messages into :class:`TextRows`; cursors move as :func:`projections.log.absorb` moves
    them. `checked`: how many records were parsed and checked with models."""

    def __init__(self) -> None:
        self.rows = TextRows()
        self.checked = 0
        self._index = self.rows.lines["events"]
        self._verdicts = Verdicts()
        self._lines: dict[tuple[str, int], _Line] = {}
        self._fold: Fold | None = None

    def absorb(self, cursor: Moving, offset: int, raw: bytes | None) -> None:
        """Fold one message in and move the cursor past it. Raises DistrustError."""
        self.run(cursor, ((offset, raw),))

    def run(self, cursor: Moving, messages: "Iterable[tuple[int, bytes | None]]") -> None:
        """Fold messages of one partition in and move its cursor past them. Raises
        DistrustError."""
        place = (cursor.topic, cursor.partition)
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = _Line(*place)
        for offset, raw in messages:
            if offset < cursor.next_offset:
                continue
            if cursor.stopped is not None:
                return
            if raw is not None and b"\\" not in raw and len(raw) <= BYTES_MAX:
                head = line.match(raw)
                if head is None:
                    if self._looked(cursor, line, offset, raw):
                        continue
                elif self._took(cursor, line, offset, raw, head):
                    continue
            self._check(cursor, offset, raw)

    def _looked(self, cursor: Moving, line: _Line, offset: int, raw: bytes) -> bool:
        """Fold a record that has no epoch, or is of another type or worker than the one before;
        False (and nothing done) if models must look."""
        found = HEAD.match(raw)
        if found is None:
            return False
        record, kind, source, subject, time, account, sequence, epoch, cause, first = found.groups(
            _NONE
        )
        if epoch is not _NONE:
            head = line.match(raw) if line.expect(kind, source) else None
            return head is not None and self._took(cursor, line, offset, raw, head)
        if sequence is not _NONE:
            return False
        topic = line.topic
        if not (time[:10] in REAL_DAYS or is_real(time)):
            return False
        if not is_outside_record(topic, kind, raw, found.end()):
            return False
        cursor.next_offset = offset + 1
        cursor.events += 1
        if topic == VENUE_REQUEST.name:
            self._index.append(
                b"\t".join(
                    (
                        line.place, b"%d" % offset, record, kind, account, subject, time,
                        b"\\N\t\\N", source, cause, first, b"\\N\t\\N",
                    )
                )
            )  # fmt: skip
        return True

    def _took(
        self, cursor: Moving, line: _Line, offset: int, raw: bytes, head: "Match[bytes]"
    ) -> bool:
        """Fold a worker's record; False (and nothing done) if models must look."""
        record, subject, time, account, sequence, epoch, cause, first = head.groups(_NONE)
        if not (time[:10] in REAL_DAYS or is_real(time)):
            return False
        way = line.way
        items: list[Item] | None = None
        rows: list[VerdictRow] | None = None
        if way == _ITEMS:
            if not raw.endswith(EMPTY):
                items = parse(raw, head.end(), line.kinds)
                if items is None:
                    return False
        elif way == _VERDICTS:
            rows = self._verdicts.cut(record, account, time, raw, head.end())
            if rows is None:
                return False
        sources = cursor.validity.sources
        source, number = line.source_name, None if sequence is _NONE else int(sequence)
        known = (int(epoch), number)
        if way != _FENCE and number is not None and sources.get(source) == (known[0], number - 1):
            sources[source] = (known[0], number)
            valid = True
        else:
            try:
                valid = cursor.validity.admit_head(source, known[0], number, way == _FENCE)
            except SequenceGap as gap:
                cursor.stopped = str(gap)
                return True
        cursor.next_offset = offset + 1
        if not valid:
            return True
        cursor.events += 1
        if items is not None:
            self._apply(items, account.decode(), time.decode(), record.decode())
        elif rows is not None:
            self._judged(rows)
        if way != _COUNT:
            self._index.append(
                b"\t".join(
                    (
                        line.place, b"%d" % offset, record, line.kind, account, subject, time,
                        sequence, epoch, line.source, cause, first, b"\\N\t\\N",
                    )
                )
            )  # fmt: skip
        return True

    def _apply(self, items: list[Item], account: str, time: str, record: str) -> None:
        rows = self.rows
        try:
            for item in items:
                HANDLERS[item["kind"]](rows, account, time, record, item)
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise DistrustError(f"record {record}: {error}") from error

    def _judged(self, rows: list[VerdictRow]) -> None:
        append, seen = self.rows.append, self.rows.seen["limit_sets"]
        for key, line, limits in rows:
            append("intents", key, line)
            if limits[1] not in seen:
                append("limit_sets", limits[1], limits[2])

    def _check(self, cursor: Moving, offset: int, raw: bytes | None) -> None:
        """The way of every record in the projector, with models."""
        if self._fold is None:
            self._fold = Fold()
            self._fold.seen_fills = self.rows.seen["fills"]
        self.checked += 1
        absorb(self._fold, cursor, offset, raw)
        self.rows.take(self._fold, late=cursor.topic == CONTROL.name)
