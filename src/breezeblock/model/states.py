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
ERROR: Final = "error"
ERROR_DELETING: Final = "error_deleting"
ERROR_EXTENDING: Final = "error_extending"
ERROR_RESTORING: Final = "error_restoring"
MAINTENANCE: Final = "maintenance"

VOLUME_TRANSITIONAL: Final = frozenset({CREATING, DELETING, EXTENDING, REVERTING, RETYPING})
SNAPSHOT_TRANSITIONAL: Final = frozenset({CREATING, DELETING, RESTORING})

# What an operator may set by hand (os-reset_status), as the API has it.
RESETTABLE_VOLUME: Final = (
    "creating",
    "available",
    "deleting",
    "error",
    "error_deleting",
    "error_managing",
    "managing",
    "attaching",
    "in-use",
    "detaching",
    "maintenance",
    "restoring-backup",
    "error_restoring",
    "reserved",
    "awaiting-transfer",
    "backing-up",
    "error_backing-up",
    "error_extending",
    "downloading",
    "uploading",
    "retyping",
    "extending",
)
RESETTABLE_SNAPSHOT: Final = (
    "available",
    "backing-up",
    "creating",
    "deleted",
    "deleting",
    "error",
    "error_deleting",
    "restoring",
    "unmanaging",
    "updating",
)

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
