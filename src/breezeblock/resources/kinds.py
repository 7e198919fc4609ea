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
        Kind("connect_attachment", is_new=True),
        Kind("disconnect_attachments", is_new=True),
        Kind("migrate_volume", is_new=True),
        Kind("drop_strays"),
        Kind("create_snapshot"),
        Kind("delete_snapshot"),
        # Version 2: what it has stored so far is kept in rows, which nodes of version 1 do not look for.
        Kind("create_backup", newest=2, older=(lambda payload: payload,), is_new=True),
        Kind("delete_backup", is_new=True),
        Kind("restore_backup", is_new=True),
        Kind("create_from_backup", is_new=True),
        Kind("import_backup", is_new=True),
        Kind("import_cinder_backup", is_new=True),
        Kind("verify_backup", is_new=True),
        Kind(COLLECTION),
        Kind("run_backup_policy"),
        Kind(FAILOVER),
        Kind("check_node"),
        Kind("delete_group", is_new=True),
        Kind("create_group_snapshot", is_new=True),
        Kind("delete_group_snapshot", is_new=True),
        Kind("create_group_from_source", is_new=True),
        Kind("manage_volume", is_new=True),
        Kind("unmanage_volume", is_new=True),
        Kind("manage_snapshot", is_new=True),
        Kind("unmanage_snapshot", is_new=True),
        Kind("list_manageable", is_new=True),
    )
}


def job(kind: str, queue: str, resource_type: str, resource_id: str, payload: Any, *, needs: str | None = None) -> Job:
    """What to enqueue, in the newest version of its kind."""
    declared = KINDS[kind]
    of = (queue, resource_type, resource_id)
    return Job(kind, declared.newest, *of, payload, declared.older, declared.is_new, needs)
