"""Quality of service, encryption and defaults of types, image metadata of volumes: new tables, and columns that may be NULL.

So the release before works on beside it: its volumes and snapshots have no image metadata, and its types no encryption.
"""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, NAME, text_of

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the tables, and add the columns."""
    op.create_table(
        "qos_specs",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("consumer", text_of(16), nullable=False),
        sa.Column("specs_json", LONG, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_qos_specs"),
        sa.UniqueConstraint("name", name="uq_qos_specs_name"),
    )
    op.create_table(
        "default_types",
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("volume_type_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="pk_default_types"),
    )
    op.create_index("ix_default_types_type", "default_types", ["volume_type_id"])
    op.add_column("volume_types", sa.Column("encryption_json", LONG))
    for table in ("volumes", "snapshots"):
        op.add_column(table, sa.Column("image_metadata_json", LONG))
        op.add_column(table, sa.Column("encryption_key_id", ID))
    op.add_column("snapshots", sa.Column("bootable", sa.Boolean))
    op.add_column("backups", sa.Column("image_metadata_json", LONG))
