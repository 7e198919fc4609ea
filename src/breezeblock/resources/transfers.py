"""Volume transfers: a project offers a volume, and whoever has the key makes it theirs.

No storage is touched, so there is no operation: each change is one transaction. An offer is a fact about its volume, so whoever
makes or removes one writes the volume's row first; what was read of it before that is a guess, and is read again.

The key is shown once, to who offers. What is kept tells whether a key is the one, and not what it is.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, Contended, InvalidState
from breezeblock.model.ids import ProjectId, TransferId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.resources import listing, quotas, types
from breezeblock.resources.accepted import at_rest
from breezeblock.resources.listing import Listing, Page
from breezeblock.resources.volume_conditions import NOT_MIGRATING
from breezeblock.store.tables import attachments, snapshots, transfers, volume_types, volumes
from breezeblock.store.transitions import (
    Must,
    Transition,
    differs,
    equals,
    has_no,
    lock_row,
    lock_rows,
    new,
    read_row,
)

TRANSFERS: Final = Listing(
    noun="Transfer",
    table=transfers,
    source=transfers,
    columns=tuple(column for column in transfers.c if column.key not in ("salt", "key_hash")),
    attributes={
        "id": transfers.c.id,
        "name": transfers.c.name,
        "volume_id": transfers.c.volume_id,
        "no_snapshots": transfers.c.no_snapshots,
        "project_id": transfers.c.project_id,
        "created_at": transfers.c.created_at_us,
    },
)


class NewTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """An offer to be made. `encrypted_too`: the caller's version of the API can offer encrypted volumes."""

    id: TransferId
    volume_id: VolumeId
    name: str | None
    no_snapshots: bool
    encrypted_too: bool
    salt: str
    key_hash: str


# A group's volumes are one project's, as are the snapshots of all of them.
_IN_NO_GROUP: Final = Must(
    equals(volumes.c.group_id, None),
    "Volume {id} belongs to group {group_id}; remove it from that to transfer it.",
)
# Not even an attachment that could not be connected: it is its project's, and would come to the volume of another one.
_UNUSED = Must(
    has_no(select(attachments.c.id).where(attachments.c.volume_id == volumes.c.id), of=volumes),
    "Volume {id} has attachments, or hosts are connected to it; delete or disconnect them before it is transferred.",
)
OFFER = Transition(
    volumes,
    name="volume.offer",
    musts=(
        Must(
            equals(volumes.c.status, states.AVAILABLE),
            "Volume {id} has status {status}; it must be available to be transferred.",
        ),
        NOT_MIGRATING,
        _IN_NO_GROUP,
        _UNUSED,
        at_rest(volumes),
    ),
    sets={"status": states.AWAITING_TRANSFER, "updated_at_us": new("now_us")},
    moves=((states.AVAILABLE, states.AWAITING_TRANSFER),),
)
WITHDRAW = Transition(
    volumes,
    name="volume.withdraw",
    musts=(),
    sets={"status": states.AVAILABLE, "updated_at_us": new("now_us")},
    moves=((states.AWAITING_TRANSFER, states.AVAILABLE),),
)
_TAKEN: Final = {"project_id": new("project_id"), "user_id": new("user_id"), "updated_at_us": new("now_us")}
TAKE = Transition(
    volumes,
    name="volume.take",
    musts=(
        Must(
            equals(volumes.c.status, states.AWAITING_TRANSFER),
            "Volume {id} has status {status}; it must be awaiting-transfer to be taken over.",
        ),
        # Again: an operator may have reset it meanwhile, and back.
        _IN_NO_GROUP,
        _UNUSED,
        at_rest(volumes),
    ),
    sets={**_TAKEN, "status": states.AVAILABLE},
    moves=((states.AWAITING_TRANSFER, states.AVAILABLE),),
)
TAKE_SNAPSHOT = Transition(
    snapshots,
    name="snapshot.take",
    musts=(
        Must(
            equals(snapshots.c.status, states.AVAILABLE),
            "Snapshot {id} has status {status}; it must be available to be taken over with its volume.",
        ),
        Must(
            equals(snapshots.c.group_snapshot_id, None),
            "Snapshot {id} is a part of group snapshot {group_snapshot_id}, so it cannot be taken over with its volume.",
        ),
        at_rest(snapshots),
    ),
    sets=_TAKEN,
)

# --- keys -------------------------------------------------------------------------------------------------------------


def key_hash(salt: str, auth_key: str) -> str:
    """What is kept of a key."""
    return hmac.new(salt.encode(), auth_key.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


# --- reading ----------------------------------------------------------------------------------------------------------


def list_transfers(tx: Connection, *, page: Page) -> Sequence[Row[Any]]:
    """One page of what is offered. Raises NotFound for a marker that is not there."""
    return listing.page(tx, TRANSFERS, page).rows


def get_transfer(tx: Connection, *, transfer_id: str, origin: Origin) -> Mapping[str, Any]:
    """One offer, as who made it sees it. Raises NotFound."""
    return _read(tx, transfer_id, seen_by=None if origin.is_admin else origin.project_id)


def _read(tx: Connection, transfer_id: str, *, seen_by: str | None) -> Mapping[str, Any]:
    row = tx.execute(_ONE, {"transfer": transfer_id}).mappings().first()
    if row is None or seen_by not in (None, row["project_id"]):
        raise listing.missing("Transfer", transfer_id)
    return dict(row)


# --- offering and withdrawing -----------------------------------------------------------------------------------------


def offer(tx: Connection, *, origin: Origin, wanted: NewTransfer) -> Mapping[str, Any]:
    """Offer a volume. Returns the row of the offer. Raises NotFound, InvalidState.

    What was offered before, and is no more since an operator has reset the volume's status, is forgotten: else its key would
    open the new offer. Whether the snapshots may come along is asked here so that nobody offers in vain; it is `accept` that
    decides, since they may change meanwhile.
    """
    lock_row(tx, volumes, wanted.volume_id, origin=origin)
    volume = OFFER.apply_locked(tx, wanted.volume_id, now_us=origin.at_us)
    if volume["encrypted"]:
        _refuse_encrypted(wanted)
    if not wanted.no_snapshots:
        bad = tx.execute(_UNREADY, {"volume": wanted.volume_id, "owner": volume["project_id"]}).first()
        if bad is not None and bad.group_snapshot_id is not None:
            raise InvalidState(
                f"Snapshot {bad.id} is a part of group snapshot {bad.group_snapshot_id}. Delete that, or transfer the volume "
                "without its snapshots."
            )
        if bad is not None:
            raise InvalidState(
                f"Snapshot {bad.id} has status {bad.status}; it must be available to be transferred with its volume. "
                "Wait for it, delete it, or transfer the volume without its snapshots."
            )
    tx.execute(_FORGET, {"volume": wanted.volume_id})
    row = {
        "id": wanted.id,
        "volume_id": wanted.volume_id,
        "project_id": volume["project_id"],
        "name": wanted.name,
        "no_snapshots": wanted.no_snapshots,
        "salt": wanted.salt,
        "key_hash": wanted.key_hash,
        "created_at_us": origin.at_us,
    }
    tx.execute(_INSERT, row)
    return row


def _refuse_encrypted(wanted: NewTransfer) -> None:
    if not wanted.encrypted_too:
        raise InvalidState(
            f"Volume {wanted.volume_id} is encrypted; transferring encrypted volumes is not supported before version 3.70."
        )
    if wanted.no_snapshots:
        raise InvalidState(
            f"Volume {wanted.volume_id} is encrypted, as its snapshots are, with one key; it can only be transferred with them."
        )


def withdraw(tx: Connection, *, origin: Origin, transfer_id: str) -> None:
    """Offer it no more. Raises NotFound. A volume that was reset meanwhile keeps its status."""
    volume_id = get_transfer(tx, transfer_id=transfer_id, origin=origin)["volume_id"]
    lock_rows(tx, [(volumes, volume_id)], origin=origin, asked_for=transfer_id)
    get_transfer(tx, transfer_id=transfer_id, origin=origin)  # again: it may have been taken before the volume was ours
    volume = read_row(tx, volumes, volume_id)
    if volume is not None and volume["status"] == states.AWAITING_TRANSFER:
        WITHDRAW.apply_locked(tx, volume_id, now_us=origin.at_us)
    tx.execute(_DELETE, {"transfer": transfer_id})


def forget_offers(tx: Connection, *, volume_id: str) -> None:
    """Remove what offers a volume that goes. The caller holds its row."""
    tx.execute(_FORGET, {"volume": volume_id})


# --- taking -----------------------------------------------------------------------------------------------------------


def accept(
    tx: Connection, *, origin: Origin, transfer_id: str, auth_key: str, quota_defaults: Mapping[str, int]
) -> Mapping[str, Any]:
    """Take a volume over, with all that it is charged for. Returns the row of the offer, which is gone.

    Raises NotFound (no such offer; a type that the new project may not use), BadRequest (wrong key), InvalidState, OverQuota.
    Backups stay where they are: they are no part of the volume, and need nothing of it.
    """
    found = _read(tx, transfer_id, seen_by=None)
    if not hmac.compare_digest(key_hash(found["salt"], auth_key), found["key_hash"]):
        raise BadRequest(f"Invalid auth key: it is not the one that transfer {transfer_id} was created with.")
    volume_id = found["volume_id"]
    guess = read_row(tx, volumes, volume_id)
    coming = [] if found["no_snapshots"] or guess is None else _snapshot_ids(tx, volume_id, guess["project_id"])
    together = [(volumes, volume_id), *((snapshots, snapshot_id) for snapshot_id in coming)]
    type_id = None if guess is None else guess["volume_type_id"]
    if type_id is not None:
        together.append((volume_types, type_id))  # who may use it is decided on its row
    lock_rows(tx, together, asked_for=transfer_id)  # all of them came along with what was read, so none is a 404
    _read(tx, transfer_id, seen_by=None)  # again: others may have the key as well
    volume = read_row(tx, volumes, volume_id)
    if volume is None or volume["volume_type_id"] != type_id:
        raise Contended("the volume was retyped, or has gone, before the rows were ours")
    if not found["no_snapshots"] and coming != _snapshot_ids(tx, volume_id, volume["project_id"]):
        raise Contended("a snapshot came or went before the volume's row was ours")
    _take(tx, origin, volume, coming, quota_defaults=quota_defaults)
    tx.execute(_DELETE, {"transfer": transfer_id})
    return found


def _take(
    tx: Connection,
    origin: Origin,
    volume: Mapping[str, Any],
    snapshot_ids: Sequence[str],
    *,
    quota_defaults: Mapping[str, int],
) -> None:
    theirs: dict[str, Any] = {"project_id": origin.project_id, "user_id": origin.user_id, "now_us": origin.at_us}
    TAKE.check_locked(tx, volume["id"], **theirs)
    if volume["volume_type_id"] is not None:
        types.get_type(tx, type_id=volume["volume_type_id"], origin=origin)
    quotas.check_volume_size(tx, origin.project_id, volume["size_gib"], defaults=quota_defaults)
    TAKE.apply_locked(tx, volume["id"], **theirs)
    moved = quotas.volume_deltas(volumes=1, gib=volume["charged_gib"], type_id=volume["charged_type_id"])
    given: dict[str, Counter[str]] = {volume["project_id"]: Counter(moved)}
    of_snapshots: Counter[str] = Counter()
    for snapshot_id in snapshot_ids:
        snapshot = read_row(tx, snapshots, snapshot_id)
        assert snapshot is not None, "a locked row is there"
        TAKE_SNAPSHOT.apply_locked(tx, snapshot_id, **theirs)
        gib, type_id = snapshot["charged_gib"], snapshot["charged_type_id"]
        # Not always who offers: an administrator may have taken it, or it stayed behind in an earlier transfer.
        giver = given.setdefault(snapshot["project_id"], Counter())
        deltas = quotas.snapshot_deltas(snapshots=1, gib=gib, type_id=type_id)
        giver.update(deltas)
        if snapshot["project_id"] != origin.project_id:
            of_snapshots.update(deltas)
    _move_charges(tx, given, to=origin.project_id, quota_defaults=quota_defaults, of_snapshots=of_snapshots)


def _move_charges(
    tx: Connection,
    given: Mapping[str, Counter[str]],
    *,
    to: ProjectId,
    quota_defaults: Mapping[str, int],
    of_snapshots: Mapping[str, int],
) -> None:
    """Refund who gives and charge who takes, project by project in the order of their names, as two that give each other
    something would otherwise wait for each other. Raises OverQuota. What somebody takes from themselves changes nothing."""
    taken: Counter[str] = Counter()
    for project_id in given.keys() - {to}:
        taken.update(given[project_id])
    for project_id in sorted({*given, to}):
        if project_id == to:
            quotas.charge(tx, to, taken, defaults=quota_defaults, of_snapshots=of_snapshots)
        else:
            quotas.refund(tx, project_id, given[project_id])


def _snapshot_ids(tx: Connection, volume_id: str, owner: str) -> list[str]:
    return sorted(tx.execute(_SNAPSHOTS, {"volume": volume_id, "owner": owner}).scalars())


# Those that the volume's owner has: what somebody else kept when it was given away stays theirs.
_OF_VOLUME: Final = (
    snapshots.c.volume_id == bindparam("volume"),
    snapshots.c.project_id == bindparam("owner"),
    snapshots.c.tombstone.is_(False),
)
_SNAPSHOTS: Final = select(snapshots.c.id).where(*_OF_VOLUME)
_UNREADY: Final = (
    select(snapshots.c.id, snapshots.c.status, snapshots.c.group_snapshot_id)
    .where(
        *_OF_VOLUME,
        or_(differs(snapshots.c.status, states.AVAILABLE), differs(snapshots.c.group_snapshot_id, None)),
    )
    .order_by(snapshots.c.id)
    .limit(1)
)
_ONE: Final = select(transfers).where(transfers.c.id == bindparam("transfer"))
_INSERT: Final = insert(transfers)
_DELETE: Final = delete(transfers).where(transfers.c.id == bindparam("transfer"))
_FORGET: Final = delete(transfers).where(transfers.c.volume_id == bindparam("volume"))
