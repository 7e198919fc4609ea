"""Clients and the APIs that serve them: what handlers do with the store, on few and hot resources.

A request is answered (accepted or refused), or its fate is unknown: the API died, or the database did not answer in time.
"""

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, NotFound, Rejected, Unavailable
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
QUOTA: Final = {"volumes": 6, "snapshots": 6, "gigabytes": 30}
OTHER_TYPE: Final = "22222222-2222-4222-8222-222222222222"
TYPES: Final = ("__DEFAULT__", "gold")
# Requests go to one of the latest so many resources: few enough to meet.
HOT: Final = 4
CALLS: Final = (
    ("create_volume", 6),
    ("create_from_volume", 3),
    ("create_from_snapshot", 3),
    ("create_snapshot", 6),
    ("extend", 5),
    ("revert", 7),
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


# A transaction, a word about it that begins with the id it is for, and its arguments.
Call = tuple[Callable[..., Any], str, dict[str, Any]]


@dataclass
class Request:
    """One request and what became of it."""

    operation_id: str
    kind: str
    answer: str = "unknown"


class Clients:
    """All clients of a run, and what they know."""

    def __init__(
        self, cluster: Cluster, watcher: Watcher, *, requests: int, pause_s: float, unasked: Container[int] = ()
    ) -> None:
        """`unasked` are numbers of requests that are drawn and not made."""
        self._cluster = cluster
        self._watcher = watcher
        self._left = requests
        self._pause_s = pause_s
        self._unasked = unasked
        self._asked = 0
        self._volumes: list[str] = []
        self._snapshots: list[tuple[str, str]] = []
        self._project_of: dict[str, str] = {}
        self.requests: list[Request] = []
        self.stopped = False

    def start_api(self, name: str, number: int, clock: VirtualClock) -> Process:
        """One API process with two clients."""
        return self._cluster.spawn(f"{name}.api{number}", lambda process: self._serve(process, clock))

    async def _serve(self, process: Process, clock: VirtualClock) -> None:
        env = self._cluster.env(process, clock)
        await env.clock.sleep(0.5)  # at the very beginning no backend has reported yet
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
        call: Call | None = getattr(self, f"_{kind}")(env)
        if call is None:
            return
        f, said, arguments = call
        origin = self._origin(env, said.partition(" ")[0], admin="force" in kind or "reset" in kind)
        request = Request(origin.operation_id, kind)
        resource, number = said.partition(" ")[0], self._next_number()
        if number in self._unasked:
            self._forget(resource if kind.startswith("create") else "")
            return
        self.requests.append(request)
        self._cluster.tell(
            f"{process.name}: {kind} {said} of {origin.project_id}, operation {origin.operation_id}",
            kind="request",
            number=number,
            call=kind,
            operation=origin.operation_id,
            resource=resource,
        )
        try:
            accepted: Accepted = await store.run(f, origin=origin, **arguments)
        except Rejected as error:
            request.answer = "refused"
            if isinstance(error, NotFound) or kind.startswith("create"):
                self._forget(resource)
            self._answered(process, number, kind, "refused", f": {error.message}")
            return
        except (Ambiguous, Unavailable):
            self._answered(process, number, kind, "unavailable")
            return
        request.answer = "accepted" if accepted.queue is not None else "answered"
        self._answered(process, number, kind, request.answer)
        if accepted.queue is not None:
            self._cluster.bell.ring(accepted.queue)

    def _answered(self, process: Process, number: int, kind: str, answer: str, why: str = "") -> None:
        self._cluster.tell(f"{process.name}: {kind} {answer}{why}", kind="answer", number=number, answer=answer)

    def _next_number(self) -> int:
        self._asked += 1
        return self._asked

    def _origin(self, env: Env, resource: str, *, admin: bool) -> Origin:
        project = self._project_of.setdefault(resource, self._cluster.random.choice(PROJECTS))
        return Origin(
            project_id=ProjectId(project),
            user_id=UserId("ann"),
            is_admin=admin or self._cluster.random.random() < 0.3,
            request_id=f"req-{len(self.requests)}",
            at_us=env.clock.now_us(),
            operation_id=OperationId(env.ids.uuid()),
            message_id=MessageId(env.ids.uuid()),
        )

    def _forget(self, resource: str) -> None:
        self._volumes = [id_ for id_ in self._volumes if id_ != resource]
        self._snapshots = [(id_, volume) for id_, volume in self._snapshots if resource not in (id_, volume)]

    # --- the requests -----------------------------------------------------------------------------------------------

    def _volume(self) -> str | None:
        return self._cluster.random.choice(self._volumes[-HOT:]) if self._volumes else None

    def _snapshot(self) -> tuple[str, str] | None:
        return self._cluster.random.choice(self._snapshots[-HOT:]) if self._snapshots else None

    def _create(self, env: Env, **source: Any) -> Call:
        id_ = env.ids.uuid()
        self._volumes.append(id_)
        for of in source.values():
            self._project_of[id_] = self._project_of[of]
        size = self._cluster.random.choice((None, 1, 2, 3)) if source else self._cluster.random.randint(1, 3)
        kind = self._cluster.random.choice((None, *TYPES))
        wanted = NewVolume(id=VolumeId(id_), size_gib=size, volume_type=kind, **source)
        return volumes.begin_create, f"{id_} {source}", {"wanted": wanted, "quota_defaults": QUOTA}

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
        wanted = NewSnapshot(id=SnapshotId(id_), volume_id=VolumeId(volume), force=self._cluster.random.random() < 0.3)
        return snapshots.begin_create, f"{id_} of {volume}", {"wanted": wanted, "quota_defaults": QUOTA}

    def _extend(self, env: Env) -> Call | None:
        size = self._cluster.random.randint(2, 6)
        return self._on_volume(volume_changes.begin_extend, size_gib_new=size, quota_defaults=QUOTA)

    def _revert(self, env: Env) -> Call | None:
        if not self._snapshots:
            return None
        snapshot = self._cluster.random.choice(self._snapshots[-2:])
        ids = {"volume_id": VolumeId(snapshot[1]), "snapshot_id": SnapshotId(snapshot[0])}
        return volume_changes.begin_revert, f"{snapshot[1]} to {snapshot[0]}", ids

    def _retype(self, env: Env) -> Call | None:
        kind = self._cluster.random.choice(TYPES)
        return self._on_volume(
            volume_changes.begin_retype, new_type=kind, migration_policy="never", quota_defaults=QUOTA
        )

    def _delete_volume(self, env: Env) -> Call | None:
        return self._on_volume(volumes.begin_delete, cascade=False)

    def _delete_cascade(self, env: Env) -> Call | None:
        return self._on_volume(volumes.begin_delete, cascade=True)

    def _force_delete(self, env: Env) -> Call | None:
        return self._on_volume(volumes.begin_force_delete, cascade=self._cluster.random.random() < 0.5)

    def _delete_snapshot(self, env: Env) -> Call | None:
        return self._on_snapshot(snapshots.begin_delete)

    def _force_delete_snapshot(self, env: Env) -> Call | None:
        return self._on_snapshot(snapshots.begin_force_delete)

    def _reset_status(self, env: Env) -> Call | None:
        status = self._cluster.random.choice(("available", "error"))
        call = self._on_volume(volume_changes.reset_status, status=status, attach_status=None, migration_status=None)
        if call is not None:
            self._watcher.unsure.add(call[2]["volume_id"])
        return call

    def _reset_snapshot_status(self, env: Env) -> Call | None:
        status = self._cluster.random.choice(("available", "error"))
        call = self._on_snapshot(snapshots.reset_status, status=status)
        if call is not None:
            self._watcher.unsure.add(call[2]["snapshot_id"])
        return call

    def _on_volume(self, f: Callable[..., Any], **arguments: Any) -> Call | None:
        volume = self._volume()
        shown = {name: value for name, value in arguments.items() if name != "quota_defaults"}
        return None if volume is None else (f, f"{volume} {shown}", {"volume_id": VolumeId(volume), **arguments})

    def _on_snapshot(self, f: Callable[..., Any], **arguments: Any) -> Call | None:
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
