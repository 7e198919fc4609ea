"""Volumes from backups: a new one, or an existing one whose content is replaced."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from breezeblock.backup.lost import Losses, text_of
from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Contended
from breezeblock.model.ids import BackupId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.placement import allocate
from breezeblock.placement.choose import Wish
from breezeblock.placement.hints import read_hints
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import group_members, kinds, quotas
from breezeblock.resources.accepted import (
    Accepted,
    at_rest,
    clear_tombstones,
    message_for_failure,
    queue_of,
    settle,
    tell_the_truth,
)
from breezeblock.resources.attached import UNCONNECTED
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.new_volumes import new_row, placed_nowhere, type_of
from breezeblock.resources.type_encryption import refuse_encrypted
from breezeblock.store.tables import backups, volume_types, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    differs,
    equals,
    insert_row,
    lock_rows,
    new,
    read_row,
)


class RestoreBackup(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `restore_backup` and of `create_from_backup`. `size_gib` is the volume's.

    `restoring`: the backup has the status `restoring` meanwhile, which is then this operation's. `skip_damaged`: what cannot be
    read is left out, and told.
    """

    backup_id: str
    volume_id: str
    size_gib: int
    store: str
    restoring: bool = True
    skip_damaged: bool = False


# The key under which a volume's metadata names the backup that it was restored from.
SOURCE_KEY: Final = "src_backup_id"
# The key of a backup's metadata by which its owner says, with the value `true`, that what is damaged of it is to be left out by
# restores; and that of a volume's, under which it says what has zeros in it for that.
SKIP_KEY: Final = "breezeblock:restore_damaged"
LOST_KEY: Final = "breezeblock:lost"
# Where an operation's state keeps what was left out.
LOST: Final = "lost"
# What a value of metadata takes, and what somebody still reads in a message.
VALUE_MOST: Final = 255
TEXT_MOST: Final = 4_000

_CAN_BE_READ = (
    Must(
        equals(backups.c.status, states.AVAILABLE),
        "Backup {id} has status {status}; it must be available to be restored.",
    ),
    at_rest(backups),
    Must(
        differs(backups.c.manifest, None),
        "Backup {id} has no data: it was never completed, whatever its status was reset to.",
    ),
    Must(
        backups.c.size_gib <= new("size_gib"),
        "Backup {id} is of {size_gib} GiB, which is more than the volume has or would get.",
    ),
)
RESTORE = Transition(
    backups,
    name="backup.restore",
    musts=_CAN_BE_READ,
    sets={
        "status": states.RESTORING,
        "previous_status": backups.c.status,
        "restore_volume_id": new("volume_id"),
        "updated_at_us": new("now_us"),
    },
    moves=((states.AVAILABLE, states.RESTORING),),
)
BE_SOURCE = Transition(backups, name="backup.be_source", musts=_CAN_BE_READ, sets={})
RESTORED = Transition(
    backups,
    name="backup.restored",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.RESTORING, states.AVAILABLE),),
)
BE_REPLACED = Transition(
    volumes,
    name="volume.be_replaced",
    musts=(
        Must(
            equals(volumes.c.status, states.AVAILABLE),
            "Volume {id} has status {status}; it must be available for a backup to be restored to it.",
        ),
        UNCONNECTED,
        at_rest(volumes),
        Must(differs(volumes.c.object_name, None), "Volume {id} has no storage: its creation has failed."),
    ),
    sets={
        "status": states.RESTORING_BACKUP,
        "previous_status": volumes.c.status,
        "updated_at_us": new("now_us"),
    },
    moves=((states.AVAILABLE, states.RESTORING_BACKUP),),
)
FILLED = Transition(
    volumes,
    name="volume.filled",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.RESTORING_BACKUP, states.AVAILABLE), (states.CREATING, states.AVAILABLE)),
)
# The volume is what it was, or what the backup is, never a mixture.
REPLACE_FAILED = Transition(
    volumes,
    name="volume.replace_failed",
    musts=(),
    sets={"status": states.ERROR_RESTORING},
    moves=((states.RESTORING_BACKUP, states.ERROR_RESTORING),),
)
FILL_FAILED = Transition(
    volumes,
    name="volume.fill_failed",
    musts=(),
    sets={"status": states.ERROR},
    moves=tuple((status, states.ERROR) for status in (states.RESTORING_BACKUP, states.CREATING, states.AVAILABLE)),
)


# --- into a volume that is there ------------------------------------------------------------------------------------


def begin_restore(
    tx: Connection, *, origin: Origin, backup_id: BackupId, volume_id: VolumeId, skip_damaged: bool = False
) -> Accepted:
    """Accept a restore into an existing volume. Raises NotFound, InvalidState (statuses; too small)."""
    lock_rows(tx, [(backups, backup_id), (volumes, volume_id)], origin=origin)
    refuse_frozen(tx, read_row(tx, volumes, volume_id))
    volume = BE_REPLACED.apply_locked(tx, volume_id, now_us=origin.at_us)
    backup = RESTORE.apply_locked(tx, backup_id, size_gib=volume["size_gib"], volume_id=volume_id, now_us=origin.at_us)
    payload = RestoreBackup(
        backup_id=backup_id,
        volume_id=volume_id,
        size_gib=volume["size_gib"],
        store=backup["store"],
        skip_damaged=skip_damaged or _skips(backup),
    )
    job = kinds.job("restore_backup", queue_of(volume["pool_name"]), "volume", volume_id, payload)
    # Exclusive on the backup, too: its status is ours until the end.
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(volume), queue.exclusive(backup)))
    return Accepted(job.queue, volume)


def finish_restore(tx: Connection, claim: Claim, payload: RestoreBackup, state: dict[str, Any], *, now_us: int) -> None:
    """The new object is published and the old one is gone."""
    lock_rows(tx, _held(payload))
    facts = _close(tx, claim, payload, state, now_us) | {"updated_at_us": now_us}
    settle(tx, FILLED, payload.volume_id, also=facts)
    settle(tx, RESTORED, payload.backup_id)
    clear_tombstones(tx, claim)


def fail_restore(
    tx: Connection, claim: Claim, payload: RestoreBackup, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The backup is as good as before; the volume ends in an error state for somebody to look at."""
    _fail(tx, REPLACE_FAILED, claim, payload, failure, now_us)


def publish_filled(tx: Connection, *, volume_id: str, object_name: str, now_us: int) -> None:
    """From here on the volume is what the backup is; the old object may go. Runs inside a step, as that of a revert."""
    lock_rows(tx, [(volumes, volume_id)])
    change_row(tx, volumes, volume_id, object_name=object_name, replication_status=None, updated_at_us=now_us)


# --- into a new volume ----------------------------------------------------------------------------------------------


def begin_create(
    tx: Connection,
    *,
    origin: Origin,
    wanted: NewVolume,
    quota_defaults: Mapping[str, int],
    restoring: bool,
    skip_damaged: bool = False,
) -> Accepted:
    """Accept a volume with the content of a backup: placed, charged and enqueued by this request.

    `restoring` is a restore as such: the backup shows it, and where no pool can take the volume, nothing is accepted.
    Otherwise the volume then appears in `error`, as any new one. Raises NotFound, BadRequest, InvalidState, OverQuota.
    """
    assert wanted.backup_id is not None
    type_id = type_of(tx, wanted, None, origin)["id"]
    # Before the rows are ours, for which others wait: as for any new volume.
    pools = allocate.read_pools(tx)
    largest_gib = quotas.largest_volume(tx, origin.project_id, defaults=quota_defaults)
    decided_on = [(volume_types, type_id), (backups, wanted.backup_id)]
    group_members.lock_for_creation(tx, wanted, decided_on, of=wanted.backup_id, origin=origin)
    volume_type = type_of(tx, wanted, None, origin)
    if volume_type["id"] != type_id:
        raise Contended("the type was renamed before the rows were ours")
    refuse_encrypted(volume_type)
    backup = read_row(tx, backups, wanted.backup_id)
    assert backup is not None, "a locked row is there"
    size_gib = int(backup["size_gib"]) if wanted.size_gib is None else wanted.size_gib
    BE_SOURCE.check_locked(tx, wanted.backup_id, size_gib=size_gib)
    zone, among = group_members.check_join(tx, wanted, type_id=type_id, pools=pools, source=None)
    specs = msgspec.json.decode(volume_type["extra_specs_json"])
    hints = read_hints(tx, wanted.scheduler_hints, origin=origin)
    wish = Wish(size_gib=size_gib, availability_zone=zone, extra_specs=specs, hints=hints)
    pool, why_not = allocate.place(tx, wish, among=among)
    if pool is None and restoring:
        raise BadRequest(f"Backup {wanted.backup_id} cannot be restored to a new volume. {why_not}")
    quotas.refuse_larger(size_gib, largest_gib)
    deltas = quotas.volume_deltas(volumes=1, gib=size_gib, type_id=type_id)
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults)
    row = new_row(wanted, origin, size_gib=size_gib, volume_type=volume_type, source=None, pool=pool)
    if restoring:
        row["status"] = states.RESTORING_BACKUP
    insert_row(tx, volumes, row)
    row["volume_type_name"] = volume_type["name"]
    if pool is None:
        return placed_nowhere(tx, row, why_not, origin=origin)
    skips = skip_damaged or _skips(backup)
    _enqueue_create(tx, origin, row, backup, pool.queue, restoring=restoring, skip_damaged=skips)
    return Accepted(pool.queue, row)


def _enqueue_create(
    tx: Connection,
    origin: Origin,
    row: Mapping[str, Any],
    backup: Mapping[str, Any],
    where: str,
    *,
    restoring: bool,
    skip_damaged: bool,
) -> None:
    lock = queue.shared(backup)  # any number of volumes may be made of one backup at a time
    if restoring:
        size_gib = row["size_gib"]
        lock = queue.exclusive(
            RESTORE.apply_locked(tx, backup["id"], size_gib=size_gib, volume_id=row["id"], now_us=origin.at_us)
        )
    payload = RestoreBackup(
        backup_id=backup["id"],
        volume_id=row["id"],
        size_gib=row["size_gib"],
        store=backup["store"],
        restoring=restoring,
        skip_damaged=skip_damaged,
    )
    job = kinds.job("create_from_backup", where, "volume", row["id"], payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row), lock))


def finish_create(tx: Connection, claim: Claim, payload: RestoreBackup, state: dict[str, Any], *, now_us: int) -> None:
    """The volume's object is whole: publish it."""
    lock_rows(tx, _held(payload))
    facts = _close(tx, claim, payload, state, now_us) | {"object_name": state["object"], "updated_at_us": now_us}
    settle(tx, FILLED, payload.volume_id, also=facts)
    if payload.restoring:
        settle(tx, RESTORED, payload.backup_id)
    clear_tombstones(tx, claim)


def fail_create(
    tx: Connection, claim: Claim, payload: RestoreBackup, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The volume stays, in `error`, charged as any other, until its owner deletes it."""
    _fail(tx, FILL_FAILED, claim, payload, failure, now_us)


# --- both -----------------------------------------------------------------------------------------------------------


def _fail(
    tx: Connection, transition: Transition, claim: Claim, payload: RestoreBackup, failure: Failure, now_us: int
) -> None:
    lock_rows(tx, _held(payload))
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    if payload.restoring:
        settle(tx, RESTORED, payload.backup_id)
    if settle(tx, transition, payload.volume_id):
        message_for_failure(tx, claim, event="restore_backup", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def _held(payload: RestoreBackup) -> list[tuple[Any, str]]:
    """The rows whose status is the operation's."""
    rows: list[tuple[Any, str]] = [(volumes, payload.volume_id)]
    return [*rows, (backups, payload.backup_id)] if payload.restoring else rows


def _close(tx: Connection, claim: Claim, payload: RestoreBackup, state: dict[str, Any], now_us: int) -> dict[str, Any]:
    """End the operation well, and tell what was left out, if anything was. Returns what is to change in the volume's row."""
    losses = msgspec.convert(state.get(LOST, {}), Losses)
    detail = msgspec.json.encode(losses).decode() if losses else None
    queue.close(tx, claim, outcome="done", detail=detail, now_us=now_us)
    if losses:
        text = (
            f"Volume {payload.volume_id} was restored from backup {payload.backup_id}, which is damaged: where the backup "
            f"could not be read the volume has zeros, in {text_of(losses, most=TEXT_MOST)}."
        )
        message_for_failure(tx, claim, event="restore_backup", text=text, now_us=now_us)
    return _origin_told(tx, payload, losses)


def _origin_told(tx: Connection, payload: RestoreBackup, losses: Losses) -> dict[str, Any]:
    """The volume's metadata: with the backup that its content is from, unless that is one of the volume itself; and with what
    is lost of it now, whatever was before. And what its image was, where the backup is of one.
    """
    volume, backup = read_row(tx, volumes, payload.volume_id), read_row(tx, backups, payload.backup_id)
    assert volume is not None and backup is not None, "locks name the rows"
    before = msgspec.json.decode(volume["metadata_json"])
    metadata = {key: value for key, value in before.items() if key != LOST_KEY}
    if backup["volume_id"] != payload.volume_id or SOURCE_KEY in metadata:
        metadata[SOURCE_KEY] = payload.backup_id
    if losses:
        metadata[LOST_KEY] = text_of(losses, most=VALUE_MOST)
    told = {} if metadata == before else {"metadata_json": msgspec.json.encode(metadata).decode()}
    return told | _image_of(backup)


def _image_of(backup: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a volume's image, where there was one on what was backed up: then one can boot from it."""
    said = backup["image_metadata_json"]
    return {} if said is None else {"image_metadata_json": said, "bootable": True}


def _skips(backup: Mapping[str, Any]) -> bool:
    """Whether its owner wants what is damaged of it to be left out."""
    value = msgspec.json.decode(backup["metadata_json"]).get(SKIP_KEY)
    return isinstance(value, str) and value.strip().lower() == "true"


def how_to_skip(backup_id: str) -> str:
    """What whoever is told of damage can do."""
    return (
        f"All the rest can be restored: set {SKIP_KEY}=true in the backup's metadata and restore it again, or let an "
        f"operator run `breezeblock backup restore {backup_id} --skip-damaged`."
    )
