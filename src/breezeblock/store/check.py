"""What must hold between the tables at any instant: asked by the simulation after each run, and by operators.

Pure questions in SQL. They repair nothing; each answer is a sentence that names the rows at fault.
"""

from collections import Counter

from sqlalchemy import Connection, select

from breezeblock.model.states import (
    BACKUP_TRANSITIONAL,
    BY_ATTACHMENTS,
    DETACHING,
    GROUP_TRANSITIONAL,
    REPLICATION_FAILING_OVER,
    SNAPSHOT_TRANSITIONAL,
    VOLUME_TRANSITIONAL,
)
from breezeblock.store.tables import (
    archives,
    attachments,
    backends,
    backups,
    group_snapshots,
    group_volume_types,
    kept_objects,
    nodes,
    operation_locks,
    operations,
    pools,
    quota_usage,
    snapshots,
    stray_objects,
    volume_groups,
    volume_types,
    volumes,
)

__all__ = ["Rows", "allocation_due", "problems", "usage_due"]


def problems(tx: Connection) -> list[str]:
    """Every contradiction between the tables, as sentences. Empty when all is well. Reads all resource rows."""
    found = Rows(tx)
    return [
        *_wrong_usage(tx, found),
        *_wrong_allocation(tx, found),
        *_wrong_locks(tx, found),
        *_forgotten(found),
        *_dangling(tx, found),
        *_dangling_groups(tx, found),
        *_object_names(found),
        *_wrong_attachments(found),
    ]


class Rows:
    """The rows that several questions are about, read once."""

    def __init__(self, tx: Connection) -> None:
        self.volumes = [dict(row) for row in tx.execute(select(volumes)).mappings()]
        self.snapshots = [dict(row) for row in tx.execute(select(snapshots)).mappings()]
        self.backups = [dict(row) for row in tx.execute(select(backups)).mappings()]
        self.attachments = [dict(row) for row in tx.execute(select(attachments)).mappings()]
        self.groups = [dict(row) for row in tx.execute(select(volume_groups)).mappings()]
        self.group_snapshots = [dict(row) for row in tx.execute(select(group_snapshots)).mappings()]
        self.archives = [dict(row) for row in tx.execute(select(archives)).mappings()]
        self.backends = [dict(row) for row in tx.execute(select(backends)).mappings()]
        self.operations = {row["id"]: dict(row) for row in tx.execute(select(operations)).mappings()}
        self.locks = [dict(row) for row in tx.execute(select(operation_locks)).mappings()]
        self.named = {lock["resource_id"] for lock in self.locks}
        self.held = {lock["resource_id"] for lock in self.locks if lock["exclusive"]}


def usage_due(rows: Rows) -> Counter[tuple[str, str]]:
    """What each project should be charged by (project, resource): the sum of what it has."""
    due: Counter[tuple[str, str]] = Counter()
    for noun, table_rows in (("volumes", rows.volumes), ("snapshots", rows.snapshots)):
        for row in table_rows:
            if row["tombstone"]:
                continue
            charges = {noun: 1, "gigabytes": row["charged_gib"]}
            if (type_id := row["charged_type_id"]) is not None:
                charges |= {f"{noun}_{type_id}": 1, f"gigabytes_{type_id}": row["charged_gib"]}
            for resource, amount in charges.items():
                due[row["project_id"], resource] += amount
    for row in rows.backups:
        if not row["tombstone"]:
            due[row["project_id"], "backups"] += 1
            due[row["project_id"], "backup_gigabytes"] += row["charged_gib"]
    for row in rows.groups:
        if not row["tombstone"]:
            due[row["project_id"], "groups"] += 1
    return due


def _wrong_usage(tx: Connection, rows: Rows) -> list[str]:
    """*Accounts*: what each project is charged is the sum of what it has."""
    due = usage_due(rows)
    used = {
        (row.project_id, row.resource): row.in_use
        for row in tx.execute(select(quota_usage))
        if row.resource.partition("_")[0] in ("volumes", "snapshots", "gigabytes", "backups", "backup", "groups")
    }
    return [
        f"Project {project} is charged {used.get((project, resource), 0)} {resource}, but has {due[project, resource]}."
        for project, resource in sorted(used.keys() | due.keys())
        if used.get((project, resource), 0) != due[project, resource]
    ]


def allocation_due(rows: Rows) -> Counter[str]:
    """What each pool should have promised, in GiB by its name: the sum of what is in it."""
    due: Counter[str] = Counter()
    for row in (*rows.volumes, *rows.snapshots):
        if row["pool_name"] is not None and not row["tombstone"]:
            due[row["pool_name"]] += row["charged_gib"]
    for row in rows.volumes:  # while it is moved, both pools have
        if row["target_pool_name"] is not None and not row["tombstone"]:
            due[row["target_pool_name"]] += row["charged_gib"]
    return due


def _wrong_allocation(tx: Connection, rows: Rows) -> list[str]:
    """*Accounts*: what each pool has promised is the sum of what is in it."""
    due = allocation_due(rows)
    promised = {row.name: row.allocated_gib for row in tx.execute(select(pools.c.name, pools.c.allocated_gib))}
    return [
        f"Pool {name} has promised {promised.get(name, 0)} GiB, but {due[name]} GiB are in it."
        for name in sorted(promised.keys() | due.keys())
        if promised.get(name, 0) != due[name]
    ]


def _wrong_locks(tx: Connection, rows: Rows) -> list[str]:
    """An operation without a lock has no order, and a lock without an operation would never go."""
    with_lock = {lock["operation_id"] for lock in rows.locks}
    found = [
        f"Operation {id_} ({row['kind']}) has no lock." for id_, row in rows.operations.items() if id_ not in with_lock
    ]
    found += [
        f"The lock of resource {lock['resource_id']} at place {lock['seq']} belongs to no operation."
        for lock in rows.locks
        if lock["operation_id"] not in rows.operations
    ]
    there = {
        row["id"]: row["op_seq"]
        for row in (
            *(*rows.volumes, *rows.snapshots, *rows.groups, *rows.group_snapshots),
            *(*rows.backups, *rows.archives, *rows.backends, *rows.attachments),
        )
    }
    found += [
        f"The lock of resource {lock['resource_id']} at place {lock['seq']} names no row that has given it out."
        for lock in rows.locks
        # An operation that is about no row stands in a line of its own.
        if lock["resource_id"] != lock["operation_id"] and lock["seq"] > there.get(lock["resource_id"], 0)
    ]
    owners = {row["owner"] for row in rows.operations.values() if row["owner"] is not None}
    known = set(tx.execute(select(nodes.c.incarnation)).scalars())
    return found + [f"Operations are owned by node {owner}, which is unknown." for owner in sorted(owners - known)]


def _forgotten(rows: Rows) -> list[str]:
    """*Termination*: whatever is under way is somebody's work, and a tombstone stands only while it is in somebody's way."""
    found = [
        f"Backend {row['queue']} is failing over, but no operation works on it."
        for row in rows.backends
        if row["replication_status"] == REPLICATION_FAILING_OVER and row["id"] not in rows.held
    ]
    found += [
        f"Volume {row['id']} is to move to {row['target_pool_name']}, but no operation works on it."
        for row in rows.volumes
        if row["target_pool_name"] is not None and row["id"] not in rows.held
    ]
    for noun, table_rows, transitional in (
        ("Volume", rows.volumes, VOLUME_TRANSITIONAL),
        ("Snapshot", rows.snapshots, SNAPSHOT_TRANSITIONAL),
        ("Backup", rows.backups, BACKUP_TRANSITIONAL),
        ("Group", rows.groups, GROUP_TRANSITIONAL),
        ("Group snapshot", rows.group_snapshots, GROUP_TRANSITIONAL),
    ):
        for row in table_rows:
            if row["tombstone"]:
                if row["id"] not in rows.named:
                    found.append(
                        f"{noun} {row['id']} is deleted and named by no operation, but its row is still there."
                    )
            elif row["status"] in transitional and row["id"] not in rows.held:
                found.append(f"{noun} {row['id']} has status {row['status']}, but no operation works on it.")
    return found


def _dangling(tx: Connection, rows: Rows) -> list[str]:
    """What a row refers to is there."""
    known_volumes = {row["id"] for row in rows.volumes}
    known_pools = set(tx.execute(select(pools.c.name)).scalars())
    known_types = set(tx.execute(select(volume_types.c.id)).scalars())
    found = [
        f"Snapshot {row['id']} is of volume {row['volume_id']}, which is not there."
        for row in rows.snapshots
        if row["volume_id"] not in known_volumes
    ]
    strays = {(row.volume_id, row.queue) for row in tx.execute(select(stray_objects))}
    found += [
        f"Object {row.object_name} is kept of volume {row.volume_id}, which is not there."
        for row in tx.execute(select(kept_objects))
        if row.volume_id not in known_volumes and (row.volume_id, row.queue) not in strays
    ]
    for noun, table_rows in (("Volume", rows.volumes), ("Snapshot", rows.snapshots)):
        for row in table_rows:
            if row["pool_name"] is not None and row["pool_name"] not in known_pools:
                found.append(f"{noun} {row['id']} is in pool {row['pool_name']}, which is unknown.")
            for column in ("volume_type_id", "charged_type_id"):
                if row[column] is not None and row[column] not in known_types:
                    found.append(f"{noun} {row['id']} has {column} {row[column]}, which is unknown.")
    return found


def _dangling_groups(tx: Connection, rows: Rows) -> list[str]:
    """What is in a group or a group snapshot names one that is there, and a group's volumes are on its backend."""
    groups = {row["id"]: row for row in rows.groups if not row["tombstone"]}
    taken = {row["id"] for row in rows.group_snapshots if not row["tombstone"]}
    found = [
        f"Group snapshot {row['id']} is of group {row['group_id']}, which is not there."
        for row in rows.group_snapshots
        if not row["tombstone"] and row["group_id"] not in groups
    ]
    found += [
        f"Snapshot {row['id']} is a part of group snapshot {row['group_snapshot_id']}, which is not there."
        for row in rows.snapshots
        if not row["tombstone"] and row["group_snapshot_id"] is not None and row["group_snapshot_id"] not in taken
    ]
    for row in rows.volumes:
        if row["tombstone"] or row["group_id"] is None:
            continue
        group = groups.get(row["group_id"])
        if group is None:
            found.append(f"Volume {row['id']} is in group {row['group_id']}, which is not there.")
        elif row["pool_name"] is not None and _backend(row["pool_name"]) != _backend(group["pool_name"]):
            found.append(f"Volume {row['id']} is in pool {row['pool_name']}, and its group in {group['pool_name']}.")
    listed = tx.execute(select(group_volume_types.c.group_id).distinct()).scalars()
    return found + [
        f"Types are listed for group {id_}, which is not there." for id_ in sorted(set(listed) - groups.keys())
    ]


def _backend(pool_name: str | None) -> str:
    return (pool_name or "").partition("#")[0]


def _object_names(rows: Rows) -> list[str]:
    """*Exclusion*: no two rows are the same object on storage, and an object is named after its row."""
    names: Counter[str] = Counter(
        row["object_name"] for row in (*rows.volumes, *rows.snapshots) if row["object_name"] is not None
    )
    found = [f"{count} rows are the same object {name}." for name, count in sorted(names.items()) if count > 1]
    return found + [
        f"The row {row['id']} is the object {row['object_name']}, which is named after another."
        for row in (*rows.volumes, *rows.snapshots)
        if row["object_name"] is not None and not row["object_name"].startswith(row["id"] + ".")
    ]


def _wrong_attachments(rows: Rows) -> list[str]:
    """Attachments are of volumes that are there, nobody's work is forgotten, and each volume's row says what they are."""
    found: list[str] = []
    words: dict[str, set[str]] = {}
    known = {row["id"]: row for row in rows.volumes}
    for row in rows.attachments:
        volume = known.get(row["volume_id"])
        if volume is None or volume["tombstone"]:
            found.append(f"Attachment {row['id']} is of volume {row['volume_id']}, which is not there.")
        if row["operation_id"] is not None and row["id"] not in rows.held:
            found.append(f"Attachment {row['id']} is {row['status']}, but no operation works on it.")
        if row["status"] == DETACHING and row["operation_id"] is None:
            found.append(f"Attachment {row['id']} is detaching, but no operation works on it.")
        if not row["bare"]:
            words.setdefault(row["volume_id"], set()).add(row["status"])
    for id_, its in words.items():
        summary = next((word for word in BY_ATTACHMENTS if word in its), "detached")
        volume = known.get(id_)
        # An operator may have said that it is detached: then all of them are on their way out.
        if volume is not None and volume["attach_status"] != summary and not its <= {DETACHING, "error_detaching"}:
            found.append(f"Volume {id_} is {volume['attach_status']}, but its attachments are {summary}.")
    return found
