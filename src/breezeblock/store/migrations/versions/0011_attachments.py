"""Attachments: a new table only, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, NAME, text_of

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "attachments",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("volume_id", ID, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("status", text_of(32), nullable=False),
        sa.Column("bare", sa.Boolean, nullable=False),
        sa.Column("instance_uuid", ID),
        sa.Column("attached_host", NAME),
        sa.Column("mountpoint", NAME),
        sa.Column("attach_mode", text_of(8)),
        sa.Column("connector_json", LONG),
        sa.Column("connection_json", LONG),
        sa.Column("operation_id", ID),
        sa.Column("fail_reason", LONG),
        sa.Column("attached_at_us", sa.BigInteger),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_attachments"),
    )
    op.create_index("ix_attachments_volume", "attachments", ["volume_id"])
    op.create_index("ix_attachments_project_created", "attachments", ["project_id", "created_at_us", "id"])
    op.create_index("ix_attachments_created", "attachments", ["created_at_us", "id"])
    op.create_index("ix_attachments_instance", "attachments", ["instance_uuid"])
