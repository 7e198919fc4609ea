"""Clients and the APIs that serve them: what handlers do with the store, on few and hot resources.

A request is answered (accepted or refused), or its fate is unknown: the API died, or the database did not answer in time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from breezeblock.env.contract import Env
from breezeblock.model.errors import Rejected, Unavailable
from breezeblock.model.ids import MessageId, OperationId, ProjectId, SnapshotId, UserId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.resources import snapshots, volume_changes, volumes
from breezeblock.resources.accepted import Accepted
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.database import SimLane
from breezeblock.testing.invariants import Watcher
from breezeblock.testing.loop import Process
from breezeblock.testing.virtual import VirtualClock

__all__ = ["Clients", "prepare"]

PROJECTS: Final = ("red", "blue")
QUOTA: Final = {"volumes": 6, "snapshots": 5, "gigabytes": 24}
OTHER_TYPE: Final = "22222222-2222-4222-8222-222222222222"
TYPES: Final = ("__DEFAULT__", "gold")
# Requests go to one of the latest so many resources: few enough to meet.
HOT: Final = 3
CALLS: Final = (
    ("create_volume", 6),
    ("create_from_volume", 3),
    ("create_from_snapshot", 3),
    ("create_snapshot", 6),
    ("extend", 4),
    ("revert", 4),
    ("retype", 3),
    ("delete_volume", 3),
    ("delete_cascade", 2),
    ("force_delete", 1),
    ("delete_snapshot", 3),
    ("force_delete_snapshot", 1),
    ("reset_status", 1),
    ("reset_snapshot_status", 1),
)


def prepare(tx: Connection, *, at_us: int) -> None:
    """A second volume type, for retypes."""
    tx.execute(insert(tables.volume_types).values(id=OTHER_TYPE, name="gold", op_seq=0, created_at_us=at_us))


@dataclass
class Request:
    """One request and what became of it."""

    operation_id: str
    kind: str
    answer: str = "unknown"


class Clients:
    """All clients of a run, and what they know."""

    def __init__(self, cluster: Cluster, watcher: Watcher, *, requests: int, pause_s: float) -> None:
        self._cluster = cluster
        self._watcher = watcher
        self._left = requests
        self._pause_s = pause_s
        self._volumes: list[str] = []
        self._snapshots: list[tuple[str, str]] = []
        self.requests: list[Request] = []
        self.stopped = False

    def start_api(self, name: str, number: int, clock: VirtualClock) -> Process:
        """One API process with two clients."""
        return self._cluster.spawn(f"{name}.api{number}", lambda process: self._serve(process, clock))

    async def _serve(self, process: Process, clock: VirtualClock) -> None:
        env = self._cluster.env(process, clock)
        store = Store(SimLane(self._cluster.database, process, self._cluster.faults, self._cluster.random), env)
        await asyncio.gather(self._client(process, env, store), self._client(process, env, store))

    async def _client(self, process: Process, env: Env, store: Store) -> None:
        while True:
            await env.clock.sleep(self._cluster.random.expovariate(1 / self._pause_s))
            if self._left > 0 and not self.stopped:
                self._left -= 1
                await self._ask(process, env, store)

    async def _ask(self, process: Process, env: Env, store: Store) -> None:
        """One request, as its handler makes it."""
        random = self._cluster.random
        kind = random.choices([kind for kind, _ in CALLS], [weight for _, weight in CALLS])[0]
        origin = self._origin(env, admin="force" in kind or "reset" in kind)
        call = getattr(self, f"_{kind}")(env, origin)
        if call is None:
            return
        request = Request(origin.operation_id, kind)
        self.requests.append(request)
        f, said, arguments = call
        self._cluster.tell(f"{process.name}: {kind} {said} of {origin.project_id}, operation {origin.operation_id}")
        try:
            accepted: Accepted = await store.run(f, origin=origin, **arguments)
        except Rejected as error:
            request.answer = "refused"
            self._cluster.tell(f"{process.name}: {kind} refused: {error.message}")
            return
        except Unavailable:
            self._cluster.tell(f"{process.name}: {kind} unavailable")
            return
        request.answer = "accepted" if accepted.queue is not None else "answered"
        self._cluster.tell(f"{process.name}: {kind} {request.answer}")
        if accepted.queue is not None:
            self._cluster.bell.ring(accepted.queue)

    def _origin(self, env: Env, *, admin: bool) -> Origin:
        return Origin(
            project_id=ProjectId(self._cluster.random.choice(PROJECTS)),
            user_id=UserId("ann"),
            is_admin=admin or self._cluster.random.random() < 0.3,
            request_id=f"req-{len(self.requests)}",
            at_us=env.clock.now_us(),
            operation_id=OperationId(env.ids.uuid()),
            message_id=MessageId(env.ids.uuid()),
        )

    # --- the requests -----------------------------------------------------------------------------------------------

    def _volume(self) -> str | None:
        return self._cluster.random.choice(self._volumes[-HOT:]) if self._volumes else None

    def _snapshot(self) -> tuple[str, str] | None:
        return self._cluster.random.choice(self._snapshots[-HOT:]) if self._snapshots else None

    def _create(self, env: Env, **source: Any) -> Any:
        id_ = env.ids.uuid()
        self._volumes.append(id_)
        size = self._cluster.random.choice((None, 1, 2, 3)) if source else self._cluster.random.randint(1, 3)
        kind = self._cluster.random.choice((None, *TYPES))
        wanted = NewVolume(id=VolumeId(id_), size_gib=size, volume_type=kind, **source)
        return volumes.begin_create, f"{id_} {source}", {"wanted": wanted, "quota_defaults": QUOTA}

    def _create_volume(self, env: Env, origin: Origin) -> Any:
        return self._create(env)

    def _create_from_volume(self, env: Env, origin: Origin) -> Any:
        volume = self._volume()
        return None if volume is None else self._create(env, source_volid=VolumeId(volume))

    def _create_from_snapshot(self, env: Env, origin: Origin) -> Any:
        snapshot = self._snapshot()
        return None if snapshot is None else self._create(env, snapshot_id=SnapshotId(snapshot[0]))

    def _create_snapshot(self, env: Env, origin: Origin) -> Any:
        if (volume := self._volume()) is None:
            return None
        id_ = env.ids.uuid()
        self._snapshots.append((id_, volume))
        wanted = NewSnapshot(id=SnapshotId(id_), volume_id=VolumeId(volume), force=self._cluster.random.random() < 0.3)
        return snapshots.begin_create, f"{id_} of {volume}", {"wanted": wanted, "quota_defaults": QUOTA}

    def _extend(self, env: Env, origin: Origin) -> Any:
        size = self._cluster.random.randint(2, 6)
        return self._on_volume(volume_changes.begin_extend, size_gib_new=size, quota_defaults=QUOTA)

    def _revert(self, env: Env, origin: Origin) -> Any:
        if (snapshot := self._snapshot()) is None:
            return None
        ids = {"volume_id": VolumeId(snapshot[1]), "snapshot_id": SnapshotId(snapshot[0])}
        return volume_changes.begin_revert, f"{snapshot[1]} to {snapshot[0]}", ids

    def _retype(self, env: Env, origin: Origin) -> Any:
        kind = self._cluster.random.choice(TYPES)
        return self._on_volume(
            volume_changes.begin_retype, new_type=kind, migration_policy="never", quota_defaults=QUOTA
        )

    def _delete_volume(self, env: Env, origin: Origin) -> Any:
        return self._on_volume(volumes.begin_delete, cascade=False)

    def _delete_cascade(self, env: Env, origin: Origin) -> Any:
        return self._on_volume(volumes.begin_delete, cascade=True)

    def _force_delete(self, env: Env, origin: Origin) -> Any:
        return self._on_volume(volumes.begin_force_delete, cascade=self._cluster.random.random() < 0.5)

    def _delete_snapshot(self, env: Env, origin: Origin) -> Any:
        return self._on_snapshot(snapshots.begin_delete)

    def _force_delete_snapshot(self, env: Env, origin: Origin) -> Any:
        return self._on_snapshot(snapshots.begin_force_delete)

    def _reset_status(self, env: Env, origin: Origin) -> Any:
        status = self._cluster.random.choice(("available", "error"))
        call = self._on_volume(volume_changes.reset_status, status=status, attach_status=None, migration_status=None)
        if call is not None:
            self._watcher.unsure.add(call[2]["volume_id"])
        return call

    def _reset_snapshot_status(self, env: Env, origin: Origin) -> Any:
        status = self._cluster.random.choice(("available", "error"))
        call = self._on_snapshot(snapshots.reset_status, status=status)
        if call is not None:
            self._watcher.unsure.add(call[2]["snapshot_id"])
        return call

    def _on_volume(self, f: Callable[..., Any], **arguments: Any) -> Any:
        volume = self._volume()
        shown = {name: value for name, value in arguments.items() if name != "quota_defaults"}
        return None if volume is None else (f, f"{volume} {shown}", {"volume_id": VolumeId(volume), **arguments})

    def _on_snapshot(self, f: Callable[..., Any], **arguments: Any) -> Any:
        snapshot = self._snapshot()
        if snapshot is None:
            return None
        return f, f"{snapshot[0]} {arguments}", {"snapshot_id": SnapshotId(snapshot[0]), **arguments}

    # --- afterwards -------------------------------------------------------------------------------------------------

    def check(self, tx: Connection) -> None:
        """*Once*: what was accepted was done once, and what was refused left nothing."""
        ended = set(tx.execute(select(tables.operation_log.c.operation_id)).scalars())
        for request in self.requests:
            if request.answer == "accepted" and request.operation_id not in ended:
                self._watcher.violated("Once", f"{request.kind} {request.operation_id} was accepted and never ended")
            if request.answer == "refused" and request.operation_id in self._watcher.resources_of:
                self._watcher.violated("Once", f"{request.kind} {request.operation_id} was refused and still done")
