"""Status words of the API, in one place. Transitions (resources/) are the only code that assigns them."""

from typing import Final

CREATING: Final = "creating"
AVAILABLE: Final = "available"
IN_USE: Final = "in-use"
DELETING: Final = "deleting"
EXTENDING: Final = "extending"
REVERTING: Final = "reverting"
RETYPING: Final = "retyping"
ERROR: Final = "error"
ERROR_DELETING: Final = "error_deleting"
ERROR_EXTENDING: Final = "error_extending"
ERROR_RESTORING: Final = "error_restoring"
MAINTENANCE: Final = "maintenance"

VOLUME_TRANSITIONAL: Final = frozenset({CREATING, DELETING, EXTENDING, REVERTING, RETYPING})
SNAPSHOT_TRANSITIONAL: Final = frozenset({CREATING, DELETING, "restoring"})

NODE_LIVE: Final = ("up", "draining")
NODE_DEAD: Final = ("fenced", "gone")
