"""Migrations between backends: columns that may be NULL, and a new table, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, NAME

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns, make the table."""
    op.add_column("volumes", sa.Column("target_pool_name", NAME))
    op.add_column("operations", sa.Column("needs", NAME))
    op.create_table(
        "stray_objects",
        sa.Column("volume_id", ID, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("not_before_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("volume_id", "queue", name="pk_stray_objects"),
    )
    op.create_index("ix_stray_objects_due", "stray_objects", ["not_before_us"])
