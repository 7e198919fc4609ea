"""The schema of the first release, and the volume type that every volume without one gets."""

from typing import Final

import sqlalchemy as sa
from alembic import op

from breezeblock.store.dialects import db_now_us
from breezeblock.store.kinds import ID, LONG, NAME, text_of

revision = "0001"
down_revision = None

# As in `resources.types`, written out: a revision must mean the same when that module has changed. A test compares.
DEFAULT_TYPE: Final = {
    "id": "9532fb20-ad3d-52df-ad3b-1eda074c6e3c",
    "op_seq": 0,
    "name": "__DEFAULT__",
    "description": "Default Volume Type",
    "is_public": True,
    "extra_specs_json": "{}",
}


def upgrade() -> None:
    """Make every table."""
    _volumes()
    _snapshots()
    _volume_types()
    _volume_type_access()
    _messages()
    _quotas()
    _quota_classes()
    _quota_usage()
    _pools()
    _operations()
    _operation_locks()
    _operation_log()
    _nodes()
    _services()
    _tx_done()
    _default_type()


def _volumes() -> None:
    op.create_table(
        "volumes",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger(), nullable=False),
        sa.Column("tombstone", sa.Boolean(), nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("name", NAME),
        sa.Column("description", LONG),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("status", text_of(32), nullable=False),
        sa.Column("previous_status", text_of(32)),
        sa.Column("migration_status", text_of(32)),
        sa.Column("volume_type_id", ID),
        sa.Column("availability_zone", NAME, nullable=False),
        sa.Column("pool_name", NAME),
        sa.Column("object_name", text_of(80)),
        sa.Column("snapshot_id", ID),
        sa.Column("source_volid", ID),
        sa.Column("bootable", sa.Boolean(), nullable=False),
        sa.Column("readonly", sa.Boolean()),
        sa.Column("multiattach", sa.Boolean(), nullable=False),
        sa.Column("encrypted", sa.Boolean(), nullable=False),
        sa.Column("attach_status", text_of(32), nullable=False),
        sa.Column("metadata_json", LONG, nullable=False),
        sa.Column("admin_metadata_json", LONG, nullable=False),
        sa.Column("charged_gib", sa.Integer(), nullable=False),
        sa.Column("charged_type_id", ID),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_volumes"),
    )
    op.create_index("ix_volumes_created", "volumes", ["created_at_us", "id"])
    op.create_index("ix_volumes_pool", "volumes", ["pool_name"])
    op.create_index("ix_volumes_project_created", "volumes", ["project_id", "created_at_us", "id"])
    op.create_index("ix_volumes_status", "volumes", ["status"])
    op.create_index("ix_volumes_type", "volumes", ["volume_type_id"])


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger(), nullable=False),
        sa.Column("tombstone", sa.Boolean(), nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("name", NAME),
        sa.Column("description", LONG),
        sa.Column("volume_id", ID, nullable=False),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("status", text_of(32), nullable=False),
        sa.Column("previous_status", text_of(32)),
        sa.Column("progress", text_of(8), nullable=False),
        sa.Column("volume_type_id", ID),
        sa.Column("pool_name", NAME),
        sa.Column("object_name", text_of(80)),
        sa.Column("metadata_json", LONG, nullable=False),
        sa.Column("charged_gib", sa.Integer(), nullable=False),
        sa.Column("charged_type_id", ID),
        sa.Column("consumes_quota", sa.Boolean(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
    )
    op.create_index("ix_snapshots_created", "snapshots", ["created_at_us", "id"])
    op.create_index("ix_snapshots_project_created", "snapshots", ["project_id", "created_at_us", "id"])
    op.create_index("ix_snapshots_status", "snapshots", ["status"])
    op.create_index("ix_snapshots_volume", "snapshots", ["volume_id"])


def _volume_types() -> None:
    op.create_table(
        "volume_types",
        sa.Column("id", ID, nullable=False),
        sa.Column("op_seq", sa.BigInteger(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", LONG),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("qos_specs_id", ID),
        sa.Column("extra_specs_json", LONG, nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_volume_types"),
        sa.UniqueConstraint("name", name="uq_volume_types_name"),
    )


def _volume_type_access() -> None:
    op.create_table(
        "volume_type_access",
        sa.Column("volume_type_id", ID, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.PrimaryKeyConstraint("volume_type_id", "project_id", name="pk_volume_type_access"),
        sa.ForeignKeyConstraint(["volume_type_id"], ["volume_types.id"], name="fk_volume_type_access_volume_type_id"),
    )


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("request_id", NAME),
        sa.Column("resource_type", ID),
        sa.Column("resource_id", ID),
        sa.Column("event_id", NAME, nullable=False),
        sa.Column("message_level", text_of(16), nullable=False),
        sa.Column("user_message", LONG, nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("guaranteed_until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
    )
    op.create_index("ix_messages_project_created", "messages", ["project_id", "created_at_us", "id"])


def _quotas() -> None:
    op.create_table(
        "quotas",
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("resource", NAME, nullable=False),
        sa.Column("hard_limit", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "resource", name="pk_quotas"),
    )


def _quota_classes() -> None:
    op.create_table(
        "quota_classes",
        sa.Column("class_name", NAME, nullable=False),
        sa.Column("resource", NAME, nullable=False),
        sa.Column("hard_limit", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("class_name", "resource", name="pk_quota_classes"),
    )


def _quota_usage() -> None:
    op.create_table(
        "quota_usage",
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("resource", NAME, nullable=False),
        sa.Column("in_use", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "resource", name="pk_quota_usage"),
    )


def _pools() -> None:
    op.create_table(
        "pools",
        sa.Column("name", NAME, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("allocated_gib", sa.BigInteger(), nullable=False),
        sa.Column("total_gib", sa.BigInteger(), nullable=False),
        sa.Column("free_gib", sa.BigInteger(), nullable=False),
        sa.Column("reserved_percentage", sa.Integer(), nullable=False),
        sa.Column("over_subscription_percent", sa.Integer(), nullable=False),
        sa.Column("availability_zone", NAME, nullable=False),
        sa.Column("capabilities_json", LONG, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("report_seq", sa.BigInteger(), nullable=False),
        sa.Column("reported_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name", name="pk_pools"),
    )
    op.create_index("ix_pools_queue", "pools", ["queue"])


def _operations() -> None:
    op.create_table(
        "operations",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("resource_type", ID, nullable=False),
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("request_id", NAME, nullable=False),
        sa.Column("payload_json", LONG, nullable=False),
        sa.Column("direction", text_of(8), nullable=False),
        sa.Column("step", text_of(64)),
        sa.Column("state_json", LONG, nullable=False),
        sa.Column("failure_json", LONG),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", ID),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("claim_epoch", sa.BigInteger(), nullable=False),
        sa.Column("saved_epoch", sa.BigInteger(), nullable=False),
        sa.Column("not_before_us", sa.BigInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("claimed_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
    )
    op.create_index("ix_operations_owner", "operations", ["owner"])
    op.create_index("ix_operations_queue", "operations", ["queue", "owner", "created_at_us"])
    op.create_index("ix_operations_resource", "operations", ["resource_id"])


def _operation_locks() -> None:
    op.create_table(
        "operation_locks",
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("operation_id", ID, nullable=False),
        sa.Column("exclusive", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", "seq", name="pk_operation_locks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_operation_locks_operation", "operation_locks", ["operation_id"])


def _operation_log() -> None:
    op.create_table(
        "operation_log",
        sa.Column("operation_id", ID, nullable=False),
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("resource_type", ID, nullable=False),
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("request_id", NAME, nullable=False),
        sa.Column("outcome", text_of(16), nullable=False),
        sa.Column("detail", LONG),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", ID),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("locks_json", LONG, nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("claimed_at_us", sa.BigInteger()),
        sa.Column("finished_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name="pk_operation_log"),
    )
    op.create_index("ix_operation_log_finished", "operation_log", ["finished_at_us"])
    op.create_index("ix_operation_log_resource", "operation_log", ["resource_id"])


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("incarnation", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("cluster", NAME, nullable=False),
        sa.Column("boot_id", ID, nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("heartbeat", sa.BigInteger(), nullable=False),
        sa.Column("claims", sa.BigInteger(), nullable=False),
        sa.Column("fencer", ID),
        sa.Column("fence_error", LONG),
        sa.Column("fence_tries", sa.Integer(), nullable=False),
        sa.Column("fence_after_us", sa.BigInteger(), nullable=False),
        sa.Column("queues_json", LONG, nullable=False),
        sa.Column("kinds_json", LONG, nullable=False),
        sa.Column("version", text_of(32), nullable=False),
        sa.Column("lock_path", LONG, nullable=False),
        sa.Column("lock_id", ID, nullable=False),
        sa.Column("keeper_pid", sa.Integer(), nullable=False),
        sa.Column("worker_pid", sa.Integer()),
        sa.Column("started_at_us", sa.BigInteger(), nullable=False),
        sa.Column("renewed_at_us", sa.BigInteger()),
        sa.Column("changed_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("incarnation", name="pk_nodes"),
    )
    op.create_index("ix_nodes_cluster", "nodes", ["cluster", "state"])


def _services() -> None:
    op.create_table(
        "services",
        sa.Column("binary", text_of(64), nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", NAME),
        sa.Column("updated_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("binary", "host", name="pk_services"),
    )


def _tx_done() -> None:
    op.create_table(
        "tx_done",
        sa.Column("id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tx_done"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tx_done_at", "tx_done", ["at_us"])


def _default_type() -> None:
    types = sa.table(
        "volume_types",
        sa.column("id", ID),
        sa.column("op_seq", sa.BigInteger()),
        sa.column("name", NAME),
        sa.column("description", LONG),
        sa.column("is_public", sa.Boolean()),
        sa.column("extra_specs_json", LONG),
        sa.column("created_at_us", sa.BigInteger()),
    )
    op.execute(sa.insert(types).values(**DEFAULT_TYPE, created_at_us=db_now_us()))
