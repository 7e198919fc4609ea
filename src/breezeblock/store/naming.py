"""What all tables share: the collection that they are in, how their constraints are named, and columns for ids."""

from sqlalchemy import Column, MetaData

from breezeblock.store.kinds import ID

__all__ = ["id_column", "metadata"]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)


def id_column(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    """An id, of a resource, an operation or a node."""
    return Column(name, ID, primary_key=primary_key, nullable=nullable)
