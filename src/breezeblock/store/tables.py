"""The schema, for reading. Migrations (`migrations/`) make it; a test keeps the two equal.

Instants are integers, microseconds since 1970 UTC (`…_us`), so that they mean the same on every database. Sizes are
whole GiB (`…_gib`), as in the API. Ids are text, compared byte by byte. JSON is text; nothing in it is ever a condition
of the protocol.

`op_seq` on a resource row is the heart of ordering: every transaction that decides anything about the row first writes
`op_seq = op_seq + 1`. That makes concurrent requests conflict on every database, and hands out the places in the queue.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
)

from breezeblock.store.kinds import ID, LONG, NAME, text_of
from breezeblock.store.naming import id_column as _id
from breezeblock.store.naming import metadata as metadata
from breezeblock.store.tables_attachments import attachments as attachments
from breezeblock.store.tables_backup import archives as archives
from breezeblock.store.tables_backup import backup_policies as backup_policies
from breezeblock.store.tables_backup import backup_segments as backup_segments
from breezeblock.store.tables_backup import backups as backups
from breezeblock.store.tables_backup import kept_objects as kept_objects
from breezeblock.store.tables_backup import packs as packs
from breezeblock.store.tables_events import event_receivers as event_receivers
from breezeblock.store.tables_events import events as events
from breezeblock.store.tables_events import events_aside as events_aside
from breezeblock.store.tables_events import usage_periods as usage_periods
from breezeblock.store.tables_groups import group_snapshots as group_snapshots
from breezeblock.store.tables_groups import group_types as group_types
from breezeblock.store.tables_groups import group_volume_types as group_volume_types
from breezeblock.store.tables_groups import volume_groups as volume_groups
from breezeblock.store.tables_migration import stray_objects as stray_objects
from breezeblock.store.tables_transfers import log_levels as log_levels
from breezeblock.store.tables_transfers import log_reports as log_reports
from breezeblock.store.tables_transfers import transfers as transfers
from breezeblock.store.tables_types import default_types as default_types
from breezeblock.store.tables_types import qos_specs as qos_specs

# --- resources ------------------------------------------------------------------------------------------------------

volumes = Table(
    "volumes",
    metadata,
    _id("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    # A deleted row that operation locks still name; no request sees it, and the last such operation removes it.
    Column("tombstone", Boolean, nullable=False, default=False),
    Column("project_id", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("name", NAME),
    Column("description", LONG),
    Column("size_gib", Integer, nullable=False),
    Column("status", text_of(32), nullable=False),
    Column("previous_status", text_of(32)),
    Column("migration_status", text_of(32)),
    Column("volume_type_id", ID),
    Column("availability_zone", NAME, nullable=False),
    # The pool that carries the allocation and its backend's queue; NULL while none was found.
    Column("pool_name", NAME),
    # The published object on storage (drivers.ObjectName); NULL until the creation has finished.
    Column("object_name", text_of(80)),
    Column("snapshot_id", ID),
    Column("source_volid", ID),
    Column("bootable", Boolean, nullable=False, default=False),
    Column("readonly", Boolean),
    Column("multiattach", Boolean, nullable=False, default=False),
    Column("encrypted", Boolean, nullable=False, default=False),
    Column("attach_status", text_of(32), nullable=False, default="detached"),
    Column("metadata_json", LONG, nullable=False, default="{}"),
    Column("admin_metadata_json", LONG, nullable=False, default="{}"),
    # What the project is charged for: the size and type that its quota usage counts (equal to the row's own, but while
    # an extend or a retype is under way). `db check` sums these.
    Column("charged_gib", Integer, nullable=False, default=0),
    Column("charged_type_id", ID),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
    # `not-capable`: not on the replication target that its backend works on now, and in `error` for that; else NULL.
    Column("replication_status", text_of(36)),
    # The group that it is in. Whoever changes it writes the group's row as well.
    Column("group_id", ID),
    Index("ix_volumes_group", "group_id"),
    # What the image was that is on it, as JSON; NULL: no image. And the key of an encrypted one, in the key manager.
    Column("image_metadata_json", LONG),
    Column("encryption_key_id", ID),
    # The pool that has promised room for it as well, while it is moved there; else NULL.
    Column("target_pool_name", NAME),
    # What the storage called it, while it is not certain that it is ours: its adoption is under way, or has left it half way.
    Column("managed_from", NAME),
    Index("ix_volumes_project_created", "project_id", "created_at_us", "id"),
    Index("ix_volumes_created", "created_at_us", "id"),
    Index("ix_volumes_status", "status"),
    Index("ix_volumes_pool", "pool_name"),
    Index("ix_volumes_type", "volume_type_id"),
    # By name first: clients that know a volume by its name ask for it so, each time.
    Index("ix_volumes_name", "name", "project_id"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _id("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("tombstone", Boolean, nullable=False, default=False),
    Column("project_id", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("name", NAME),
    Column("description", LONG),
    Column("volume_id", ID, nullable=False),
    Column("size_gib", Integer, nullable=False),
    Column("status", text_of(32), nullable=False),
    Column("previous_status", text_of(32)),
    Column("progress", text_of(8), nullable=False, default="0%"),
    Column("volume_type_id", ID),
    Column("pool_name", NAME),
    Column("object_name", text_of(80)),
    Column("metadata_json", LONG, nullable=False, default="{}"),
    Column("charged_gib", Integer, nullable=False, default=0),
    Column("charged_type_id", ID),
    Column("consumes_quota", Boolean, nullable=False, default=True),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
    # As a volume's.
    Column("replication_status", text_of(36)),
    # The group snapshot that it is a part of, from its creation to its end.
    Column("group_snapshot_id", ID),
    Index("ix_snapshots_group_snapshot", "group_snapshot_id"),
    # As the volume's when it was taken: what is made of it boots as the volume did.
    Column("image_metadata_json", LONG),
    Column("encryption_key_id", ID),
    Column("bootable", Boolean),
    Column("managed_from", NAME),
    Index("ix_snapshots_project_created", "project_id", "created_at_us", "id"),
    Index("ix_snapshots_created", "created_at_us", "id"),
    Index("ix_snapshots_volume", "volume_id"),
    Index("ix_snapshots_status", "status"),
    Index("ix_snapshots_name", "name", "project_id"),
)

volume_types = Table(
    "volume_types",
    metadata,
    _id("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("name", NAME, nullable=False, unique=True),
    Column("description", LONG),
    Column("is_public", Boolean, nullable=False, default=True),
    Column("qos_specs_id", ID),
    Column("extra_specs_json", LONG, nullable=False, default="{}"),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
    # How its volumes are encrypted (`resources.type_encryption.Encryption`); NULL: they are not.
    Column("encryption_json", LONG),
)

volume_type_access = Table(
    "volume_type_access",
    metadata,
    Column("volume_type_id", ID, ForeignKey("volume_types.id"), primary_key=True),
    Column("project_id", NAME, primary_key=True),
)

messages = Table(
    "messages",
    metadata,
    _id("id", primary_key=True),
    Column("project_id", NAME, nullable=False),
    Column("request_id", NAME),
    Column("resource_type", text_of(36)),
    Column("resource_id", ID),
    Column("event_id", NAME, nullable=False),
    Column("message_level", text_of(16), nullable=False, default="ERROR"),
    Column("user_message", LONG, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("guaranteed_until_us", BigInteger, nullable=False),
    Index("ix_messages_project_created", "project_id", "created_at_us", "id"),
    Index("ix_messages_guaranteed", "guaranteed_until_us"),
)

# --- accounts -------------------------------------------------------------------------------------------------------

quotas = Table(
    "quotas",
    metadata,
    Column("project_id", NAME, primary_key=True),
    Column("resource", NAME, primary_key=True),
    Column("hard_limit", Integer, nullable=False),
)

quota_classes = Table(
    "quota_classes",
    metadata,
    Column("class_name", NAME, primary_key=True),
    Column("resource", NAME, primary_key=True),
    Column("hard_limit", Integer, nullable=False),
)

quota_usage = Table(
    "quota_usage",
    metadata,
    Column("project_id", NAME, primary_key=True),
    Column("resource", NAME, primary_key=True),
    Column("in_use", BigInteger, nullable=False),
)

pools = Table(
    "pools",
    metadata,
    # `cluster@backend#pool`, what the API shows as the volume's host.
    Column("name", NAME, primary_key=True),
    # `cluster@backend`: where the operations of its volumes wait.
    Column("queue", NAME, nullable=False),
    Column("allocated_gib", BigInteger, nullable=False, default=0),
    Column("total_gib", BigInteger, nullable=False, default=0),
    Column("free_gib", BigInteger, nullable=False, default=0),
    Column("reserved_percentage", Integer, nullable=False, default=0),
    # In hundredths, so that the limit is computed in whole numbers on every database.
    Column("over_subscription_percent", Integer, nullable=False, default=100),
    Column("availability_zone", NAME, nullable=False),
    Column("capabilities_json", LONG, nullable=False, default="{}"),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("report_seq", BigInteger, nullable=False, default=0),
    Column("reported_at_us", BigInteger),
    Index("ix_pools_queue", "queue"),
)

# --- the protocol ---------------------------------------------------------------------------------------------------

operations = Table(
    "operations",
    metadata,
    _id("id", primary_key=True),
    Column("kind", text_of(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("queue", NAME, nullable=False),
    Column("resource_type", text_of(36), nullable=False),
    Column("resource_id", ID, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("user_id", NAME, nullable=False),
    Column("request_id", NAME, nullable=False),
    Column("payload_json", LONG, nullable=False),
    # The checkpoint: which way it goes, the step to run next, and what the steps saved.
    Column("direction", text_of(8), nullable=False, default="do"),
    Column("step", text_of(64)),
    Column("state_json", LONG, nullable=False, default="{}"),
    Column("failure_json", LONG),
    Column("cancel", Boolean, nullable=False, default=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("owner", ID),
    Column("epoch", BigInteger, nullable=False, default=0),
    # The epoch of the last claim, and of the last saved checkpoint: equal means progress was made under that claim.
    Column("claim_epoch", BigInteger, nullable=False, default=0),
    Column("saved_epoch", BigInteger, nullable=False, default=0),
    # Rises with every write by the owner. Where a write changes nothing, InnoDB writes nothing, and then Galera certifies
    # nothing: a guard that saved the same epoch again would conflict with nobody.
    Column("touched", BigInteger, nullable=False, default=0, server_default="0"),
    # Database clock, microseconds.
    Column("not_before_us", BigInteger, nullable=False, default=0),
    Column("created_at_us", BigInteger, nullable=False),
    Column("claimed_at_us", BigInteger),
    # A second queue whose storage it reads: only a node that serves both may claim it. Mostly NULL.
    Column("needs", NAME),
    Index("ix_operations_queue", "queue", "owner", "created_at_us"),
    # Those that have brought nodes down, however many wait that have not.
    Index("ix_operations_attempt", "queue", "attempt"),
    # What a node owns; and what kinds of operations wait, without a look at each of them.
    Index("ix_operations_owner_kind", "owner", "queue", "kind", "version"),
    Index("ix_operations_resource", "resource_id"),
)

operation_locks = Table(
    "operation_locks",
    metadata,
    Column("resource_id", ID, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("operation_id", ID, nullable=False),
    Column("exclusive", Boolean, nullable=False),
    Index("ix_operation_locks_operation", "operation_id"),
    sqlite_with_rowid=False,
)

driver_lock_lines = Table(
    "driver_lock_lines",
    metadata,
    # The line of one name that drivers lock, in one scope: the hash of both. Written by whoever joins or leaves the line.
    Column("id", text_of(64), primary_key=True),
    Column("last_place", BigInteger, nullable=False),
)

driver_locks = Table(
    "driver_locks",
    metadata,
    # A place in such a line. It is granted when nothing conflicting is before it, and nothing is ever granted in advance.
    Column("line", text_of(64), primary_key=True),
    Column("place", BigInteger, primary_key=True),
    # One call of `ctx.lock`, which may have places in several lines, and which operation of whom under which claim made it.
    _id("call_id"),
    _id("operation_id"),
    Column("epoch", BigInteger, nullable=False),
    _id("incarnation"),
    # The operation's queue: when that backend is fenced from the incarnation, the place goes.
    Column("queue", NAME, nullable=False),
    Column("exclusive", Boolean, nullable=False),
    # Scope and name for people, as far as they can be shown.
    Column("shown", NAME, nullable=False),
    Index("ix_driver_locks_call", "call_id"),
    Index("ix_driver_locks_incarnation", "incarnation"),
    sqlite_with_rowid=False,
)

operation_log = Table(
    "operation_log",
    metadata,
    _id("operation_id", primary_key=True),
    Column("kind", text_of(64), nullable=False),
    Column("queue", NAME, nullable=False),
    Column("resource_type", text_of(36), nullable=False),
    Column("resource_id", ID, nullable=False),
    Column("project_id", NAME, nullable=False),
    Column("request_id", NAME, nullable=False),
    # done, failed, cancelled or parked
    Column("outcome", text_of(16), nullable=False),
    Column("detail", LONG),
    Column("attempt", Integer, nullable=False),
    Column("owner", ID),
    Column("epoch", BigInteger, nullable=False),
    # (resource id, seq, exclusive) of its locks: the order that checkers verify.
    Column("locks_json", LONG, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("claimed_at_us", BigInteger),
    Column("finished_at_us", BigInteger, nullable=False),
    Index("ix_operation_log_finished", "finished_at_us"),
    Index("ix_operation_log_resource", "resource_id"),
)

nodes = Table(
    "nodes",
    metadata,
    _id("incarnation", primary_key=True),
    Column("name", NAME, nullable=False),
    Column("cluster", NAME, nullable=False),
    Column("boot_id", ID, nullable=False),
    # up, draining, expired, fenced, gone
    Column("state", text_of(16), nullable=False),
    Column("heartbeat", BigInteger, nullable=False, default=0),
    Column("claims", BigInteger, nullable=False, default=0),
    Column("fencer", ID),
    Column("fence_error", LONG),
    Column("fence_tries", Integer, nullable=False, default=0),
    # Database clock: no node tries this fence again before.
    Column("fence_after_us", BigInteger, nullable=False, default=0),
    # The queues it serves and the newest version of each operation kind it can run, as JSON.
    Column("queues_json", LONG, nullable=False, default="[]"),
    Column("kinds_json", LONG, nullable=False, default="{}"),
    # The receivers of events in its settings, as JSON; NULL before it has said so.
    Column("receivers_json", LONG),
    Column("version", text_of(32), nullable=False),
    # The file that all of its processes hold open and locked, and the random id written in it (architecture §5).
    Column("lock_path", LONG, nullable=False),
    Column("lock_id", ID, nullable=False),
    Column("keeper_pid", Integer, nullable=False),
    Column("worker_pid", Integer),
    # Wall clocks, for people only.
    Column("started_at_us", BigInteger, nullable=False),
    Column("renewed_at_us", BigInteger),
    Column("changed_at_us", BigInteger),
    Index("ix_nodes_cluster", "cluster", "state"),
)

node_backends = Table(
    "node_backends",
    metadata,
    # One incarnation on one backend: what the storage knows it by, and whether that backend is fenced from it.
    _id("incarnation", primary_key=True),
    Column("queue", NAME, primary_key=True),
    # Recorded before the storage is used for the first time: client address and nonce, reservation key and the like.
    Column("identity_json", LONG, nullable=False, default="{}"),
    # How it was made sure that this incarnation writes there no more; NULL while that is not sure.
    Column("fenced_by", text_of(32)),
    Column("fenced_at_us", BigInteger),
)

backends = Table(
    "backends",
    metadata,
    # A cluster's backend as a resource of its own: operations on it as a whole take places in its line.
    _id("id", primary_key=True),
    Column("op_seq", BigInteger, nullable=False, default=0),
    Column("queue", NAME, nullable=False, unique=True),
    Column("frozen", Boolean, nullable=False, default=False),
    # disabled, enabled, failing-over, failed-over, error: as the API shows it.
    Column("replication_status", text_of(36), nullable=False, default="disabled"),
    # The replication target that every node works on now; NULL is the backend that is configured.
    Column("active_backend_id", NAME),
    # Raised by each change of the target: what was begun on another one is not to be continued.
    Column("generation", BigInteger, nullable=False, default=0),
    Column("updated_at_us", BigInteger),
)

node_events = Table(
    "node_events",
    metadata,
    # What happened to nodes, for operators to read: expired, fenced, a fence that failed, an operator's word. Pruned.
    _id("id", primary_key=True),
    Column("cluster", NAME, nullable=False),
    Column("node", NAME, nullable=False),
    _id("incarnation"),
    Column("event", text_of(64), nullable=False),
    Column("detail", LONG, nullable=False, default=""),
    Column("at_us", BigInteger, nullable=False),
    Index("ix_node_events_at", "at_us"),
)

services = Table(
    "services",
    metadata,
    # An operator's word about a service or a whole cluster, kept across restarts of its processes.
    Column("binary", text_of(64), primary_key=True),
    # A node's `host@backend`, or a cluster's `cluster@backend` with binary `cluster`.
    Column("host", NAME, primary_key=True),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("disabled_reason", NAME),
    Column("updated_at_us", BigInteger),
)

tx_done = Table(
    "tx_done",
    metadata,
    # One row per committed writing transaction: how a lost commit acknowledgement is told from a lost transaction.
    _id("id", primary_key=True),
    Column("attempt", Integer, nullable=False),
    # Database clock: rows are pruned long after the last retry could ask.
    Column("at_us", BigInteger, nullable=False),
    Index("ix_tx_done_at", "at_us"),
    sqlite_with_rowid=False,
)
