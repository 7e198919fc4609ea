"""The table of attachments, to be used from `tables`."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Table

from breezeblock.store.kinds import ID, LONG, NAME, text_of
from breezeblock.store.naming import id_column, metadata

attachments = Table(
    "attachments",
    metadata,
    id_column("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    id_column("volume_id"),
    # The volume's.
    Column("project_id", NAME, nullable=False),
    # reserved, attaching, attached, detaching, error_attaching, error_detaching
    Column("status", text_of(32), nullable=False),
    # A connection alone, made by the older actions: no attachment to clients, and no part of the volume's summary.
    Column("bare", Boolean, nullable=False, default=False),
    Column("instance_uuid", ID),
    Column("attached_host", NAME),
    Column("mountpoint", NAME),
    # rw, ro; NULL: the connector decides.
    Column("attach_mode", text_of(8)),
    # Whom it is, or was to be, connected to, and what that one needs for it; NULL where it never was.
    Column("connector_json", LONG),
    Column("connection_json", LONG),
    # The operation that is under way on it; NULL at rest.
    Column("operation_id", ID),
    # Why the last one has failed.
    Column("fail_reason", LONG),
    Column("attached_at_us", BigInteger),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
    Index("ix_attachments_volume", "volume_id"),
    Index("ix_attachments_project_created", "project_id", "created_at_us", "id"),
    Index("ix_attachments_created", "created_at_us", "id"),
    Index("ix_attachments_instance", "instance_uuid"),
)
