"""What migrations between backends leave behind, until somebody has removed it."""

from sqlalchemy import BigInteger, Column, Index, Table

from breezeblock.store.kinds import NAME
from breezeblock.store.naming import id_column, metadata

stray_objects = Table(
    "stray_objects",
    metadata,
    # Objects of a volume may be on a backend that the volume is not on: its old one, or one that it was to move to. The row is
    # there before they are, and goes after them.
    id_column("volume_id", primary_key=True),
    Column("queue", NAME, primary_key=True),
    # Database clock: nobody looks for them before.
    Column("not_before_us", BigInteger, nullable=False),
    Index("ix_stray_objects_due", "not_before_us"),
)
