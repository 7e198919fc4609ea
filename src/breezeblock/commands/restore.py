"""`breezeblock backup restore`: restore a backup for the project that it belongs to, also around what is damaged of it."""

import asyncio
import functools
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from breezeblock.backup.lost import Losses, text_of
from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.failure import Failed
from breezeblock.model.ids import BackupId, OperationId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.resources import listing, restores
from breezeblock.resources.accepted import Accepted
from breezeblock.settings import Settings
from breezeblock.store.tables import operation_log

Found = dict[str, Any]


def restore(
    settings: Settings, backup_id: str, *, volume_id: str | None, name: str | None, skip_damaged: bool, wait: bool
) -> Found:
    """Into a volume that is there, or a new one. Raises Failed, also when the restore has failed."""
    wanted = functools.partial(_restore, settings, backup_id, volume_id=volume_id, name=name)
    return asyncio.run(wanted(skip_damaged=skip_damaged, wait=wait))


def told(found: Found) -> str:
    """The same as text."""
    where = f"volume {found['volume']}"
    if found["outcome"] is None:
        return f"The restore to {where} is asked for."
    whole = f"{where[0].upper()}{where[1:]} has the content of backup {found['backup']}"
    return f"{whole}, with zeros in {found['lost']}." if found["lost_bytes"] else f"{whole}."


async def _restore(
    settings: Settings, backup_id: str, *, volume_id: str | None, name: str | None, skip_damaged: bool, wait: bool
) -> Found:
    async with asking(settings) as at:
        row = await at.store.read(listing.one, listing.BACKUPS, id_=backup_id, project_id=None)
        origin = at.origin(project_id=row["project_id"], user_id=row["user_id"])
        if volume_id is not None:
            accepted = await at.store.run(
                restores.begin_restore,
                origin=origin,
                backup_id=BackupId(backup_id),
                volume_id=VolumeId(volume_id),
                skip_damaged=skip_damaged,
            )
        else:
            accepted = await _to_a_new_one(at, settings, origin, backup_id, name=name, skip_damaged=skip_damaged)
        at.ring(accepted.queue)
        found: Found = {"backup": backup_id, "volume": accepted.row["id"], "operation": origin.operation_id}
        if not wait:
            return found | {"outcome": None, "lost_bytes": 0, "lost": None}
        outcome, detail = await at.ended(functools.partial(_ended, operation_id=origin.operation_id))
    if outcome != "done":
        raise Failed(f"The restore to volume {found['volume']} was not done: {detail}")
    losses = msgspec.json.decode(detail, type=Losses) if detail else Losses()
    text = text_of(losses, most=restores.TEXT_MOST) if losses else None
    return found | {"outcome": outcome, "lost_bytes": losses.bytes, "lost": text}


async def _to_a_new_one(
    at: Asking, settings: Settings, origin: Origin, backup_id: str, *, name: str | None, skip_damaged: bool
) -> Accepted:
    wanted = NewVolume(
        id=VolumeId(at.env.ids.uuid()),
        name=name or f"restore_backup_{backup_id}",
        description=f"Restored from backup {backup_id}.",
        default_zone=settings.service.availability_zone,
        backup_id=BackupId(backup_id),
    )
    return await at.store.run(
        restores.begin_create,
        origin=origin,
        wanted=wanted,
        quota_defaults=settings.quota.defaults(),
        restoring=True,
        skip_damaged=skip_damaged,
    )


def _ended(tx: Connection, *, operation_id: OperationId) -> tuple[str, str | None] | None:
    row = tx.execute(select(operation_log).where(operation_log.c.operation_id == operation_id)).first()
    return None if row is None else (row.outcome, row.detail)
