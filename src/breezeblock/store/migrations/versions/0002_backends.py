"""Fences per backend, backends as resources, events of nodes: new tables only, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, NAME, text_of

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "node_backends",
        sa.Column("incarnation", ID, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("identity_json", LONG, nullable=False),
        sa.Column("fenced_by", text_of(32)),
        sa.Column("fenced_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("incarnation", "queue", name="pk_node_backends"),
    )
    op.create_table(
        "backends",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("frozen", sa.Boolean, nullable=False),
        sa.Column("replication_status", text_of(36), nullable=False),
        sa.Column("active_backend_id", NAME),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_backends"),
        sa.UniqueConstraint("queue", name="uq_backends_queue"),
    )
    op.create_table(
        "node_events",
        sa.Column("id", ID, nullable=False),
        sa.Column("cluster", NAME, nullable=False),
        sa.Column("node", NAME, nullable=False),
        sa.Column("incarnation", ID, nullable=False),
        sa.Column("event", text_of(64), nullable=False),
        sa.Column("detail", LONG, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_node_events"),
    )
    op.create_index("ix_node_events_at", "node_events", ["at_us"])
