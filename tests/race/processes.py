"""Processes with stores of their own on one database, which run request transactions at the same instant."""

import asyncio
import multiprocessing
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any, Final

from sqlalchemy import Connection
from tests import databases

from breezeblock.database_urls import sqlite_path
from breezeblock.env.real import real_env
from breezeblock.model.errors import Rejected
from breezeblock.model.ids import MessageId, OperationId, ProjectId, SnapshotId, UserId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.resources import snapshots, volume_changes, volumes
from breezeblock.store.dialects import open_engine
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.pooled import PooledLane
from breezeblock.store.run import Store

PROJECT: Final = ProjectId("p1")
NO_LIMITS: Final = {"volumes": -1, "snapshots": -1, "gigabytes": -1, "per_volume_gigabytes": -1}
ROUND_LIMIT_S: Final = 60.0


@dataclass(frozen=True)
class Wanted:
    """One request for a volume."""

    kind: str
    volume_id: str


@dataclass(frozen=True)
class Outcome:
    """And what its transaction answered."""

    wanted: Wanted
    accepted: bool
    message: str
    operation_id: str


def transaction(wanted: Wanted, origin: Origin) -> Callable[[Connection], Any]:
    """The request's transaction, with everything that it needs."""
    volume_id = VolumeId(wanted.volume_id)
    match wanted.kind:
        case "delete" | "cascade":
            cascade = wanted.kind == "cascade"
            return partial(volumes.begin_delete, origin=origin, volume_id=volume_id, cascade=cascade)
        case "force_delete":
            return partial(volumes.begin_force_delete, origin=origin, volume_id=volume_id, cascade=False)
        case "extend":
            return partial(
                volume_changes.begin_extend,
                origin=origin,
                volume_id=volume_id,
                size_gib_new=2,
                quota_defaults=NO_LIMITS,
            )
        case "retype":
            return partial(
                volume_changes.begin_retype,
                origin=origin,
                volume_id=volume_id,
                new_type="gold",
                migration_policy="never",
                quota_defaults=NO_LIMITS,
            )
        case "snapshot":
            snapshot = NewSnapshot(id=SnapshotId(str(uuid.uuid4())), volume_id=volume_id)
            return partial(snapshots.begin_create, origin=origin, wanted=snapshot, quota_defaults=NO_LIMITS)
        case "clone":
            clone = NewVolume(id=VolumeId(str(uuid.uuid4())), size_gib=1, source_volid=volume_id)
            return partial(volumes.begin_create, origin=origin, wanted=clone, quota_defaults=NO_LIMITS)
        case "reset":
            return partial(
                volume_changes.reset_status,
                origin=origin,
                volume_id=volume_id,
                status="available",
                attach_status=None,
                migration_status=None,
            )
        case _:
            raise AssertionError(wanted.kind)


def run_rounds(
    urls: Sequence[str], rounds: Sequence[Sequence[Wanted]], *, processes: int, quota: int | None = None
) -> list[Outcome]:
    """Each round's requests, dealt out to the processes, which begin each round together. `quota` limits volumes.

    Of the nodes of a cluster each process has its own, or each goes round all of them.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, _hold, (barrier,)) as pool:
        dealt = [[one[number::processes] for one in rounds] for number in range(processes)]
        waiting = [pool.apply_async(_work, (urls, place, mine, quota)) for place, mine in enumerate(dealt)]
        return [outcome for one in waiting for outcome in one.get(ROUND_LIMIT_S * 2)]


_barrier: Barrier


def _hold(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _work(urls: Sequence[str], place: int, rounds: list[list[Wanted]], quota: int | None) -> list[Outcome]:
    return asyncio.run(_run(urls, place, rounds, quota))


def _open(urls: Sequence[str], place: int) -> SqliteLane | PooledLane | databases.Turns:
    path = sqlite_path(urls[0])
    if path is None:
        return databases.open_lane(urls, place)
    return SqliteLane(open_engine(urls[0], now_us=real_env().clock.now_us), path)


async def _run(urls: Sequence[str], place: int, rounds: list[list[Wanted]], quota: int | None) -> list[Outcome]:
    lane = _open(urls, place)
    store = Store(lane, real_env())
    limits = NO_LIMITS if quota is None else NO_LIMITS | {"volumes": quota}
    await store.read(lambda tx: tx.exec_driver_sql("SELECT 1").scalar())
    found: list[Outcome] = []
    for wanted in rounds:
        await asyncio.to_thread(_barrier.wait, ROUND_LIMIT_S)
        found += await asyncio.gather(*(_one(store, one, limits) for one in wanted))
    lane.close()
    return found


async def _one(store: Store, wanted: Wanted, limits: dict[str, int]) -> Outcome:
    operation_id = OperationId(str(uuid.uuid4()))
    origin = Origin(
        project_id=PROJECT,
        user_id=UserId("user"),
        is_admin=False,
        request_id=f"req-{operation_id}",
        at_us=real_env().clock.now_us(),
        operation_id=operation_id,
        message_id=MessageId(str(uuid.uuid4())),
    )
    body = transaction(wanted, origin) if wanted.kind != "create" else _create(origin, limits)
    try:
        await store.run(body)
    except Rejected as error:
        return Outcome(wanted, False, error.message, operation_id)
    return Outcome(wanted, True, "", operation_id)


def _create(origin: Origin, limits: dict[str, int]) -> Callable[[Connection], Any]:
    new = NewVolume(id=VolumeId(str(uuid.uuid4())), size_gib=1)
    return partial(volumes.begin_create, origin=origin, wanted=new, quota_defaults=limits)
