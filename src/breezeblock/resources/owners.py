"""Whose a resource is: asked only where a policy names more of a resource than its project."""

from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, literal, select
from sqlalchemy.sql.schema import Table

from breezeblock.store.tables import (
    attachments,
    backups,
    group_snapshots,
    messages,
    snapshots,
    transfers,
    volume_groups,
    volumes,
)

__all__ = ["KINDS", "Owner", "owner_of"]


class Owner(NamedTuple):
    project_id: str
    user_id: str
    """Empty where nobody wrote down who: of messages."""


def _user(table: Table) -> ColumnElement[str]:
    """Of an attachment and a transfer it is whoever owns the volume."""
    if "user_id" in table.c:
        return table.c.user_id
    if "volume_id" in table.c:
        return select(volumes.c.user_id).where(volumes.c.id == table.c.volume_id).scalar_subquery()
    return literal("")


_TABLES: Final = {
    "volume": volumes,
    "snapshot": snapshots,
    "backup": backups,
    "attachment": attachments,
    "transfer": transfers,
    "group": volume_groups,
    "group_snapshot": group_snapshots,
    "message": messages,
}
KINDS: Final = tuple(_TABLES)
_QUERIES: Final = {
    kind: select(table.c.project_id, _user(table)).where(table.c.id == bindparam("id_"))
    for kind, table in _TABLES.items()
}


def owner_of(tx: Connection, *, kind: str, id_: str, project_id: str | None) -> Owner | None:
    """Whose it is; None if there is none of that id, or if it is not this project's (None: any)."""
    row = tx.execute(_QUERIES[kind], {"id_": id_}).first()
    if row is None or project_id not in (None, row[0]):
        return None
    return Owner(row[0], row[1] or "")
