"""The tables of volume transfers, and of log levels that were set while services ran; to be used from `tables`."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Table

from breezeblock.store.kinds import ID, LONG, NAME, text_of
from breezeblock.store.naming import id_column, metadata

transfers = Table(
    "transfers",
    metadata,
    # A volume that a project offers to whoever has the key. The row goes when it is taken or withdrawn, and every transaction
    # that makes or removes one writes the volume's row first, so it needs no `op_seq` of its own.
    id_column("id", primary_key=True),
    Column("volume_id", ID, nullable=False),
    # Who offers it.
    Column("project_id", NAME, nullable=False),
    Column("name", NAME),
    # Whether the volume's snapshots stay with who offers it.
    Column("no_snapshots", Boolean, nullable=False, default=False),
    # What tells whether a key is the one, and not what it is.
    Column("salt", text_of(32), nullable=False),
    Column("key_hash", text_of(64), nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Index("ix_transfers_project_created", "project_id", "created_at_us", "id"),
    Index("ix_transfers_created", "created_at_us", "id"),
    Index("ix_transfers_volume", "volume_id"),
)

log_levels = Table(
    "log_levels",
    metadata,
    # One row: all that operators have said about log levels, in order (`resources.log_levels.Said`). Every process reads it
    # every few seconds.
    Column("id", text_of(16), primary_key=True),
    # Raised by each word; with it each process tells which words it obeys already.
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("said_json", LONG, nullable=False, default="[]"),
)

log_reports = Table(
    "log_reports",
    metadata,
    # The loggers of each process and their levels, as it said itself when it last changed them.
    id_column("id", primary_key=True),
    Column("binary", text_of(64), nullable=False),
    Column("host", NAME, nullable=False),
    Column("levels_json", LONG, nullable=False),
    # Database clock: when it was last heard of.
    Column("reported_at_us", BigInteger, nullable=False),
)
