"""Groups of volumes: new tables, and two columns that may be NULL, so the release before works on beside it."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from breezeblock.store.dialects import db_now_us
from breezeblock.store.kinds import ID, LONG, NAME, text_of

revision = "0012"
down_revision = "0011"

# As in `resources.group_types`, written out: a revision must mean the same when that module has changed. A test compares.
CONSISTENT_TYPE: Final = {
    "id": "af08d391-5c03-529a-9d6a-c3fad33b7f17",
    "op_seq": 0,
    "name": "default_cgsnapshot_type",
    "description": "Default group type for consistency groups",
    "is_public": True,
    "group_specs_json": '{"consistent_group_snapshot_enabled":"<is> True"}',
}


def upgrade() -> None:
    """Make the tables, add the columns, and make the type of consistency groups."""
    _group_types()
    _volume_groups()
    _group_snapshots()
    op.add_column("volumes", sa.Column("group_id", ID))
    op.add_column("snapshots", sa.Column("group_snapshot_id", ID))


def _group_types() -> None:
    op.create_table(
        "group_types",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", LONG),
        sa.Column("is_public", sa.Boolean, nullable=False),
        sa.Column("group_specs_json", LONG, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_group_types"),
        sa.UniqueConstraint("name", name="uq_group_types_name"),
    )
    types = sa.table(
        "group_types",
        sa.column("id"),
        sa.column("op_seq"),
        sa.column("name"),
        sa.column("description"),
        sa.column("is_public", sa.Boolean),
        sa.column("group_specs_json"),
        sa.column("created_at_us"),
    )
    # Where a statement that changes the schema ends the transaction, this may be repeated.
    op.execute(sa.delete(types).where(types.c.id == CONSISTENT_TYPE["id"]))
    op.execute(sa.insert(types).values(**CONSISTENT_TYPE, created_at_us=db_now_us()))


def _volume_groups() -> None:
    op.create_table(
        "volume_groups",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("tombstone", sa.Boolean, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("name", NAME),
        sa.Column("description", LONG),
        sa.Column("status", text_of(32), nullable=False),
        sa.Column("previous_status", text_of(32)),
        sa.Column("availability_zone", NAME),
        sa.Column("group_type_id", ID, nullable=False),
        sa.Column("pool_name", NAME),
        sa.Column("source_group_id", ID),
        sa.Column("group_snapshot_id", ID),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_volume_groups"),
    )
    op.create_index("ix_volume_groups_project_created", "volume_groups", ["project_id", "created_at_us", "id"])
    op.create_index("ix_volume_groups_created", "volume_groups", ["created_at_us", "id"])
    op.create_index("ix_volume_groups_type", "volume_groups", ["group_type_id"])
    op.create_index("ix_volume_groups_name", "volume_groups", ["name", "project_id"])
    op.create_table(
        "group_volume_types",
        sa.Column("group_id", ID, nullable=False),
        sa.Column("volume_type_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("group_id", "volume_type_id", name="pk_group_volume_types"),
    )
    op.create_index("ix_group_volume_types_type", "group_volume_types", ["volume_type_id"])


def _group_snapshots() -> None:
    op.create_table(
        "group_snapshots",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("tombstone", sa.Boolean, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("name", NAME),
        sa.Column("description", LONG),
        sa.Column("status", text_of(32), nullable=False),
        sa.Column("previous_status", text_of(32)),
        sa.Column("group_id", ID, nullable=False),
        sa.Column("group_type_id", ID, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_group_snapshots"),
    )
    op.create_index("ix_group_snapshots_project_created", "group_snapshots", ["project_id", "created_at_us", "id"])
    op.create_index("ix_group_snapshots_created", "group_snapshots", ["created_at_us", "id"])
    op.create_index("ix_group_snapshots_group", "group_snapshots", ["group_id"])
    op.create_index("ix_group_snapshots_name", "group_snapshots", ["name", "project_id"])
