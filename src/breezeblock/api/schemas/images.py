"""Bodies of requests about a volume's content as an image."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from breezeblock.api.schemas.fields import Flag, Text, Uuid


class Upload(Struct, kw_only=True, forbid_unknown_fields=True):
    image_name: Annotated[str, Meta(min_length=1, max_length=255)]
    force: Flag | None = None
    disk_format: Literal["raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx", "ploop"] | None = None
    container_format: Text | None = None


class UploadWithVisibility(Upload, kw_only=True, forbid_unknown_fields=True):
    visibility: Literal["community", "public", "private", "shared"] | None = None
    protected: Flag | None = None


class Reimage(Struct, kw_only=True, forbid_unknown_fields=True):
    image_id: Uuid
    reimage_reserved: Flag | None = None
