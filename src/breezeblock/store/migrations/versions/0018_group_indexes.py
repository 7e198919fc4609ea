"""Indexes for what is in a group, on tables that may be big by now.

They are a revision of their own, after the one that adds the columns: on PostgreSQL `store.schema` builds them before this one,
while everybody goes on writing, and there is nothing left to do. As in 0006.
"""

from alembic import op

from breezeblock.store.indexes import LATER, is_valid

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Make the indexes, where they are not there yet."""
    connection = op.get_bind()
    for name, table, columns in LATER[revision]:
        if connection.dialect.name != "postgresql" or not is_valid(connection, name):
            op.create_index(name, table, list(columns), if_not_exists=True)
