"""Bodies of requests about groups, group snapshots, and their older names, consistency groups and their snapshots."""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from breezeblock.api.schemas.fields import Description, Flag, Name, Text, Uuid, word_of
from breezeblock.model.states import RESETTABLE_GROUP

# A type, or several volumes, by their ids.
TypeName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Ids = Annotated[str, Meta(max_length=255)]


class CreateGroup(Struct, kw_only=True, forbid_unknown_fields=True):
    group_type: TypeName
    volume_types: Annotated[list[Text], Meta(min_length=1)]
    name: Name | None = None
    description: Description | None = None
    availability_zone: Text | None = None


class CreateGroupBody(Struct, kw_only=True, forbid_unknown_fields=True):
    group: CreateGroup


class CreateFromSource(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | None = None
    description: Description | None = None
    group_snapshot_id: Uuid | None = None
    source_group_id: Uuid | None = None


class UpdateGroup(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | None = None
    description: Description | None = None
    add_volumes: Ids | None = None
    remove_volumes: Ids | None = None


class UpdateGroupBody(Struct, kw_only=True, forbid_unknown_fields=True):
    group: UpdateGroup


class DeleteGroup(Struct, kw_only=True, forbid_unknown_fields=True, rename={"with_volumes": "delete-volumes"}):
    with_volumes: Flag = field(default_factory=lambda: Flag(0))


class Status(str):
    """A status that an operator may set."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "Status":
        return cls(word_of(value, RESETTABLE_GROUP))


class ResetStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    status: Status


class FailOver(Struct, kw_only=True, forbid_unknown_fields=True):
    allow_attached_volume: Flag = field(default_factory=lambda: Flag(0))
    secondary_backend_id: Text | None = None


class CreateGroupSnapshot(Struct, kw_only=True, forbid_unknown_fields=True):
    group_id: Uuid
    name: Name | None = None
    description: Description | None = None


class CreateGroupSnapshotBody(Struct, kw_only=True, forbid_unknown_fields=True):
    group_snapshot: CreateGroupSnapshot


# --- consistency groups: unknown keys are ignored, as they always were -----------------------------------------------


class CreateConsistencyGroup(Struct, kw_only=True):
    volume_types: Annotated[str, Meta(pattern=r"[^,\s]")]
    name: Name | None = None
    description: Description | None = None
    availability_zone: Text | None = None


class CreateConsistencyGroupBody(Struct, kw_only=True):
    consistencygroup: CreateConsistencyGroup


class ConsistencyGroupFromSource(Struct, kw_only=True):
    name: Name | None = None
    description: Description | None = None
    cgsnapshot_id: str | None = None
    source_cgid: str | None = None
    # Taken and not looked at, as ever: whose it is, the token says, and what it is in, the service.
    user_id: Any = None
    project_id: Any = None
    status: Any = None


class ConsistencyGroupFromSourceBody(Struct, kw_only=True):
    source: ConsistencyGroupFromSource = field(name="consistencygroup-from-src")


class UpdateConsistencyGroup(Struct, kw_only=True):
    name: Name | None = None
    description: Description | None = None
    add_volumes: Annotated[str, Meta(max_length=1024)] | None = None
    remove_volumes: Annotated[str, Meta(max_length=1024)] | None = None


class UpdateConsistencyGroupBody(Struct, kw_only=True):
    consistencygroup: UpdateConsistencyGroup


class DeleteConsistencyGroup(Struct, kw_only=True):
    force: Flag = field(default_factory=lambda: Flag(0))


class DeleteConsistencyGroupBody(Struct, kw_only=True):
    consistencygroup: DeleteConsistencyGroup | None = None


class CreateCgsnapshot(Struct, kw_only=True):
    consistencygroup_id: str
    name: Name | None = None
    description: Description | None = None
    # Taken and not looked at, as ever.
    status: Any = None


class CreateCgsnapshotBody(Struct, kw_only=True):
    cgsnapshot: CreateCgsnapshot


Nothing = dict[str, Any]
"""What an action says that takes nothing: some clients send an empty map."""
