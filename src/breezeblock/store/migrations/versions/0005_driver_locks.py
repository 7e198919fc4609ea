"""Locks of drivers in the database: new tables only, so the release before works on beside it."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, NAME, text_of

revision = "0005"
down_revision = "0004"

LINE: Final = text_of(64)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "driver_lock_lines",
        sa.Column("id", LINE, nullable=False),
        sa.Column("last_place", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_driver_lock_lines"),
    )
    op.create_table(
        "driver_locks",
        sa.Column("line", LINE, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("call_id", ID, nullable=False),
        sa.Column("operation_id", ID, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("incarnation", ID, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("exclusive", sa.Boolean, nullable=False),
        sa.Column("shown", NAME, nullable=False),
        sa.PrimaryKeyConstraint("line", "place", name="pk_driver_locks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_driver_locks_call", "driver_locks", ["call_id"])
    op.create_index("ix_driver_locks_incarnation", "driver_locks", ["incarnation"])
