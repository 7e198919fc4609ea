"""How the volumes of a type are encrypted."""

from typing import Any, Final

from starlette.responses import Response

from breezeblock.api import answers
from breezeblock.api.call import Call
from breezeblock.api.routing import Route
from breezeblock.api.schemas.type_encryption import CreateEncryptionBody, UpdateEncryptionBody
from breezeblock.api.views import encryption as views
from breezeblock.api.views.template import format_time
from breezeblock.resources import type_encryption
from breezeblock.resources.type_encryption import Encryption, Words


async def show(call: Call) -> Response:
    """GET /v3/{project_id}/types/{type_id}/encryption. 200; an empty map where its volumes are not encrypted."""
    call.permit("volume_extension:volume_type_encryption:get")
    said = await _read(call)
    return answers.json({} if said is None else _shown(call.path["type_id"], said))


async def show_one(call: Call) -> Response:
    """GET /v3/{project_id}/types/{type_id}/encryption/{encryption_id}, which is the name of one of its words. 200."""
    call.permit("volume_extension:volume_type_encryption:get")
    type_id, key = call.path["type_id"], call.path["encryption_id"]
    said = await _read(call)
    shown = {} if said is None else _shown(type_id, said)
    if key not in shown:
        raise type_encryption.missing(type_id)
    return answers.json({key: shown[key]})


async def create(call: Call) -> Response:
    """POST /v3/{project_id}/types/{type_id}/encryption. 200, what was sent, with its id."""
    call.permit("volume_extension:volume_type_encryption:create")
    sent = call.body(CreateEncryptionBody).encryption.sent()
    type_id, encryption_id = call.path["type_id"], call.new_id()
    await call.store.run(
        type_encryption.create_encryption,
        type_id=type_id,
        encryption_id=encryption_id,
        words=Words(**sent),
        origin=call.origin,
    )
    return answers.json({"encryption": {"volume_type_id": type_id, "encryption_id": encryption_id, **sent}})


async def update(call: Call) -> Response:
    """PUT /v3/{project_id}/types/{type_id}/encryption/{encryption_id}; a type has one, whatever its id. 200, what was sent."""
    call.permit("volume_extension:volume_type_encryption:update")
    sent = call.body(UpdateEncryptionBody).encryption.sent()
    await call.store.run(type_encryption.update_encryption, type_id=call.path["type_id"], sent=sent, origin=call.origin)
    return answers.json({"encryption": sent})


async def delete(call: Call) -> Response:
    """DELETE /v3/{project_id}/types/{type_id}/encryption/{encryption_id}; a type has one, whatever its id. 202, empty body."""
    call.permit("volume_extension:volume_type_encryption:delete")
    await call.store.run(type_encryption.delete_encryption, type_id=call.path["type_id"], origin=call.origin)
    return answers.empty(202)


ROUTES: Final = (
    Route("GET", "types/{type_id}/encryption", show, answer=views.OF_TYPE),
    Route("POST", "types/{type_id}/encryption", create, status=200, body=CreateEncryptionBody, answer=views.CREATED),
    Route("GET", "types/{type_id}/encryption/{encryption_id}", show_one, answer=views.WORD_OF_TYPE),
    Route(
        "PUT",
        "types/{type_id}/encryption/{encryption_id}",
        update,
        status=200,
        body=UpdateEncryptionBody,
        answer=views.UPDATED,
    ),
    Route("DELETE", "types/{type_id}/encryption/{encryption_id}", delete, status=202),
)


async def _read(call: Call) -> Encryption | None:
    return await call.store.read(type_encryption.get_encryption, type_id=call.path["type_id"], origin=call.origin)


def _shown(type_id: str, said: Encryption) -> dict[str, Any]:
    words = said.words
    return {
        "volume_type_id": type_id,
        "encryption_id": said.encryption_id,
        "provider": words.provider,
        "control_location": words.control_location,
        "cipher": words.cipher,
        "key_size": words.key_size,
        "deleted": False,
        "deleted_at": None,
        "created_at": format_time(said.created_at_us),
        "updated_at": None if said.updated_at_us is None else format_time(said.updated_at_us),
    }
