"""What backups were read from and is kept: a new table only, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, NAME, text_of

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "kept_objects",
        sa.Column("backup_id", ID, nullable=False),
        sa.Column("volume_id", ID, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("object_name", text_of(80), nullable=False),
        sa.PrimaryKeyConstraint("backup_id", name="pk_kept_objects"),
    )
    op.create_index("ix_kept_objects_volume", "kept_objects", ["volume_id"])
