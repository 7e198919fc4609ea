"""A snapshot's metadata, as a whole and key by key."""

from typing import Any, Final

import msgspec
from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.handlers.volume_metadata import META, METADATA, one_pair
from breezeblock.api.routing import Route
from breezeblock.api.schemas.volumes import MetaBody, MetadataBody
from breezeblock.model.ids import SnapshotId
from breezeblock.resources import listing, snapshot_edits


async def show_all(call: Call) -> Response:
    """GET /snapshots/{snapshot_id}/metadata. 200."""
    call.permit("volume:get_snapshot_metadata")
    return answers.json({"metadata": _raw((await _read(call))["metadata_json"])})


async def merge(call: Call) -> Response:
    """POST /snapshots/{snapshot_id}/metadata. 200, all metadata afterwards."""
    call.permit("volume:update_snapshot_metadata")
    row = await call.store.run(
        snapshot_edits.merge_metadata,
        origin=call.origin,
        snapshot_id=_id(call),
        metadata=call.body(MetadataBody).metadata,
    )
    return answers.json({"metadata": _raw(row["metadata_json"])})


async def replace(call: Call) -> Response:
    """PUT /snapshots/{snapshot_id}/metadata. 200, all metadata afterwards."""
    call.permit("volume:update_snapshot_metadata")
    row = await call.store.run(
        snapshot_edits.replace_metadata,
        origin=call.origin,
        snapshot_id=_id(call),
        metadata=call.body(MetadataBody).metadata,
    )
    return answers.json({"metadata": _raw(row["metadata_json"])})


async def show(call: Call) -> Response:
    """GET /snapshots/{snapshot_id}/metadata/{key}. 200."""
    call.permit("volume:get_snapshot_metadata")
    key = call.path["key"]
    metadata = snapshot_edits.read_metadata(await _read(call))
    if key not in metadata:
        raise snapshot_edits.missing_key(_id(call), key)
    return answers.json({"meta": {key: metadata[key]}})


async def put(call: Call) -> Response:
    """PUT /snapshots/{snapshot_id}/metadata/{key}. 200, the pair."""
    call.permit("volume:update_snapshot_metadata")
    meta = one_pair(call)
    await call.store.run(snapshot_edits.merge_metadata, origin=call.origin, snapshot_id=_id(call), metadata=meta)
    return answers.json({"meta": meta})


async def delete(call: Call) -> Response:
    """DELETE /snapshots/{snapshot_id}/metadata/{key}. 200, empty."""
    call.permit("volume:delete_snapshot_metadata")
    await call.store.run(
        snapshot_edits.delete_metadata_key, origin=call.origin, snapshot_id=_id(call), key=call.path["key"]
    )
    return answers.empty(200)


ROUTES: Final = (
    Route("GET", "snapshots/{snapshot_id}/metadata", show_all, answer=METADATA),
    Route("POST", "snapshots/{snapshot_id}/metadata", merge, status=200, body=MetadataBody, answer=METADATA),
    Route("PUT", "snapshots/{snapshot_id}/metadata", replace, status=200, body=MetadataBody, answer=METADATA),
    Route("GET", "snapshots/{snapshot_id}/metadata/{key}", show, answer=META),
    Route("PUT", "snapshots/{snapshot_id}/metadata/{key}", put, status=200, body=MetaBody, answer=META),
    Route("DELETE", "snapshots/{snapshot_id}/metadata/{key}", delete, status=200),
)


def _id(call: Call) -> SnapshotId:
    return SnapshotId(call.path["snapshot_id"])


async def _read(call: Call) -> dict[str, Any]:
    project_id = None if call.origin.is_admin else call.origin.project_id
    return await call.store.read(listing.one, listing.SNAPSHOTS, id_=_id(call), project_id=project_id)


def _raw(metadata_json: str) -> msgspec.Raw:
    return msgspec.Raw(metadata_json.encode())
