"""Backups that Cinder made and exported, made known here: their data stays where Cinder has put it.

A row of such a backup has no archive. Its `manifest` is `<backup id>.cinder.<time>`, of which Cinder's name for it can be made
again; `container` is the folder, as Cinder's row has it, and `store` the one of the configured stores in which it was found.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from breezeblock.model.errors import BadRequest
from breezeblock.model.ids import is_canonical_uuid
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Lock
from breezeblock.resources import kinds
from breezeblock.resources.accepted import Accepted
from breezeblock.resources.new_backups import LATEST_US, add_imported, require_reader
from breezeblock.store.tables import backups
from breezeblock.store.transitions import change_row, lock_row

# Cinder's drivers that keep backups in the layout that can be read, as their records name them: by class, or by module as
# before 2018. What they are called here follows the last dot but one.
_DRIVER: Final = re.compile(r"cinder\.backup\.drivers\.(\w+)(?:\.\w+)?")
_READABLE: Final = ("posix", "nfs", "glusterfs")
# The one that an export names: all of them can read what any of them made.
SERVICE: Final = "cinder.backup.drivers.posix.PosixBackupDriver"

_PREFIX: Final = re.compile(r"volume_(?P<volume>[0-9a-f-]{36})_(?P<time>[0-9]{14})_backup_(?P<backup>[0-9a-f-]{36})")
# What a store takes for the name of a folder. A backup's files have names of up to 116 characters, and keys at most 200.
_CONTAINER: Final = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_MARK: Final = ".cinder."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Text = Annotated[str, Meta(max_length=255)]


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record counts here. Owner, host and status are the importer's affair, as they are in Cinder."""

    id: str
    volume_id: str
    size: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    container: _Text
    service_metadata: _Text
    display_name: _Text | None = None
    display_description: Annotated[str, Meta(max_length=65535)] | None = None
    parent_id: str | None = None
    snapshot_id: str | None = None
    encryption_key_id: str | None = None
    object_count: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    created_at: datetime | None = None
    data_timestamp: datetime | None = None
    metadata: dict[_Text, _Text] | None = None


class ImportCinderBackup(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `import_cinder_backup`. `zones`: where it may be, the stores' names, and the zone of each."""

    backup_id: str
    container: str
    prefix: str
    parent_id: str | None
    zones: dict[str, str]

    @property
    def store(self) -> str:
        """What is waited for when it does not answer."""
        return ", ".join(self.zones)


class Place(NamedTuple):
    """Where Cinder has put a backup, in Cinder's words."""

    container: str
    prefix: str


# --- import ---------------------------------------------------------------------------------------------------------


def is_cinders(service: str) -> bool:
    """Whether a record says that one of Cinder's drivers made it."""
    return _DRIVER.fullmatch(service) is not None


def read_record(service: str, url: str) -> Content:
    """What a record of Cinder says. Raises BadRequest, with what is wrong about it."""
    driver = _DRIVER.fullmatch(service)
    assert driver is not None, "it was looked at"
    if driver[1] not in _READABLE:
        raise BadRequest(
            f"Invalid backup_service = {service[:255]!r}: of Cinder's backups only those of its drivers {', '.join(_READABLE)} "
            "can be imported, since the others are stored in other forms or places."
        )
    try:
        content = msgspec.json.decode(base64.b64decode(url.encode(), validate=True), type=Content)
    except (binascii.Error, UnicodeError) as error:
        raise BadRequest(f"Invalid backup_url: it is not base64: {error}.") from error
    except (RecursionError, msgspec.DecodeError) as error:
        raise BadRequest(f"Invalid backup_url: it is no record of a backup: {error}.") from error
    _refuse_what_cannot_be(content)
    return content


def _refuse_what_cannot_be(content: Content) -> None:
    texts = [text for text in msgspec.structs.astuple(content) if isinstance(text, str)]
    metadata = content.metadata or {}
    if any("\0" in text for text in (*texts, *metadata, *metadata.values())):
        raise BadRequest("Invalid backup_url: the character U+0000 cannot be part of a text here.")
    ids = [content.id, content.volume_id, content.snapshot_id, content.parent_id]
    if bad := [id_ for id_ in ids if id_ is not None and not is_canonical_uuid(id_)]:
        raise BadRequest(f"Invalid backup_url: {bad[0][:80]!r} is no id.")
    if content.parent_id == content.id:
        raise BadRequest("Invalid backup_url: the backup is its own parent.")
    if content.encryption_key_id is not None:
        raise BadRequest(
            "Invalid backup_url: it is of an encrypted volume, which would be restored as what the key makes of it; volumes "
            "cannot be encrypted here."
        )
    if _CONTAINER.fullmatch(content.container) is None:
        raise BadRequest(
            f"Invalid backup_url: container {content.container[:80]!r} is no folder below that of a store here: expected "
            "letters, digits, -, _ and ., 80 at most, in parts with one slash between them."
        )
    prefix = _PREFIX.fullmatch(content.service_metadata)
    if prefix is None or (prefix["volume"], prefix["backup"]) != (content.volume_id, content.id):
        raise BadRequest(
            f"Invalid backup_url: service_metadata {content.service_metadata!r} is not how the names of this backup's files "
            "begin; expected volume_<volume id>_<time>_backup_<backup id>."
        )


def begin_import(
    tx: Connection, *, origin: Origin, content: Content, zones: Mapping[str, str], quota_defaults: Mapping[str, int]
) -> Accepted:
    """Accept a backup that Cinder made, as one of the caller's project. Raises InvalidState, OverQuota, NotYet.

    Which of the stores has it, a node finds out.
    """
    where = require_reader(tx)
    first = next(iter(zones))
    at_us = origin.at_us if content.created_at is None else _us(content.created_at)
    told = {
        "id": content.id,
        "volume_id": content.volume_id,
        "snapshot_id": content.snapshot_id,
        "parent_id": content.parent_id,
        "size_gib": content.size,
        "name": content.display_name,
        "description": content.display_description,
        "metadata_json": msgspec.json.encode(content.metadata or {}).decode(),
        "container": content.container,
        "object_count": content.object_count or 0,
        "stored_bytes": 0,
        "store": first,
        "availability_zone": zones[first],
        "created_at_us": at_us,
        "data_timestamp_us": at_us if content.data_timestamp is None else _us(content.data_timestamp),
    }
    row = add_imported(tx, told, origin=origin, host=where, quota_defaults=quota_defaults)
    payload = ImportCinderBackup(
        backup_id=content.id,
        container=content.container,
        prefix=content.service_metadata,
        parent_id=content.parent_id,
        zones=dict(zones),
    )
    job = kinds.job("import_cinder_backup", where, "backup", content.id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(Lock(content.id, 1, exclusive=True),))
    return Accepted(job.queue, row)


def adopt(tx: Connection, *, payload: ImportCinderBackup, store: str, stored_bytes: int) -> None:
    """Let the backup exist: its files are in this store. Runs inside a step; a repeat changes nothing."""
    lock_row(tx, backups, payload.backup_id)
    change_row(
        tx,
        backups,
        payload.backup_id,
        manifest=_manifest(payload.prefix),
        store=store,
        availability_zone=payload.zones[store],
        stored_bytes=stored_bytes,
    )


# --- what the row of an imported one says ---------------------------------------------------------------------------


def place_of(row: Mapping[str, Any]) -> Place | None:
    """Where Cinder has put a backup; None for one that was made here."""
    backup_id, mark, time = (row["manifest"] or "").partition(_MARK)
    if not mark:
        return None
    return Place(str(row["container"]), f"volume_{row['volume_id']}_{time}_backup_{backup_id}")


def exported(row: Mapping[str, Any], place: Place) -> tuple[str, str]:
    """The record of an imported backup, which Cinder can import as well: service and url."""
    content = Content(
        id=row["id"],
        volume_id=row["volume_id"],
        size=row["size_gib"],
        container=place.container,
        service_metadata=place.prefix,
        display_name=row["name"],
        display_description=row["description"],
        parent_id=row["parent_id"],
        snapshot_id=row["snapshot_id"],
        object_count=row["object_count"],
        created_at=_moment(row["created_at_us"]),
        data_timestamp=_moment(row["data_timestamp_us"]),
        metadata=msgspec.json.decode(row["metadata_json"]),
    )
    return SERVICE, base64.b64encode(msgspec.json.encode(content)).decode()


def _manifest(prefix: str) -> str:
    found = _PREFIX.fullmatch(prefix)
    assert found is not None, "the request was refused otherwise"
    return f"{found['backup']}{_MARK}{found['time']}"


def _us(moment: datetime) -> int:
    """A moment without a zone is in UTC, as all of Cinder's are. Raises BadRequest."""
    us = ((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
    if not 0 <= us <= LATEST_US:
        raise BadRequest(f"Invalid backup_url: {moment.isoformat()} is not between 1970 and 9999.")
    return us


def _moment(us: int | None) -> datetime | None:
    return None if us is None else _EPOCH + timedelta(seconds=us // 1_000_000)  # Cinder has whole seconds
