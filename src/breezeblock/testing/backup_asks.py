"""What clients of a simulation ask for backups. Everything else that they ask for is in `asks.py`."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from breezeblock.env.contract import Env
from breezeblock.model.ids import BackupId, SnapshotId, VolumeId
from breezeblock.model.requests import NewBackup, NewVolume
from breezeblock.resources import backup_edits, backups, listing, restores
from breezeblock.testing.aims import HOT, Aims
from breezeblock.testing.call import Call, show
from breezeblock.testing.safe import STORE

__all__ = ["CALLS", "BackupAsks"]

CALLS: Final = {
    "create_backup": 4.0,
    "create_backup_of_snapshot": 9.0,
    "restore": 14.0,
    "create_from_backup": 16.0,
    "delete_backup": 5.0,
    "force_delete_backup": 0.7,
    "reset_backup_status": 1.2,
    "edit_backup": 3.0,
    "show_backup": 3.0,
}
WORDS: Final = ("round", "red", "none")


class BackupAsks:
    """Draws requests. `owned` tells whose a new resource is: its source's."""

    def __init__(
        self, random: Random, aims: Aims, owned: Callable[[str, str], None], known: list[str], quota: Mapping[str, int]
    ) -> None:
        self._random = random
        self._aims = aims
        self._owned = owned
        self._quota = quota
        self._known = known
        """Backups that were asked for and are not known to be gone."""
        self.draws: dict[str, Callable[[Env], Call | None]] = {
            "create_backup": self._create,
            "create_backup_of_snapshot": self._create_of_snapshot,
            "restore": self._restore,
            "create_from_backup": self._create_from,
            "delete_backup": self._delete,
            "force_delete_backup": self._force_delete,
            "reset_backup_status": self._reset_status,
            "edit_backup": self._edit,
            "show_backup": self._show,
        }

    def _backup(self, fitting: str) -> str | None:
        if fitting and self._aims.is_aimed:
            aimed = self._aims.one(fitting)
            return None if aimed is None else aimed[0]
        return self._random.choice(self._known[-HOT:]) if self._known else None

    def _create(self, env: Env) -> Call | None:
        """Mostly with force, as whoever backs everything up does: so it may be in use. Often of one that has a backup."""
        again = self._aims.all(_AGAIN) if self._random.random() < 0.8 else []
        found = self._random.choice(again) if again else self._aims.one("usable")
        return None if found is None else self._new(env, volume=found[0], snapshot=None)

    def _create_of_snapshot(self, env: Env) -> Call | None:
        found = self._aims.one("source")
        return None if found is None else self._new(env, volume=found[1], snapshot=found[0])

    def _new(self, env: Env, *, volume: str, snapshot: str | None) -> Call:
        id_ = env.ids.uuid()
        self._known.append(id_)
        self._owned(id_, volume)
        has_parent = bool(self._aims.all(_PARENTS, volume))
        wanted = NewBackup(
            id=BackupId(id_),
            volume_id=VolumeId(volume),
            store=STORE,
            container="box",
            archive_id=env.ids.uuid(),
            snapshot_id=None if snapshot is None else SnapshotId(snapshot),
            incremental=self._random.random() < (0.8 if has_parent else 0.05),
            force=self._random.random() < 0.8,
        )
        kind = "create_backup" if snapshot is None else "create_backup_of_snapshot"
        said = {"wanted": wanted, "quota_defaults": self._quota}
        return Call(kind, backups.begin_create, id_, said, table="backups")

    def _restore(self, env: Env) -> Call | None:
        """Into a volume that is there, its own or another one; both are drawn where both would be accepted."""
        found = self._aims.all(_RESTORABLE)
        if not found:
            return None
        backup, volume = self._random.choice(found)
        ids = {"backup_id": BackupId(backup), "volume_id": VolumeId(volume)}
        return Call("restore", restores.begin_restore, volume, ids, table="volumes", admin=True)

    def _create_from(self, env: Env) -> Call | None:
        """A restore to a new volume, or a new volume from a backup."""
        if (backup := self._backup("whole backup")) is None:
            return None
        id_ = env.ids.uuid()
        self._owned(id_, backup)
        size = self._random.choice((None, None, 3, 6))
        wanted = NewVolume(id=VolumeId(id_), size_gib=size, backup_id=BackupId(backup))
        said = {"wanted": wanted, "quota_defaults": self._quota, "restoring": self._random.random() < 0.5}
        return Call("create_from_backup", restores.begin_create, id_, said, table="volumes")

    def _delete(self, env: Env) -> Call | None:
        return self._on_backup("delete_backup", "spare backup", backups.begin_delete, {})

    def _force_delete(self, env: Env) -> Call | None:
        """Of any: what is under way is what it is for."""
        return self._on_backup("force_delete_backup", "", backups.begin_force_delete, {})

    def _reset_status(self, env: Env) -> Call | None:
        status = self._random.choice(("available", "available", "error"))
        fitting = "unwell backup" if status == "available" and self._random.random() < 0.5 else ""
        return self._on_backup("reset_backup_status", fitting, backups.reset_status, {"status": status})

    def _edit(self, env: Env) -> Call | None:
        said = {"fields": {"name": self._random.choice(WORDS)}}
        return self._on_backup("edit_backup", "spare backup", backup_edits.update_fields, said)

    def _show(self, env: Env) -> Call | None:
        backup = self._backup("spare backup")
        said = {"of": listing.BACKUPS}
        return None if backup is None else Call("show_backup", show, backup, said, table="backups")

    def _on_backup(self, kind: str, fitting: str, f: Callable[..., Any], said: dict[str, Any]) -> Call | None:
        if (backup := self._backup(fitting)) is None:
            return None
        admin = "force" in kind or "reset" in kind
        return Call(kind, f, backup, {"backup_id": BackupId(backup), **said}, table="backups", admin=admin)


_PARENTS: Final = "SELECT id FROM backups WHERE volume_id = ? AND status = 'available' AND NOT tombstone"
_FREE: Final = "NOT EXISTS (SELECT 1 FROM operation_locks l WHERE l.resource_id = {}.id AND l.exclusive)"
_AGAIN: Final = (
    "SELECT DISTINCT v.id FROM volumes v JOIN backups b ON b.volume_id = v.id"  # noqa: S608  words of our own
    " WHERE b.status = 'available' AND NOT b.tombstone AND v.status IN ('available', 'in-use')"
    f" AND NOT v.tombstone AND v.object_name IS NOT NULL AND {_FREE.format('v')} ORDER BY 1 LIMIT 4"
)
_RESTORABLE: Final = (
    "SELECT b.id, v.id FROM backups b JOIN volumes v ON v.size_gib >= b.size_gib"  # noqa: S608  words of our own
    " WHERE b.status = 'available' AND NOT b.tombstone AND b.manifest IS NOT NULL AND v.status = 'available'"
    f" AND NOT v.tombstone AND v.object_name IS NOT NULL AND {_FREE.format('b')} AND {_FREE.format('v')}"
    " ORDER BY b.created_at_us DESC, v.created_at_us DESC, 1, 2 LIMIT 4"
)
