"""Status words of the API, in one place. Transitions (resources/) are the only code that assigns them."""

from typing import Final

CREATING: Final = "creating"
AVAILABLE: Final = "available"
IN_USE: Final = "in-use"
DELETING: Final = "deleting"
EXTENDING: Final = "extending"
REVERTING: Final = "reverting"
RETYPING: Final = "retyping"
RESTORING: Final = "restoring"
BACKING_UP: Final = "backing-up"
RESTORING_BACKUP: Final = "restoring-backup"
RESERVED: Final = "reserved"
ATTACHING: Final = "attaching"
ATTACHED: Final = "attached"
DETACHING: Final = "detaching"
DETACHED: Final = "detached"
ERROR_ATTACHING: Final = "error_attaching"
ERROR_DETACHING: Final = "error_detaching"
MANAGING: Final = "managing"
UNMANAGING: Final = "unmanaging"
ERROR_MANAGING_DELETING: Final = "error_managing_deleting"
ERROR: Final = "error"
ERROR_DELETING: Final = "error_deleting"
ERROR_EXTENDING: Final = "error_extending"
ERROR_RESTORING: Final = "error_restoring"
ERROR_MANAGING: Final = "error_managing"
ERROR_UNMANAGING: Final = "error_unmanaging"
MAINTENANCE: Final = "maintenance"
AWAITING_TRANSFER: Final = "awaiting-transfer"

VOLUME_TRANSITIONAL: Final = frozenset(
    {CREATING, DELETING, EXTENDING, REVERTING, RETYPING, BACKING_UP, RESTORING_BACKUP}
    | {MANAGING, UNMANAGING, ERROR_MANAGING_DELETING}
)
SNAPSHOT_TRANSITIONAL: Final = frozenset({CREATING, DELETING, RESTORING, UNMANAGING})
BACKUP_TRANSITIONAL: Final = frozenset({CREATING, DELETING, RESTORING})
GROUP_TRANSITIONAL: Final = frozenset({CREATING, DELETING})

# What a volume is by its attachments alone, when nothing else is done with it: the first of these that any of them has, in this
# order, decides. An attachment with an error decides nothing.
BY_ATTACHMENTS: Final = {ATTACHED: IN_USE, ATTACHING: ATTACHING, DETACHING: DETACHING, RESERVED: RESERVED}
FOLLOWS_ATTACHMENTS: Final = (AVAILABLE, *BY_ATTACHMENTS.values())

# Statuses that promise an object on storage: nothing rests in one of them without it.
WITH_STORAGE: Final = (AVAILABLE, IN_USE, MAINTENANCE, ATTACHING, RESERVED, DETACHING, "awaiting-transfer")

# What an operator may set by hand (os-reset_status): where a resource can rest. Any other word would stand for work that
# nobody does, and stay for ever. `creating` and `attaching` of volumes, and `creating` and `deleting` of snapshots, are such
# words, too; they are taken because the clients' own test suite sets them, to force deletes from there.
RESETTABLE_VOLUME: Final = (
    "available",
    "error",
    "in-use",
    "maintenance",
    "reserved",
    "awaiting-transfer",
    "error_deleting",
    "error_extending",
    "error_managing",
    "error_restoring",
    "error_backing-up",
    "creating",
    "attaching",
)
RESETTABLE_SNAPSHOT: Final = ("available", "error", "error_deleting", "creating", "deleting")
RESETTABLE_BACKUP: Final = ("available", "error", "error_deleting")
RESETTABLE_GROUP: Final = ("available", "error", "error_deleting", "creating")

# What the API calls the state of a backend's replication.
REPLICATION_DISABLED: Final = "disabled"
REPLICATION_ENABLED: Final = "enabled"
REPLICATION_FAILING_OVER: Final = "failing-over"
REPLICATION_FAILED_OVER: Final = "failed-over"
REPLICATION_ERROR: Final = "error"
# A volume that is not on the target its backend works on now.
NOT_CAPABLE: Final = "not-capable"

NODE_LIVE: Final = ("up", "draining")
NODE_DEAD: Final = ("fenced", "gone")
