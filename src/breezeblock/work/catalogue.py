"""All kinds of operations that this version can run."""

from typing import Final

from breezeblock.protocol.steps import Operation
from breezeblock.work import (
    attachments,
    backends,
    backups,
    cinder,
    garbage,
    groups,
    managing,
    migrations,
    nodes,
    policies,
    snapshots,
    verifications,
    volumes,
)

CATALOGUE: Final[dict[str, Operation]] = {
    operation.kind: operation
    for operation in (
        volumes.CREATE_VOLUME,
        volumes.DELETE_VOLUME,
        volumes.EXTEND_VOLUME,
        volumes.REVERT_VOLUME,
        volumes.RETYPE_VOLUME,
        attachments.CONNECT_ATTACHMENT,
        attachments.DISCONNECT_ATTACHMENTS,
        migrations.MIGRATE_VOLUME,
        migrations.DROP_STRAYS,
        snapshots.CREATE_SNAPSHOT,
        snapshots.DELETE_SNAPSHOT,
        backups.CREATE_BACKUP,
        backups.DELETE_BACKUP,
        backups.IMPORT_BACKUP,
        cinder.IMPORT_CINDER_BACKUP,
        backups.RESTORE_BACKUP,
        backups.CREATE_FROM_BACKUP,
        verifications.VERIFY_BACKUP,
        garbage.COLLECT_GARBAGE,
        policies.RUN_BACKUP_POLICY,
        backends.FAILOVER_BACKEND,
        nodes.CHECK_NODE,
        groups.DELETE_GROUP,
        groups.CREATE_GROUP_SNAPSHOT,
        groups.DELETE_GROUP_SNAPSHOT,
        groups.CREATE_GROUP_FROM_SOURCE,
        managing.MANAGE_VOLUME,
        managing.UNMANAGE_VOLUME,
        managing.MANAGE_SNAPSHOT,
        managing.UNMANAGE_SNAPSHOT,
        managing.LIST_MANAGEABLE,
    )
}
