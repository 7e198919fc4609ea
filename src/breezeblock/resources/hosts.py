"""Hosts as operators ask for them: a node's backend, what is on it, and the pool that reports for it.

All nodes of a cluster serve the same storage, so what is on one host of a backend is on each of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, func, select

from breezeblock.model.errors import NotFound, NotYet
from breezeblock.model.origin import Origin
from breezeblock.resources import services
from breezeblock.resources.services import VOLUME, Service
from breezeblock.store.tables import pools, snapshots, volumes


class Held(NamedTuple):
    """What a project has on a host."""

    project_id: str
    volumes: int
    volumes_gib: int
    snapshots: int = 0
    snapshots_gib: int = 0


def find_pool(tx: Connection, *, host: str, own_cluster: str) -> RowMapping:
    """The pool that tells about a backend: the one that is named, or the first one. Raises NotFound, NotYet."""
    place, _, name = host.partition("#")
    queues = {
        service.queue
        for service in services.list_services(tx, own_cluster=own_cluster, default_zone="")
        if service.binary == VOLUME and place in (service.host, service.queue)
    }
    # A backend that has ever reported is there also while none of its nodes serves it.
    wanted = select(pools).where(pools.c.queue.in_(queues | {place})).order_by(pools.c.name)
    for pool in tx.execute(wanted).mappings():
        if not name or pool["name"].partition("#")[2] == name:
            return pool
    if queues and not name:
        raise NotYet(f"Backend {place} has not reported its storage yet; try again in a moment.")
    raise NotFound(f"Can't find service: {host}")


def held_on(tx: Connection, *, host: str, own_cluster: str) -> Sequence[Held]:
    """What each project has on a host, by project. Raises NotFound. Seven statements."""
    queue = _volume_service(tx, host=host, own_cluster=own_cluster).queue
    names = tx.execute(select(pools.c.name).where(pools.c.queue == queue)).scalars().all()
    there = (volumes.c.pool_name.in_(names), ~volumes.c.tombstone)
    of_volumes = tx.execute(
        select(volumes.c.project_id, func.count(), func.sum(volumes.c.size_gib))
        .where(*there)
        .group_by(volumes.c.project_id)
    )
    of_snapshots = tx.execute(
        select(snapshots.c.project_id, func.count(), func.sum(snapshots.c.size_gib))
        .join(volumes, volumes.c.id == snapshots.c.volume_id)
        .where(*there, ~snapshots.c.tombstone)
        .group_by(snapshots.c.project_id)
    )
    found = {project_id: Held(project_id, count, int(gib)) for project_id, count, gib in of_volumes}
    for project_id, count, gib in of_snapshots:
        held = found.get(project_id, Held(project_id, 0, 0))
        found[project_id] = held._replace(snapshots=count, snapshots_gib=int(gib))
    return [found[project_id] for project_id in sorted(found)]


def set_enabled(tx: Connection, *, host: str, enabled: bool, own_cluster: str, origin: Origin) -> None:
    """Let a host take new volumes, or not: an operator's word about its service. Raises NotFound."""
    service = _volume_service(tx, host=host, own_cluster=own_cluster)
    services.set_service(
        tx,
        binary=service.binary,
        host=service.host,
        disabled=not enabled,
        reason=None,
        own_cluster=own_cluster,
        origin=origin,
    )


def require_host(tx: Connection, *, host: str, own_cluster: str) -> None:
    """Raises NotFound for a host without a volume service."""
    _volume_service(tx, host=host, own_cluster=own_cluster)


def _volume_service(tx: Connection, *, host: str, own_cluster: str) -> Service:
    for service in services.list_services(tx, own_cluster=own_cluster, default_zone=""):
        if service.binary == VOLUME and service.host == host:
            return service
    raise NotFound(f"Host {host} could not be found.")
