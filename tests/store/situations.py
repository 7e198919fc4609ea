"""Situations, and what may be asked in each at the same instant: attachments, groups, migrations, transfers."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import msgspec
from sqlalchemy import Connection
from tests.store.beside import Body
from tests.store.given import KINDS, ME, NOW_US, QUEUE, UNLIMITED, Base, create_snapshot, create_volume

from breezeblock.model.ids import (
    AttachmentId,
    BackupId,
    MessageId,
    OperationId,
    ProjectId,
    SnapshotId,
    TransferId,
    UserId,
    VolumeId,
)
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewBackup, NewSnapshot, NewVolume
from breezeblock.protocol.queue import Claim
from breezeblock.resources import (
    accounts,
    attachments,
    backups,
    group_snapshots,
    group_types,
    groups,
    migrations,
    old_attachments,
    snapshots,
    transfers,
    volume_changes,
    volumes,
)
from breezeblock.resources.transfers import NewTransfer, key_hash
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables
from breezeblock.work.catalogue import CATALOGUE

__all__ = ["SITUATIONS", "Situation"]

V, W = VolumeId("v1"), VolumeId("v2")
S, A, G, T = SnapshotId("s1"), AttachmentId("a1"), "g1", TransferId("t1")
TYPE: Final = "gt1"
NEW: Final = "c@new"
NO_DEFAULTS: Final[Mapping[str, int]] = UNLIMITED
Request = Callable[[str], Body]


class Situation(NamedTuple):
    """How it comes about, and what may be asked then."""

    given: Callable[[Base], None]
    requests: Mapping[str, Request]


def asked(letter: str, *, project_id: str = "p1", is_admin: bool = False) -> Origin:
    return Origin(
        project_id=ProjectId(project_id),
        user_id=UserId("u"),
        is_admin=is_admin,
        request_id=f"req-{letter}",
        at_us=NOW_US,
        operation_id=OperationId(f"o-{letter}"),
        message_id=MessageId(f"m-{letter}"),
    )


def by(f: Callable[..., Any], *, admin: bool = False, project_id: str = "p1", **values: Any) -> Request:
    """A request whose arguments do not depend on who asks."""
    return lambda letter: partial(_call, f, origin=asked(letter, is_admin=admin, project_id=project_id), **values)


def _call(f: Callable[..., Any], tx: Connection, **values: Any) -> Any:
    return f(tx, **values)


# --- what may be asked ------------------------------------------------------------------------------------------------


def reserve(letter: str) -> Body:
    wanted = attachments.NewAttachment(id=AttachmentId(f"a-{letter}"), volume_id=V, instance_uuid=f"i-{letter}")
    return partial(_call, attachments.begin_create, origin=asked(letter), wanted=wanted)


def connect(letter: str) -> Body:
    wanted = attachments.NewAttachment(
        id=AttachmentId(f"a-{letter}"), volume_id=V, instance_uuid=f"i-{letter}", connector={"host": f"h-{letter}"}
    )
    return partial(_call, attachments.begin_create, origin=asked(letter), wanted=wanted)


def update(letter: str) -> Body:
    return partial(
        _call, attachments.begin_update, origin=asked(letter), attachment_id=A, connector={"host": f"h-{letter}"}
    )


def os_attach(letter: str) -> Body:
    return partial(
        _call,
        old_attachments.attach,
        origin=asked(letter),
        volume_id=V,
        attachment_id=AttachmentId(f"a-{letter}"),
        instance_uuid=f"i-{letter}",
        host_name=None,
        mountpoint="/dev/vdb",
        mode="rw",
    )


def initialize(letter: str) -> Body:
    return partial(
        _call,
        old_attachments.begin_connection,
        origin=asked(letter),
        volume_id=V,
        attachment_id=AttachmentId(f"a-{letter}"),
        connector={"host": f"h-{letter}"},
    )


def snapshot(letter: str) -> Body:
    wanted = NewSnapshot(id=SnapshotId(f"s-{letter}"), volume_id=V)
    return partial(_call, snapshots.begin_create, origin=asked(letter), wanted=wanted, quota_defaults=NO_DEFAULTS)


def clone(letter: str) -> Body:
    wanted = NewVolume(id=VolumeId(f"v-{letter}"), size_gib=1, source_volid=V)
    return partial(_call, volumes.begin_create, origin=asked(letter), wanted=wanted, quota_defaults=NO_DEFAULTS)


def member(letter: str) -> Body:
    wanted = NewVolume(id=VolumeId(f"v-{letter}"), size_gib=1, group_id=G, volume_type=DEFAULT_TYPE_ID)
    return partial(_call, volumes.begin_create, origin=asked(letter), wanted=wanted, quota_defaults=NO_DEFAULTS)


def backup(letter: str) -> Body:
    wanted = NewBackup(
        id=BackupId(f"b-{letter}"), volume_id=V, store="default", container="c", archive_id=f"ar-{letter}", force=True
    )
    return partial(_call, backups.begin_create, origin=asked(letter), wanted=wanted, quota_defaults=NO_DEFAULTS)


def offer(letter: str) -> Body:
    return partial(_call, transfers.offer, origin=asked(letter), wanted=_offer(f"t-{letter}"))


def _offer(id_: str) -> NewTransfer:
    return NewTransfer(
        id=TransferId(id_), volume_id=V, name="gift", no_snapshots=False, encrypted_too=True, salt="s",
        key_hash=key_hash("s", "key"),
    )  # fmt: skip


def group_snapshot(letter: str) -> Body:
    wanted = group_snapshots.NewGroupSnapshot(id=str(uuid5(NAMESPACE_URL, letter)), group_id=G)
    return partial(_call, group_snapshots.begin_create, origin=asked(letter), wanted=wanted, quota_defaults=NO_DEFAULTS)


def accept(project_id: str) -> Request:
    return by(transfers.accept, project_id=project_id, transfer_id=T, auth_key="key", quota_defaults=NO_DEFAULTS)


def change_group(*, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> Request:
    return by(groups.update, group_id=G, name=None, description=None, add=add, remove=remove)


def ends(kind: str, **state: Any) -> Request:
    """The node that has claimed the operation of this kind ends it."""

    def request(letter: str) -> Body:
        def body(tx: Connection) -> None:
            row = tx.execute(tables.operations.select().where(tables.operations.c.kind == kind)).mappings().one()
            claim = _claims[kind]
            operation = CATALOGUE[kind]
            payload = msgspec.json.decode(row["payload_json"], type=operation.payload)
            operation.finish(tx, claim, payload, dict(state), now_us=NOW_US)

        return body

    return request


# As the situation has left them.
_claims: dict[str, Claim] = {}

DELETE: Final = by(volumes.begin_delete, volume_id=V, cascade=False)
CASCADE: Final = by(volumes.begin_delete, volume_id=V, cascade=True)
FORCE_DELETE: Final = by(volumes.begin_force_delete, admin=True, volume_id=V, cascade=False)
EXTEND: Final = by(volume_changes.begin_extend, volume_id=V, size_gib_new=2, quota_defaults=NO_DEFAULTS)
RETYPE: Final = by(
    volume_changes.begin_retype, volume_id=V, new_type="gold", migration_policy="never", quota_defaults=NO_DEFAULTS
)
RETYPE_AWAY: Final = by(
    volume_changes.begin_retype, volume_id=V, new_type="away", migration_policy="on-demand", quota_defaults=NO_DEFAULTS
)
RESET: Final = by(
    volume_changes.reset_status,
    admin=True,
    volume_id=V,
    status="available",
    attach_status="detached",
    migration_status="none",
)
MIGRATE: Final = by(migrations.begin_migrate, admin=True, volume_id=V, destination=NEW, lock_volume=True)
MIGRATE_OPEN: Final = by(migrations.begin_migrate, admin=True, volume_id=V, destination=NEW, lock_volume=False)
DELETE_ATTACHMENT: Final = by(attachments.begin_delete, attachment_id=A)
COMPLETE: Final = by(attachments.complete, attachment_id=A)
OS_RESERVE: Final = by(old_attachments.reserve, volume_id=V)
OS_UNRESERVE: Final = by(old_attachments.unreserve, volume_id=V)
OS_BEGIN_DETACHING: Final = by(old_attachments.begin_detaching, volume_id=V)
OS_ROLL_DETACHING: Final = by(old_attachments.roll_detaching, volume_id=V)
OS_DETACH: Final = by(old_attachments.begin_detach, volume_id=V, attachment_id=None)
OS_TERMINATE: Final = by(old_attachments.begin_disconnection, volume_id=V, connector=None)
OS_FORCE_DETACH: Final = by(
    old_attachments.begin_force_detach, admin=True, volume_id=V, attachment_id=A, connector=None
)

_ON_A_VOLUME: Final[Mapping[str, Request]] = {
    "delete": DELETE,
    "force_delete": FORCE_DELETE,
    "extend": EXTEND,
    "retype": RETYPE,
    "retype_away": RETYPE_AWAY,
    "reset": RESET,
    "migrate": MIGRATE,
    "migrate_open": MIGRATE_OPEN,
    "snapshot": snapshot,
    "clone": clone,
    "backup": backup,
    "offer": offer,
    "recount": lambda letter: partial(accounts.recount, project_id="p1"),
}
_ATTACHING: Final[Mapping[str, Request]] = {
    "reserve": reserve,
    "connect": connect,
    "os_reserve": OS_RESERVE,
    "os_attach": os_attach,
    "initialize": initialize,
}
_ON_AN_ATTACHMENT: Final[Mapping[str, Request]] = {
    "update": update,
    "complete": COMPLETE,
    "delete_attachment": DELETE_ATTACHMENT,
    "os_begin_detaching": OS_BEGIN_DETACHING,
    "os_detach": OS_DETACH,
    "os_terminate": OS_TERMINATE,
    "os_force_detach": OS_FORCE_DETACH,
}

# --- how they come about ------------------------------------------------------------------------------------------------


def free(base: Base) -> None:
    """A volume at rest, on one of two backends."""
    base.node(ME, queues_json=json.dumps([QUEUE, NEW]), kinds_json=json.dumps(KINDS))
    base.pool()
    base.pool(f"{NEW}#p", capabilities_json='{"away": "true"}')
    base.volume_type("gold")
    base.volume_type("away", extra_specs_json='{"away": "true"}')
    create_volume(base, V)
    run_next(base)


def multiattach(base: Base) -> None:
    """That many may have at once, and one has."""
    free(base)
    base.change(tables.volumes, V, multiattach=True)
    base.run(connect_as_a1)
    run_next(base)
    base.run(COMPLETE("g"))


def reserved(base: Base) -> None:
    free(base)
    wanted = attachments.NewAttachment(id=A, volume_id=V, instance_uuid="i1")
    base.run(attachments.begin_create, origin=asked("g"), wanted=wanted)


def attached(base: Base) -> None:
    free(base)
    base.run(connect_as_a1)
    run_next(base)
    base.run(COMPLETE("g"))


def connecting(base: Base) -> None:
    """A node is just connecting it."""
    free(base)
    base.run(connect_as_a1)
    claim_next(base)


def disconnecting(base: Base) -> None:
    attached(base)
    base.run(DELETE_ATTACHMENT("h"))
    claim_next(base)


def migrating(base: Base) -> None:
    """A node has begun to move it, while it can be used."""
    free(base)
    base.run(MIGRATE_OPEN("g"))
    claim_next(base)


def grouped(base: Base) -> None:
    """A volume beside a group with another one in it."""
    free(base)
    specs: dict[str, Any] = {"name": "plain", "description": None, "is_public": True, "specs": {}}
    base.run(group_types.create_type, type_id=TYPE, origin=asked("g", is_admin=True), **specs)
    wanted = groups.NewGroup(id=G, group_type="plain", volume_types=(DEFAULT_TYPE_ID,), name="pair")
    base.run(groups.create, origin=asked("h"), wanted=wanted, quota_defaults=NO_DEFAULTS)
    create_volume(base, W, group_id=G, volume_type=DEFAULT_TYPE_ID)
    run_next(base)


def offered(base: Base) -> None:
    """With a snapshot that goes along."""
    free(base)
    create_snapshot(base, S, V)
    run_next(base)
    base.run(transfers.offer, origin=asked("g"), wanted=_offer(T))


def connect_as_a1(tx: Connection) -> Any:
    wanted = attachments.NewAttachment(id=A, volume_id=V, instance_uuid="i1", connector={"host": "h1"})
    return attachments.begin_create(tx, origin=asked("f"), wanted=wanted)


def claim_next(base: Base) -> Claim:
    """What waits, whichever backend for."""
    (waiting,) = [row["id"] for row in base.rows(tables.operations) if row["owner"] is None]
    claim = base.claim(waiting)
    _claims[claim.kind] = claim
    return claim


def run_next(base: Base) -> None:
    """What waits, by a node, to its end."""
    claim = claim_next(base)
    operation = CATALOGUE[claim.kind]
    payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
    state = {"object": f"{claim.resource_id}.1.1", "connection": {"driver_volume_type": "local"}}
    base.run(operation.finish, claim, payload, state, now_us=base.now_us)


SITUATIONS: Final[Mapping[str, Situation]] = {
    "free": Situation(free, {**_ON_A_VOLUME, **_ATTACHING}),
    "reserved": Situation(reserved, {**_ON_A_VOLUME, **_ATTACHING, **_ON_AN_ATTACHMENT, "os_unreserve": OS_UNRESERVE}),
    "attached": Situation(attached, {**_ON_A_VOLUME, **_ATTACHING, **_ON_AN_ATTACHMENT, "roll": OS_ROLL_DETACHING}),
    "multiattach": Situation(multiattach, {**_ON_A_VOLUME, **_ATTACHING, **_ON_AN_ATTACHMENT}),
    "connecting": Situation(
        connecting,
        {
            **_ON_A_VOLUME,
            **_ATTACHING,
            **_ON_AN_ATTACHMENT,
            "ends": ends("connect_attachment", connection={"driver_volume_type": "local"}),
        },
    ),
    "disconnecting": Situation(
        disconnecting, {**_ON_A_VOLUME, **_ATTACHING, **_ON_AN_ATTACHMENT, "ends": ends("disconnect_attachments")}
    ),
    "migrating": Situation(migrating, {**_ON_A_VOLUME, **_ATTACHING}),
    "grouped": Situation(
        grouped,
        {
            **_ON_A_VOLUME,
            "reserve": reserve,
            "add": change_group(add=(V,)),
            "remove": change_group(remove=(W,)),
            "swap": change_group(add=(V,), remove=(W,)),
            "delete_group": by(groups.begin_delete, group_id=G, with_volumes=False),
            "delete_group_whole": by(groups.begin_delete, group_id=G, with_volumes=True),
            "group_snapshot": group_snapshot,
            "member": member,
            "delete_member": by(volumes.begin_delete, volume_id=W, cascade=False),
            "extend_member": by(volume_changes.begin_extend, volume_id=W, size_gib_new=2, quota_defaults=NO_DEFAULTS),
        },
    ),
    "offered": Situation(
        offered,
        {
            **_ON_A_VOLUME,
            "accept": accept("p2"),
            "accept_too": accept("p3"),
            "withdraw": by(transfers.withdraw, transfer_id=T),
            "cascade": CASCADE,
            "delete_snapshot": by(snapshots.begin_delete, snapshot_id=S),
            "reset_snapshot": by(snapshots.reset_status, admin=True, snapshot_id=S, status="error"),
            "reserve": reserve,
        },
    ),
}
