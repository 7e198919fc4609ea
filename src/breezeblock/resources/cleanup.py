"""Cleaning up after lost nodes when an operator asks (workers/cleanup).

Nothing waits for that: every node applies the standing rules all the time, and recovery never runs work, it only makes
operations claimable. So the call applies the rules at once, and tells of which services they could be applied. A service is
`unavailable` while one of its incarnations is lost and not yet fenced, since it may still be writing; and while no node that
lives serves its backend, since nobody could take over.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from breezeblock.model.errors import BadRequest
from breezeblock.model.states import NODE_DEAD, NODE_LIVE
from breezeblock.protocol import membership
from breezeblock.resources.services import Service, list_services
from breezeblock.store.tables import node_backends, nodes, operations

RESOURCE_TYPES: Final = ("Volume", "Snapshot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which services; None is any."""

    cluster_name: str | None = None
    service_id: int | None = None
    host: str | None = None
    binary: str | None = None
    is_up: bool | None = None
    disabled: bool | None = None
    resource_id: str | None = None
    resource_type: str | None = None


@dataclass(frozen=True, slots=True)
class Cleanup:
    """The selected services, and the queues to be rung because something in them became claimable."""

    cleaning: tuple[Service, ...]
    unavailable: tuple[Service, ...]
    queues: tuple[str, ...]


def service_id(service: Service) -> int:
    """A number for a service, which the API wants and we have no other use for: it follows from binary and host."""
    return zlib.crc32(f"{service.binary} {service.host}".encode()) & 0x7FFFFFFF


def clean_up(tx: Connection, *, wanted: Wanted, own_cluster: str, now_us: int) -> Cleanup:
    """Apply the standing rules, and sort the selected services. Raises BadRequest.

    The rules know no selection: what is certainly dead is released wherever it is, as it would be a moment later anyway.
    """
    hosts = None if wanted.resource_id is None else _hosts_that_work_on(tx, wanted)
    found = [
        one
        for one in list_services(tx, own_cluster=own_cluster, default_zone="")
        if _fits(one, wanted) and (hosts is None or one.host in hosts)
    ]
    clusters = sorted({one.queue.partition("@")[0] for one in found if one.queue is not None})
    queues: set[str] = set()
    for cluster in clusters:
        queues.update(membership.housekeeping(tx, cluster=cluster, now_us=now_us))
    unsafe, served = _unfenced(tx), _served(tx)
    unavailable = tuple(one for one in found if one.queue and (one.host in unsafe or one.queue not in served))
    cleaning = tuple(one for one in found if one not in unavailable)
    return Cleanup(cleaning, unavailable, tuple(sorted(queues)))


def _fits(service: Service, wanted: Wanted) -> bool:
    return (
        wanted.service_id in (None, service_id(service))
        and wanted.binary in (None, service.binary)
        and wanted.is_up in (None, service.up)
        and wanted.disabled in (None, service.word.disabled)
        and (wanted.host is None or _is(service.host, wanted.host))
        and (wanted.cluster_name is None or _is(service.queue or "", wanted.cluster_name))
    )


def _is(name: str, asked: str) -> bool:
    """A name, or all backends of one."""
    return name == asked or name.startswith(f"{asked}@")


def _hosts_that_work_on(tx: Connection, wanted: Wanted) -> set[str]:
    """The services whose nodes own operations on a resource. Raises BadRequest when there are none."""
    owned = tx.execute(_OWNED, {"resource_id": wanted.resource_id})
    rows = [row for row in owned if wanted.resource_type in (None, row.resource_type.title())]
    if not rows:
        raise BadRequest(f"There is no operation on {wanted.resource_id} that a service has begun and not ended.")
    return {_host(row.name, row.queue) for row in rows}


def _unfenced(tx: Connection) -> set[str]:
    """The services of which an incarnation is lost, and may still write to that backend."""
    used = {(row.incarnation, row.queue): row.fenced_by is not None for row in tx.execute(_USED)}
    lost = {row.incarnation: row for row in tx.execute(_LOST)}
    # What it once used counts, too, whatever it serves now.
    on = {(id_, queue) for id_, row in lost.items() for queue in json.loads(row.queues_json)} | used.keys()
    return {_host(lost[id_].name, queue) for id_, queue in on if id_ in lost and not used.get((id_, queue), False)}


def _served(tx: Connection) -> set[str]:
    return {queue for row in tx.execute(_LIVE) for queue in json.loads(row.queues_json)}


def _host(node_name: str, queue: str) -> str:
    return f"{node_name}@{queue.rpartition('@')[2]}"


_OWNED: Any = (
    select(nodes.c.name, operations.c.queue, operations.c.resource_type)
    .join(nodes, nodes.c.incarnation == operations.c.owner)
    .where(operations.c.resource_id == bindparam("resource_id"))
)
_LOST: Any = select(nodes.c.incarnation, nodes.c.name, nodes.c.queues_json).where(
    nodes.c.state.not_in((*NODE_LIVE, *NODE_DEAD))
)
_LIVE: Any = select(nodes.c.queues_json).where(nodes.c.state.in_(NODE_LIVE))
_USED: Any = select(node_backends.c.incarnation, node_backends.c.queue, node_backends.c.fenced_by)
