"""Volumes: create, list, show, change, delete, and what POST …/action does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from msgspec import UNSET, json
from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    CREATE_FROM_BACKUP,
    DELETE_FORCE,
    EXTEND_IN_USE,
    GROUP_FILTER,
    GROUP_OF_VOLUME,
    IMAGE_METADATA_FILTER,
    OLDEST,
    RESOURCE_FILTERS,
    REVERT,
    STRICT_BODIES,
    VOLUME_SUMMARY,
)
from breezeblock.api.paging import Filter, Kind, Lists
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas import volumes as schemas
from breezeblock.api.schemas.fields import first_sent, stripped
from breezeblock.api.views import encryption
from breezeblock.api.views import volumes as views
from breezeblock.model.errors import BadRequest, NotFound
from breezeblock.model.ids import BackupId, SnapshotId, VolumeId
from breezeblock.model.requests import NewVolume
from breezeblock.resources import (
    listing,
    progress,
    restores,
    shown_volumes,
    type_encryption,
    volume_changes,
    volume_edits,
    volumes,
)

LISTS: Final = Lists(
    collection="volumes",
    filters={
        "name": Filter(),
        "display_name": Filter(public=False, attribute="name"),
        "status": Filter(),
        "metadata": Filter(Kind.PAIRS),
        "bootable": Filter(Kind.FLAG),
        "migration_status": Filter(),
        "availability_zone": Filter(),
        "size": Filter(Kind.NUMBER),
        "created_at": Filter(Kind.TIME, since=RESOURCE_FILTERS),
        "updated_at": Filter(Kind.TIME, since=RESOURCE_FILTERS),
        "consumes_quota": Filter(Kind.FLAG, since=RESOURCE_FILTERS),
        "group_id": Filter(since=GROUP_FILTER),
        "glance_metadata": Filter(Kind.PAIRS, since=IMAGE_METADATA_FILTER, attribute="image_metadata"),
        "id": Filter(public=False),
        "project_id": Filter(public=False),
        "user_id": Filter(public=False),
        "host": Filter(Kind.HOST, public=False),
        "cluster_name": Filter(Kind.HOST, public=False, attribute="host"),
        "description": Filter(public=False),
        "display_description": Filter(public=False, attribute="description"),
        "volume_type_id": Filter(public=False),
        "snapshot_id": Filter(public=False),
        "source_volid": Filter(public=False),
        "attach_status": Filter(public=False),
        "multiattach": Filter(Kind.FLAG, public=False),
        "encrypted": Filter(Kind.FLAG, public=False),
        "replication_status": Filter(public=False),
        "encryption_key_id": Filter(public=False),
        "use_quota": Filter(Kind.FLAG, public=False, attribute="consumes_quota"),
        # What no volume here has.
        "consistencygroup_id": Filter(Kind.NOTHING, public=False),
        "provider_id": Filter(Kind.NOTHING, public=False),
        "service_uuid": Filter(Kind.NOTHING, public=False),
    },
    sort_keys=frozenset(listing.VOLUMES.attributes) - {"metadata", "image_metadata", "consumes_quota"},
    sort_aliases={"display_name": "name", "display_description": "description"},
)

FROM_IMAGE: Final = "volume:create_from_image"

# The summary never refuses.
SUMMED: Final = replace(LISTS, refuses=None)

NO_IMAGES: Final = "no image service is configured here, so a volume cannot be made from an image"


async def create(call: Call) -> Response:
    """POST /volumes. 202, the new volume."""
    if not call.allows(FROM_IMAGE):
        call.permit("volume:create")  # whoever may do neither is not told what is wrong with the body
    strict = call.microversion >= STRICT_BODIES
    body = call.body(schemas.CreateVolumeStrictBody) if strict else call.body(schemas.CreateVolumeBody)
    call.permit(FROM_IMAGE if _names_image(body) else "volume:create")
    asked: dict[str, Any] = {"wanted": _wanted(call, body), "quota_defaults": call.quota_defaults}
    if asked["wanted"].backup_id is None:
        accepted = await call.store.run(volumes.begin_create, origin=call.origin, **asked)
    else:
        accepted = await call.store.run(restores.begin_create, origin=call.origin, restoring=False, **asked)
    call.ring(accepted.queue)
    return answers.json(views.detail(call, accepted.row, attributes=False), 202)


async def list_summary(call: Call) -> Response:
    """GET /volumes. 200, ids and names."""
    call.permit("volume:get_all")
    return await _list(call, detail=False)


async def list_detail(call: Call) -> Response:
    """GET /volumes/detail. 200."""
    call.permit("volume:get_all")
    return await _list(call, detail=True)


async def summary(call: Call) -> Response:
    """GET /volumes/summary. 200, how many and how large."""
    call.permit("volume:get_all")
    everybody = call.origin.is_admin and paging.flag(call.query, "all_tenants")
    found = await call.store.read(
        listing.summarize_volumes,
        project_id=None if everybody else call.origin.project_id,
        where=paging.filters(call, SUMMED, everybody=everybody),
    )
    return answers.json(views.summary(call, found))


async def show(call: Call) -> Response:
    """GET /volumes/{volume_id}. 200."""
    call.permit("volume:get")
    return answers.json(views.detail(call, await _read(call), attributes=True))


async def update(call: Call) -> Response:
    """PUT /volumes/{volume_id}. 200, the volume afterwards."""
    call.permit("volume:update")
    body = call.body(schemas.UpdateVolumeBody).volume
    sent = {
        "name": stripped(first_sent(body.name, body.display_name)),
        "description": stripped(first_sent(body.description, body.display_description)),
        "metadata_json": UNSET if body.metadata is UNSET else json.encode(progress.without_own(body.metadata)).decode(),
    }
    fields = {column: value for column, value in sent.items() if value is not UNSET}
    if not fields and call.microversion >= STRICT_BODIES:
        raise BadRequest("Invalid volume: expected name, description or metadata.")
    row = await call.store.run(volume_edits.update_fields, origin=call.origin, volume_id=_id(call), fields=fields)
    return answers.json(views.detail(call, row, attributes=False))


async def delete(call: Call) -> Response:
    """DELETE /volumes/{volume_id}?cascade=…&force=…. 202."""
    call.permit("volume:delete")
    cascade = paging.flag(call.query, "cascade")
    forced = call.microversion >= DELETE_FORCE and paging.flag(call.query, "force")
    if forced:
        call.permit("volume:force_delete")
    accepted = await call.store.run(
        volumes.begin_force_delete if forced else volumes.begin_delete,
        origin=call.origin,
        volume_id=_id(call),
        cascade=cascade,
    )
    call.ring(accepted.queue)
    return answers.empty(202)


async def show_encryption(call: Call) -> Response:
    """GET /volumes/{volume_id}/encryption. 200."""
    call.permit("volume_extension:volume_encryption_metadata")
    return answers.json(await _encryption(call))


async def show_encryption_word(call: Call) -> Response:
    """GET /volumes/{volume_id}/encryption/{word}: one of these alone. 200."""
    call.permit("volume_extension:volume_encryption_metadata")
    said, word = await _encryption(call), call.path["word"]
    if word not in said:
        raise NotFound(f"Volume {_id(call)} has no encryption metadata {word}: expected one of {', '.join(said)}.")
    return answers.json({word: said[word]})


# --- actions ---------------------------------------------------------------------------------------------------------


async def extend(call: Call) -> Response:
    """os-extend. 202."""
    call.permit("volume:extend")
    in_use = call.microversion >= EXTEND_IN_USE and call.allows("volume:extend_attached_volume")
    body = call.body(schemas.Extend)
    accepted = await call.store.run(
        volume_changes.begin_extend,
        origin=call.origin,
        volume_id=_id(call),
        size_gib_new=int(body.new_size),
        in_use=in_use,
        quota_defaults=call.quotas_of_owner,
    )
    call.ring(accepted.queue)
    return answers.empty(202)


async def retype(call: Call) -> Response:
    """os-retype. 202."""
    call.permit("volume:retype")
    body = call.body(schemas.Retype)
    accepted = await call.store.run(
        volume_changes.begin_retype,
        origin=call.origin,
        volume_id=_id(call),
        new_type=body.new_type,
        migration_policy=body.migration_policy or "never",
        quota_defaults=call.quotas_of_owner,
        no_multiattach=call.refusal("volume:multiattach"),
    )
    call.ring(accepted.queue)
    return answers.empty(202)


async def revert(call: Call) -> Response:
    """revert. 202."""
    call.permit("volume:revert_to_snapshot")
    body = call.body(schemas.Revert)
    if body.snapshot_id is None:
        raise BadRequest("Invalid revert.snapshot_id: expected the id of the volume's latest snapshot.")
    accepted = await call.store.run(
        volume_changes.begin_revert, origin=call.origin, volume_id=_id(call), snapshot_id=SnapshotId(body.snapshot_id)
    )
    call.ring(accepted.queue)
    return answers.empty(202)


async def reset_status(call: Call) -> Response:
    """os-reset_status. 202."""
    call.permit("volume_extension:volume_admin_actions:reset_status")
    body = call.body(schemas.ResetStatus)
    if not (body.status or body.attach_status or body.migration_status):
        raise BadRequest("Invalid os-reset_status: expected status, attach_status or migration_status.")
    accepted = await call.store.run(
        volume_changes.reset_status,
        origin=call.origin,
        volume_id=_id(call),
        status=_text_of(body.status),
        attach_status=_text_of(body.attach_status),
        migration_status=_text_of(body.migration_status),
    )
    call.ring(accepted.queue)
    return answers.empty(202)


async def force_delete(call: Call) -> Response:
    """os-force_delete. 202."""
    call.permit("volume_extension:volume_admin_actions:force_delete")
    accepted = await call.store.run(volumes.begin_force_delete, origin=call.origin, volume_id=_id(call), cascade=False)
    call.ring(accepted.queue)
    return answers.empty(202)


async def set_bootable(call: Call) -> Response:
    """os-set_bootable. 200."""
    call.permit("volume:update")
    body = call.body(schemas.SetBootable)
    await call.store.run(
        volume_edits.set_bootable, origin=call.origin, volume_id=_id(call), bootable=bool(body.bootable)
    )
    return answers.empty(200)


async def set_readonly(call: Call) -> Response:
    """os-update_readonly_flag. 202."""
    call.permit("volume:update_readonly_flag")
    body = call.body(schemas.SetReadonly)
    await call.store.run(
        volume_edits.set_readonly, origin=call.origin, volume_id=_id(call), readonly=bool(body.readonly)
    )
    return answers.empty(202)


ACTIONS: Final = {
    "os-extend": Action(extend, status=202, body=schemas.Extend),
    "os-retype": Action(retype, status=202, body=schemas.Retype),
    "os-reset_status": Action(reset_status, status=202, body=schemas.ResetStatus),
    "os-force_delete": Action(force_delete, status=202),
    "os-set_bootable": Action(set_bootable, status=200, body=schemas.SetBootable),
    "os-update_readonly_flag": Action(set_readonly, status=202, body=schemas.SetReadonly),
    "revert": Action(revert, since=REVERT, status=202, body=schemas.Revert),
}

CREATED_BY: Final = {OLDEST: schemas.CreateVolumeBody, STRICT_BODIES: schemas.CreateVolumeStrictBody}
DELETED_BY: Final = {"cascade": Filter(Kind.FLAG), "force": Filter(Kind.FLAG, since=DELETE_FORCE)}

ROUTES: Final = (
    Route("POST", "volumes", create, status=202, body=CREATED_BY, answer=views.ONE),
    Route("GET", "volumes", list_summary, query=LISTS, answer=views.MANY_SHORT),
    Route("GET", "volumes/detail", list_detail, query=LISTS, answer=views.MANY),
    Route(
        "GET",
        "volumes/summary",
        summary,
        since=VOLUME_SUMMARY,
        query={"all_tenants": Filter(Kind.FLAG), **LISTS.filters},
        answer=views.SUMMARY,
    ),
    Route("GET", "volumes/{volume_id}", show, answer=views.ONE),
    Route("PUT", "volumes/{volume_id}", update, status=200, body=schemas.UpdateVolumeBody, answer=views.ONE),
    Route("DELETE", "volumes/{volume_id}", delete, status=202, query=DELETED_BY),
    Route("GET", "volumes/{volume_id}/encryption", show_encryption, answer=encryption.OF_VOLUME),
    Route("GET", "volumes/{volume_id}/encryption/{word}", show_encryption_word, answer=encryption.WORD_OF_VOLUME),
)


# --- from the call to what transactions take -----------------------------------------------------------------------


def _id(call: Call) -> VolumeId:
    return VolumeId(call.path["volume_id"])


def _text_of(word: str | None) -> str | None:
    # Databases want the plain type, not one of ours.
    return None if word is None else str(word)


async def _read(call: Call) -> Mapping[str, Any]:
    """The volume of the URL, if this caller may see it."""
    project_id = None if call.origin.is_admin else call.origin.project_id
    return await call.store.read(shown_volumes.one, id_=_id(call), project_id=project_id)


async def _encryption(call: Call) -> dict[str, Any]:
    project_id = None if call.origin.is_admin else call.origin.project_id
    return await call.store.read(type_encryption.of_volume, volume_id=_id(call), project_id=project_id)


async def _list(call: Call, *, detail: bool) -> Response:
    found, rows = await call.store.read(shown_volumes.page, paging.read(call, LISTS), detail=detail)
    content: dict[str, Any] = {"volumes": (views.details if detail else views.summaries)(call, rows)}
    links = paging.next_links(call, LISTS, found.rows, detail=detail)
    if links:
        content["volumes_links"] = links
    if found.total is not None:
        content["count"] = found.total
    return answers.json(content)


def _wanted(call: Call, body: schemas.CreateVolumeBody | schemas.CreateVolumeStrictBody) -> NewVolume:
    """What is asked for, without what this service does not have. Raises BadRequest."""
    asked = body.volume
    for name, value in (("imageRef", asked.imageRef), ("image_id", asked.image_id)):
        if value is not None:
            raise BadRequest(f"Invalid volume.{name} = {value!r}: {NO_IMAGES}.")
    if asked.multiattach:
        raise BadRequest("Invalid volume.multiattach: it is a property of a volume type, not of a request.")
    backup_id = None if call.microversion < CREATE_FROM_BACKUP else asked.backup_id
    if backup_id is not None and (asked.snapshot_id is not None or asked.source_volid is not None):
        raise BadRequest("Invalid volume.backup_id: a volume is made from one source only.")
    return NewVolume(
        id=VolumeId(call.new_id()),
        size_gib=None if asked.size is None else int(asked.size),
        name=_text(asked.name, asked.display_name),
        description=_text(asked.description, asked.display_description),
        volume_type=asked.volume_type or None,
        availability_zone=asked.availability_zone or None,
        default_zone=call.settings.service.availability_zone,
        zone_fallback=call.settings.service.availability_zone_fallback,
        same_zone=call.settings.service.cloned_volume_same_az,
        snapshot_id=None if asked.snapshot_id is None else SnapshotId(str(asked.snapshot_id)),
        source_volid=None if asked.source_volid is None else VolumeId(str(asked.source_volid)),
        backup_id=None if backup_id is None else BackupId(str(backup_id)),
        metadata=asked.metadata or {},
        scheduler_hints=body.hints or {},
        group_id=_group(call, asked),
        no_multiattach=call.refusal("volume:multiattach", call.own),
    )


def _names_image(body: schemas.CreateVolumeBody | schemas.CreateVolumeStrictBody) -> bool:
    return body.volume.imageRef is not None or body.volume.image_id is not None


def _group(call: Call, asked: schemas.CreateVolume) -> str | None:
    """The group that it is to be in, also by its older name; before 3.13 the newer one is not looked at."""
    if asked.group_id is not None and call.microversion >= GROUP_OF_VOLUME:
        return asked.group_id
    return None if asked.consistencygroup_id is None else str(asked.consistencygroup_id)


def _text(*spellings: Any) -> str | None:
    text = stripped(first_sent(*spellings))
    return None if text is UNSET else text
