"""All kinds of operations as requests write them: the newest version of each, and how it is written for older nodes.

`work/catalogue.py` says how they run; a test compares the two.
"""

from typing import Any, Final

from breezeblock.protocol.archives import COLLECTION
from breezeblock.protocol.queue import FAILOVER, Job
from breezeblock.protocol.versions import Kind

__all__ = ["KINDS", "job"]

KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("create_volume"),
        Kind("delete_volume"),
        Kind("extend_volume"),
        Kind("revert_volume"),
        Kind("retype_volume"),
        Kind("create_snapshot"),
        Kind("delete_snapshot"),
        Kind("create_backup"),
        Kind("delete_backup"),
        Kind("restore_backup"),
        Kind("create_from_backup"),
        Kind("import_backup"),
        Kind(COLLECTION),
        Kind(FAILOVER),
        Kind("check_node"),
    )
}


def job(kind: str, queue: str, resource_type: str, resource_id: str, payload: Any) -> Job:
    """What to enqueue, in the newest version of its kind."""
    declared = KINDS[kind]
    return Job(kind, declared.newest, queue, resource_type, resource_id, payload, declared.older)
