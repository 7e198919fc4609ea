"""Indexes for what is asked all the time: by name, by guaranteed time, and of operations by kind or attempt.

On PostgreSQL `store.schema` has built them by now, while everybody goes on writing. The index that goes is the beginning of one
that comes, so the release before misses nothing.
"""

from alembic import op

from breezeblock.store.indexes import LATER

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the indexes, where they are not there yet, and remove the one that they replace."""
    for name, table, columns in LATER[revision]:
        op.create_index(name, table, list(columns), if_not_exists=True)
    op.drop_index("ix_operations_owner", "operations", if_exists=True)
