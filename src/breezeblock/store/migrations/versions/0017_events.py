"""Events: new tables only, so the release before works on beside it, and its changes are not told."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, text_of

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "events",
        sa.Column("receiver", text_of(63), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("event_json", LONG, nullable=False),
        sa.PrimaryKeyConstraint("receiver", "id", name="pk_events"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_events_line", "events", ["receiver", "resource_id", "op_seq", "number"])
    op.create_index("ix_events_at", "events", ["receiver", "at_us"])
    op.create_table(
        "event_receivers",
        sa.Column("name", text_of(63), nullable=False),
        sa.Column("holder", ID),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("touched", sa.BigInteger, nullable=False),
        sa.Column("sent", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("dropped", sa.BigInteger, nullable=False),
        sa.Column("error", LONG),
        sa.Column("not_before_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_event_receivers"),
    )
