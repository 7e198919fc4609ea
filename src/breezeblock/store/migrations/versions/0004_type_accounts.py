"""A column that every write of an operation changes. It has a default on the server, so the release before inserts beside it.

With this revision the accounts of types are kept under their ids. They are moved after it, in transactions of their own
(`store.schema`), and for as long as a process of the release before may charge under the names.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("operations", sa.Column("touched", sa.BigInteger, nullable=False, server_default="0"))
