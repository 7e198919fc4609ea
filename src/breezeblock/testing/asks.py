"""What clients of a simulation ask for: requests of every kind, on few and hot resources. Operators' are in `orders.py`.

Each method draws one request, or None where there is nothing yet that it could be about. Most requests are aimed at what they
fit (`aims.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final

from breezeblock.env.contract import Env
from breezeblock.model.ids import SnapshotId, VolumeId, is_uuid
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.resources import listing, snapshot_edits, snapshots, volume_changes, volume_edits, volumes
from breezeblock.testing import attach_asks, backup_asks, group_asks, manage_asks, migrate_asks, transfer_asks
from breezeblock.testing.aims import HOT, Aims
from breezeblock.testing.call import Call, show
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.orders import PROJECTS, QUOTA, Orders

__all__ = ["CALLS", "Asks"]

CALLS: Final = {
    "create_volume": 4.0,
    "create_from_volume": 2.5,
    "create_from_snapshot": 8.0,
    "create_snapshot": 5.0,
    "extend": 3.0,
    "revert": 11.0,
    "retype": 2.5,
    "delete_volume": 1.0,
    "delete_cascade": 2.2,
    "force_delete": 0.6,
    "delete_snapshot": 3.0,
    "force_delete_snapshot": 0.9,
    "reset_status": 1.3,
    "reset_snapshot_status": 2.0,
    "update_snapshot_status": 2.0,
    "edit_volume": 1.5,
    "edit_snapshot": 3.5,
    "show_volume": 2.5,
    "show_snapshot": 3.0,
    "switch_cluster": 0.6,
    "switch_service": 0.6,
    "freeze": 0.5,
    # Those that seldom find what they could be about.
    "thaw": 8.0,
    "failover": 1.8,
    "clean_up": 0.6,
    "check_node": 1.0,
    "fence_by_hand": 60.0,
    "make_type": 0.7,
    "change_type": 1.2,
    "delete_type": 0.8,
    "change_quota": 0.8,
    "delete_message": 0.8,
    **backup_asks.CALLS,
    **migrate_asks.CALLS,
    **attach_asks.CALLS,
    **group_asks.CALLS,
    **manage_asks.CALLS,
    **transfer_asks.CALLS,
}
# When nothing fits a kind, another one is drawn, so often at most.
TRIES: Final = 12
KEYS: Final = ("colour", "shape")
WORDS: Final = ("round", "red", "none")


class Asks:
    """Draws requests. Knows the resources that were asked for, and forgets those that turn out to be gone."""

    def __init__(self, random: Random, cluster: Cluster) -> None:
        self._random = random
        self._aims = Aims(random, cluster.database.raw)
        orders = Orders(random, self._aims, cluster)
        self._orders = orders
        self._backups: list[str] = []
        theme = cluster.theme
        self._weights = [theme.weights.get(kind, weight * theme.others) for kind, weight in CALLS.items()]
        self._projects, self._quota = PROJECTS[: theme.projects], QUOTA | dict(theme.quota)
        asks = backup_asks.BackupAsks(random, self._aims, self._inherit, self._backups, self._quota)
        attaching = attach_asks.AttachAsks(random, self._aims, self._inherit)
        of_groups = group_asks.GroupAsks(random, self._aims, self._inherit, self._quota)
        self._volumes: list[str] = []
        managed = manage_asks.ManageAsks(random, self._aims, self._managed, self._quota)
        moves = migrate_asks.MigrateAsks(random, self._aims, cluster, self._any_volume)
        self._snapshots: list[tuple[str, str]] = []
        self._project_of: dict[str, str] = {}
        given = transfer_asks.TransferAsks(
            random, self._aims, self._project_of.__setitem__, projects=self._projects, quota=self._quota
        )
        drawn = (orders, asks, attaching, of_groups, moves, managed, given)
        self._draws = {kind: draws for one in drawn for kind, draws in one.draws.items()}

    def draw(self, env: Env) -> Call | None:
        """One request of any kind."""
        self._aims.draw()
        for _ in range(TRIES):
            kind = self._random.choices(list(CALLS), self._weights)[0]
            draws: Callable[[Env], Call | None] = self._draws.get(kind) or getattr(self, f"_{kind}")
            if (call := draws(env)) is not None:
                return call
        return None

    def project(self, about: str) -> str:
        """Whose a resource is now. Volumes change hands, and of what is made of a group's members nobody knew the ids."""
        if found := self._aims.all(_PROJECT, about, about):
            self._project_of[about] = found[0][0]
        elif about not in self._project_of:
            self._project_of[about] = self._random.choice(self._projects)
        return self._project_of[about]

    def _inherit(self, about: str, of: str) -> None:
        """What is made of a resource is its owner's, mostly: an administrator's request may be about any."""
        self._project_of[about] = self.project(of)

    def _managed(self, about: str, volume: str | None) -> None:
        """Somebody asks to manage what is on storage: as a volume, or as a snapshot of one."""
        if volume is None:
            self._volumes.append(about)
        else:
            self._snapshots.append((about, volume))
            self._inherit(about, volume)

    def forget(self, about: str) -> None:
        """It is not there, or never was."""
        self._volumes = [id_ for id_ in self._volumes if id_ != about]
        self._snapshots = [(id_, volume) for id_, volume in self._snapshots if about not in (id_, volume)]
        self._backups[:] = [id_ for id_ in self._backups if id_ != about]

    # --- what about -------------------------------------------------------------------------------------------------

    def _volume(self, fitting: str) -> str | None:
        if self._aims.is_aimed:
            aimed = self._aims.one(fitting)
            return None if aimed is None else aimed[0]
        return self._random.choice(self._volumes[-HOT:]) if self._volumes else None

    def _any_volume(self) -> str | None:
        return self._random.choice(self._volumes[-HOT:]) if self._volumes else None

    def _snapshot(self, fitting: str) -> tuple[str, str] | None:
        """A snapshot and its volume."""
        if self._aims.is_aimed:
            aimed = self._aims.one(fitting)
            return None if aimed is None else (aimed[0], aimed[1])
        return self._random.choice(self._snapshots[-HOT:]) if self._snapshots else None

    def _type(self) -> str:
        """By its id; now and then by a name that it had once."""
        return self._orders.known_type() if self._random.random() < 0.8 else "gold"

    # --- requests -----------------------------------------------------------------------------------------------------

    def _create(self, env: Env, **source: Any) -> Call:
        id_ = env.ids.uuid()
        self._volumes.append(id_)
        for of in source.values():
            self._project_of[id_] = self.project(of)
        size = self._random.choice((None, None, None, 3, 6)) if source else self._random.randint(1, 3)
        type_ = self._type() if self._random.random() < 0.6 else None
        wanted = NewVolume(id=VolumeId(id_), size_gib=size, volume_type=type_, **source)
        kind = (
            "create_volume"
            if not source
            else "create_from_volume"
            if "source_volid" in source
            else "create_from_snapshot"
        )
        return Call(kind, volumes.begin_create, id_, {"wanted": wanted, "quota_defaults": self._quota}, table="volumes")

    def _create_volume(self, env: Env) -> Call | None:
        return self._create(env)

    def _create_from_volume(self, env: Env) -> Call | None:
        volume = self._volume("usable")
        return None if volume is None else self._create(env, source_volid=VolumeId(volume))

    def _create_from_snapshot(self, env: Env) -> Call | None:
        snapshot = self._snapshot("source")
        return None if snapshot is None else self._create(env, snapshot_id=SnapshotId(snapshot[0]))

    def _create_snapshot(self, env: Env) -> Call | None:
        if (volume := self._volume("usable")) is None:
            return None
        id_ = env.ids.uuid()
        self._snapshots.append((id_, volume))
        self._project_of[id_] = self.project(volume)
        wanted = NewSnapshot(id=SnapshotId(id_), volume_id=VolumeId(volume), force=self._random.random() < 0.5)
        arguments = {"wanted": wanted, "quota_defaults": self._quota}
        return Call("create_snapshot", snapshots.begin_create, id_, arguments, table="snapshots")

    def _extend(self, env: Env) -> Call | None:
        size = self._random.choice((2, 3, 4, 5, 6, 6))
        said = {"size_gib_new": size, "quota_defaults": self._quota}
        return self._on_volume("extend", "growing", volume_changes.begin_extend, said)

    def _revert(self, env: Env) -> Call | None:
        if (snapshot := self._snapshot("latest")) is None:
            return None
        ids = {"volume_id": VolumeId(snapshot[1]), "snapshot_id": SnapshotId(snapshot[0])}
        return Call("revert", volume_changes.begin_revert, snapshot[1], ids, table="volumes")

    def _retype(self, env: Env) -> Call | None:
        type_ = self._type()
        policy = self._random.choice(("never", "on-demand"))
        said = {"new_type": type_, "migration_policy": policy, "quota_defaults": self._quota}
        call = self._on_volume("retype", "usable", volume_changes.begin_retype, said)
        return None if call is None else replace(call, type_id=type_ if is_uuid(type_) else None)

    def _delete_volume(self, env: Env) -> Call | None:
        return self._on_volume("delete_volume", "disposable", volumes.begin_delete, {"cascade": False})

    def _delete_cascade(self, env: Env) -> Call | None:
        return self._on_volume("delete_cascade", "parent", volumes.begin_delete, {"cascade": True})

    def _force_delete(self, env: Env) -> Call | None:
        """Of any: what is under way is what it is for."""
        said = {"cascade": self._random.random() < 0.5}
        return self._on_volume("force_delete", "", volumes.begin_force_delete, said)

    def _delete_snapshot(self, env: Env) -> Call | None:
        return self._on_snapshot("delete_snapshot", "spare", snapshots.begin_delete, {})

    def _force_delete_snapshot(self, env: Env) -> Call | None:
        return self._on_snapshot("force_delete_snapshot", "", snapshots.begin_force_delete, {})

    def _reset_status(self, env: Env) -> Call | None:
        """Now and then to in-use, as if a server had it; and back, by which it is detached again."""
        status = self._random.choice(("available", "available", "available", "error", "in-use", "maintenance"))
        attached = {"available": "detached", "in-use": "attached"}.get(status)
        wanted = {"status": status, "attach_status": attached, "migration_status": None}
        fitting = "unwell" if status == "available" else ""
        return self._on_volume("reset_status", fitting, volume_changes.reset_status, wanted)

    def _reset_snapshot_status(self, env: Env) -> Call | None:
        status = self._random.choice(("available", "available", "error"))
        fitting = "unwell snapshot" if status == "available" else ""
        return self._on_snapshot("reset_snapshot_status", fitting, snapshots.reset_status, {"status": status})

    def _update_snapshot_status(self, env: Env) -> Call | None:
        """As a compute service reports on a snapshot that it takes."""
        status = self._random.choice(("creating", "creating", "available", "error", "deleting", "error_deleting"))
        said = {"status": status, "progress": self._random.choice((None, "50%"))}
        return self._on_snapshot("update_snapshot_status", "moving snapshot", snapshots.update_status, said)

    def _edit_volume(self, env: Env) -> Call | None:
        key, word = self._random.choice(KEYS), self._random.choice(WORDS)
        f, said = self._random.choice(
            (
                (volume_edits.update_fields, {"fields": {"name": word}}),
                (volume_edits.merge_metadata, {"metadata": {key: word}, "if_match": frozenset()}),
                (volume_edits.replace_metadata, {"metadata": {key: word}, "if_match": frozenset()}),
                (volume_edits.delete_metadata_key, {"key": key}),
                (volume_edits.set_bootable, {"bootable": word == "red"}),
                (volume_edits.set_readonly, {"readonly": word == "red"}),
            )
        )
        return self._on_volume("edit_volume", "usable", f, said)

    def _edit_snapshot(self, env: Env) -> Call | None:
        key, word = self._random.choice(KEYS), self._random.choice(WORDS)
        f, said = self._random.choice(
            (
                (snapshot_edits.update_fields, {"fields": {"name": word}}),
                (snapshot_edits.merge_metadata, {"metadata": {key: word}}),
                (snapshot_edits.replace_metadata, {"metadata": {key: word}}),
                (snapshot_edits.delete_metadata_key, {"key": key}),
            )
        )
        return self._on_snapshot("edit_snapshot", "source", f, said)

    def _show_volume(self, env: Env) -> Call | None:
        volume = self._volume("usable")
        return None if volume is None else Call("show_volume", show, volume, {"of": listing.VOLUMES}, table="volumes")

    def _show_snapshot(self, env: Env) -> Call | None:
        found = self._snapshot("source")
        said = {"of": listing.SNAPSHOTS}
        return None if found is None else Call("show_snapshot", show, found[0], said, table="snapshots")

    def _on_volume(self, kind: str, fitting: str, f: Callable[..., Any], said: Mapping[str, Any]) -> Call | None:
        """A request about a volume; with nothing to fit, any hot one."""
        volume = self._volume(fitting) if fitting else self._random.choice(self._volumes[-HOT:] or [None])
        if volume is None:
            return None
        return Call(kind, f, volume, {"volume_id": VolumeId(volume), **said}, table="volumes", admin=_is_admins(kind))

    def _on_snapshot(self, kind: str, fitting: str, f: Callable[..., Any], said: Mapping[str, Any]) -> Call | None:
        found = self._snapshot(fitting) if fitting else self._random.choice(self._snapshots[-HOT:] or [None])
        if found is None:
            return None
        ids = {"snapshot_id": SnapshotId(found[0])}
        return Call(kind, f, found[0], {**ids, **said}, table="snapshots", admin=_is_admins(kind))


_PROJECT: Final = "SELECT project_id FROM volumes WHERE id = ? UNION ALL SELECT project_id FROM snapshots WHERE id = ?"


def _is_admins(kind: str) -> bool:
    return "force" in kind or "reset" in kind
