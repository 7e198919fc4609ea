"""`breezeblock backup policy apply`: which backups stay, and which go; and new ones where they are due.

It asks for nothing but what the API's calls ask for. So a second run, or one beside the service's own, does nothing twice: what
is being deleted is not seen any more, and what is being made counts.
"""

import asyncio
from typing import Any, Final

import msgspec

from breezeblock.commands.asking import Asking, asking
from breezeblock.commands.failure import Failed
from breezeblock.model.errors import BadRequest, NotFound, Rejected
from breezeblock.model.ids import BackupId
from breezeblock.model.keeping import Verdict, shown, zone_named
from breezeblock.resources import backups, keeping
from breezeblock.resources.accepted import Accepted
from breezeblock.resources.keeping import Group, Rule
from breezeblock.settings import Settings

# What became of a backup, or will.
STAYS: Final = "stays"
GOES: Final = "goes"
DELETED: Final = "deleted"
GONE: Final = "was gone"
REFUSED: Final = "refused"
NEW: Final = "new"
DUE: Final = "due"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One backup: what became of it, and why. `backup_id` None: it is due, and not asked for."""

    project_id: str
    volume_id: str
    backup_id: str | None
    name: str | None
    at: str | None
    status: str | None
    outcome: str
    reasons: tuple[str, ...]


def apply(settings: Settings, rule: Rule, *, dry_run: bool) -> list[Line]:
    """Apply a rule now. Raises Failed."""
    try:
        rule.check()
    except BadRequest as wrong:
        raise Failed(wrong.message, status=2) from wrong
    return asyncio.run(_apply(settings, rule, dry_run=dry_run))


def store_of(settings: Settings, name: str | None) -> str:
    """The store for new backups: the one that is named, else `default`, else the first. Raises Failed."""
    stores = {one: store for one, store in settings.backup_stores.items() if not store.is_cinders}
    if name is not None and name not in stores:
        raise Failed(f"There is no backup store {name}; expected one of: {', '.join(sorted(stores))}.", status=2)
    return name or min(stores, key=lambda one: (one != "default", one))


async def _apply(settings: Settings, rule: Rule, *, dry_run: bool) -> list[Line]:
    lines: list[Line] = []
    # What is missing after an outage in the middle is done by the next run.
    async with asking(settings) as at:
        for group in await at.store.read(keeping.groups, chosen=rule.chosen):
            lines += await _apply_to(at, rule, group, dry_run=dry_run)
    return lines


async def _apply_to(at: Asking, rule: Rule, group: Group, *, dry_run: bool) -> list[Line]:
    plan = await at.store.read(keeping.plan, rule=rule, group=group, now_us=at.env.clock.now_us())
    lines = [await _take(at, rule, group, dry_run=dry_run)] if plan.takes else []
    for verdict in plan.verdicts:
        row = plan.found[verdict.id]
        outcome, reasons = STAYS if verdict.stays else GOES, verdict.reasons
        if not verdict.stays and not dry_run:
            outcome, reasons = await _delete(at, group, verdict)
        at_us = row["data_timestamp_us"] or row["created_at_us"]
        facts = {"backup_id": verdict.id, "name": row["name"], "at": _shown(rule, at_us), "status": row["status"]}
        lines.append(_line(group, outcome=outcome, reasons=reasons, **facts))
    return lines


async def _take(at: Asking, rule: Rule, group: Group, *, dry_run: bool) -> Line:
    why: tuple[str, ...] = (f"none of this {rule.keep.shortest()}",)
    if dry_run:
        return _line(group, outcome=DUE, reasons=why)
    origin = at.origin(project_id=group.project_id)
    try:
        accepted: Accepted = await at.store.run(
            keeping.begin_backup,
            origin=origin,
            rule=rule,
            backup_id=at.env.ids.uuid(),
            archive_id=at.env.ids.uuid(),
            group=group,
            quota_defaults=at.settings.quota.defaults(),
        )
    except Rejected as refused:
        return _line(group, outcome=REFUSED, reasons=(*why, refused.message))
    at.ring(accepted.queue)
    row = accepted.row
    facts = {"backup_id": row["id"], "name": row["name"], "status": row["status"]}
    return _line(group, outcome=NEW, reasons=why, at=_shown(rule, origin.at_us), **facts)


async def _delete(at: Asking, group: Group, verdict: Verdict) -> tuple[str, tuple[str, ...]]:
    try:
        origin = at.origin(project_id=group.project_id)
        accepted = await at.store.run(backups.begin_delete, origin=origin, backup_id=BackupId(verdict.id))
    except NotFound:
        return GONE, verdict.reasons
    except Rejected as refused:
        return REFUSED, (*verdict.reasons, refused.message)
    at.ring(accepted.queue)
    return DELETED, verdict.reasons


def _line(group: Group, *, outcome: str, reasons: tuple[str, ...], **facts: Any) -> Line:
    known: dict[str, Any] = {"backup_id": None, "name": None, "at": None, "status": None}
    return Line(
        project_id=group.project_id, volume_id=group.volume_id, outcome=outcome, reasons=reasons, **(known | facts)
    )


def _shown(rule: Rule, at_us: int) -> str:
    zone = zone_named(rule.keep.zone)
    assert zone is not None, "checked before"
    return shown(at_us, zone)
