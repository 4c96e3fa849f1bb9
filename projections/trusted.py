"""The fold of :mod:`projections.fold` on trusted bytes: no models, rows as COPY wants to read them.

Only what a worker's encoder wrote is taken so (see :mod:`projections.heads`), only types with many
records, and only where no string needs an escape: canonical JSON without a backslash holds nothing
that COPY's text format would misread. Every other record goes through `absorb` and its changes are
merged here. That both ways make the same rows is a test over golden samples, a run's log and
generated records (`tests/projections/test_trusted.py`).
"""

import re
from typing import TYPE_CHECKING

from projections.heads import HEAD, REAL_DAYS, is_outside_record, is_real
from projections.reading import Moving
from projections.text_rows import TextRows
from projections.trusted_items import HANDLERS, START, Item, parse
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
    from projections.fold import Fold

BYTES_MAX = 1_000_000

_VERDICT = re.compile(
    rb'\{"id":"([^"]{36})","request_id":"([^"]{36})","symbol":"([^"]*)","side":"([A-Z]*)",'
    rb'"kind":"([a-z]*)","verdict":"([a-z]*)",(?:"reason":"([^"]*)",)?"failures":\['
)
_VERDICT_END = re.compile(
    rb'\},"origin":"([^"]*)","confidence":"([^"]*)"(?:,"label":"([^"]*)")?'
    rb',"policy_version":([0-9]+)\}(,|\]\}\})'
)


def verdicts(
    record: bytes, account: bytes, time: bytes, raw: bytes, at: int
) -> list[tuple[str, bytes]] | None:
    """Rows of `intents` by id, cut out of the record's bytes; None where these do not look as
    expected.

    Without a backslash a quotation mark always delimits a string, so what is looked for here can
    only be structure, never text inside a string.
    """
    begin = raw.find(START + b"[", at)
    if begin < 0:
        return None
    at = begin + len(START) + 1
    lines: list[tuple[str, bytes]] = []
    while True:
        head = _VERDICT.match(raw, at)
        if head is None:
            return None
        failures = head.end() - 1
        limits = raw.find(b'],"limits":[', failures)
        figures = raw.find(b'],"figures":{', limits)
        last = raw.find(b'},"origin":"', figures)
        end = _VERDICT_END.match(raw, last) if min(limits, figures, last) > 0 else None
        if end is None:
            return None
        plan = raw.find(b'},"plan":{', figures, last)
        shut = (plan if plan > 0 else last) + 1
        identity, request, symbol, side, kind, verdict, reason = head.groups()
        origin, confidence, label, version, more = end.groups()
        line = b"\t".join(
            (
                identity, request, account, symbol, side, kind, verdict, reason or b"\\N", origin,
                confidence, b"\\N" if label is None else label, version, time,
                raw[failures : limits + 1], raw[limits + 11 : figures + 1],
                raw[figures + 12 : shut], raw[plan + 9 : last + 1] if plan > 0 else b"\\N", record,
            )
        )  # fmt: skip
        lines.append((identity.decode(), line))
        at = end.end()
        if more != b",":
            break
    return lines if at == len(raw) else None


_ITEMS, _VERDICTS, _INDEX, _COUNT, _FENCE = range(5)
_NO_KINDS: frozenset[str] = frozenset()
_TAKEN: dict[tuple[str, bytes], tuple[int, frozenset[str]]] = {
    (ORDER.name, b"trade.order.decided.v1"): (
        _ITEMS,
        frozenset({"order", "cancel", "dropped", "declined"}),
    ),
    (EXECUTION_RES.name, b"trade.execution.reported.v1"): (
        _ITEMS,
        frozenset({"accepted", "filled", "ended", "transferred"}),
    ),
    (POSITION_UPDATE.name, b"trade.position.updated.v1"): (
        _ITEMS,
        frozenset({"position", "order_end", "trade_closed", "equity"}),
    ),
    (SIGNAL_SAFE.name, b"trade.signal.judged.v1"): (_VERDICTS, _NO_KINDS),
    (SIGNAL.name, b"trade.signal.published.v1"): (_INDEX, _NO_KINDS),
    (VENUE_REPORT.name, b"venue.reported.v1"): (_INDEX, _NO_KINDS),
}
for _topic in EVENT_TOPICS:
    _TAKEN[_topic.name, b"source.checkpointed.v1"] = (_COUNT, _NO_KINDS)
    _TAKEN[_topic.name, b"source.fenced.v1"] = (_FENCE, _NO_KINDS)
_UNKNOWN = (-1, _NO_KINDS)
_NONE = b"\\N"


class DistrustError(ValueError):
    """A worker's record does not hold what such records hold: fold the log with models instead."""


class TrustedFold:
    """Folds messages into :class:`TextRows`; cursors move as :func:`projections.log.absorb` moves
    them. `checked`: how many records were parsed and checked with models."""

    def __init__(self) -> None:
        self.rows = TextRows()
        self.checked = 0
        self._fold: Fold | None = None
        self._prefixes: dict[tuple[str, int], bytes] = {}

    def absorb(self, cursor: Moving, offset: int, raw: bytes | None) -> None:
        """Fold one message in and move the cursor past it. Raises DistrustError."""
        if offset < cursor.next_offset or cursor.stopped is not None:
            return
        if raw is not None and b"\\" not in raw and len(raw) <= BYTES_MAX:
            head = HEAD.match(raw)
            if head is not None:
                found = head.groups(_NONE)
                if found[4][:10] in REAL_DAYS or is_real(found[4]):
                    took = self._took_outside if found[7] is _NONE else self._took
                    if took(cursor, offset, raw, found, head.end()):
                        return
        self._check(cursor, offset, raw)

    def _took_outside(
        self, cursor: Moving, offset: int, raw: bytes, head: tuple[bytes, ...], rest: int
    ) -> bool:
        """Fold a record without epoch; False (and nothing done) if models must look."""
        topic = cursor.topic
        if head[6] is not _NONE or not is_outside_record(topic, head[1], raw, rest):
            return False
        cursor.next_offset = offset + 1
        cursor.events += 1
        if topic == VENUE_REQUEST.name:
            self._index(cursor, offset, head)
        return True

    def _took(
        self, cursor: Moving, offset: int, raw: bytes, head: tuple[bytes, ...], rest: int
    ) -> bool:
        """Fold a worker's record; False (and nothing done) if models must look."""
        record, kind, source, _, time, account, sequence, epoch, _, _ = head
        way, kinds = _TAKEN.get((cursor.topic, kind), _UNKNOWN)
        items: list[Item] | None = None
        lines: list[tuple[str, bytes]] | None = None
        if way == _ITEMS:
            items = parse(raw, rest, kinds)
            if items is None:
                return False
        elif way == _VERDICTS:
            lines = verdicts(record, account, time, raw, rest)
            if lines is None:
                return False
        elif way < 0:
            return False
        number = None if sequence is _NONE else int(sequence)
        try:
            valid = cursor.validity.admit_head(source.decode(), int(epoch), number, way == _FENCE)
        except SequenceGap as gap:
            cursor.stopped = str(gap)
            return True
        cursor.next_offset = offset + 1
        if not valid:
            return True
        cursor.events += 1
        if items is not None:
            self._apply(items, account.decode(), time.decode(), record.decode())
        elif lines is not None:
            append = self.rows.append
            for key, line in lines:
                append("intents", key, line)
        if way != _COUNT:
            self._index(cursor, offset, head)
        return True

    def _apply(self, items: list[Item], account: str, time: str, record: str) -> None:
        rows = self.rows
        try:
            for item in items:
                HANDLERS[item["kind"]](rows, account, time, record, item)
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise DistrustError(f"record {record}: {error}") from error

    def _index(self, cursor: Moving, offset: int, head: tuple[bytes, ...]) -> None:
        record, kind, source, subject, time, account, sequence, epoch, cause, first = head
        place = (cursor.topic, cursor.partition)
        before = self._prefixes.get(place)
        if before is None:
            before = self._prefixes[place] = b"%s\t%d" % (place[0].encode(), place[1])
        self.rows.lines["events"].append(
            b"\t".join(
                (
                    before, b"%d" % offset, record, kind, account, subject, time, sequence, epoch,
                    source, cause, first, b"\\N\t\\N",
                )
            )
        )  # fmt: skip

    def _check(self, cursor: Moving, offset: int, raw: bytes | None) -> None:
        """The way of every record in the projector, with models."""
        from projections.fold import Fold
        from projections.log import absorb

        if self._fold is None:
            self._fold = Fold()
            self._fold.seen_fills = self.rows.seen["fills"]
        self.checked += 1
        absorb(self._fold, cursor, offset, raw)
        self.rows.take(self._fold, late=cursor.topic == CONTROL.name)
