"""What is asked of a volume about images, by POST …/action: what its image was, and what needs an image service."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.microversions import OLDEST, REIMAGE, UPLOAD_SHARED
from breezeblock.api.routing import Action
from breezeblock.api.schemas import image_metadata as schemas
from breezeblock.api.views.shapes import MAP_OF_TEXTS_OR_NULL, named
from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import VolumeId
from breezeblock.resources import image_metadata, listing

NO_UPLOAD: Final = "no image service is configured here, so a volume cannot be made an image"
NO_REIMAGE: Final = "no image service is configured here, so a volume cannot get the content of an image"


async def set_metadata(call: Call) -> Response:
    """os-set_image_metadata. 200, all image metadata afterwards."""
    call.permit("volume_extension:volume_image_metadata:set")
    call.permit("volume:update_volume_metadata")
    metadata = call.body(schemas.SetImageMetadata).metadata
    now = await call.store.run(image_metadata.set_metadata, origin=call.origin, volume_id=_id(call), metadata=metadata)
    return answers.json({"metadata": now})


async def unset_metadata(call: Call) -> Response:
    """os-unset_image_metadata. 200, empty body."""
    call.permit("volume_extension:volume_image_metadata:remove")
    call.permit("volume:delete_volume_metadata")
    key = call.body(schemas.UnsetImageMetadata).key
    await call.store.run(image_metadata.unset_metadata, origin=call.origin, volume_id=_id(call), key=key)
    return answers.empty(200)


async def show_metadata(call: Call) -> Response:
    """os-show_image_metadata. 200."""
    call.permit("volume_extension:volume_image_metadata:show")
    return answers.json({"metadata": image_metadata.metadata_of(await _read(call))})


async def upload(call: Call) -> Response:
    """os-volume_upload_image. Refused (400) while no image service is configured."""
    call.permit("volume_extension:volume_actions:upload_image")
    shared = call.microversion >= UPLOAD_SHARED
    body = call.body(schemas.UploadImageShared if shared else schemas.UploadImage)
    if isinstance(body, schemas.UploadImageShared) and body.visibility == "public":
        call.permit("volume_extension:volume_actions:upload_public")
    await _read(call)
    raise BadRequest(f"Invalid os-volume_upload_image.image_name = {body.image_name!r}: {NO_UPLOAD}.")


async def reimage(call: Call) -> Response:
    """os-reimage. Refused (400) while no image service is configured."""
    body = call.body(schemas.Reimage)
    call.permit("volume:reimage_reserved" if body.reimage_reserved else "volume:reimage")
    await _read(call)
    raise BadRequest(f"Invalid os-reimage.image_id = {str(body.image_id)!r}: {NO_REIMAGE}.")


METADATA: Final = named("metadata", MAP_OF_TEXTS_OR_NULL)

ACTIONS: Final = {
    "os-set_image_metadata": Action(set_metadata, status=200, body=schemas.SetImageMetadata, answer=METADATA),
    "os-unset_image_metadata": Action(unset_metadata, status=200, body=schemas.UnsetImageMetadata),
    "os-show_image_metadata": Action(show_metadata, status=200, answer=METADATA),
    "os-volume_upload_image": Action(
        upload, status=202, body={OLDEST: schemas.UploadImage, UPLOAD_SHARED: schemas.UploadImageShared}
    ),
    "os-reimage": Action(reimage, since=REIMAGE, status=202, body=schemas.Reimage),
}


def _id(call: Call) -> VolumeId:
    return VolumeId(call.path["volume_id"])


async def _read(call: Call) -> Mapping[str, Any]:
    """The volume of the URL, if this caller may see it. Raises NotFound."""
    project_id = None if call.origin.is_admin else call.origin.project_id
    return await call.store.read(listing.one, listing.VOLUMES, id_=_id(call), project_id=project_id)
