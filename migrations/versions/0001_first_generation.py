"""The first generation: trades, positions, orders, fills, intents, policy, emergencies, equity,
refused commands, events index, positions of the projector."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT, UUID, NUMERIC, INT, BIGINT = sa.Text, sa.Uuid, sa.Numeric, sa.Integer, sa.BigInteger
TIMESTAMPTZ, BOOL, JSON = TIMESTAMP(timezone=True), sa.Boolean, JSONB

ORDER_STATE = (
    "CASE WHEN status IS NOT NULL THEN 'ended' WHEN unknown THEN 'unknown' "
    "WHEN filled_quantity > 0 THEN 'partly_filled' WHEN accepted_at IS NOT NULL THEN 'working' "
    "ELSE 'decided' END"
)
TRADES_RECENT = (
    "CREATE VIEW trades_recent AS SELECT * FROM trades WHERE closed_at IS NULL OR closed_at >= "
    "(SELECT max(closed_at) FROM trades) - interval '30 days'"
)


def _column(name: str, kind: Any, default: str | None = None) -> sa.Column[Any]:
    """A trailing `!` forbids NULL."""
    return sa.Column(
        name.rstrip("!"),
        kind,
        nullable=not name.endswith("!"),
        server_default=None if default is None else sa.text(default),
    )


def _trades() -> None:
    op.create_table(
        "trades",
        _column("trade_id!", UUID),
        _column("account", TEXT),
        _column("symbol", TEXT),
        _column("side", TEXT),
        _column("quantity", NUMERIC),
        _column("open_quantity", NUMERIC),
        _column("entry_average", NUMERIC),
        _column("exit_average", NUMERIC),
        _column("realised", NUMERIC),
        _column("fees", NUMERIC),
        _column("funding", NUMERIC),
        _column("net", NUMERIC),
        _column("opened_at", TIMESTAMPTZ),
        _column("entry_at", TIMESTAMPTZ),
        _column("closed_at", TIMESTAMPTZ),
        _column("exit_order_id", UUID),
        sa.PrimaryKeyConstraint("trade_id", name="trades_pkey"),
    )
    op.create_index("trades_account", "trades", ["account", "opened_at"])
    op.create_index("trades_closed", "trades", ["closed_at"])


def _positions() -> None:
    op.create_table(
        "positions",
        _column("account!", TEXT),
        _column("symbol!", TEXT),
        _column("trade_id", UUID),
        _column("quantity", NUMERIC),
        _column("cost", NUMERIC),
        _column("average_entry", NUMERIC),
        _column("realised", NUMERIC),
        _column("fees", NUMERIC),
        _column("funding", NUMERIC),
        _column("opened_at", TIMESTAMPTZ),
        _column("entry_at", TIMESTAMPTZ),
        _column("updated_at", TIMESTAMPTZ),
        _column("mark", NUMERIC),
        _column("marked_at", TIMESTAMPTZ),
        sa.PrimaryKeyConstraint("account", "symbol", name="positions_pkey"),
    )


def _orders() -> None:
    op.create_table(
        "orders",
        _column("order_id!", UUID),
        _column("account", TEXT),
        _column("symbol", TEXT),
        _column("client_order_id", TEXT),
        _column("side", TEXT),
        _column("order_type", TEXT),
        _column("time_in_force", TEXT),
        _column("quantity", NUMERIC),
        _column("limit_price", NUMERIC),
        _column("trigger_price", NUMERIC),
        _column("reduce_only!", BOOL, "false"),
        _column("close_position!", BOOL, "false"),
        _column("leverage", INT),
        _column("purpose", TEXT),
        _column("owner_id", UUID),
        _column("request_id", UUID),
        _column("approved_at", TIMESTAMPTZ),
        _column("replaces", UUID),
        _column("policy_version", INT),
        _column("note", TEXT),
        _column("decided_at", TIMESTAMPTZ),
        _column("cancel_why", TEXT),
        _column("cancelled_at", TIMESTAMPTZ),
        _column("accepted_at", TIMESTAMPTZ),
        _column("unknown!", BOOL, "false"),
        _column("filled_quantity!", NUMERIC, "0"),
        _column("filled_cost!", NUMERIC, "0"),
        _column("fees!", NUMERIC, "0"),
        _column("filled_at", TIMESTAMPTZ),
        _column("status", TEXT),
        _column("ended_at", TIMESTAMPTZ),
        _column("end_quantity", NUMERIC),
        _column("end_why", TEXT),
        _column("settled_at", TIMESTAMPTZ),
        sa.Column("state", TEXT, sa.Computed(ORDER_STATE, persisted=True)),
        sa.PrimaryKeyConstraint("order_id", name="orders_pkey"),
    )
    op.create_index("orders_account", "orders", ["account", "decided_at"])


def _fills() -> None:
    op.create_table(
        "fills",
        _column("id!", UUID),
        _column("account!", TEXT),
        _column("order_id", UUID),
        _column("client_order_id", TEXT),
        _column("symbol!", TEXT),
        _column("side!", TEXT),
        _column("venue_trade_id!", TEXT),
        _column("quantity!", NUMERIC),
        _column("price!", NUMERIC),
        _column("fee!", NUMERIC),
        _column("fee_asset!", TEXT),
        _column("liquidity!", TEXT),
        _column("reference!", NUMERIC),
        _column("filled_at!", TIMESTAMPTZ),
        _column("rule!", TEXT),
        _column("record_id!", UUID),
        sa.PrimaryKeyConstraint("id", name="fills_pkey"),
    )
    op.create_index("fills_account", "fills", ["account", "filled_at"])
    op.create_index("fills_order", "fills", ["order_id"])


def _intents() -> None:
    op.create_table(
        "intents",
        _column("id!", UUID),
        _column("request_id!", UUID),
        _column("account!", TEXT),
        _column("symbol!", TEXT),
        _column("side!", TEXT),
        _column("kind!", TEXT),
        _column("verdict!", TEXT),
        _column("reason", TEXT),
        _column("origin!", TEXT),
        _column("confidence!", NUMERIC),
        _column("label", TEXT),
        _column("policy_version!", INT),
        _column("decided_at!", TIMESTAMPTZ),
        _column("failures!", JSON),
        _column("limits!", JSON),
        _column("figures!", JSON),
        _column("plan", JSON),
        _column("record_id!", UUID),
        sa.PrimaryKeyConstraint("id", name="intents_pkey"),
    )
    op.create_index("intents_account", "intents", ["account", "decided_at"])
    op.create_index("intents_request", "intents", ["request_id"])


def _policy_snapshots() -> None:
    op.create_table(
        "policy_snapshots",
        _column("account!", TEXT),
        _column("version!", INT),
        _column("operator!", TEXT),
        _column("reason!", TEXT),
        _column("changed_at!", TIMESTAMPTZ),
        _column("trading_state!", TEXT),
        _column("before!", JSON),
        _column("after!", JSON),
        _column("policy!", JSON),
        _column("origins!", JSON),
        _column("record_id!", UUID),
        sa.PrimaryKeyConstraint("account", "version", name="policy_snapshots_pkey"),
    )


def _emergencies() -> None:
    op.create_table(
        "emergencies",
        _column("emergency_id!", UUID),
        _column("account", TEXT),
        _column("activated_at", TIMESTAMPTZ),
        _column("operator", TEXT),
        _column("reason", TEXT),
        _column("reset_at", TIMESTAMPTZ),
        _column("reset_operator", TEXT),
        _column("reset_reason", TEXT),
        _column("reset_flat_id", UUID),
        _column("drawdown_epoch", INT),
        _column("steps!", JSON, "'[]'::jsonb"),
        _column("flat_id", UUID),
        _column("flat_at", TIMESTAMPTZ),
        sa.PrimaryKeyConstraint("emergency_id", name="emergencies_pkey"),
    )


def _equity() -> None:
    op.create_table(
        "equity",
        _column("id!", UUID),
        _column("account!", TEXT),
        _column("time!", TIMESTAMPTZ),
        _column("transfers!", NUMERIC),
        _column("realised!", NUMERIC),
        _column("fees!", NUMERIC),
        _column("funding!", NUMERIC),
        _column("unrealised!", NUMERIC),
        _column("equity!", NUMERIC),
        _column("gross!", NUMERIC),
        _column("marks!", JSON),
        _column("record_id!", UUID),
        sa.PrimaryKeyConstraint("id", name="equity_pkey"),
    )
    op.create_index("equity_account", "equity", ["account", "time"])


def _commands_rejected() -> None:
    op.create_table(
        "commands_rejected",
        _column("id!", UUID),
        _column("account!", TEXT),
        _column("time!", TIMESTAMPTZ),
        _column("command_id!", UUID),
        _column("command_type!", TEXT),
        _column("operator!", TEXT),
        _column("code!", TEXT),
        _column("sentence!", TEXT),
        _column("value", TEXT),
        _column("limit", TEXT),
        sa.PrimaryKeyConstraint("id", name="commands_rejected_pkey"),
    )


def _events() -> None:
    op.create_table(
        "events",
        _column("topic!", TEXT),
        _column("partition!", INT),
        _column("offset!", BIGINT),
        _column("id", UUID),
        _column("type!", TEXT),
        _column("account", TEXT),
        _column("subject", TEXT),
        _column("time", TIMESTAMPTZ),
        _column("sequence", BIGINT),
        _column("epoch", BIGINT),
        _column("source", TEXT),
        _column("causationid", UUID),
        _column("correlationid", UUID),
        _column("digest", TEXT),
        _column("reason", TEXT),
        sa.PrimaryKeyConstraint("topic", "partition", "offset", name="events_pkey"),
    )
    op.create_index("events_account", "events", ["account", "time"])
    op.create_index("events_id", "events", ["id"])
    op.create_index("events_type", "events", ["type", "time"])


def _offsets() -> None:
    op.create_table(
        "offsets",
        _column("topic!", TEXT),
        _column("partition!", INT),
        _column("topic_id!", TEXT),
        _column("next_offset!", BIGINT),
        _column("events!", BIGINT),
        _column("undecodable!", BIGINT),
        _column("sources!", JSON),
        sa.PrimaryKeyConstraint("topic", "partition", name="offsets_pkey"),
    )


def _projector() -> None:
    op.create_table(
        "projector",
        _column("id!", INT),
        _column("incarnation!", BIGINT),
        sa.PrimaryKeyConstraint("id", name="projector_pkey"),
    )


def upgrade() -> None:
    _trades()
    _positions()
    _orders()
    _fills()
    _intents()
    _policy_snapshots()
    _emergencies()
    _equity()
    _commands_rejected()
    _events()
    _offsets()
    _projector()
    op.execute(TRADES_RECENT)


def downgrade() -> None:
    op.execute("DROP VIEW trades_recent")
    op.drop_table("projector")
    op.drop_table("offsets")
    op.drop_table("events")
    op.drop_table("commands_rejected")
    op.drop_table("equity")
    op.drop_table("emergencies")
    op.drop_table("policy_snapshots")
    op.drop_table("intents")
    op.drop_table("fills")
    op.drop_table("orders")
    op.drop_table("positions")
    op.drop_table("trades")
