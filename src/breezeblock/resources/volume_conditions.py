"""What several requests about volumes ask of one, each with its sentence."""

from typing import Final

from sqlalchemy import select

from breezeblock.model import states
from breezeblock.store.tables import snapshots, volumes
from breezeblock.store.transitions import Must, differs, equals, has_no, is_in

# Statuses from which a volume may be deleted without force.
DELETABLE: Final = (
    *("available", "error", "error_restoring", "error_extending"),
    *("error_managing", "error_deleting", "error_unmanaging"),
)

SNAPSHOTS_OF: Final = select(snapshots.c.id).where(
    snapshots.c.volume_id == volumes.c.id, snapshots.c.tombstone.is_(False)
)

UNATTACHED: Final = Must(
    differs(volumes.c.attach_status, "attached"),
    "Volume {id} is attached; detach it first.",
)
NOT_MIGRATING: Final = Must(
    is_in(volumes.c.migration_status, (None, "deleting", "error", "success")),
    "Volume {id} is being migrated (migration status {migration_status}).",
)
NO_SNAPSHOTS: Final = Must(
    has_no(SNAPSHOTS_OF, of=volumes),
    "Volume {id} still has snapshots; delete them first, or delete the volume with cascade.",
)
PLACED: Final = Must(
    differs(volumes.c.object_name, None), "Volume {id} has no storage: its creation has not finished or has failed."
)
# Its object would stay on the storage that it is on, with no row to tell of it. Force deletes such a volume all the same.
NOT_LEFT_BEHIND: Final = Must(
    differs(volumes.c.replication_status, states.NOT_CAPABLE),
    "Volume {id} is not on the storage that its backend has failed over to; it can be deleted when that is back.",
)
IN_NO_GROUP: Final = Must(
    equals(volumes.c.group_id, None),
    "Volume {id} belongs to group {group_id}; remove it from that first, or delete the group with its volumes.",
)
OF_NO_GROUP_SNAPSHOT: Final = Must(
    has_no(SNAPSHOTS_OF.where(snapshots.c.group_snapshot_id.is_not(None)), of=volumes),
    "Volume {id} has snapshots that are parts of group snapshots; delete those first.",
)
# Deleted by itself it is given back.
NONE_HALF_MANAGED: Final = Must(
    has_no(SNAPSHOTS_OF.where(differs(snapshots.c.managed_from, None)), of=volumes),
    "Volume {id} has a snapshot whose managing has not ended well; delete that one by itself first.",
)
MAY_BE_DELETED: Final = Must(
    is_in(volumes.c.status, DELETABLE),
    "Volume {id} has status {status}; to be deleted it must have one of: " + ", ".join(DELETABLE) + ".",
)
WHOLLY_MANAGED: Final = Must(
    equals(volumes.c.managed_from, None),
    "Volume {id} was not managed to its end; remove it from the group and delete it by itself first.",
)
