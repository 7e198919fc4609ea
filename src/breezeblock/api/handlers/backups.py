"""Backups: create, list, show, change, delete, restore, export, and what POST …/action does."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET, json
from starlette.responses import Response

from breezeblock.api import answers, paging
from breezeblock.api.call import Call
from breezeblock.api.microversions import BACKUP_METADATA, BACKUP_SORT_NAME, BACKUP_UPDATE, BACKUP_ZONE, OLDEST
from breezeblock.api.paging import Filter, Kind, Lists
from breezeblock.api.routing import Action, Route
from breezeblock.api.schemas import backups as schemas
from breezeblock.api.schemas.fields import stripped
from breezeblock.api.views import backups as views
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import BackupId, SnapshotId, VolumeId
from breezeblock.model.requests import NewBackup, NewVolume
from breezeblock.resources import backup_edits, backup_records, backups, cinder_records, listing, progress, restores
from breezeblock.resources.accepted import Accepted

LISTS: Final = Lists(
    collection="backups",
    filters={
        "name": Filter(),
        "display_name": Filter(public=False, attribute="name"),
        "status": Filter(),
        "volume_id": Filter(),
        "id": Filter(public=False),
        "project_id": Filter(public=False),
        "user_id": Filter(public=False),
        "description": Filter(public=False),
        "container": Filter(public=False),
        "availability_zone": Filter(public=False),
        "host": Filter(public=False),
        "snapshot_id": Filter(public=False),
        "parent_id": Filter(public=False),
        "size": Filter(Kind.NUMBER, public=False),
        "display_description": Filter(public=False, attribute="description"),
        "fail_reason": Filter(public=False),
        "object_count": Filter(Kind.NUMBER, public=False),
    },
    sort_keys=frozenset(listing.BACKUPS.attributes) - {"metadata"},
    sort_aliases={"display_name": "name", "display_description": "description"},
    sort_since={"name": BACKUP_SORT_NAME},
)


async def create(call: Call) -> Response:
    """POST /backups. 202, the new backup's id and name."""
    call.permit("backup:create")
    accepted = await call.store.run(
        backups.begin_create, origin=call.origin, wanted=_wanted(call), quota_defaults=call.quota_defaults
    )
    call.ring(accepted.queue)
    return answers.json(views.summary(call, accepted.row), 202)


async def list_summary(call: Call) -> Response:
    """GET /backups. 200, ids and names."""
    call.permit("backup:get_all")
    return await _list(call, detail=False)


async def list_detail(call: Call) -> Response:
    """GET /backups/detail. 200."""
    call.permit("backup:get_all")
    return await _list(call, detail=True)


async def show(call: Call) -> Response:
    """GET /backups/{backup_id}. 200."""
    call.permit("backup:get")
    row = await call.store.read(progress.one, listing.BACKUPS, id_=_id(call), project_id=_seen_by(call))
    return answers.json(views.detail(call, row))


async def update(call: Call) -> Response:
    """PUT /backups/{backup_id}. 200, id and name afterwards."""
    call.permit("backup:update")
    sent: dict[str, Any] = {"metadata_json": UNSET}
    body: schemas.UpdateBackup
    if call.microversion >= BACKUP_METADATA:
        body = with_metadata = call.body(schemas.UpdateBackupWithMetadataBody).backup
        if with_metadata.metadata is not UNSET:
            sent["metadata_json"] = json.encode(progress.without_own(with_metadata.metadata)).decode()
    else:
        body = call.body(schemas.UpdateBackupBody).backup
    sent |= {"name": stripped(body.name), "description": stripped(body.description)}
    fields: Mapping[str, Any] = {column: value for column, value in sent.items() if value is not UNSET}
    if not fields:
        raise BadRequest("Invalid backup: expected name, description or, from 3.43 on, metadata.")
    row = await call.store.run(backup_edits.update_fields, origin=call.origin, backup_id=_id(call), fields=fields)
    return answers.json(views.summary(call, row))


async def delete(call: Call) -> Response:
    """DELETE /backups/{backup_id}. 202."""
    call.permit("backup:delete")
    accepted = await call.store.run(backups.begin_delete, origin=call.origin, backup_id=_id(call))
    call.ring(accepted.queue)
    return answers.empty(202)


async def restore(call: Call) -> Response:
    """POST /backups/{backup_id}/restore, to a volume that is named or to a new one. 202, the volume."""
    call.permit("backup:restore")
    body = call.body(schemas.RestoreBody).restore
    if body.volume_id is not None:
        accepted = await call.store.run(
            restores.begin_restore, origin=call.origin, backup_id=_id(call), volume_id=VolumeId(str(body.volume_id))
        )
    else:
        call.permit("volume:create", call.own)
        accepted = await call.store.run(
            restores.begin_create,
            origin=call.origin,
            wanted=_new_volume(call, stripped(body.name)),
            quota_defaults=call.quota_defaults,
            restoring=True,
        )
    call.ring(accepted.queue)
    return answers.json(views.restore(_id(call), accepted.row), 202)


async def export_record(call: Call) -> Response:
    """GET /backups/{backup_id}/export_record. 200."""
    call.permit("backup:export-import")
    found = await call.store.read(backup_records.export, backup_id=_id(call), project_id=_seen_by(call))
    return answers.json(views.record(found))


async def import_record(call: Call) -> Response:
    """POST /backups/import_record. 201, the backup's id and name; it is there when a node has found its manifest."""
    call.permit("backup:backup-import")
    body = call.body(schemas.ImportedRecordBody).record
    if cinder_records.is_cinders(body.backup_service):
        accepted = await _import_cinders(call, body)
    else:
        content = backup_records.read_record(backup_records.Record(body.backup_service, body.backup_url))
        store = call.settings.backup_stores.get(content.store)
        if store is None or store.is_cinders:
            raise BadRequest(f"Invalid backup_url: there is no backup store {content.store} here.")
        accepted = await call.store.run(
            backup_records.begin_import, origin=call.origin, content=content, quota_defaults=call.quota_defaults
        )
    call.ring(accepted.queue)
    return answers.json(views.summary(call, {**accepted.row, "dependent_backups": 0}), 201)


async def _import_cinders(call: Call, record: schemas.ImportedRecord) -> Accepted:
    content = cinder_records.read_record(record.backup_service, record.backup_url)
    stores = call.settings.backup_stores
    zones = {name: stores[name].availability_zone for name in sorted(stores) if stores[name].is_cinders}
    if not zones:
        raise BadRequest(
            f"Invalid backup_service = {record.backup_service!r}: no backup store of the type cinder-posix is configured here."
        )
    return await call.store.run(
        cinder_records.begin_import,
        origin=call.origin,
        content=content,
        zones=zones,
        quota_defaults=call.quota_defaults,
    )


# --- actions ---------------------------------------------------------------------------------------------------------


async def force_delete(call: Call) -> Response:
    """os-force_delete. 202."""
    call.permit("volume_extension:backup_admin_actions:force_delete")
    accepted = await call.store.run(backups.begin_force_delete, origin=call.origin, backup_id=_id(call))
    call.ring(accepted.queue)
    return answers.empty(202)


async def reset_status(call: Call) -> Response:
    """os-reset_status. 202."""
    call.permit("volume_extension:backup_admin_actions:reset_status")
    body = call.body(schemas.ResetStatus)
    accepted = await call.store.run(
        backups.reset_status, origin=call.origin, backup_id=_id(call), status=str(body.status)
    )
    call.ring(accepted.queue)
    return answers.empty(202)


ACTIONS: Final = {
    "os-force_delete": Action(force_delete, status=202),
    "os-reset_status": Action(reset_status, status=202, body=schemas.ResetStatus),
}

CREATED_BY: Final = {
    OLDEST: schemas.CreateBackupBody,
    BACKUP_METADATA: schemas.CreateBackupWithMetadataBody,
    BACKUP_ZONE: schemas.CreateBackupInZoneBody,
}
CHANGED_BY: Final = {BACKUP_UPDATE: schemas.UpdateBackupBody, BACKUP_METADATA: schemas.UpdateBackupWithMetadataBody}

ROUTES: Final = (
    Route("POST", "backups", create, status=202, body=CREATED_BY, answer=views.ONE_SHORT),
    Route("GET", "backups", list_summary, query=LISTS, answer=views.MANY_SHORT),
    Route("GET", "backups/detail", list_detail, query=LISTS, answer=views.MANY),
    Route(
        "POST",
        "backups/import_record",
        import_record,
        status=201,
        body=schemas.ImportedRecordBody,
        answer=views.ONE_SHORT,
    ),
    Route("GET", "backups/{backup_id}", show, answer=views.ONE),
    Route(
        "PUT", "backups/{backup_id}", update, since=BACKUP_UPDATE, status=200, body=CHANGED_BY, answer=views.ONE_SHORT
    ),
    Route("DELETE", "backups/{backup_id}", delete, status=202),
    Route("POST", "backups/{backup_id}/action", actions=ACTIONS),
    Route("POST", "backups/{backup_id}/restore", restore, status=202, body=schemas.RestoreBody, answer=views.RESTORED),
    Route("GET", "backups/{backup_id}/export_record", export_record, answer=views.RECORD),
)


# --- from the call to what transactions take -----------------------------------------------------------------------


def _id(call: Call) -> BackupId:
    return BackupId(call.path["backup_id"])


def _seen_by(call: Call) -> str | None:
    return None if call.origin.is_admin else call.origin.project_id


async def _list(call: Call, *, detail: bool) -> Response:
    found, rows = await call.store.read(progress.page, listing.BACKUPS, paging.read(call, LISTS), detail=detail)
    content: dict[str, Any] = {"backups": (views.details if detail else views.summaries)(call, rows)}
    links = paging.next_links(call, LISTS, found.rows, detail=detail)
    if links:
        content["backups_links"] = links
    if found.total is not None:
        content["count"] = found.total
    return answers.json(content)


def _asked(call: Call) -> tuple[schemas.CreateBackup, dict[str, str], str | None]:
    """The body, its metadata and its zone, as far as the version has them. Raises BadRequest."""
    if call.microversion >= BACKUP_ZONE:
        in_zone = call.body(schemas.CreateBackupInZoneBody).backup
        return in_zone, in_zone.metadata or {}, in_zone.availability_zone or None
    if call.microversion >= BACKUP_METADATA:
        with_metadata = call.body(schemas.CreateBackupWithMetadataBody).backup
        return with_metadata, with_metadata.metadata or {}, None
    return call.body(schemas.CreateBackupBody).backup, {}, None


def _wanted(call: Call) -> NewBackup:
    """What is asked for. A container that is the name of a store chooses it; any other is only shown. Raises BadRequest."""
    asked, metadata, zone = _asked(call)
    stores, container = _zones(call), stripped(asked.container)
    store = _store(stores, container, zone)
    return NewBackup(
        id=BackupId(call.new_id()),
        volume_id=VolumeId(str(asked.volume_id)),
        store=store,
        container=container or store,
        archive_id=call.new_id(),
        snapshot_id=None if asked.snapshot_id is None else SnapshotId(str(asked.snapshot_id)),
        name=stripped(asked.name),
        description=stripped(asked.description),
        incremental=bool(asked.incremental),
        force=bool(asked.force),
        metadata=metadata,
        availability_zone=stores[store],
        stores=stores if zone is None and container not in stores else {},
    )


def _zones(call: Call) -> dict[str, str]:
    """The stores that take backups, with their zones. Raises BadRequest: all that there are only have Cinder's."""
    stores = call.settings.backup_stores
    if found := {name: store.availability_zone for name, store in stores.items() if not store.is_cinders}:
        return found
    raise BadRequest("No backup store that takes new backups is configured here.")


def _store(stores: Mapping[str, str], container: str | None, zone: str | None) -> str:
    """The store that is meant: by its name, else the first one in the zone; `default` comes before all. Raises BadRequest."""
    fitting = [name for name, its_zone in stores.items() if zone in (None, its_zone)]
    if not fitting:
        zones = ", ".join(sorted(set(stores.values())))
        raise BadRequest(f"Availability zone '{zone}' has no backup store; expected one of: {zones}.")
    if container in stores and container not in fitting:
        raise BadRequest(f"Backup store {container} is not in availability zone '{zone}'.")
    return container if container in fitting else min(fitting, key=lambda name: (name != "default", name))


def _new_volume(call: Call, name: str | None) -> NewVolume:
    """The volume that a restore makes when none is named."""
    return NewVolume(
        id=VolumeId(call.new_id()),
        name=f"restore_backup_{_id(call)}" if name is None else name,
        description=f"Restored from backup {_id(call)}.",
        default_zone=call.settings.service.availability_zone,
        zone_fallback=call.settings.service.availability_zone_fallback,
        backup_id=_id(call),
        no_multiattach=call.refusal("volume:multiattach", call.own),
    )
