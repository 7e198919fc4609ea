"""Bodies of backup requests."""

from msgspec import UNSET, Struct, UnsetType

from breezeblock.api.schemas.fields import Description, Flag, Metadata, Name, Text, Uuid, word_of
from breezeblock.model.states import RESETTABLE_BACKUP


class CreateBackup(Struct, kw_only=True, forbid_unknown_fields=True):
    volume_id: Uuid
    snapshot_id: Uuid | None = None
    name: Name | None = None
    description: Description | None = None
    container: Text | None = None
    incremental: Flag | None = None
    force: Flag | None = None


class CreateBackupBody(Struct, kw_only=True, forbid_unknown_fields=True):
    backup: CreateBackup


class CreateBackupWithMetadata(CreateBackup, kw_only=True, forbid_unknown_fields=True):
    """From 3.43 on."""

    metadata: Metadata | None = None


class CreateBackupWithMetadataBody(Struct, kw_only=True, forbid_unknown_fields=True):
    backup: CreateBackupWithMetadata


class CreateBackupInZone(CreateBackupWithMetadata, kw_only=True, forbid_unknown_fields=True):
    """From 3.51 on."""

    availability_zone: Text | None = None


class CreateBackupInZoneBody(Struct, kw_only=True, forbid_unknown_fields=True):
    backup: CreateBackupInZone


class UpdateBackup(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET


class UpdateBackupBody(Struct, kw_only=True, forbid_unknown_fields=True):
    backup: UpdateBackup


class UpdateBackupWithMetadata(UpdateBackup, kw_only=True, forbid_unknown_fields=True):
    """From 3.43 on."""

    metadata: Metadata | UnsetType = UNSET


class UpdateBackupWithMetadataBody(Struct, kw_only=True, forbid_unknown_fields=True):
    backup: UpdateBackupWithMetadata


class Restore(Struct, kw_only=True, forbid_unknown_fields=True):
    volume_id: Uuid | None = None
    name: Name | None = None


class RestoreBody(Struct, kw_only=True, forbid_unknown_fields=True):
    restore: Restore


class Status(str):
    """A status that an operator may set."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> "Status":
        return cls(word_of(value, RESETTABLE_BACKUP))


class ResetStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    status: Status


class ImportedRecord(Struct, kw_only=True, forbid_unknown_fields=True):
    backup_service: Text
    backup_url: str


class ImportedRecordBody(Struct, kw_only=True, forbid_unknown_fields=True, rename={"record": "backup-record"}):
    record: ImportedRecord
