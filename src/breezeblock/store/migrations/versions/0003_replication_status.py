"""Whether a resource is on the target that its backend works on now. May be NULL, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import text_of

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    for table in ("volumes", "snapshots"):
        op.add_column(table, sa.Column("replication_status", text_of(36)))
