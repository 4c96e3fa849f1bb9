"""Rows as COPY reads them: lines of history, and states whose columns are still text.

The merges are those of :mod:`projections.changes`; only the form differs. A state row is a list in
the order of its table's columns; None is a column that nothing has fed so far.
"""

from decimal import Context, Decimal, Inexact
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from projections.changes import Changes

NULL = "\\N"
Row = list[Any]
Key = str | tuple[str, ...]
Late = tuple[str, str]
"""Table, and a change of a row that stands in the database already, as JSON."""

COLUMNS: dict[str, tuple[str, ...]] = {
    name: tuple(columns.split())
    for name, columns in {
        "orders": "order_id account symbol client_order_id side order_type time_in_force quantity"
        " limit_price trigger_price reduce_only close_position leverage purpose owner_id request_id"
        " approved_at replaces policy_version note decided_at cancel_why cancelled_at accepted_at"
        " unknown filled_quantity filled_cost fees filled_at status ended_at end_quantity end_why"
        " settled_at",
        "trades": "trade_id account symbol side quantity open_quantity entry_average exit_average"
        " realised fees funding net opened_at entry_at closed_at exit_order_id deleted_at"
        " deleted_by deleted_reason",
        "positions": "account symbol trade_id quantity cost average_entry realised fees funding"
        " opened_at entry_at updated_at mark marked_at",
        "emergencies": "emergency_id account activated_at operator reason reset_at reset_operator"
        " reset_reason reset_flat_id drawdown_epoch steps flat_id flat_at",
        "fills": "id account order_id client_order_id symbol side venue_trade_id quantity price fee"
        " fee_asset liquidity reference filled_at rule record_id",
        "intents": "id request_id account symbol side kind verdict reason origin confidence label"
        " policy_version decided_at failures limits_id figures plan record_id",
        "limit_sets": "id account limits",
        "equity": "id account time transfers realised fees funding unrealised equity gross marks"
        " record_id",
        "policy_snapshots": "account version operator reason changed_at trading_state before after"
        " policy origins record_id",
        "commands_rejected": "id account time command_id command_type operator code sentence value"
        " limit",
        "events": "topic partition offset id type account subject time sequence epoch source"
        " causationid correlationid digest reason",
    }.items()
}
"""Stored columns, as in :mod:`projections.tables`, which takes longer to import than this."""
STATES = ("orders", "trades", "positions", "emergencies")
_EMPTY = {
    "reduce_only": "f", "close_position": "f", "unknown": "f", "filled_quantity": "0",
    "filled_cost": "0", "fees": "0", "steps": "[]",
}  # fmt: skip
_EMPTIES = {
    name: [
        _EMPTY.get(column, NULL) if name in ("orders", "emergencies") else NULL
        for column in COLUMNS[name]
    ]
    for name in STATES
}
_NOT_TEXT = {"orders": (25, 26, 27), "trades": (4,), "positions": (), "emergencies": (10,)}
"""Places of columns that are numbers or lists while they are merged."""
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class TextRows:
    """Row changes of a run of events, in the form of COPY.

    `seen`: keys of history rows that were added, here or before. `stored`: keys of state rows that
    stand in the database: what is changed in them later goes to `late`.
    """

    exact = Context(prec=400, traps=[Inexact])

    def __init__(self) -> None:
        self.lines: dict[str, list[bytes | str]] = {n: [] for n in COLUMNS if n not in STATES}
        self.seen: dict[str, set[Key]] = {n: set() for n in COLUMNS if n not in STATES}
        self.states: dict[str, dict[Key, Row]] = {name: {} for name in STATES}
        self.stored: dict[str, set[Key]] = {name: set() for name in STATES}
        self.late: list[Late] = []
        self.escapes: set[Key] = set()
        """Keys of state rows with texts that may need escapes in COPY's format."""

    def row(self, table: str, key: Key) -> Row:
        """The state row of a key, to be changed in place."""
        rows = self.states[table]
        row = rows.get(key)
        if row is None:
            row = rows[key] = [None] * len(_EMPTIES[table])
            if type(key) is str:
                row[0] = key
            else:
                row[0:2] = key
        return row

    def append(self, table: str, key: Key, line: bytes | str) -> bool:
        """Add a row of history; False if one of that key was added before."""
        seen = self.seen[table]
        if key in seen:
            return False
        seen.add(key)
        self.lines[table].append(line)
        return True

    def add(self, row: Row, column: int, value: Decimal) -> None:
        """Merge `add`."""
        before = row[column]
        row[column] = value if before is None else self.exact.add(before, value)

    def raise_to(self, row: Row, column: int, value: Decimal) -> None:
        """Merge `max`."""
        before = row[column]
        if before is None or value > before:
            row[column] = value

    # ------------------------------------------------------------------ what absorb found

    def take(self, changes: "Changes", *, late: bool) -> None:
        """Merge the changes of one record and empty them. late: state rows of a topic that another
        process may be reading the rest of."""
        for table, keyed in changes.appends.items():
            for key, values in keyed.items():
                full = (*key, *(values[c] for c in COLUMNS[table][len(key) :]))
                line = "\t".join([field(value) for value in full])
                if table == "fills":  # known to the fold, which counted it
                    self.lines[table].append(line)
                else:
                    self.append(table, key if len(key) > 1 else key[0], line)
            keyed.clear()
        for table, keyed in changes.states.items():
            for key, values in keyed.items():
                if late:
                    named = dict(zip(COLUMNS[table], key, strict=False))
                    self.late.append((table, _late(named | values)))
                else:
                    self._merge(table, key, values)
            keyed.clear()
        self.lines["events"] += ["\t".join([field(v) for v in row]) for row in changes.events]
        changes.events.clear()

    def _merge(self, table: str, key: tuple[str, ...], values: dict[str, Any]) -> None:
        row = self.row(table, key if len(key) > 1 else key[0])
        for name, value in values.items():
            at = COLUMNS[table].index(name)
            if table == "orders" and name in ("filled_quantity", "filled_cost", "fees"):
                self.add(row, at, value)
            elif table == "trades" and name == "quantity":
                self.raise_to(row, at, value)
            elif name == "steps":
                row[at] = [*(row[at] or ()), *value]
            elif type(value) is str:
                row[at] = value
                self.escapes.add(row[0])
            else:
                row[at] = field(value)

    # ------------------------------------------------------------------ what COPY reads

    def settle(self) -> None:
        """Turn state rows into lines of rows that are new, and changes of those that are stored."""
        for table, rows in self.states.items():
            stored, lines = self.stored[table], self.lines.setdefault(table, [])
            empty, columns = _EMPTIES[table], COLUMNS[table]
            for key, row in rows.items():
                if key in stored:
                    fed = {n: v for n, v in zip(columns, row, strict=True) if v is not None}
                    self.late.append((table, _late(fed)))
                    continue
                stored.add(key)
                for at in _NOT_TEXT[table]:
                    if row[at] is not None:
                        row[at] = field(row[at])
                if key in self.escapes:
                    row[:] = [v if v is None or v is NULL else v.translate(_ESCAPES) for v in row]
                told = zip(row, empty, strict=True)
                lines.append("\t".join([e if v is None else v for v, e in told]))
            rows.clear()

    def drain(self, table: str) -> bytes:
        """Lines of a table, which are emptied."""
        lines = self.lines[table]
        text = b"\n".join([n if type(n) is bytes else n.encode() for n in lines])  # type: ignore[union-attr]
        lines.clear()
        return text + b"\n" if text else b""


def field(value: Any) -> str:
    """A value in COPY's text format."""
    if value is None:
        return NULL
    kind = type(value)
    if kind is str:
        return str(value).translate(_ESCAPES)
    if kind is Decimal:
        return format(value, "f")
    if kind is int:
        return str(value)
    if kind is bool:
        return "t" if value else "f"
    return orjson.dumps(value).decode().translate(_ESCAPES)


def _late(fed: dict[str, Any]) -> str:
    plain = {
        name: None if v is NULL else format(v, "f") if type(v) is Decimal else v
        for name, v in fed.items()
    }
    return orjson.dumps(plain).decode()
