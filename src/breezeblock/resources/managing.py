"""Volumes that become ours without a copy, and volumes that are let go with their data. Snapshots: `managing_snapshots.py`.

The object changes hands by one rename on storage (`Driver.adopt`, `Driver.release`). What is under the volume's id before the
adoption is published may be somebody's only copy: until then the row has `managed_from`, and whoever deletes such a volume
gives its object back instead of removing it.

A volume that is being managed counts as one volume with 0 GiB; its size is charged as soon as the storage has told it.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, case

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Contended, NotFound
from breezeblock.model.ids import VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.placement import allocate
from breezeblock.placement.choose import Pool, Wish
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds, quotas
from breezeblock.resources.accepted import (
    Accepted,
    clear_tombstones,
    message_for_failure,
    message_for_request,
    queue_of,
    settle,
    tell_the_truth,
)
from breezeblock.resources.attached import UNCONNECTED
from breezeblock.resources.backends import refuse_frozen
from breezeblock.resources.charges import restore_charge
from breezeblock.resources.manageable import Place, pool_at, refuse_managed
from breezeblock.resources.new_volumes import new_row, type_of
from breezeblock.resources.type_encryption import refuse_encrypted
from breezeblock.resources.volume_conditions import DELETABLE, NOT_MIGRATING, SNAPSHOTS_OF, UNATTACHED
from breezeblock.resources.volumes import DeleteVolume
from breezeblock.store.tables import volume_types, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    change_row,
    differs,
    equals,
    has_no,
    insert_row,
    is_in,
    lock_row,
    lock_rows,
    new,
    read_row,
)

# A volume that is let go, as Cinder names it on storage: its clients ask for it by that name.
RELEASED_AS: Final = "volume-{}"


class ToManage(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be managed, before any row was read. `volume.size_gib` is not known."""

    volume: NewVolume
    place: Place
    reference: str
    bootable: bool = False


class ManageVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `manage_volume`. The limits of projects for which nothing was set come along: nodes have no others."""

    volume_id: str
    reference: str
    quota_defaults: dict[str, int]


MANAGED = Transition(
    volumes,
    name="volume.managed",
    musts=(),
    sets={"status": states.AVAILABLE},
    moves=((states.MANAGING, states.AVAILABLE),),
)
MANAGE_FAILED = Transition(
    volumes,
    name="volume.manage_failed",
    musts=(),
    sets={"status": states.ERROR_MANAGING},
    # `available` without an object would be two truths, as of a creation that fails.
    moves=((states.MANAGING, states.ERROR_MANAGING), (states.AVAILABLE, states.ERROR_MANAGING)),
)
UNMANAGE = Transition(
    volumes,
    name="volume.unmanage",
    musts=(
        UNATTACHED,
        UNCONNECTED,
        Must(
            equals(volumes.c.group_id, None),
            "Volume {id} belongs to group {group_id}; remove it from that to unmanage it.",
        ),
        NOT_MIGRATING,
        Must(
            is_in(volumes.c.status, DELETABLE),
            "Volume {id} has status {status}; to be unmanaged it must have one of: " + ", ".join(DELETABLE) + ".",
        ),
        Must(equals(volumes.c.encrypted, False), "Volume {id} is encrypted; without its key nobody could use it."),
        Must(
            differs(volumes.c.replication_status, states.NOT_CAPABLE),
            "Volume {id} is not on the storage that its backend has failed over to; unmanage it when that is back.",
        ),
        Must(
            has_no(SNAPSHOTS_OF, of=volumes),
            "Volume {id} still has snapshots; delete or unmanage them first.",
        ),
    ),
    sets={"status": states.UNMANAGING, "previous_status": volumes.c.status, "updated_at_us": new("now_us")},
    moves=tuple((status, states.UNMANAGING) for status in DELETABLE),
)
_LETTING_GO: Final = (states.UNMANAGING, states.DELETING, states.ERROR_MANAGING_DELETING)
UNMANAGE_FAILED = Transition(
    volumes,
    name="volume.unmanage_failed",
    musts=(),
    sets={
        "status": case((volumes.c.status == states.UNMANAGING, states.ERROR_UNMANAGING), else_=states.ERROR_DELETING)
    },
    moves=(
        (states.UNMANAGING, states.ERROR_UNMANAGING),
        (states.DELETING, states.ERROR_DELETING),
        (states.ERROR_MANAGING_DELETING, states.ERROR_DELETING),
    ),
)

# --- manage ---------------------------------------------------------------------------------------------------------


def begin_manage(tx: Connection, *, origin: Origin, wanted: ToManage, quota_defaults: Mapping[str, int]) -> Accepted:
    """Accept a volume that is on storage already. Its size is 0 until the storage has told it.

    Raises BadRequest (type, place), InvalidState (managed already, or frozen), OverQuota. When the pool does not
    suit its type, the request is accepted all the same: the volume appears in `error_managing`, with a message that says why.
    """
    pool = pool_at(tx, wanted.place)
    refuse_managed(tx, wanted.reference)
    type_id = _type(tx, wanted, origin)["id"]
    lock_rows(tx, [(volume_types, type_id)])
    volume_type = _type(tx, wanted, origin)
    if volume_type["id"] != type_id:
        raise Contended("the type was renamed before its row was ours")
    refuse_encrypted(volume_type)
    refuse_frozen(tx, {"pool_name": pool.name})
    specs = msgspec.json.decode(volume_type["extra_specs_json"])
    why_not = allocate.fits(tx, pool.name, Wish(size_gib=0, availability_zone=None, extra_specs=specs))
    if not allocate.hold(tx, pool.name):
        raise Contended("the pool was renamed or removed before its row was ours")
    deltas = quotas.volume_deltas(volumes=1, gib=0, type_id=type_id)
    quotas.charge(tx, origin.project_id, deltas, defaults=quota_defaults)
    row = _row(wanted, origin, volume_type, pool, fits=why_not is None)
    insert_row(tx, volumes, row)
    row["volume_type_name"] = volume_type["name"]
    if why_not is not None:
        text = f"Pool {pool.name} {why_not}."
        message_for_request(
            tx, origin=origin, resource_type="volume", resource_id=row["id"], event="manage_existing", text=text
        )
        return Accepted(None, row)
    payload = ManageVolume(volume_id=row["id"], reference=wanted.reference, quota_defaults=dict(quota_defaults))
    job = kinds.job("manage_volume", pool.queue, "volume", row["id"], payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row),))
    return Accepted(pool.queue, row)


def _type(tx: Connection, wanted: ToManage, origin: Origin) -> Mapping[str, Any] | RowMapping:
    """The type that was asked for, or the default one. Raises BadRequest: here, unlike elsewhere, clients expect that."""
    try:
        return type_of(tx, wanted.volume, None, origin)
    except NotFound as error:
        raise BadRequest(error.message) from error


def _row(
    wanted: ToManage, origin: Origin, volume_type: Mapping[str, Any] | RowMapping, pool: Pool, *, fits: bool
) -> dict[str, Any]:
    row = new_row(wanted.volume, origin, size_gib=0, volume_type=volume_type, source=None, pool=pool)
    return row | {
        "status": states.MANAGING if fits else states.ERROR_MANAGING,
        "bootable": wanted.bootable,
        # As Cinder has it: the zone that was asked for, and only without one that of the storage.
        "availability_zone": wanted.volume.availability_zone or row["availability_zone"],
        "managed_from": wanted.reference if fits else None,
    }


def charge_volume(tx: Connection, *, volume_id: str, size_gib: int, quota_defaults: Mapping[str, int]) -> None:
    """Charge a volume for its size, now that it is known. Runs inside a step. Raises OverQuota."""
    lock_row(tx, volumes, volume_id)
    row = read_row(tx, volumes, volume_id)
    assert row is not None, "a locked row is there"
    quotas.check_volume_size(tx, row["project_id"], size_gib, defaults=quota_defaults)
    # Whatever the pool's limit says: it is there already.
    allocate.record(tx, row["pool_name"], size_gib - row["charged_gib"])
    deltas = quotas.volume_deltas(volumes=0, gib=size_gib - row["charged_gib"], type_id=row["charged_type_id"])
    quotas.charge(tx, row["project_id"], deltas, defaults=quota_defaults)
    change_row(tx, volumes, volume_id, size_gib=size_gib, charged_gib=size_gib)


def finish_manage(tx: Connection, claim: Claim, payload: ManageVolume, state: dict[str, Any], *, now_us: int) -> None:
    """The object is ours: publish it."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome="done", detail=None, now_us=now_us)
    also = {"object_name": state["object"], "managed_from": None, "updated_at_us": now_us}
    settle(tx, MANAGED, payload.volume_id, also=also)
    clear_tombstones(tx, claim)


def fail_manage(
    tx: Connection, claim: Claim, payload: ManageVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The volume stays in `error_managing`, with nothing charged for its size, until it is deleted.

    It keeps the name that it was asked for by, also when the file has that again: a claim that was lost may rename it once
    more, late, and then whoever deletes the volume gives the file back.
    """
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    change_row(tx, volumes, payload.volume_id, size_gib=0)
    restore_charge(tx, payload.volume_id)
    if settle(tx, MANAGE_FAILED, payload.volume_id):
        message_for_failure(tx, claim, event="manage_existing", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


# --- unmanage -------------------------------------------------------------------------------------------------------


def begin_unmanage(tx: Connection, *, origin: Origin, volume_id: VolumeId) -> Accepted:
    """Accept that a volume is let go; its data stays on storage. Raises NotFound, InvalidState, BadRequest (no storage)."""
    lock_row(tx, volumes, volume_id, origin=origin)
    there = read_row(tx, volumes, volume_id)
    assert there is not None, "a locked row is there"
    refuse_frozen(tx, there)
    row = UNMANAGE.apply_locked(tx, volume_id, now_us=origin.at_us)
    if there["pool_name"] is None:
        raise BadRequest(f"Volume {volume_id} was never on any storage; it can only be deleted.")
    payload = DeleteVolume(volume_id=volume_id)
    job = kinds.job("unmanage_volume", queue_of(row["pool_name"]), "volume", volume_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(row),))
    return Accepted(job.queue, row)


def fail_unmanage(
    tx: Connection, claim: Claim, payload: DeleteVolume, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The storage would not let go: the volume stays, in `error_unmanaging`, and can be unmanaged or deleted again."""
    lock_row(tx, volumes, payload.volume_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    if settle(tx, UNMANAGE_FAILED, payload.volume_id):
        message_for_failure(tx, claim, event="unmanage_volume", text=failure.message, now_us=now_us)
    tell_the_truth(tx, claim)
    clear_tombstones(tx, claim)


def require_named(reference: object) -> str:
    """The name in a reference as clients write it: `{"source-name": …}`, or the name alone. Raises BadRequest."""
    name = reference.get("source-name") if isinstance(reference, dict) else reference
    if not isinstance(name, str) or not 0 < len(name) <= 255:
        raise BadRequest(
            f"Invalid ref = {str(reference)[:80]!r}: expected {{'source-name': NAME}}, a name of 1 to 255."
        )
    return name
