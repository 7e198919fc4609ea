"""How the volumes of a type are encrypted. It is kept in the type's row, and decided on it, as its extra specs are.

A volume's data is what its key made of it, so the words stay as they are while a volume has the type.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping

from breezeblock.model.errors import BadRequest, InvalidState, NotFound
from breezeblock.model.origin import Origin
from breezeblock.resources import types
from breezeblock.resources.listing import VOLUMES, one
from breezeblock.store.tables import volume_types
from breezeblock.store.transitions import change_row, lock_row, read_row

Row = Mapping[str, Any] | RowMapping


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What decides what is on the storage."""

    provider: str
    # front-end (the machine that uses the volume) or back-end (the storage)
    control_location: str
    cipher: str | None = None
    key_size: int | None = None


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    """What a type says of encryption."""

    encryption_id: str
    words: Words
    created_at_us: int
    updated_at_us: int | None = None


def encryption_of(volume_type: Row) -> Encryption | None:
    """What a type's row says; None: its volumes are not encrypted."""
    said = volume_type["encryption_json"]
    return None if said is None else msgspec.json.decode(said, type=Encryption)


def words_of(volume_type: Row) -> Words | None:
    """The same, as far as it decides what is on the storage."""
    said = encryption_of(volume_type)
    return None if said is None else said.words


def get_encryption(tx: Connection, *, type_id: str, origin: Origin) -> Encryption | None:
    """Raises NotFound for the type."""
    return encryption_of(types.get_type(tx, type_id=type_id, origin=origin))


def of_volume(tx: Connection, *, volume_id: str, project_id: str | None) -> dict[str, Any]:
    """What whoever uses a volume has to know to read it, by the API's names. Raises NotFound."""
    volume = one(tx, VOLUMES, id_=volume_id, project_id=project_id)
    volume_type = read_row(tx, volume_types, volume["volume_type_id"])
    words = None if volume_type is None else words_of(volume_type)
    return {"encryption_key_id": volume["encryption_key_id"]} | ({} if words is None else msgspec.structs.asdict(words))


def create_encryption(tx: Connection, *, type_id: str, encryption_id: str, words: Words, origin: Origin) -> Encryption:
    """Let the volumes of a type be encrypted. Raises NotFound, InvalidState (a volume has the type), BadRequest (again)."""
    row = _lock_unused(tx, type_id, origin, "create")
    if row["encryption_json"] is not None:
        raise BadRequest(f"Volume type encryption for type {type_id} already exists; it can be updated.")
    return _save(tx, type_id, Encryption(encryption_id=encryption_id, words=words, created_at_us=origin.at_us), origin)


def update_encryption(tx: Connection, *, type_id: str, sent: Mapping[str, Any], origin: Origin) -> Encryption:
    """Change what was sent. Raises NotFound (type, encryption), InvalidState (a volume has the type)."""
    there = encryption_of(_lock_unused(tx, type_id, origin, "update"))
    if there is None:
        raise missing(type_id)
    words = msgspec.structs.replace(there.words, **sent)
    return _save(tx, type_id, msgspec.structs.replace(there, words=words, updated_at_us=origin.at_us), origin)


def delete_encryption(tx: Connection, *, type_id: str, origin: Origin) -> None:
    """Let the volumes of a type be as they are. Raises NotFound (type, encryption), InvalidState (a volume has the type)."""
    if _lock_unused(tx, type_id, origin, "delete")["encryption_json"] is None:
        raise missing(type_id)
    change_row(tx, volume_types, type_id, encryption_json=None, updated_at_us=origin.at_us)


def missing(type_id: str) -> NotFound:
    return NotFound(f"Volume type encryption for type {type_id} does not exist.")


def refuse_encrypted(volume_type: Row) -> None:
    """Raise BadRequest for a type whose volumes would need a key, which nobody here makes or keeps."""
    if volume_type["encryption_json"] is not None:
        raise BadRequest(
            f"Volume type {volume_type['name']} is encrypted, and no key manager is configured here that would keep the keys "
            "of its volumes; choose a type without encryption."
        )


def why_no_retype(tx: Connection, *, type_id_old: str | None, target: Row) -> str | None:
    """Why a volume cannot go from one type to another where it is, as far as encryption goes; None: it can."""
    before = None if type_id_old is None else read_row(tx, volume_types, type_id_old)
    if (None if before is None else words_of(before)) == words_of(target):
        return None
    return "would have to encrypt it otherwise than it is"


def _lock_unused(tx: Connection, type_id: str, origin: Origin, verb: str) -> Row:
    lock_row(tx, volume_types, type_id, origin=origin)
    if types.in_use(tx, type_id):
        raise InvalidState(f"Cannot {verb} encryption specs. Volume type in use: a volume has the type {type_id}.")
    return types.get_type(tx, type_id=type_id, origin=origin)


def _save(tx: Connection, type_id: str, said: Encryption, origin: Origin) -> Encryption:
    text = msgspec.json.encode(said).decode()
    change_row(tx, volume_types, type_id, encryption_json=text, updated_at_us=origin.at_us)
    return said
