"""`breezeblock backup policy apply`: which backups stay, and which go; and new ones where they are due.

It asks for nothing but what the API's calls ask for. So a second run, or one beside the service's own, does nothing twice: what
is being deleted is not seen any more, and what is being made counts.
"""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from breezeblock import wiring
from breezeblock.commands.database import existing_path, reading
from breezeblock.commands.failure import Failed
from breezeblock.database_urls import is_server_url
from breezeblock.doorbells.contract import Doorbell
from breezeblock.doorbells.tally import Rings
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.errors import Ambiguous, BadRequest, NotFound, Rejected, Unavailable
from breezeblock.model.ids import BackupId, MessageId, OperationId, ProjectId, UserId
from breezeblock.model.keeping import Verdict, shown, zone_named
from breezeblock.model.origin import Origin
from breezeblock.resources import backups, keeping
from breezeblock.resources.accepted import Accepted
from breezeblock.resources.keeping import Group, Rule
from breezeblock.settings import Settings
from breezeblock.store import schema
from breezeblock.store.run import Store

P = ParamSpec("P")
T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
class Desk:
    """What the command works with."""

    settings: Settings
    env: Env
    store: Store
    bell: Doorbell


def apply(settings: Settings, rule: Rule, *, dry_run: bool) -> list[Line]:
    """Apply a rule now. Raises Failed."""
    try:
        rule.check()
    except BadRequest as wrong:
        raise Failed(wrong.message, status=2) from wrong
    require_schema(settings)
    return asyncio.run(at_desk(settings, _apply, rule, dry_run=dry_run))


def store_of(settings: Settings, name: str | None) -> str:
    """The store for new backups: the one that is named, else `default`, else the first. Raises Failed."""
    stores = {one: store for one, store in settings.backup_stores.items() if not store.is_cinders}
    if name is not None and name not in stores:
        raise Failed(f"There is no backup store {name}; expected one of: {', '.join(sorted(stores))}.", status=2)
    return name or min(stores, key=lambda one: (one != "default", one))


def require_schema(settings: Settings) -> None:
    """Raises Failed when there is no database, or one that this release cannot work with."""
    if not is_server_url(settings.database.url):
        existing_path(settings)
    with reading(settings) as tx:
        at = schema.revision_of(tx)
    if at != schema.head():
        raise Failed(f"The database is at revision {at}; this release needs {schema.head()}: `breezeblock db upgrade`.")


async def at_desk(
    settings: Settings, f: Callable[Concatenate[Desk, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run `f` with the database open. Raises Failed."""
    env = real_env()
    opened = wiring.open_database(settings, env)
    bell = wiring.open_bell(settings, env, Rings())
    try:
        return await f(Desk(settings, env, opened.store, bell), *args, **kwargs)
    except (Ambiguous, Unavailable) as error:
        raise Failed(f"The database cannot be used now: {error} What is missing is done by the next run.") from error
    finally:
        bell.close()
        opened.lane.close()


def own_word(env: Env, project_id: str) -> Origin:
    """As a request of whoever runs the command."""
    return Origin(
        project_id=ProjectId(project_id),
        user_id=UserId(getpass.getuser()),
        is_admin=True,
        request_id=f"req-{env.ids.uuid()}",
        at_us=env.clock.now_us(),
        operation_id=OperationId(env.ids.uuid()),
        message_id=MessageId(env.ids.uuid()),
    )


async def _apply(desk: Desk, rule: Rule, *, dry_run: bool) -> list[Line]:
    lines: list[Line] = []
    for group in await desk.store.read(keeping.groups, chosen=rule.chosen):
        now_us = desk.env.clock.now_us()
        plan = await desk.store.read(keeping.plan, rule=rule, group=group, now_us=now_us)
        if plan.takes:
            lines.append(await _take(desk, rule, group, dry_run=dry_run))
        for verdict in plan.verdicts:
            row = plan.found[verdict.id]
            outcome, reasons = STAYS if verdict.stays else GOES, verdict.reasons
            if not verdict.stays and not dry_run:
                outcome, reasons = await _delete(desk, group, verdict)
            at_us = row["data_timestamp_us"] or row["created_at_us"]
            facts = {"backup_id": verdict.id, "name": row["name"], "at": _shown(rule, at_us), "status": row["status"]}
            lines.append(_line(group, outcome=outcome, reasons=reasons, **facts))
    return lines


async def _take(desk: Desk, rule: Rule, group: Group, *, dry_run: bool) -> Line:
    why: tuple[str, ...] = (f"none of this {rule.keep.shortest()}",)
    if dry_run:
        return _line(group, outcome=DUE, reasons=why)
    origin = own_word(desk.env, group.project_id)
    try:
        accepted: Accepted = await desk.store.run(
            keeping.begin_backup,
            origin=origin,
            rule=rule,
            backup_id=desk.env.ids.uuid(),
            archive_id=desk.env.ids.uuid(),
            group=group,
            quota_defaults=msgspec.structs.asdict(desk.settings.quota),
        )
    except Rejected as refused:
        return _line(group, outcome=REFUSED, reasons=(*why, refused.message))
    _ring(desk, accepted)
    row = accepted.row
    facts = {"backup_id": row["id"], "name": row["name"], "status": row["status"]}
    return _line(group, outcome=NEW, reasons=why, at=_shown(rule, origin.at_us), **facts)


async def _delete(desk: Desk, group: Group, verdict: Verdict) -> tuple[str, tuple[str, ...]]:
    try:
        origin = own_word(desk.env, group.project_id)
        accepted = await desk.store.run(backups.begin_delete, origin=origin, backup_id=BackupId(verdict.id))
    except NotFound:
        return GONE, verdict.reasons
    except Rejected as refused:
        return REFUSED, (*verdict.reasons, refused.message)
    _ring(desk, accepted)
    return DELETED, verdict.reasons


def _ring(desk: Desk, accepted: Accepted) -> None:
    if accepted.queue is not None:
        desk.bell.ring(accepted.queue)


def _line(group: Group, *, outcome: str, reasons: tuple[str, ...], **facts: Any) -> Line:
    known: dict[str, Any] = {"backup_id": None, "name": None, "at": None, "status": None}
    return Line(
        project_id=group.project_id, volume_id=group.volume_id, outcome=outcome, reasons=reasons, **(known | facts)
    )


def _shown(rule: Rule, at_us: int) -> str:
    zone = zone_named(rule.keep.zone)
    assert zone is not None, "checked before"
    return shown(at_us, zone)
