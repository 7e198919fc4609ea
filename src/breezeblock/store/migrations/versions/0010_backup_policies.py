"""Policies of backups: a new table only, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, NAME

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "backup_policies",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("rule_json", LONG, nullable=False),
        sa.Column("due_at_us", sa.BigInteger, nullable=False),
        sa.Column("operation_id", ID),
        sa.Column("ended_json", LONG),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_backup_policies"),
        sa.UniqueConstraint("name", name="uq_backup_policies_name"),
    )
