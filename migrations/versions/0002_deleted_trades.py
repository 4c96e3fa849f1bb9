"""Deleted trades (CORE-6): who took a trade out of the default view, when and why. The view leaves
closed ones of them out, and rows that hold nothing but the deletion of a trade nobody opened."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WITH_DELETED = (
    "CREATE VIEW trades_recent AS SELECT * FROM trades WHERE closed_at IS NULL OR closed_at >= "
    "(SELECT max(closed_at) FROM trades) - interval '30 days'"
)
WITHOUT_DELETED = (
    "CREATE VIEW trades_recent AS SELECT * FROM trades WHERE opened_at IS NOT NULL "
    "AND (closed_at IS NULL OR deleted_at IS NULL "
    "AND closed_at >= (SELECT max(closed_at) FROM trades) - interval '30 days')"
)


def upgrade() -> None:
    op.execute("DROP VIEW trades_recent")
    op.add_column("trades", sa.Column("deleted_at", TIMESTAMP(timezone=True)))
    op.add_column("trades", sa.Column("deleted_by", sa.Text))
    op.add_column("trades", sa.Column("deleted_reason", sa.Text))
    op.execute(WITHOUT_DELETED)


def downgrade() -> None:
    """The older view knows no deletions: rows of trades that nobody opened are taken out, every
    trade stays. After another upgrade a rebuild brings the deletions back from the log."""
    op.execute("DROP VIEW trades_recent")
    op.execute("DELETE FROM trades WHERE opened_at IS NULL AND deleted_at IS NOT NULL")
    op.drop_column("trades", "deleted_reason")
    op.drop_column("trades", "deleted_by")
    op.drop_column("trades", "deleted_at")
    op.execute(WITH_DELETED)
