"""What receivers refuse for good, who names receivers, and periods of usage: new tables and columns that may be left out."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, text_of

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Make the tables, add the columns."""
    op.create_table(
        "events_aside",
        sa.Column("receiver", text_of(63), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("event_json", LONG, nullable=False),
        sa.Column("reason", LONG, nullable=False),
        sa.PrimaryKeyConstraint("receiver", "id", name="pk_events_aside"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_events_aside_at", "events_aside", ["receiver", "at_us"])
    op.create_table(
        "usage_periods",
        sa.Column("receiver", text_of(63), nullable=False),
        sa.Column("begins_us", sa.BigInteger, nullable=False),
        sa.Column("ends_us", sa.BigInteger, nullable=False),
        sa.Column("resource_type", text_of(36), nullable=False),
        sa.Column("after_id", ID, nullable=False),
        sa.Column("told", sa.BigInteger, nullable=False),
        sa.Column("is_whole", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("receiver", "begins_us", "ends_us", "resource_type", name="pk_usage_periods"),
    )
    op.add_column("event_receivers", sa.Column("refused", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("receivers_json", LONG))
