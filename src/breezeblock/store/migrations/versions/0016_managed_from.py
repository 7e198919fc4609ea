"""What a volume or snapshot was called before it was managed. May be NULL, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import NAME

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns."""
    for table in ("volumes", "snapshots"):
        op.add_column(table, sa.Column("managed_from", NAME))
