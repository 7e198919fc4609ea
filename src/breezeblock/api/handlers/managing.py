"""Managing volumes and snapshots that are on storage already, listing what could be, and letting them go."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import msgspec
from starlette.responses import Response

from breezeblock.api import answers, bodies, paging
from breezeblock.api.answers_of_operations import wait_for
from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    EXTEND_COMPLETION,
    MANAGE_ON_CLUSTER,
    MANAGEABLE,
    MANAGEABLE_ON_CLUSTER,
    OLDEST,
)
from breezeblock.api.paging import LIST_NUMBERS, LIST_TEXTS, Filter, Kind, Lists
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas import managing as schemas
from breezeblock.api.schemas.fields import stripped
from breezeblock.api.views import managing as views
from breezeblock.api.views import snapshots as snapshot_views
from breezeblock.api.views import volumes as volume_views
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import SnapshotId, VolumeId
from breezeblock.model.requests import NewSnapshot, NewVolume
from breezeblock.resources import extend_completion, manageable, managing, managing_snapshots
from breezeblock.resources.manageable import Entry, Place

_SORTED_BY: Final = Lists("", {}, frozenset({"reference", "size"}), {})
# What is looked at in the query, for the description of the API.
LISTED_BY: Final = {
    "host": Filter(),
    "cluster": Filter(since=MANAGEABLE_ON_CLUSTER),
    **{name: Filter(Kind.NUMBER) for name in LIST_NUMBERS},
    **{name: Filter() for name in LIST_TEXTS},
}


async def manage_volume(call: Call) -> Response:
    """POST /os-volume-manage, /manageable_volumes. 202, the volume, which is being managed."""
    call.permit("volume_extension:volume_manage")
    body: schemas.ManageVolume
    cluster = None
    if call.microversion >= MANAGE_ON_CLUSTER:
        on_cluster = call.body(schemas.ManageVolumeOnClusterBody).volume
        body, cluster = on_cluster, on_cluster.cluster
    else:
        body = call.body(schemas.ManageVolumeBody).volume
    wanted = managing.ToManage(
        volume=NewVolume(
            id=VolumeId(call.new_id()),
            name=stripped(body.name),
            description=stripped(body.description),
            volume_type=body.volume_type or None,
            availability_zone=body.availability_zone or None,
            default_zone=call.settings.service.availability_zone,
            metadata=body.metadata or {},
        ),
        place=_place(body.host, cluster),
        reference=managing.require_named(body.ref),
        bootable=bool(body.bootable),
    )
    accepted = await call.store.run(
        managing.begin_manage, origin=call.origin, wanted=wanted, quota_defaults=call.quota_defaults
    )
    call.ring(accepted.queue)
    return answers.json(volume_views.legacy_detail(call, accepted.row), 202)


async def manage_snapshot(call: Call) -> Response:
    """POST /os-snapshot-manage, /manageable_snapshots. 202, the snapshot, which is being made."""
    call.permit("snapshot_extension:snapshot_manage")
    body = call.body(schemas.ManageSnapshotBody).snapshot
    wanted = NewSnapshot(
        id=SnapshotId(call.new_id()),
        volume_id=VolumeId(str(body.volume_id)),
        name=stripped(body.name),
        description=stripped(body.description),
        metadata=body.metadata or {},
    )
    accepted = await call.store.run(
        managing_snapshots.begin_manage,
        origin=call.origin,
        wanted=wanted,
        reference=managing.require_named(body.ref),
        quota_defaults=call.quota_defaults,
    )
    call.ring(accepted.queue)
    return answers.json(snapshot_views.detail(call, accepted.row, attributes=False), 202)


async def list_volumes(call: Call) -> Response:
    """GET /os-volume-manage, /manageable_volumes. 200, when the backend has answered."""
    call.permit("volume_extension:list_manageable")
    return answers.json(views.volumes(await _list(call, snapshots=False), detail=False))


async def list_volume_details(call: Call) -> Response:
    """GET /os-volume-manage/detail, /manageable_volumes/detail. 200."""
    call.permit("volume_extension:list_manageable")
    return answers.json(views.volumes(await _list(call, snapshots=False), detail=True))


async def list_snapshots(call: Call) -> Response:
    """GET /os-snapshot-manage, /manageable_snapshots. 200."""
    call.permit("snapshot_extension:list_manageable")
    return answers.json(views.snapshots(await _list(call, snapshots=True), detail=False))


async def list_snapshot_details(call: Call) -> Response:
    """GET /os-snapshot-manage/detail, /manageable_snapshots/detail. 200."""
    call.permit("snapshot_extension:list_manageable")
    return answers.json(views.snapshots(await _list(call, snapshots=True), detail=True))


async def unmanage_volume(call: Call) -> Response:
    """os-unmanage of a volume. 202."""
    call.permit("volume_extension:volume_unmanage")
    volume_id = VolumeId(call.path["volume_id"])
    accepted = await call.store.run(managing.begin_unmanage, origin=call.origin, volume_id=volume_id)
    call.ring(accepted.queue)
    return answers.empty(202)


async def unmanage_snapshot(call: Call) -> Response:
    """os-unmanage of a snapshot. 202."""
    call.permit("snapshot_extension:snapshot_unmanage")
    snapshot_id = SnapshotId(call.path["snapshot_id"])
    accepted = await call.store.run(managing_snapshots.begin_unmanage, origin=call.origin, snapshot_id=snapshot_id)
    call.ring(accepted.queue)
    return answers.empty(202)


async def complete_extension(call: Call) -> Response:
    """os-extend_volume_completion. 400: no backend here waits for that."""
    call.permit("volume_extension:volume_admin_actions:extend_volume_completion")
    call.body(schemas.CompleteExtension)
    volume_id = VolumeId(call.path["volume_id"])
    await call.store.run(extend_completion.complete, origin=call.origin, volume_id=volume_id)
    return answers.empty(202)


VOLUME_ACTIONS: Final = {
    "os-unmanage": Action(unmanage_volume, status=202),
    "os-extend_volume_completion": Action(
        complete_extension, since=EXTEND_COMPLETION, status=202, body=schemas.CompleteExtension
    ),
}
SNAPSHOT_ACTIONS: Final = {"os-unmanage": Action(unmanage_snapshot, status=202)}

ROUTES: Final = (
    Route(
        "POST",
        "os-volume-manage",
        manage_volume,
        status=202,
        body={OLDEST: schemas.ManageVolumeBody, MANAGE_ON_CLUSTER: schemas.ManageVolumeOnClusterBody},
        answer=volume_views.LEGACY,
    ),
    Route("GET", "os-volume-manage", list_volumes, query=LISTED_BY, answer=views.VOLUMES_SHORT),
    Route("GET", "os-volume-manage/detail", list_volume_details, query=LISTED_BY, answer=views.VOLUMES),
    Route(
        "POST",
        "os-snapshot-manage",
        manage_snapshot,
        status=202,
        body=schemas.ManageSnapshotBody,
        answer=snapshot_views.ONE,
    ),
    Route("GET", "os-snapshot-manage", list_snapshots, query=LISTED_BY, answer=views.SNAPSHOTS_SHORT),
    Route("GET", "os-snapshot-manage/detail", list_snapshot_details, query=LISTED_BY, answer=views.SNAPSHOTS),
    Route(
        "POST",
        "manageable_volumes",
        manage_volume,
        since=MANAGEABLE,
        status=202,
        body={OLDEST: schemas.ManageVolumeBody, MANAGE_ON_CLUSTER: schemas.ManageVolumeOnClusterBody},
        answer=volume_views.LEGACY,
    ),
    Route("GET", "manageable_volumes", list_volumes, query=LISTED_BY, since=MANAGEABLE, answer=views.VOLUMES_SHORT),
    Route(
        "GET", "manageable_volumes/detail", list_volume_details, query=LISTED_BY, since=MANAGEABLE, answer=views.VOLUMES
    ),
    Route(
        "POST",
        "manageable_snapshots",
        manage_snapshot,
        since=MANAGEABLE,
        status=202,
        body=schemas.ManageSnapshotBody,
        answer=snapshot_views.ONE,
    ),
    Route(
        "GET", "manageable_snapshots", list_snapshots, query=LISTED_BY, since=MANAGEABLE, answer=views.SNAPSHOTS_SHORT
    ),
    Route(
        "GET",
        "manageable_snapshots/detail",
        list_snapshot_details,
        query=LISTED_BY,
        since=MANAGEABLE,
        answer=views.SNAPSHOTS,
    ),
)

# --- from the call to what transactions take -----------------------------------------------------------------------


def _place(host: str | None, cluster: str | None) -> Place:
    if bool(host) == bool(cluster):
        raise BadRequest("Invalid place: expected one of host and cluster, and not both.")
    return Place(host=host or None, cluster=cluster or None)


async def _list(call: Call, *, snapshots: bool) -> Sequence[Entry]:
    """One page of what the backend has. Raises BadRequest, StorageFailed, StillRunning."""
    cluster = call.query.get("cluster") if call.microversion >= MANAGEABLE_ON_CLUSTER else None
    place = _place(call.query.get("host"), cluster)
    ways = paging.sorting(call, _SORTED_BY, default="reference")
    start, most, marker = paging.offset(call), paging.limit(call), _marker(call)
    operation_id, pool = await call.store.run(manageable.begin_list, place=place, origin=call.origin)
    call.ring(pool.queue)
    entries = await wait_for(
        call,
        f"Listing what is on {pool.name}",
        manageable.found,
        operation_id=operation_id,
        pool=pool.name,
        of_snapshots=snapshots,
    )
    for key, way in reversed(ways):
        entries.sort(key=attrgetter("size_gib" if key == "size" else key), reverse=way == "desc")
    if marker is not None:
        names = [one.reference for one in entries]
        if marker not in names:
            raise BadRequest(f"Invalid marker = {call.query['marker'][:80]!r}: there is nothing of that reference now.")
        start += names.index(marker) + 1
    return entries[start : start + most]


def _marker(call: Call) -> str | None:
    """The name in the reference of the last item of the page before, as JSON."""
    text = call.query.get("marker")
    if not text:
        return None
    try:
        value = msgspec.json.decode(text)
    except bodies.NOT_JSON as error:
        raise BadRequest(f"Invalid marker = {text[:80]!r}: expected a reference as JSON.") from error
    return managing.require_named(value)
