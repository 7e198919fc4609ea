"""The tables of backups, to be used from `tables`. `docs/explanation/backup.md` has the words."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, UniqueConstraint

from breezeblock.store.kinds import ID, LONG, NAME, text_of
from breezeblock.store.naming import id_column, metadata

backups = Table(
    "backups",
    metadata,
    id_column("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("tombstone", Boolean, nullable=False, default=False),
    Column("project_id", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("name", NAME),
    Column("description", LONG),
    Column("volume_id", ID, nullable=False),
    # What it is of, where that is a snapshot; and the backup that it was taken as incremental from.
    Column("snapshot_id", ID),
    Column("parent_id", ID),
    Column("status", text_of(32), nullable=False),
    Column("previous_status", text_of(32)),
    Column("fail_reason", LONG),
    Column("size_gib", Integer, nullable=False),
    # What making it has added to the store: objects, and bytes in them.
    Column("object_count", BigInteger, nullable=False, default=0),
    Column("stored_bytes", BigInteger, nullable=False, default=0),
    # The configured name of its store, and what the API shows as its container.
    Column("store", NAME, nullable=False),
    Column("container", NAME),
    Column("availability_zone", NAME),
    # `cluster@backend` whose nodes make and restore it.
    Column("host", NAME),
    Column("metadata_json", LONG, nullable=False, default="{}"),
    # When the data was as it is in the backup: the snapshot's creation, or the volume's moment.
    Column("data_timestamp_us", BigInteger),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
    # The volume that a restore fills now, or filled last.
    Column("restore_volume_id", ID),
    # Set while a copy of what is backed up may be on the backend's storage, under the backup's own id.
    Column("temp_volume_id", ID),
    Column("temp_snapshot_id", ID),
    Column("encryption_key_id", ID),
    Column("charged_gib", Integer, nullable=False, default=0),
    Column("consumes_quota", Boolean, nullable=False, default=True),
    # Where its data is. It exists when `manifest` names its manifest; `pin` is the archive's `op_seq` as it was entered, while
    # it is being made.
    Column("archive_id", ID),
    Column("manifest", text_of(80)),
    Column("pin", BigInteger),
    # What the image was that is on what was backed up, as JSON: a restore says it of the volume again.
    Column("image_metadata_json", LONG),
    Index("ix_backups_project_created", "project_id", "created_at_us", "id"),
    Index("ix_backups_created", "created_at_us", "id"),
    Index("ix_backups_volume", "volume_id"),
    Index("ix_backups_parent", "parent_id"),
    Index("ix_backups_archive", "archive_id"),
    Index("ix_backups_pin", "pin"),
    Index("ix_backups_status", "status"),
    Index("ix_backups_name", "name", "project_id"),
)

kept_objects = Table(
    "kept_objects",
    metadata,
    # The object that a backup was read from, where that stays: it tells what the volume has changed since.
    id_column("backup_id", primary_key=True),
    id_column("volume_id"),
    # `cluster@backend` on whose storage it is.
    Column("queue", NAME, nullable=False),
    Column("object_name", text_of(80), nullable=False),
    Index("ix_kept_objects_volume", "volume_id"),
)

archives = Table(
    "archives",
    metadata,
    # All that one project keeps in one store.
    id_column("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("tombstone", Boolean, nullable=False, default=False),
    Column("store", NAME, nullable=False),
    Column("project_id", NAME, nullable=False),
    # Raised by each manifest that a row begins to name.
    Column("publications", BigInteger, nullable=False, default=0),
    # When somebody should look for garbage; NULL: there can be none.
    Column("collect_after_us", BigInteger),
    Column("created_at_us", BigInteger, nullable=False),
    # Tells the key that it was begun with from others, and nothing about it. NULL: not known yet.
    Column("key_check", text_of(64)),
    UniqueConstraint("store", "project_id"),
    Index("ix_archives_collect", "collect_after_us"),
)

backup_policies = Table(
    "backup_policies",
    metadata,
    # What makes and deletes backups by itself.
    id_column("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("name", NAME, nullable=False, unique=True),
    # All that it says (`resources.keeping.Rule`).
    Column("rule_json", LONG, nullable=False),
    # Database clock.
    Column("due_at_us", BigInteger, nullable=False),
    # The run that was begun last, and what the last one that has ended says of itself.
    Column("operation_id", ID),
    Column("ended_json", LONG),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)

packs = Table(
    "packs",
    metadata,
    # An object with many blocks. The row is there before the object is, and goes after it.
    id_column("id", primary_key=True),
    id_column("archive_id"),
    # pending, live, condemned, doomed
    Column("state", text_of(16), nullable=False),
    # The archive's `op_seq` when it got this state.
    Column("seq", BigInteger, nullable=False),
    # The backup that makes it, or made it.
    id_column("backup_id"),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    # When the objects of a doomed pack were deleted for the first time.
    Column("swept_at_us", BigInteger),
    Column("created_at_us", BigInteger, nullable=False),
    Index("ix_packs_archive", "archive_id", "state", "id"),
    Index("ix_packs_backup", "backup_id"),
)

backup_segments = Table(
    "backup_segments",
    metadata,
    # What a backup that is being made has stored so far: a row for each GiB, gone with its end.
    id_column("backup_id", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # The generation of the backend's storage that it was read in.
    Column("read_in", BigInteger, nullable=False),
    # The archive's own words for it, which nobody else reads.
    Column("segment_json", LONG, nullable=False),
)
