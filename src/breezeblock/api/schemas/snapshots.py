"""Bodies of snapshot requests; their metadata has the form of a volume's."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from breezeblock.api.schemas.fields import Description, Flag, Metadata, Name, Uuid


class CreateSnapshot(Struct, kw_only=True, forbid_unknown_fields=True):
    volume_id: Uuid
    name: Name | UnsetType | None = UNSET
    display_name: Name | UnsetType | None = UNSET
    description: Description | None = None
    force: Flag | None = None
    metadata: Metadata | None = None


class CreateSnapshotBody(Struct, kw_only=True, forbid_unknown_fields=True):
    snapshot: CreateSnapshot


class UpdateSnapshot(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType | None = UNSET
    display_name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    display_description: Description | UnsetType | None = UNSET


class UpdateSnapshotBody(Struct, kw_only=True, forbid_unknown_fields=True):
    snapshot: UpdateSnapshot


class ResetStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    status: str


class UpdateStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    status: str
    # Per cent, with or without the sign; the handler checks it.
    progress: Any = None
