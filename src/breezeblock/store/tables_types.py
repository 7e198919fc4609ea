"""The tables beside volume types, to be used from `tables`: quality of service, and what projects get by default."""

from sqlalchemy import BigInteger, Column, Index, Table

from breezeblock.store.kinds import LONG, NAME, text_of
from breezeblock.store.naming import id_column, metadata

qos_specs = Table(
    "qos_specs",
    metadata,
    id_column("id", primary_key=True),
    # Written by whoever gives it to a type or takes it away: whether a type has it is decided on this row.
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("name", NAME, nullable=False, unique=True),
    # front-end, back-end, both
    Column("consumer", text_of(16), nullable=False),
    Column("specs_json", LONG, nullable=False, default="{}"),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
)

default_types = Table(
    "default_types",
    metadata,
    # The type that a project's volumes get when they name none. Whoever makes or changes a row writes the type's first.
    Column("project_id", NAME, primary_key=True),
    id_column("volume_type_id"),
    Index("ix_default_types_type", "volume_type_id"),
)
