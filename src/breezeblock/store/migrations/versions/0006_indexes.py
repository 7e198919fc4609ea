"""Indexes for what is asked all the time: by name, by guaranteed time, and of operations by kind or attempt.

On PostgreSQL `store.schema` has built them by now, while everybody goes on writing, and there is nothing left to do: even a
`CREATE INDEX IF NOT EXISTS` that finds its index keeps writers out until the commit. The index that goes is the beginning of
one that comes, so the release before misses nothing.
"""

from alembic import op

from breezeblock.store.indexes import LATER, REPLACED, is_valid

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the indexes, where they are not there yet, and remove the one that they replace."""
    connection = op.get_bind()
    for name, table, columns in LATER[revision]:
        if connection.dialect.name != "postgresql" or not is_valid(connection, name):
            op.create_index(name, table, list(columns), if_not_exists=True)
    for name in REPLACED[revision]:
        op.drop_index(name, "operations", if_exists=True)
