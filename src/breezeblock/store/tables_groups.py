"""The tables of groups of volumes, to be used from `tables`.

Which volumes are in a group is a column of the volumes, and which snapshots are of a group snapshot one of the snapshots:
whoever changes it writes the group's row in the same transaction, as everybody does who asks for it.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Table

from breezeblock.store.kinds import ID, LONG, NAME, text_of
from breezeblock.store.naming import id_column, metadata

group_types = Table(
    "group_types",
    metadata,
    id_column("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("name", NAME, nullable=False, unique=True),
    Column("description", LONG),
    Column("is_public", Boolean, nullable=False, default=True),
    Column("group_specs_json", LONG, nullable=False, default="{}"),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
)

# Not `groups`: that is a word of SQL.
volume_groups = Table(
    "volume_groups",
    metadata,
    id_column("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("tombstone", Boolean, nullable=False, default=False),
    Column("project_id", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("name", NAME),
    Column("description", LONG),
    Column("status", text_of(32), nullable=False),
    Column("previous_status", text_of(32)),
    Column("availability_zone", NAME),
    Column("group_type_id", ID, nullable=False),
    # The pool that was chosen for it; all its volumes are in pools of the same backend. NULL: none offers its types.
    Column("pool_name", NAME),
    # What it was made from.
    Column("source_group_id", ID),
    Column("group_snapshot_id", ID),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
    Index("ix_volume_groups_project_created", "project_id", "created_at_us", "id"),
    Index("ix_volume_groups_created", "created_at_us", "id"),
    Index("ix_volume_groups_type", "group_type_id"),
    Index("ix_volume_groups_name", "name", "project_id"),
)

group_volume_types = Table(
    "group_volume_types",
    metadata,
    # The types that a group's volumes may have.
    Column("group_id", ID, primary_key=True),
    Column("volume_type_id", ID, primary_key=True),
    Index("ix_group_volume_types_type", "volume_type_id"),
)

group_snapshots = Table(
    "group_snapshots",
    metadata,
    id_column("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("tombstone", Boolean, nullable=False, default=False),
    Column("project_id", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("name", NAME),
    Column("description", LONG),
    Column("status", text_of(32), nullable=False),
    Column("previous_status", text_of(32)),
    id_column("group_id"),
    Column("group_type_id", ID, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
    Index("ix_group_snapshots_project_created", "project_id", "created_at_us", "id"),
    Index("ix_group_snapshots_created", "created_at_us", "id"),
    Index("ix_group_snapshots_group", "group_id"),
    Index("ix_group_snapshots_name", "name", "project_id"),
)
