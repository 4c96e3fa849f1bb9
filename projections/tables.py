"""The tables of one generation of the read models, and how changes to their columns are merged.

All tables of a generation live in one Postgres schema (`live`, `shadow_<n>`, `before`); this
metadata names none, statements are told which. Every column says in `info` which topic feeds it
(one only, so the order in which topics arrive cannot matter) and how a later change meets an
earlier value: `set` (the later one), `add`, `max` or `append`. Money is unconstrained numeric,
exact; times are event times; there is no wall clock in a row.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB, TIMESTAMP

from schemas.topics import (
    CONTROL,
    EVENT_TOPICS,
    EXECUTION_RES,
    ORDER,
    POSITION_UPDATE,
    SIGNAL_SAFE,
    Topic,
)

LIVE = "live"
BEFORE = "before"

metadata = MetaData(naming_convention={"pk": "%(table_name)s_pkey"})

_KINDS: dict[str, Any] = {
    "text": Text,
    "uuid": lambda: Uuid(as_uuid=False),
    "num": Numeric,
    "time": lambda: TIMESTAMP(timezone=True),
    "int": Integer,
    "big": BigInteger,
    "bool": Boolean,
    "json": lambda: JSONB(none_as_null=True),
    "raw": lambda: JSON(none_as_null=True),
}
"""`raw`: JSON kept as the text that came, which costs half as much to load; for what is shown and
not searched."""
_EMPTY: dict[str, tuple[str, Any]] = {"add": ("0", Decimal(0)), "append": ("'[]'::jsonb", ())}


def _column(spec: str, topic: Topic | None) -> Column[Any]:
    """`name:kind[:merge][!]`; `!` forbids NULL."""
    required = spec.endswith("!")
    name, kind, *rest = spec.rstrip("!").split(":")
    merge = rest[0] if rest else "set"
    default, empty = _EMPTY.get(merge, (None, None))
    if kind == "bool" and not required:
        default, empty = "false", False
    return Column(
        name,
        _KINDS[kind](),
        nullable=not required and default is None,
        server_default=None if default is None else text(default),
        info={"fed": topic.name if topic else None, "merge": merge, "empty": empty, "kind": kind},
    )


def _columns(topic: Topic | None, specs: str) -> list[Column[Any]]:
    return [_column(spec, topic) for spec in specs.split()]


def _table(
    name: str, keys: str, *parts: Any, append: bool = False, order: tuple[str, ...] = ()
) -> Table:
    """`append`: rows are history, the first of a key stays; else state, changes are merged.
    `order`: of the key's columns in its index, where it is another than in the table."""
    key = _columns(None, keys)
    names = tuple(column.name for column in key)
    return Table(
        name,
        metadata,
        *key,
        *(column for part in parts if isinstance(part, list) for column in part),
        *(part for part in parts if not isinstance(part, list)),
        PrimaryKeyConstraint(*(order or names)),
        info={"append": append, "keys": names},
    )


trades = _table(
    "trades",
    "trade_id:uuid!",
    _columns(
        POSITION_UPDATE,
        "account:text symbol:text side:text quantity:num:max open_quantity:num entry_average:num"
        " exit_average:num realised:num fees:num funding:num net:num opened_at:time entry_at:time"
        " closed_at:time exit_order_id:uuid",
    ),
    _columns(CONTROL, "deleted_at:time deleted_by:text deleted_reason:text"),
    Index("trades_account", "account", "opened_at"),
    Index("trades_closed", "closed_at"),
)
positions = _table(
    "positions",
    "account:text! symbol:text!",
    _columns(
        POSITION_UPDATE,
        "trade_id:uuid quantity:num:set cost:num average_entry:num realised:num fees:num"
        " funding:num opened_at:time entry_at:time updated_at:time mark:num marked_at:time",
    ),
)
_ORDER_STATE = (
    "CASE WHEN status IS NOT NULL THEN 'ended' WHEN unknown THEN 'unknown' "
    "WHEN filled_quantity > 0 THEN 'partly_filled' WHEN accepted_at IS NOT NULL THEN 'working' "
    "ELSE 'decided' END"
)
orders = _table(
    "orders",
    "order_id:uuid!",
    _columns(
        ORDER,
        "account:text symbol:text client_order_id:text side:text order_type:text"
        " time_in_force:text quantity:num limit_price:num trigger_price:num reduce_only:bool"
        " close_position:bool leverage:int purpose:text owner_id:uuid request_id:uuid"
        " approved_at:time replaces:uuid policy_version:int note:text decided_at:time"
        " cancel_why:text cancelled_at:time",
    ),
    _columns(
        EXECUTION_RES,
        "accepted_at:time unknown:bool filled_quantity:num:add filled_cost:num:add fees:num:add"
        " filled_at:time status:text ended_at:time end_quantity:num end_why:text",
    ),
    _columns(POSITION_UPDATE, "settled_at:time"),
    [Column("state", Text, Computed(_ORDER_STATE, persisted=True))],
    Index("orders_account", "account", "decided_at"),
)
fills = _table(
    "fills",
    "id:uuid!",
    _columns(
        EXECUTION_RES,
        "account:text! order_id:uuid client_order_id:text symbol:text! side:text!"
        " venue_trade_id:text! quantity:num! price:num! fee:num! fee_asset:text!"
        " liquidity:text! reference:num! filled_at:time! rule:text! record_id:uuid!",
    ),
    Index("fills_account", "account", "filled_at"),
    Index("fills_order", "order_id"),
    append=True,
)
intents = _table(
    "intents",
    "id:uuid!",
    _columns(
        SIGNAL_SAFE,
        "request_id:uuid! account:text! symbol:text! side:text! kind:text! verdict:text!"
        " reason:text origin:text! confidence:num! label:text policy_version:int!"
        " decided_at:time! failures:raw! limits_id:uuid! figures:raw! plan:raw record_id:uuid!",
    ),
    Index("intents_account", "account", "decided_at"),
    Index("intents_request", "request_id"),
    append=True,
)
limit_sets = _table(
    "limit_sets",
    "id:uuid!",
    _columns(SIGNAL_SAFE, "account:text! limits:raw!"),
    Index("limit_sets_account", "account"),
    append=True,
)
"""The limits that verdicts were measured against: the same for all verdicts of a kind under one
version of an account's policy, so each set stands here once. `id`:
:func:`projections.limits.limits_id`."""
policy_snapshots = _table(
    "policy_snapshots",
    "account:text! version:int!",
    _columns(
        CONTROL,
        "operator:text! reason:text! changed_at:time! trading_state:text! before:json! after:json!"
        " policy:json! origins:json! record_id:uuid!",
    ),
    append=True,
)
emergencies = _table(
    "emergencies",
    "emergency_id:uuid!",
    _columns(
        CONTROL,
        "account:text activated_at:time operator:text reason:text reset_at:time"
        " reset_operator:text reset_reason:text reset_flat_id:uuid drawdown_epoch:int",
    ),
    _columns(ORDER, "steps:json:append flat_id:uuid flat_at:time"),
)
equity = _table(
    "equity",
    "id:uuid!",
    _columns(
        POSITION_UPDATE,
        "account:text! time:time! transfers:num! realised:num! fees:num! funding:num!"
        " unrealised:num! equity:num! gross:num! marks:json! record_id:uuid!",
    ),
    Index("equity_account", "account", "time"),
    append=True,
)
commands_rejected = _table(
    "commands_rejected",
    "id:uuid!",
    _columns(
        CONTROL,
        "account:text! time:time! command_id:uuid! command_type:text! operator:text! code:text!"
        " sentence:text! value:text limit:text",
    ),
    append=True,
)
events = _table(
    "events",
    "topic:text! partition:int! offset:big!",
    _columns(
        None,
        "id:uuid type:text! account:text subject:text time:time sequence:big epoch:big source:text"
        " causationid:uuid correlationid:uuid digest:text reason:text",
    ),
    Index("events_id", "id"),
    Index("events_time", text('"time" DESC NULLS LAST'), "type"),
    Index("events_account", "account", "time"),
    append=True,
    order=("offset", "partition", "topic"),
)
offsets = _table(
    "offsets",
    "topic:text! partition:int!",
    _columns(None, "topic_id:text! next_offset:big! events:big! undecodable:big! sources:json!"),
)
projector = _table("projector", "id:int!", _columns(None, "incarnation:big!"))

VERDICTS = "SELECT i.*, l.limits FROM intents i LEFT JOIN limit_sets l ON l.id = i.limits_id"
"""Intents with their limits beside them, as a person wants to see a verdict."""
TRADES_RECENT = (
    "SELECT * FROM trades WHERE opened_at IS NOT NULL AND (closed_at IS NULL OR deleted_at IS NULL "
    "AND closed_at >= (SELECT max(closed_at) FROM trades) - interval '30 days')"
)
"""What people see by default: open trades and 30 days of closed ones, counted from the last close
(event time: a replay of 2021 shows its own last 30 days). Closed trades that a person deleted are
left out. A row without `opened_at` is a deletion of a trade of which nothing else was read."""

FOLDED = tuple(
    t for t in metadata.sorted_tables if t.name not in ("events", "offsets", "projector")
)
"""Tables that :mod:`projections.fold` makes rows of, the index and positions apart."""
COMPARED = tuple(t for t in metadata.sorted_tables if t.name != "projector")
UNCOMPARED = {"offsets": {"events", "undecodable"}}
"""Counters that depend on what retention has removed from the log."""

KEYS: dict[str, tuple[str, ...]] = {t.name: t.info["keys"] for t in metadata.sorted_tables}
STORED: dict[str, tuple[str, ...]] = {
    t.name: tuple(c.name for c in t.columns if c.computed is None) for t in metadata.sorted_tables
}
MERGES: dict[str, dict[str, str]] = {
    t.name: {c.name: c.info["merge"] for c in t.columns if c.info.get("merge", "set") != "set"}
    for t in metadata.sorted_tables
}
RAW: dict[str, frozenset[str]] = {
    t.name: frozenset(c.name for c in t.columns if c.info.get("kind") == "raw")
    for t in metadata.sorted_tables
}
"""Columns that Postgres can neither hash nor compare as they are."""
EMPTY: dict[str, dict[str, Any]] = {
    t.name: {c.name: c.info["empty"] for c in t.columns if c.computed is None}
    for t in metadata.sorted_tables
}
FEEDS: dict[str, frozenset[str]] = {
    t.name: frozenset(c.info["fed"] for c in t.columns if c.info.get("fed")) for t in FOLDED
} | {"events": frozenset(t.name for t in EVENT_TOPICS)}
"""Topics that feed a projection: all that is read to make it alone."""
