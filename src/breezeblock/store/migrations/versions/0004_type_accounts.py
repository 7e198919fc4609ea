"""Accounts of types under their ids, and a column that every write of an operation changes.

The column has a default on the server, so the release before inserts beside it. The accounts are moved again at each start
(`store.schema`) for as long as such a process may have charged under the names.
"""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.type_accounts import move_to_ids

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, move the accounts."""
    op.add_column("operations", sa.Column("touched", sa.BigInteger, nullable=False, server_default="0"))
    move_to_ids(op.get_bind())
