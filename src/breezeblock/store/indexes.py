"""Indexes of later revisions, built on PostgreSQL while everybody goes on writing.

`CREATE INDEX` keeps writers out of the table until it is done, which is long on a big one. `CONCURRENTLY` does not, and cannot
be part of a transaction: so the indexes are built before the revision that asks for them, which then finds them there. One
that was broken off stays behind, written by everybody and used by nobody; the next attempt removes it and begins again.

MariaDB builds indexes beside writers by itself (`ddl`), and SQLite has one writer at a time whatever is done.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from breezeblock.model.errors import Contended

__all__ = ["LATER", "asked_after", "build"]


class Later(NamedTuple):
    """An index on a table that may be big by now."""

    name: str
    table: str
    columns: tuple[str, ...]


LATER: Final[Mapping[str, tuple[Later, ...]]] = {
    "0006": (
        Later("ix_messages_guaranteed", "messages", ("guaranteed_until_us",)),
        Later("ix_operations_owner_kind", "operations", ("owner", "queue", "kind", "version")),
        Later("ix_operations_attempt", "operations", ("queue", "attempt")),
        Later("ix_volumes_name", "volumes", ("name", "project_id")),
        Later("ix_snapshots_name", "snapshots", ("name", "project_id")),
    ),
    "0018": (
        Later("ix_volumes_group", "volumes", ("group_id",)),
        Later("ix_snapshots_group_snapshot", "snapshots", ("group_snapshot_id",)),
    ),
}
"""By the revision that asks for them. Tables and columns of the revisions before it, which have been made by then."""
REPLACED: Final[Mapping[str, tuple[str, ...]]] = {"0006": ("ix_operations_owner",)}
"""Those that are the beginning of one of these, and go when it is there."""

# Any number that nobody else takes. Not that of revisions: whoever waits for that one holds a snapshot, which building an index
# waits for. This one is never waited for in the server.
_TURN: Final = text("SELECT pg_try_advisory_lock(7240386154)")
_VALID: Final = text(
    "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE c.relname = :name AND c.relnamespace = current_schema()::regnamespace"
)


def asked_after(at: str) -> str | None:
    """The revision that comes after this one, if it asks for indexes: revisions are numbered without gaps."""
    following = f"{int(at) + 1:04}"
    return following if following in LATER else None


def build(connection: Connection, *, revision: str, told: Callable[[str], None] = lambda name: None) -> None:
    """Build what a revision asks for. `connection` commits by itself. Raises Contended: somebody else builds.

    Safe to call again, whatever happened to an earlier call. `told` hears of each index before it is built.
    """
    if not connection.execute(_TURN).scalar_one():
        raise Contended("another process builds indexes")
    # It waits for transactions that are under way, and nobody waits behind it; and it takes as long as the table is big.
    connection.exec_driver_sql("SET lock_timeout = 0")
    connection.exec_driver_sql("SET statement_timeout = 0")
    for index in LATER[revision]:
        valid = is_valid(connection, index.name)
        if valid:
            continue
        told(index.name)
        if valid is not None:
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")
        connection.exec_driver_sql(
            f"CREATE INDEX CONCURRENTLY {index.name} ON {index.table} ({', '.join(index.columns)})"
        )
    for name in REPLACED.get(revision, ()):
        connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def is_valid(connection: Connection, name: str) -> bool | None:
    """Whether an index can be used; None when there is none of this name."""
    valid: bool | None = connection.execute(_VALID, {"name": name}).scalar()
    return valid
