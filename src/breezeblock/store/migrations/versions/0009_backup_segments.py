"""Segments of backups that are being made, and what tells an archive's key: the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, text_of

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the table, and add the column, which may be NULL."""
    op.create_table(
        "backup_segments",
        sa.Column("backup_id", ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("read_in", sa.BigInteger, nullable=False),
        sa.Column("segment_json", LONG, nullable=False),
        sa.PrimaryKeyConstraint("backup_id", "number", name="pk_backup_segments"),
    )
    op.add_column("archives", sa.Column("key_check", text_of(64)))
