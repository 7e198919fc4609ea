"""What a request wants, after its form was checked and before any row was read."""

from typing import Any

import msgspec

from breezeblock.model.ids import BackupId, SnapshotId, VolumeId


class NewVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume to be created. At most one source is given; without a size the source's counts."""

    id: VolumeId
    size_gib: int | None = None
    name: str | None = None
    description: str | None = None
    # A name or an id.
    volume_type: str | None = None
    availability_zone: str | None = None
    # What a volume says that no pool could take.
    default_zone: str = "nova"
    # Whether a zone that does not exist means that one, and whether a source's zone is the only one that it may be in.
    zone_fallback: bool = False
    same_zone: bool = True
    snapshot_id: SnapshotId | None = None
    source_volid: VolumeId | None = None
    backup_id: BackupId | None = None
    metadata: dict[str, str] = {}
    # Why this caller may have none of a type that several hosts may attach at once; None: he may.
    no_multiattach: str | None = None
    scheduler_hints: dict[str, Any] = {}
    group_id: str | None = None


class NewSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot to be taken. `force` also takes it of a volume that is in use."""

    id: SnapshotId
    volume_id: VolumeId
    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    force: bool = False
    group_snapshot_id: str | None = None


class NewBackup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup to be made of a volume, or of a snapshot of it. `force` also makes it of a volume that is in use."""

    id: BackupId
    volume_id: VolumeId
    # The configured name of the store that keeps it, and what is shown as its container.
    store: str
    container: str
    # The archive that the project begins in this store, if it has none there yet.
    archive_id: str
    snapshot_id: SnapshotId | None = None
    name: str | None = None
    description: str | None = None
    incremental: bool = False
    force: bool = False
    metadata: dict[str, str] = {}
    availability_zone: str | None = None
    # Stores that would do as well, and the zone of each: where it was not said which one, that of its parent is better, or one
    # in the volume's zone.
    stores: dict[str, str] = {}
