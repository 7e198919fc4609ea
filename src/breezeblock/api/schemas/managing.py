"""Bodies of requests to manage what is on storage already."""

from typing import Any

from msgspec import Struct

from breezeblock.api.schemas.fields import Description, Flag, Metadata, Name, Text, Uuid


class ManageVolume(Struct, kw_only=True, forbid_unknown_fields=True):
    ref: dict[str, Any] | str
    host: Text | None = None
    name: Name | None = None
    description: Description | None = None
    volume_type: Text | None = None
    availability_zone: Text | None = None
    bootable: Flag | None = None
    metadata: Metadata | None = None


class ManageVolumeOnCluster(ManageVolume, kw_only=True, forbid_unknown_fields=True):
    """As clients from 3.16 on may ask."""

    cluster: Text | None = None


class ManageVolumeBody(Struct, kw_only=True, forbid_unknown_fields=True):
    volume: ManageVolume


class ManageVolumeOnClusterBody(Struct, kw_only=True, forbid_unknown_fields=True):
    volume: ManageVolumeOnCluster


class ManageSnapshot(Struct, kw_only=True, forbid_unknown_fields=True):
    ref: dict[str, Any] | str | None
    volume_id: Uuid
    name: Name | None = None
    description: Description | None = None
    metadata: Metadata | None = None


class ManageSnapshotBody(Struct, kw_only=True, forbid_unknown_fields=True):
    snapshot: ManageSnapshot


class CompleteExtension(Struct, kw_only=True, forbid_unknown_fields=True):
    error: Flag | None = None
