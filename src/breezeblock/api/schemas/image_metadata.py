"""Bodies of what is asked of a volume about images: what is under the action's key."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from breezeblock.api.schemas.fields import KEY_FORM, Flag, Text, Uuid

# As long as such a text ever was in this API's first database.
Value = Annotated[str, Meta(max_length=65535)]


class SetImageMetadata(Struct, kw_only=True, forbid_unknown_fields=True):
    metadata: dict[Annotated[str, Meta(pattern=KEY_FORM)], Value]


class UnsetImageMetadata(Struct, kw_only=True, forbid_unknown_fields=True):
    key: Annotated[str, Meta(min_length=1, max_length=255)]


class UploadImage(Struct, kw_only=True, forbid_unknown_fields=True):
    image_name: Annotated[str, Meta(min_length=1, max_length=255)]
    force: Flag = field(default_factory=lambda: Flag(0))
    disk_format: Literal["raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx", "ploop"] = "raw"
    container_format: Text | None = None


class UploadImageShared(UploadImage, kw_only=True, forbid_unknown_fields=True):
    """As it is since 3.1."""

    visibility: Literal["community", "public", "private", "shared"] = "private"
    protected: Flag = field(default_factory=lambda: Flag(0))


class Reimage(Struct, kw_only=True, forbid_unknown_fields=True):
    image_id: Uuid
    reimage_reserved: Flag = field(default_factory=lambda: Flag(0))
