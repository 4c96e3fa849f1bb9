"""Row changes in memory, merged by the rules by which Postgres merges them into its tables."""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact
from typing import Any

from projections.tables import EMPTY, FOLDED, KEYS, MERGES, STORED
from schemas.envelope import Envelope

Key = tuple[Any, ...]
Row = dict[str, Any]

EXACT = Context(prec=400, traps=[Inexact])
"""Sums and products of 40-digit numbers are never rounded, here as in Postgres."""
_NUL, _SHOWN = "\0", "\ufffd"


class Changes:
    """Row changes of a run of events.

    `states`: table -> key -> merged columns. `appends`: table -> key -> row, the first stays.
    `events`: rows of the index in the order of its columns.
    """

    def __init__(self) -> None:
        self.states: dict[str, dict[Key, Row]] = {
            t.name: {} for t in FOLDED if not t.info["append"]
        }
        self.appends: dict[str, dict[Key, Row]] = {t.name: {} for t in FOLDED if t.info["append"]}
        self.events: list[tuple[Any, ...]] = []

    def index(self, topic: str, partition: int, offset: int, event: Envelope) -> None:
        """A row of the events index."""
        self.events.append(
            (
                topic, partition, offset, event.id, event.type, event.partitionkey, event.subject,
                event.time, event.sequence, event.epoch, event.source, event.causationid,
                event.correlationid, None, None,
            )
        )  # fmt: skip

    def index_undecodable(
        self, topic: str, partition: int, offset: int, digest: str, reason: str
    ) -> None:
        """A row of the index for bytes that are no record: their SHA-256 and what is wrong."""
        nothing = (None,) * 8
        shown = reason.replace(_NUL, _SHOWN)
        self.events.append((topic, partition, offset, None, "undecodable", *nothing, digest, shown))

    def rows(self, table: str) -> Iterable[tuple[Any, ...]]:
        """Whole rows of a table in the order of its stored columns, what nothing fed left empty.

        Only a fold from the beginning of the log has whole rows.
        """
        if table == "events":
            yield from self.events
            return
        columns, empty, keys = STORED[table], EMPTY[table], KEYS[table]
        for key, row in (self.states.get(table) or self.appends.get(table) or {}).items():
            full = {**empty, **row, **dict(zip(keys, key, strict=True))}
            yield tuple(full[column] for column in columns)

    def set(self, table: str, *key: Any, **changes: Any) -> None:
        """Merge columns into the row of `key`."""
        rows = self.states[table]
        row = rows.get(key)
        if row is None:
            rows[key] = {name: _storable(value) for name, value in changes.items()}
            return
        merges = MERGES[table]
        for name, value in changes.items():
            merge = merges.get(name)
            if merge is None or name not in row:
                row[name] = _storable(value)
            elif merge == "add":
                row[name] = EXACT.add(row[name], value)
            elif merge == "max":
                row[name] = max(row[name], value)
            else:
                row[name] = (*row[name], *value)

    def append(self, table: str, *key: Any, **row: Any) -> None:
        """Add a row of history, unless one of that key was added before."""
        rows = self.appends[table]
        if key not in rows:
            rows[key] = {name: _storable(value) for name, value in row.items()}


def _storable(value: Any) -> Any:
    """Postgres text cannot hold U+0000: it is shown as the replacement character."""
    if isinstance(value, str):
        return value.replace(_NUL, _SHOWN) if _NUL in value else value
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, dict):
        return {_storable(k): _storable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(v) for v in value]
    return value
