"""Bodies of snapshot requests; their metadata has the form of a volume's."""

import re

from msgspec import UNSET, Struct, UnsetType

from breezeblock.api.schemas.fields import Description, Flag, Metadata, Name, Uuid, word_of
from breezeblock.model.states import RESETTABLE_SNAPSHOT

_PERCENT = re.compile(r"(100|[0-9]{1,2})%\Z")


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


class Status(str):
    """A status that an operator may set."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "Status":
        return cls(word_of(value, RESETTABLE_SNAPSHOT))


class Progress(str):
    """How far a snapshot is, such as `50%`."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "Progress":
        if isinstance(value, str) and _PERCENT.match(value):
            return cls(value)
        raise ValueError("expected 0% to 100%")


class ResetStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    status: Status


class UpdateStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    status: str
    progress: Progress | None = None
