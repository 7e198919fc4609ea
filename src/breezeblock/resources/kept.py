"""What backups were read from and is kept, so that the next one of the volume is told what has changed since.

A hint, never a promise: the next backup, the end of its own backup, and the end of the volume remove it, and who then misses
it reads everything. It has rows of its own, since it may have to outlive its backup: nodes of other backends delete that,
too.
"""

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, exists, insert, or_, select

from breezeblock.model import states
from breezeblock.store.tables import backups, kept_objects, operation_locks

__all__ = ["Base", "base_of_volume", "forget", "kept_of_backup", "kept_of_volume", "older_of_volume", "remember"]


def remember(tx: Connection, *, backup_id: str, volume_id: str, queue: str, object_name: str) -> None:
    """It is going to be made. Runs inside a step, before anything is: nothing is ever on storage without its row."""
    row = {"backup_id": backup_id, "volume_id": volume_id, "queue": queue, "object_name": object_name}
    tx.execute(delete(kept_objects).where(kept_objects.c.backup_id == backup_id))
    tx.execute(insert(kept_objects), row)


class Base(NamedTuple):
    """A backup that a volume can be compared with."""

    backup_id: str
    manifest: str
    object_name: str


def base_of_volume(tx: Connection, *, volume_id: str, queue: str, archive_id: str) -> Base | None:
    """The one in this archive whose data is the latest of those that have kept something of a volume on a backend."""
    found = tx.execute(_BASE, {"of_volume": volume_id, "on_queue": queue, "in_archive": archive_id}).first()
    return Base(found.id, found.manifest, found.object_name) if found is not None else None


def kept_of_backup(tx: Connection, *, backup_id: str, queue: str) -> str | None:
    """The object that a backup keeps on a backend."""
    found: str | None = tx.execute(_OF_BACKUP, {"of_backup": backup_id, "on_queue": queue}).scalar()
    return found


def kept_of_volume(tx: Connection, *, volume_id: str, queue: str) -> list[tuple[str, str]]:
    """(backup, object) of all that is kept of a volume on a backend."""
    found = tx.execute(_OF_VOLUME, {"of_volume": volume_id, "on_queue": queue})
    return [(row.backup_id, row.object_name) for row in found]


def older_of_volume(tx: Connection, *, volume_id: str, queue: str, than: str) -> list[tuple[str, str]]:
    """(backup, object) of what is kept of earlier data than another backup has, by those that are over or gone."""
    values = {"of_volume": volume_id, "on_queue": queue, "than": than}
    return [(row.backup_id, row.object_name) for row in tx.execute(_OLDER, values)]


def forget(tx: Connection, *, backup_id: str, object_name: str) -> None:
    """It is not there any more. Runs inside a step of whoever has removed it."""
    tx.execute(_FORGET, {"of_backup": backup_id, "gone": object_name})


_OF_BACKUP: Final[Any] = select(kept_objects.c.object_name).where(
    kept_objects.c.backup_id == bindparam("of_backup"), kept_objects.c.queue == bindparam("on_queue")
)
_BASE: Final[Any] = (
    select(backups.c.id, backups.c.manifest, kept_objects.c.object_name)
    .join_from(kept_objects, backups, backups.c.id == kept_objects.c.backup_id)
    .where(
        kept_objects.c.volume_id == bindparam("of_volume"),
        kept_objects.c.queue == bindparam("on_queue"),
        backups.c.archive_id == bindparam("in_archive"),
        backups.c.manifest.is_not(None),
        # An operator may have said that another one is worth nothing; one that is made is not over.
        backups.c.status.in_((states.AVAILABLE, states.RESTORING)),
    )
    .order_by(backups.c.data_timestamp_us.desc(), backups.c.id.desc())
    .limit(1)
)
_OF_VOLUME: Final[Any] = select(kept_objects.c.backup_id, kept_objects.c.object_name).where(
    kept_objects.c.volume_id == bindparam("of_volume"), kept_objects.c.queue == bindparam("on_queue")
)
_OWN: Final = backups.alias("own")
_OLDER: Final[Any] = (
    select(kept_objects.c.backup_id, kept_objects.c.object_name)
    .outerjoin_from(kept_objects, backups, backups.c.id == kept_objects.c.backup_id)
    .where(
        kept_objects.c.volume_id == bindparam("of_volume"),
        kept_objects.c.queue == bindparam("on_queue"),
        kept_objects.c.backup_id != bindparam("than"),
        or_(
            backups.c.id.is_(None),
            and_(
                # A status alone does not say so: one that is made may be doomed already, and reads from what it has kept.
                ~exists().where(operation_locks.c.resource_id == backups.c.id, operation_locks.c.exclusive),
                backups.c.status != states.CREATING,
                backups.c.data_timestamp_us
                <= select(_OWN.c.data_timestamp_us).where(_OWN.c.id == bindparam("than")).scalar_subquery(),
            ),
        ),
    )
)
_FORGET: Final[Any] = delete(kept_objects).where(
    kept_objects.c.backup_id == bindparam("of_backup"), kept_objects.c.object_name == bindparam("gone")
)
