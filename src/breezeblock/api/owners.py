"""Whose the resource is that a request is about, for policies that ask. Found before the handler asks the policy.

By default none asks, and nothing is looked up. What is not there, or not the caller's to see, has no owner: the policy is
then asked about the caller's own, and the handler does not find it. So the two cannot be told apart.
"""

from typing import Final

import msgspec

from breezeblock.api.call import Call
from breezeblock.api.policy import Target
from breezeblock.api.routing import Route
from breezeblock.api.schemas.fields import Uuid
from breezeblock.resources.owners import KINDS, owner_of

# What is made from something else that has an owner: the body's outer key, the key of that id, and its kind.
MADE_FROM: Final[dict[str, tuple[str, str, str]]] = {
    "snapshots": ("snapshot", "volume_id", "volume"),
    "backups": ("backup", "volume_id", "volume"),
    "attachments": ("attachment", "volume_uuid", "volume"),
    "volume-transfers": ("transfer", "volume_id", "volume"),
    "os-volume-transfer": ("transfer", "volume_id", "volume"),
    "group_snapshots": ("group_snapshot", "group_id", "group"),
    "cgsnapshots": ("cgsnapshot", "consistencygroup_id", "group"),
}


async def find(call: Call, route: Route) -> Target | None:
    """The owner of the resource in the URL, or of what the body makes something from; None if there is none to see."""
    for kind in KINDS:
        id_ = call.path.get(f"{kind}_id")
        if id_ is not None:
            return await _owner(call, kind, id_)
    if call.method != "POST" or route.template not in MADE_FROM:
        return None
    outer, key, kind = MADE_FROM[route.template]
    try:
        body = msgspec.json.decode(call.raw)
    except (msgspec.DecodeError, RecursionError):
        return None  # the handler says what is wrong with it
    inner = body.get(outer) if isinstance(body, dict) else None
    id_ = inner.get(key) if isinstance(inner, dict) else None
    try:
        return await _owner(call, kind, Uuid.read(id_))  # as handlers read it, in any spelling
    except ValueError:
        return None


async def _owner(call: Call, kind: str, id_: str) -> Target | None:
    project_id = None if call.origin.is_admin else call.origin.project_id
    found = await call.store.read(owner_of, kind=kind, id_=id_, project_id=project_id)
    return None if found is None else Target(found.project_id, found.user_id)
