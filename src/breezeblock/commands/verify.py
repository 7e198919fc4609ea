"""`breezeblock backup verify` and `checks`: ask for verifications, wait for them, and show what they have found."""

import asyncio
import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from breezeblock.backup.lost import Lost
from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.database import reading
from breezeblock.model.errors import InvalidState, NotFound, NotYet
from breezeblock.model.ids import BackupId
from breezeblock.resources import listing, verifications
from breezeblock.resources.verifications import Result
from breezeblock.settings import Settings

# Verifications that this command has under way: the requests of users wait in the same queues.
AT_ONCE: Final = 2

# What can be said of a backup.
WELL: Final = "well"
DAMAGED: Final = "damaged"
INCOMPLETE: Final = "incomplete"
FAILED: Final = "not verified"
REFUSED: Final = "refused"
ASKED: Final = "asked for"

Found = dict[str, Any]


def verify(
    settings: Settings, ids: Sequence[str] | None, *, project_id: str | None, share: float, wait: bool
) -> list[Found]:
    """What was found of each of these backups, or of all. Raises Failed."""
    return asyncio.run(_verify(settings, ids, project_id=project_id, share=share, wait=wait))


def checks(settings: Settings, *, project_id: str | None, most: int) -> list[Found]:
    """The last verifications, newest first. Raises Failed."""
    with reading(settings) as tx:
        return [_shown(one) for one in verifications.latest(tx, project_id=project_id, most=most)]


async def _verify(
    settings: Settings, ids: Sequence[str] | None, *, project_id: str | None, share: float, wait: bool
) -> list[Found]:
    async with asking(settings) as at:
        turns = asyncio.Semaphore(AT_ONCE)
        if ids is None:
            wanted = await at.store.read(verifications.to_verify, project_id=project_id)
        else:
            wanted = [(one, await _project_of(at, one)) for one in dict.fromkeys(ids)]
        jobs = [_one(at, turns, backup, project, share=share, wait=wait) for backup, project in wanted]
        found = await asyncio.gather(*jobs)
    # One that was deleted since all were looked for is nobody's worry.
    return [one for one in found if one is not None]


async def _project_of(at: Asking, backup_id: str) -> str:
    row = await at.store.read(listing.one, listing.BACKUPS, id_=backup_id, project_id=None)
    return str(row["project_id"])


async def _one(
    at: Asking, turns: asyncio.Semaphore, backup_id: str, project_id: str, *, share: float, wait: bool
) -> Found | None:
    async with turns:
        origin = at.origin(project_id=project_id)
        begin = functools.partial(verifications.begin_verify, backup_id=BackupId(backup_id), share=share)
        try:
            accepted = await at.store.run(begin, origin=origin)
        except NotFound:
            return None
        except (InvalidState, NotYet) as refused:
            return {"backup": backup_id, "state": REFUSED, "reason": refused.message}
        at.ring(accepted.queue)
        if not wait:
            return {"backup": backup_id, "state": ASKED, "operation": origin.operation_id}
        look = functools.partial(verifications.result, operation_id=origin.operation_id)
        return _shown(await at.ended(look))


def _shown(result: Result) -> Found:
    shown: Found = {
        "backup": result.backup_id,
        "state": FAILED,
        "operation": result.operation_id,
        "checked_at": datetime.fromtimestamp(result.finished_at_us // 1_000_000, UTC).isoformat(),
    }
    tally = result.tally
    if tally is None:
        return shown | {"reason": result.detail}
    state = DAMAGED if tally.losses else WELL if tally.is_complete else INCOMPLETE
    reason = None if tally.is_complete else "It has given way to a request that waits for the backup."
    return shown | {
        "state": state,
        "reason": reason,
        "complete": tally.is_complete,
        "sample_percent": round(100 * (result.share or 0.0), 6),
        "blocks": tally.blocks,
        "bytes": tally.bytes,
        "packs": tally.packs,
        "lost_bytes": tally.losses.bytes,
        "objects": [_object(lost) for lost in tally.losses.objects],
        "unread_backups": tally.unread,
    }


def _object(lost: Lost) -> Found:
    shown: Found = msgspec.to_builtins(lost)
    shown["ranges"] = [{"first": start, "last": end - 1} for start, end in lost.ranges]
    return shown
