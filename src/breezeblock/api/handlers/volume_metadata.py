"""A volume's metadata, as a whole and key by key. From 3.15 on with ETags, so that writers can tell a change."""

from typing import Any, Final

import msgspec
from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.microversions import ETAGS
from breezeblock.api.routing import Route
from breezeblock.api.schemas.volumes import MetaBody, MetadataBody
from breezeblock.api.views.shapes import MAP_OF_TEXTS, named
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import VolumeId
from breezeblock.resources import listing, progress, volume_edits


async def show_all(call: Call) -> Response:
    """GET /volumes/{volume_id}/metadata. 200."""
    call.permit("volume:get_volume_metadata")
    row = await _read(call)
    headers = {"ETag": f'"{volume_edits.etag(row["metadata_json"])}"'} if call.microversion >= ETAGS else None
    return answers.json({"metadata": _raw(row["metadata_json"])}, headers=headers)


async def merge(call: Call) -> Response:
    """POST /volumes/{volume_id}/metadata. 200, all metadata afterwards."""
    call.permit("volume:create_volume_metadata")
    row = await call.store.run(
        volume_edits.merge_metadata,
        origin=call.origin,
        volume_id=_id(call),
        metadata=progress.without_own(call.body(MetadataBody).metadata),
        if_match=frozenset(),
    )
    return answers.json({"metadata": _raw(row["metadata_json"])})


async def replace(call: Call) -> Response:
    """PUT /volumes/{volume_id}/metadata. 200, all metadata afterwards."""
    call.permit("volume:update_volume_metadata")
    row = await call.store.run(
        volume_edits.replace_metadata,
        origin=call.origin,
        volume_id=_id(call),
        metadata=progress.without_own(call.body(MetadataBody).metadata),
        if_match=_if_match(call),
    )
    return answers.json({"metadata": _raw(row["metadata_json"])})


async def show(call: Call) -> Response:
    """GET /volumes/{volume_id}/metadata/{key}. 200."""
    call.permit("volume:get_volume_metadata")
    key = call.path["key"]
    metadata = volume_edits.read_metadata(await _read(call))
    if key not in metadata:
        raise volume_edits.missing_key(_id(call), key)
    return answers.json({"meta": {key: metadata[key]}})


async def put(call: Call) -> Response:
    """PUT /volumes/{volume_id}/metadata/{key}. 200, the pair."""
    call.permit("volume:update_volume_metadata")
    meta = one_pair(call)
    await call.store.run(
        volume_edits.merge_metadata,
        origin=call.origin,
        volume_id=_id(call),
        metadata=meta,
        if_match=_if_match(call),
    )
    return answers.json({"meta": meta})


async def delete(call: Call) -> Response:
    """DELETE /volumes/{volume_id}/metadata/{key}. 200, empty."""
    call.permit("volume:delete_volume_metadata")
    await call.store.run(
        volume_edits.delete_metadata_key, origin=call.origin, volume_id=_id(call), key=call.path["key"]
    )
    return answers.empty(200)


METADATA: Final = named("metadata", MAP_OF_TEXTS)
META: Final = named("meta", MAP_OF_TEXTS)

ROUTES: Final = (
    Route("GET", "volumes/{volume_id}/metadata", show_all, answer=METADATA),
    Route("POST", "volumes/{volume_id}/metadata", merge, status=200, body=MetadataBody, answer=METADATA),
    Route("PUT", "volumes/{volume_id}/metadata", replace, status=200, body=MetadataBody, answer=METADATA),
    Route("GET", "volumes/{volume_id}/metadata/{key}", show, answer=META),
    Route("PUT", "volumes/{volume_id}/metadata/{key}", put, status=200, body=MetaBody, answer=META),
    Route("DELETE", "volumes/{volume_id}/metadata/{key}", delete, status=200),
)


def one_pair(call: Call) -> dict[str, str]:
    """The pair of a PUT …/metadata/{key}: exactly one, and of that key. Raises BadRequest."""
    meta = call.body(MetaBody).meta
    if list(meta) != [call.path["key"]]:
        raise BadRequest(f"Invalid meta: expected one pair, with the key of the URL, {call.path['key']!r}.")
    return meta


def _id(call: Call) -> VolumeId:
    return VolumeId(call.path["volume_id"])


async def _read(call: Call) -> dict[str, Any]:
    project_id = None if call.origin.is_admin else call.origin.project_id
    return await call.store.read(listing.one, listing.VOLUMES, id_=_id(call), project_id=project_id)


def _if_match(call: Call) -> frozenset[str]:
    """The ETags that a write insists on; none means it does not."""
    if call.microversion < ETAGS:
        return frozenset()
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in call.headers.get("if-match", "").split(","))
    return frozenset(tag for tag in tags if tag)


def _raw(metadata_json: str) -> msgspec.Raw:
    return msgspec.Raw(metadata_json.encode())
