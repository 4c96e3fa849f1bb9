"""Limits of verdicts once a set instead of once a verdict, their JSON as the text that came, and
indexes of events that are quicker to make: the newest come first by time, whatever their type."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON, JSONB, TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAMES = (
    "id, request_id, account, symbol, side, kind, verdict, reason, origin, confidence, label, "
    "policy_version, decided_at"
)
LIMITS_ID = (
    "substr(encode(sha256(convert_to(concat(account, E'\\n', limits::text), 'UTF8')), 'hex'), 1, "
    "32)::uuid"
)
"""As projections.limits computes it."""
VERDICTS = (
    "CREATE VIEW verdicts AS SELECT i.*, l.limits FROM intents i "
    "LEFT JOIN limit_sets l ON l.id = i.limits_id"
)


def _make_intents(json: type[sa.JSON], limits: sa.Column[object]) -> None:
    """The table in another form; the rows are in `intents_old` until :func:`_index_intents`."""
    op.execute("CREATE TABLE intents_old AS TABLE intents")
    op.drop_table("intents")
    op.create_table(
        "intents",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("request_id", sa.Uuid, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("confidence", sa.Numeric, nullable=False),
        sa.Column("label", sa.Text),
        sa.Column("policy_version", sa.Integer, nullable=False),
        sa.Column("decided_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("failures", json, nullable=False),
        limits,
        sa.Column("figures", json, nullable=False),
        sa.Column("plan", json),
        sa.Column("record_id", sa.Uuid, nullable=False),
    )


def _index_intents() -> None:
    """The key and the indexes, in the place of those of `intents_old`."""
    op.drop_table("intents_old")
    op.create_primary_key("intents_pkey", "intents", ["id"])
    op.create_index("intents_account", "intents", ["account", "decided_at"])
    op.create_index("intents_request", "intents", ["request_id"])


def upgrade() -> None:
    op.create_table(
        "limit_sets",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("limits", JSON, nullable=False),
    )
    _make_intents(JSON, sa.Column("limits_id", sa.Uuid, nullable=False))
    op.execute(
        f"INSERT INTO intents SELECT {NAMES}, failures::text::json, {LIMITS_ID}, "
        "figures::text::json, plan::text::json, record_id FROM intents_old"
    )
    op.execute(
        "INSERT INTO limit_sets SELECT DISTINCT ON (1) i.limits_id, o.account, "
        "o.limits::text::json FROM intents_old o JOIN intents i USING (id)"
    )
    op.create_primary_key("limit_sets_pkey", "limit_sets", ["id"])
    op.create_index("limit_sets_account", "limit_sets", ["account"])
    _index_intents()
    op.execute(VERDICTS)
    op.drop_constraint("events_pkey", "events")
    op.create_primary_key("events_pkey", "events", ["offset", "partition", "topic"])
    op.drop_index("events_type", "events")
    op.create_index("events_time", "events", [sa.text('"time" DESC NULLS LAST'), "type"])


def downgrade() -> None:
    op.drop_index("events_time", "events")
    op.create_index("events_type", "events", ["type", "time"])
    op.drop_constraint("events_pkey", "events")
    op.create_primary_key("events_pkey", "events", ["topic", "partition", "offset"])
    op.execute("DROP VIEW verdicts")
    _make_intents(JSONB, sa.Column("limits", JSONB, nullable=False))
    op.execute(
        f"INSERT INTO intents SELECT {NAMES}, failures::jsonb, limits::jsonb, figures::jsonb, "
        "plan::jsonb, record_id FROM (SELECT i.*, l.limits FROM intents_old i JOIN limit_sets l ON "
        "l.id = i.limits_id) AS verdicts"
    )
    _index_intents()
    op.drop_table("limit_sets")
