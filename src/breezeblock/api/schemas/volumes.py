"""Bodies of volume requests. From 3.53 on an unknown key of a new volume is refused; before, it was ignored."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from breezeblock.api.schemas.fields import Description, Flag, Metadata, Name, Size, Text, Uuid, word_of
from breezeblock.model.states import RESETTABLE_VOLUME

# --- create and update -----------------------------------------------------------------------------------------------


class CreateVolume(Struct, kw_only=True):
    size: Size | None = None
    name: Name | UnsetType | None = UNSET
    display_name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    display_description: Description | UnsetType | None = UNSET
    volume_type: Text | None = None
    availability_zone: Text | None = None
    snapshot_id: Uuid | None = None
    source_volid: Uuid | None = None
    metadata: Metadata | None = None
    multiattach: Flag | None = None
    imageRef: Text | None = None
    image_id: Text | None = None
    backup_id: Uuid | None = None
    consistencygroup_id: Uuid | None = None
    group_id: Text | None = None


class CreateVolumeStrict(CreateVolume, kw_only=True, forbid_unknown_fields=True):
    """As clients from 3.53 on are held to it."""


class CreateVolumeBody(
    Struct, kw_only=True, forbid_unknown_fields=True, rename={"hints": "OS-SCH-HNT:scheduler_hints"}
):
    volume: CreateVolume
    hints: dict[str, Any] | None = None


class CreateVolumeStrictBody(
    Struct, kw_only=True, forbid_unknown_fields=True, rename={"hints": "OS-SCH-HNT:scheduler_hints"}
):
    volume: CreateVolumeStrict
    hints: dict[str, Any] | None = None


class UpdateVolume(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType | None = UNSET
    display_name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    display_description: Description | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET


class UpdateVolumeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    volume: UpdateVolume


# --- metadata, of volumes and of snapshots ---------------------------------------------------------------------------


class MetadataBody(Struct, kw_only=True, forbid_unknown_fields=True):
    metadata: Metadata


class MetaBody(Struct, kw_only=True, forbid_unknown_fields=True):
    meta: Metadata


# --- actions: what is under the action's key -------------------------------------------------------------------------


class Extend(Struct, kw_only=True, forbid_unknown_fields=True):
    new_size: Size


class Status(str):
    """A status that an operator may set."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "Status":
        return cls(word_of(value, RESETTABLE_VOLUME))


class AttachStatus(str):
    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "AttachStatus":
        return cls(word_of(value, ("attached", "detached")))


class MigrationStatus(str):
    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "MigrationStatus":
        return cls(word_of(value, ("migrating", "error", "success", "completing", "none", "starting")))


class ResetStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    status: Status | None = None
    attach_status: AttachStatus | None = None
    migration_status: MigrationStatus | None = None


class SetBootable(Struct, kw_only=True, forbid_unknown_fields=True):
    bootable: Flag


class SetReadonly(Struct, kw_only=True, forbid_unknown_fields=True):
    readonly: Flag


class Revert(Struct, kw_only=True):
    snapshot_id: str | None = None


class Retype(Struct, kw_only=True, forbid_unknown_fields=True):
    new_type: str
    migration_policy: Literal["on-demand", "never"] | None = None
