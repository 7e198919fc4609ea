"""What takes an image service, which is not there yet: refused, with the reason, once all else about the request is right."""

from typing import Final, NoReturn

from starlette.responses import Response

from breezeblock.api.call import Call
from breezeblock.api.microversions import IMAGE_VISIBILITY, REIMAGE
from breezeblock.api.routing import Action
from breezeblock.api.schemas import images as schemas
from breezeblock.model.errors import BadRequest
from breezeblock.resources import listing


async def upload(call: Call) -> Response:
    """os-volume_upload_image. 400: there is no image service."""
    call.permit("volume_extension:volume_actions:upload_image")
    body = call.body(schemas.Upload if call.microversion < IMAGE_VISIBILITY else schemas.UploadWithVisibility)
    await _refuse(call, f"the image {body.image_name!r} cannot be made of it")


async def reimage(call: Call) -> Response:
    """os-reimage. 400: there is no image service."""
    call.permit("volume:reimage")
    body = call.body(schemas.Reimage)
    if body.reimage_reserved:
        call.permit("volume:reimage_reserved")
    await _refuse(call, f"image {body.image_id} cannot be read")


async def _refuse(call: Call, what: str) -> NoReturn:
    """Raises NotFound for a volume that this caller does not see, else BadRequest."""
    volume_id = call.path["volume_id"]
    project_id = None if call.origin.is_admin else call.origin.project_id
    await call.store.read(listing.one, listing.VOLUMES, id_=volume_id, project_id=project_id)
    raise BadRequest(
        f"Invalid {call.action} of volume {volume_id}: no image service is configured here, so {what}. "
        "Attach the volume and copy its content instead, or back it up."
    )


ACTIONS: Final = {
    "os-volume_upload_image": Action(upload),
    "os-reimage": Action(reimage, since=REIMAGE),
}
