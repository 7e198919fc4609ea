"""Volume transfers, and log levels set while services run: new tables only, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, NAME, text_of

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "transfers",
        sa.Column("id", ID, nullable=False),
        sa.Column("volume_id", ID, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("name", NAME),
        sa.Column("no_snapshots", sa.Boolean, nullable=False),
        sa.Column("salt", text_of(32), nullable=False),
        sa.Column("key_hash", text_of(64), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
    )
    op.create_index("ix_transfers_project_created", "transfers", ["project_id", "created_at_us", "id"])
    op.create_index("ix_transfers_created", "transfers", ["created_at_us", "id"])
    op.create_index("ix_transfers_volume", "transfers", ["volume_id"])
    op.create_table(
        "log_levels",
        sa.Column("id", text_of(16), nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("said_json", LONG, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_levels"),
    )
    op.create_table(
        "log_reports",
        sa.Column("id", ID, nullable=False),
        sa.Column("binary", text_of(64), nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("levels_json", LONG, nullable=False),
        sa.Column("reported_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_reports"),
    )
