"""Backups, archives and their packs: new tables only, so the release before works on beside it."""

import sqlalchemy as sa
from alembic import op

from breezeblock.store.kinds import ID, LONG, NAME, text_of

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables."""
    _backups()
    _archives()
    _packs()


def _backups() -> None:
    op.create_table(
        "backups",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("tombstone", sa.Boolean, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("name", NAME),
        sa.Column("description", LONG),
        sa.Column("volume_id", ID, nullable=False),
        sa.Column("snapshot_id", ID),
        sa.Column("parent_id", ID),
        sa.Column("status", text_of(32), nullable=False),
        sa.Column("previous_status", text_of(32)),
        sa.Column("fail_reason", LONG),
        sa.Column("size_gib", sa.Integer, nullable=False),
        sa.Column("object_count", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("store", NAME, nullable=False),
        sa.Column("container", NAME),
        sa.Column("availability_zone", NAME),
        sa.Column("host", NAME),
        sa.Column("metadata_json", LONG, nullable=False),
        sa.Column("data_timestamp_us", sa.BigInteger),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.Column("restore_volume_id", ID),
        sa.Column("temp_volume_id", ID),
        sa.Column("temp_snapshot_id", ID),
        sa.Column("encryption_key_id", ID),
        sa.Column("charged_gib", sa.Integer, nullable=False),
        sa.Column("consumes_quota", sa.Boolean, nullable=False),
        sa.Column("archive_id", ID),
        sa.Column("manifest", text_of(80)),
        sa.Column("pin", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_backups"),
    )
    op.create_index("ix_backups_project_created", "backups", ["project_id", "created_at_us", "id"])
    op.create_index("ix_backups_created", "backups", ["created_at_us", "id"])
    op.create_index("ix_backups_volume", "backups", ["volume_id"])
    op.create_index("ix_backups_parent", "backups", ["parent_id"])
    op.create_index("ix_backups_archive", "backups", ["archive_id"])
    op.create_index("ix_backups_status", "backups", ["status"])
    op.create_index("ix_backups_name", "backups", ["name", "project_id"])


def _archives() -> None:
    op.create_table(
        "archives",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger, nullable=False),
        sa.Column("tombstone", sa.Boolean, nullable=False),
        sa.Column("store", NAME, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("publications", sa.BigInteger, nullable=False),
        sa.Column("collect_after_us", sa.BigInteger),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_archives"),
        sa.UniqueConstraint("store", "project_id", name="uq_archives_store"),
    )
    op.create_index("ix_archives_collect", "archives", ["collect_after_us"])


def _packs() -> None:
    op.create_table(
        "packs",
        sa.Column("id", ID, nullable=False),
        sa.Column("archive_id", ID, nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("backup_id", ID, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("swept_at_us", sa.BigInteger),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_packs"),
    )
    op.create_index("ix_packs_archive", "packs", ["archive_id", "state", "id"])
    op.create_index("ix_packs_backup", "packs", ["backup_id"])
