"""What a backup is, as a text that somebody can keep elsewhere, and backups made known again by it.

After the loss of a database everything of a backup is still in its store: the record says which archive and which manifest.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, select

from breezeblock.model import states
from breezeblock.model.errors import BackendFailed, BadRequest, InvalidState
from breezeblock.model.ids import BackupId, is_canonical_uuid
from breezeblock.model.origin import Origin
from breezeblock.protocol import archives, queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import cinder_records, kinds
from breezeblock.resources.accepted import Accepted, clear_tombstones, message_for_failure, settle, tell_the_truth
from breezeblock.resources.backups import CREATE_FAILED, CREATED
from breezeblock.resources.listing import BACKUPS, one
from breezeblock.resources.new_backups import LATEST_US, add_imported, require_reader
from breezeblock.store import tables
from breezeblock.store.tables import backups
from breezeblock.store.transitions import change_row, lock_row, read_row

# Who wrote a record. Cinder has the path of a driver here.
SERVICE: Final = "breezeblock.backup"
VERSION: Final = 1

_Text = Annotated[str, Meta(max_length=255)]
_Count = Annotated[int, Meta(ge=0, le=2**62)]
_Moment = Annotated[int, Meta(ge=0, le=LATEST_US)]


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a record says, in the names that others use for it where there are any."""

    record_version: int
    id: str
    volume_id: str
    size: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    store: _Text
    archive_id: str
    manifest: Annotated[str, Meta(max_length=80)]
    created_at_us: _Moment
    display_name: _Text | None = None
    display_description: str | None = None
    snapshot_id: str | None = None
    parent_id: str | None = None
    container: _Text | None = None
    availability_zone: _Text | None = None
    data_timestamp_us: _Moment | None = None
    object_count: _Count = 0
    stored_bytes: _Count = 0
    metadata: dict[_Text, _Text] = {}


class ImportBackup(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `import_backup`."""

    backup_id: str
    store: str
    archive_id: str
    manifest: str


class Record(NamedTuple):
    """`url` is the record itself: base64 of JSON, under the name that this API has for it."""

    service: str
    url: str


# --- export ---------------------------------------------------------------------------------------------------------


def export(tx: Connection, *, backup_id: BackupId, project_id: str | None) -> Record:
    """The record of an available backup. Raises NotFound, InvalidState."""
    one(tx, BACKUPS, id_=backup_id, project_id=project_id)
    row = read_row(tx, backups, backup_id)
    assert row is not None, "it was there in the same snapshot"
    if row["status"] != states.AVAILABLE:
        raise InvalidState(f"Backup {backup_id} has status {row['status']}; it must be available to be exported.")
    if (place := cinder_records.place_of(row)) is not None:
        return Record(*cinder_records.exported(row, place))
    same = {name: row[name] for name in Content.__struct_fields__ if name in row}
    content = Content(
        record_version=VERSION,
        size=row["size_gib"],
        display_name=row["name"],
        display_description=row["description"],
        metadata=msgspec.json.decode(row["metadata_json"]),
        **same,
    )
    return Record(SERVICE, base64.b64encode(msgspec.json.encode(content)).decode())


# --- import ---------------------------------------------------------------------------------------------------------


def read_record(record: Record) -> Content:
    """What a record says. Raises BadRequest for one that is not ours, or was changed."""
    if record.service != SERVICE:
        raise BadRequest(
            f"Invalid backup_service = {record.service!r}: expected {SERVICE}, or the name of a driver of Cinder's, as its "
            "records have it."
        )
    try:
        content = msgspec.json.decode(base64.b64decode(record.url.encode(), validate=True), type=Content)
    except (binascii.Error, UnicodeDecodeError, RecursionError, msgspec.DecodeError) as error:
        raise BadRequest(f"Invalid backup_url: it is no record of a backup: {error}.") from error
    texts = [text for text in msgspec.structs.astuple(content) if isinstance(text, str)]
    if any("\0" in text for text in (*texts, *content.metadata, *content.metadata.values())):
        raise BadRequest("Invalid backup_url: the character U+0000 cannot be part of a text here.")
    if content.record_version != VERSION:
        raise BadRequest(f"Invalid backup_url: it has version {content.record_version}; this release knows {VERSION}.")
    ids = [content.id, content.volume_id, content.archive_id, content.snapshot_id, content.parent_id]
    if bad := [id_ for id_ in ids if id_ is not None and not is_canonical_uuid(id_)]:
        raise BadRequest(f"Invalid backup_url: {bad[0][:80]!r} is no id.")
    if not content.manifest.startswith(f"{content.id}."):
        raise BadRequest("Invalid backup_url: its manifest is not of its backup.")
    return content


def begin_import(tx: Connection, *, origin: Origin, content: Content, quota_defaults: Mapping[str, int]) -> Accepted:
    """Accept a backup that is to be known again, as one of the caller's project. Raises InvalidState, OverQuota, NotYet."""
    where = require_reader(tx)
    told = {name: value for name, value in msgspec.structs.asdict(content).items() if name in backups.c}
    told |= {
        "name": content.display_name,
        "description": content.display_description,
        "size_gib": content.size,
        "metadata_json": msgspec.json.encode(content.metadata).decode(),
    }
    row = add_imported(tx, told, origin=origin, host=where, quota_defaults=quota_defaults)
    payload = ImportBackup(
        backup_id=content.id, store=content.store, archive_id=content.archive_id, manifest=content.manifest
    )
    job = kinds.job("import_backup", where, "backup", content.id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(Lock(content.id, 1, exclusive=True),))
    return Accepted(job.queue, row)


def adopt(
    tx: Connection, *, payload: ImportBackup, project_id: str, named: Collection[str], key_check: str, now_us: int
) -> None:
    """Let the backup exist with all packs that its manifest names. Raises BackendFailed. Runs inside a step.

    One transaction: a pack that an import has noted and not published would be its own, and garbage when that fails.
    """
    lock_row(tx, backups, payload.backup_id)
    ours = archives.enter(
        tx,
        backup_id=payload.backup_id,
        store=payload.store,
        project_id=project_id,
        archive_id=_unless_anothers(tx, payload, project_id),
        key_check=key_check,
        now_us=now_us,
    )
    if ours != payload.archive_id:
        raise BackendFailed(f"The project has another archive in backup store {payload.store}: {ours}.")
    known: set[str] = set()
    for some in (list(named)[at : at + archives.AT_ONCE] for at in range(0, len(named), archives.AT_ONCE)):
        known.update(tx.execute(select(tables.packs.c.id).where(tables.packs.c.id.in_(some))).scalars())
    if new := [pack for pack in named if pack not in known]:
        archives.allot(tx, archive_id=ours, backup_id=payload.backup_id, ids=new, now_us=now_us)
    archives.publish(tx, backup_id=payload.backup_id, manifest=payload.manifest, named=named)


def _unless_anothers(tx: Connection, payload: ImportBackup, project_id: str) -> str:
    """The record's archive. Raises BackendFailed when another project's, or another store's, is called so."""
    there = read_row(tx, tables.archives, payload.archive_id)
    if there is not None and (there["project_id"], there["store"]) != (project_id, payload.store):
        raise BackendFailed(f"Archive {payload.archive_id} is not of this project and backup store.")
    return payload.archive_id


def finish_import(tx: Connection, claim: Claim, payload: ImportBackup, state: dict[str, Any], *, now_us: int) -> None:
    """The backup is published: it exists."""
    lock_row(tx, backups, payload.backup_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    settle(tx, CREATED, payload.backup_id, also={"updated_at_us": now_us})
    clear_tombstones(tx, claim)


def fail_import(
    tx: Connection, claim: Claim, payload: ImportBackup, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The backup stays, in `error`, and deleting it touches nothing in the store: it may be imported again.

    One that was adopted already stays so: what an import was to rescue must not become garbage by its failure.
    """
    lock_row(tx, backups, payload.backup_id)
    archives.leave(tx, backup_id=payload.backup_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    row = read_row(tx, backups, payload.backup_id)
    assert row is not None, "a locked row is there"
    if row["manifest"] is None:
        change_row(tx, backups, payload.backup_id, archive_id=None)
    if settle(tx, CREATE_FAILED, payload.backup_id, also={"fail_reason": failure.message, "updated_at_us": now_us}):
        message_for_failure(tx, claim, event="import_backup", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)
