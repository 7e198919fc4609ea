"""What clients and operators of a simulation ask for: requests of every kind, on few and hot resources.

Each method draws one request, or None where there is nothing yet that it could be about.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, insert

from breezeblock.env.contract import Env
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.resources import backend_changes, listing, services, snapshots, volume_changes, volumes
from breezeblock.store import tables
from breezeblock.testing.cluster import queue_of

__all__ = ["PROJECTS", "Asks", "Call", "prepare"]

PROJECTS: Final = ("red", "blue")
QUOTA: Final = {"volumes": 6, "snapshots": 6, "gigabytes": 30}
OTHER_TYPE: Final = "22222222-2222-4222-8222-222222222222"
TYPES: Final = ("__DEFAULT__", "gold")
# Requests go to one of the latest so many resources: few enough to meet.
HOT: Final = 4
CALLS: Final = {
    "create_volume": 6.0,
    "create_from_volume": 3.0,
    "create_from_snapshot": 3.0,
    "create_snapshot": 6.0,
    "extend": 5.0,
    "revert": 7.0,
    "retype": 3.0,
    "delete_volume": 3.0,
    "delete_cascade": 2.0,
    "force_delete": 1.0,
    "delete_snapshot": 3.0,
    "force_delete_snapshot": 1.0,
    "reset_status": 1.0,
    "reset_snapshot_status": 1.0,
    "show_volume": 5.0,
    "show_snapshot": 3.0,
    "switch_cluster": 0.5,
    "failover": 2.0,
}
_UNSAID: Final = ("quota_defaults", "volume_id", "of", "wanted", "binary")
_SAID_OF_WANTED: Final = ("size_gib", "volume_type", "source_volid", "snapshot_id", "volume_id")
READS: Final = ("show_volume", "show_snapshot")


def prepare(tx: Connection, *, at_us: int) -> None:
    """A second volume type, for retypes."""
    tx.execute(insert(tables.volume_types).values(id=OTHER_TYPE, name="gold", op_seq=0, created_at_us=at_us))


@dataclass(frozen=True)
class Call:
    """One request: a transaction, what it is about, and its arguments. `table`: of a resource, the table it is in."""

    kind: str
    f: Callable[..., Any]
    about: str
    arguments: dict[str, Any]
    table: str = ""
    admin: bool = False
    type_id: str | None = None
    """The volume type that is asked for, where it is known by its id."""

    @property
    def said(self) -> str:
        """The arguments, for people."""
        given = {name: value for name, value in self.arguments.items() if name not in _UNSAID}
        if "wanted" in self.arguments:
            given |= {name: getattr(self.arguments["wanted"], name, None) for name in _SAID_OF_WANTED}
        return " ".join(f"{name}={value}" for name, value in given.items() if value is not None)

    @property
    def reads(self) -> bool:
        return self.kind in READS


class Asks:
    """Draws requests. Knows the resources that were asked for, and forgets those that turn out to be gone."""

    def __init__(self, random: Random, *, backends: tuple[str, ...], replicated: tuple[str, ...]) -> None:
        self._random = random
        self._backends = backends
        self._replicated = replicated
        self._volumes: list[str] = []
        self._snapshots: list[tuple[str, str]] = []
        self._project_of: dict[str, str] = {}

    def draw(self, env: Env) -> Call | None:
        """One request of any kind."""
        kind = self._random.choices(list(CALLS), list(CALLS.values()))[0]
        call: Call | None = getattr(self, f"_{kind}")(env)
        return call

    def project(self, about: str) -> str:
        """Whose a resource is."""
        return self._project_of.setdefault(about, self._random.choice(PROJECTS))

    def forget(self, about: str) -> None:
        """It is not there, or never was."""
        self._volumes = [id_ for id_ in self._volumes if id_ != about]
        self._snapshots = [(id_, volume) for id_, volume in self._snapshots if about not in (id_, volume)]

    # --- users ------------------------------------------------------------------------------------------------------

    def _volume(self) -> str | None:
        return self._random.choice(self._volumes[-HOT:]) if self._volumes else None

    def _snapshot(self) -> tuple[str, str] | None:
        return self._random.choice(self._snapshots[-HOT:]) if self._snapshots else None

    def _create(self, env: Env, **source: Any) -> Call:
        id_ = env.ids.uuid()
        self._volumes.append(id_)
        for of in source.values():
            self._project_of[id_] = self._project_of[of]
        size = self._random.choice((None, 1, 2, 3)) if source else self._random.randint(1, 3)
        kind = self._random.choice((None, *TYPES))
        wanted = NewVolume(id=VolumeId(id_), size_gib=size, volume_type=kind, **source)
        kind = (
            "create_volume"
            if not source
            else "create_from_volume"
            if "source_volid" in source
            else "create_from_snapshot"
        )
        return Call(kind, volumes.begin_create, id_, {"wanted": wanted, "quota_defaults": QUOTA}, table="volumes")

    def _create_volume(self, env: Env) -> Call | None:
        return self._create(env)

    def _create_from_volume(self, env: Env) -> Call | None:
        volume = self._volume()
        return None if volume is None else self._create(env, source_volid=VolumeId(volume))

    def _create_from_snapshot(self, env: Env) -> Call | None:
        snapshot = self._snapshot()
        return None if snapshot is None else self._create(env, snapshot_id=SnapshotId(snapshot[0]))

    def _create_snapshot(self, env: Env) -> Call | None:
        if (volume := self._volume()) is None:
            return None
        id_ = env.ids.uuid()
        self._snapshots.append((id_, volume))
        self._project_of[id_] = self._project_of[volume]
        wanted = NewSnapshot(id=SnapshotId(id_), volume_id=VolumeId(volume), force=self._random.random() < 0.3)
        arguments = {"wanted": wanted, "quota_defaults": QUOTA}
        return Call("create_snapshot", snapshots.begin_create, id_, arguments, table="snapshots")

    def _extend(self, env: Env) -> Call | None:
        size = self._random.randint(2, 6)
        return self._on_volume("extend", volume_changes.begin_extend, size_gib_new=size, quota_defaults=QUOTA)

    def _revert(self, env: Env) -> Call | None:
        if not self._snapshots:
            return None
        snapshot = self._random.choice(self._snapshots[-2:])
        ids = {"volume_id": VolumeId(snapshot[1]), "snapshot_id": SnapshotId(snapshot[0])}
        return Call("revert", volume_changes.begin_revert, snapshot[1], ids, table="volumes")

    def _retype(self, env: Env) -> Call | None:
        wanted = {"new_type": self._random.choice(TYPES), "migration_policy": "never", "quota_defaults": QUOTA}
        return self._on_volume("retype", volume_changes.begin_retype, **wanted)

    def _delete_volume(self, env: Env) -> Call | None:
        return self._on_volume("delete_volume", volumes.begin_delete, cascade=False)

    def _delete_cascade(self, env: Env) -> Call | None:
        return self._on_volume("delete_cascade", volumes.begin_delete, cascade=True)

    def _force_delete(self, env: Env) -> Call | None:
        return self._on_volume("force_delete", volumes.begin_force_delete, cascade=self._random.random() < 0.5)

    def _delete_snapshot(self, env: Env) -> Call | None:
        return self._on_snapshot("delete_snapshot", snapshots.begin_delete)

    def _force_delete_snapshot(self, env: Env) -> Call | None:
        return self._on_snapshot("force_delete_snapshot", snapshots.begin_force_delete)

    def _reset_status(self, env: Env) -> Call | None:
        status = self._random.choice(("available", "error"))
        wanted = {"status": status, "attach_status": None, "migration_status": None}
        return self._on_volume("reset_status", volume_changes.reset_status, **wanted)

    def _reset_snapshot_status(self, env: Env) -> Call | None:
        status = self._random.choice(("available", "error"))
        return self._on_snapshot("reset_snapshot_status", snapshots.reset_status, status=status)

    def _show_volume(self, env: Env) -> Call | None:
        volume = self._volume()
        return None if volume is None else Call("show_volume", _show, volume, {"of": listing.VOLUMES}, table="volumes")

    def _show_snapshot(self, env: Env) -> Call | None:
        found = self._snapshot()
        return (
            None
            if found is None
            else Call("show_snapshot", _show, found[0], {"of": listing.SNAPSHOTS}, table="snapshots")
        )

    def _on_volume(self, kind: str, f: Callable[..., Any], **arguments: Any) -> Call | None:
        volume = self._volume()
        if volume is None:
            return None
        return Call(
            kind, f, volume, {"volume_id": VolumeId(volume), **arguments}, table="volumes", admin=_is_admins(kind)
        )

    def _on_snapshot(self, kind: str, f: Callable[..., Any], **arguments: Any) -> Call | None:
        snapshot = self._snapshot()
        if snapshot is None:
            return None
        ids = {"snapshot_id": SnapshotId(snapshot[0])}
        return Call(kind, f, snapshot[0], ids | arguments, table="snapshots", admin=_is_admins(kind))

    # --- operators --------------------------------------------------------------------------------------------------

    def _switch_cluster(self, env: Env) -> Call:
        name, disabled = queue_of(self._random.choice(self._backends)), self._random.random() < 0.4
        said = {"name": name, "binary": services.VOLUME, "disabled": disabled, "reason": None}
        return Call("switch_cluster", services.set_cluster, name, said, admin=True)

    def _failover(self, env: Env) -> Call | None:
        if not self._replicated:
            return None
        name = queue_of(self._random.choice(self._replicated))
        target = self._random.choice((None, "default", "secondary"))
        return Call(
            "failover",
            backend_changes.begin_failover,
            name,
            {"host": None, "cluster": name, "target": target},
            admin=True,
        )


def _is_admins(kind: str) -> bool:
    return "force" in kind or "reset" in kind


def _show(tx: Connection, *, of: listing.Listing, about: str, origin: Origin) -> Mapping[str, Any]:
    """What a client sees of one resource. Raises NotFound."""
    return listing.one(tx, of, id_=about, project_id=origin.project_id)
