"""Applying a policy of backups, as a step: request after request, each in a transaction that also says that it was made."""

import uuid
from typing import Final

import structlog

from breezeblock.model.errors import NotFound, Rejected
from breezeblock.model.ids import BackupId, MessageId, OperationId, ProjectId, UserId
from breezeblock.model.origin import Origin
from breezeblock.protocol.steps import Operation
from breezeblock.resources import backup_policies, backups, keeping
from breezeblock.resources.accepted import message_for_request
from breezeblock.resources.backup_policies import REASONS, REFUSED, REMOVED, TAKEN, RunBackupPolicy
from breezeblock.resources.keeping import Group
from breezeblock.work.tools import Working

log = structlog.get_logger(__name__)

# So many groups with nothing to do are looked at again by whoever goes on.
_UNSAVED_MOST: Final = 100
# Reasons that a run tells; what is refused for all volumes is the same for all.
_REASONS_MOST: Final = 50


async def apply_rule(run: Working) -> None:
    """Ask for the backups that are due, and delete those that need not stay. A repeat goes on behind the last volume.

    In the state are the last one that is done with (`passed`), and the last one that a backup was asked of (`asked`).
    Which volumes there are is asked anew by a repeat: they have an order, so none is passed over and none comes twice.
    """
    groups = await run.read(keeping.groups, chosen=run.payload.rule.chosen)
    passed = tuple(run.state.get("passed", ("", "")))
    unsaved = 0
    for group in groups:
        if (group.volume_id, group.project_id) <= passed:
            continue
        unsaved += 1
        if await _apply_to(run, group) or unsaved == _UNSAVED_MOST:
            await run.checkpoint(passed=[group.volume_id, group.project_id])
            unsaved = 0


async def _apply_to(run: Working, group: Group) -> bool:
    """Whether there was anything to do."""
    rule = run.payload.rule
    plan = await run.read(keeping.plan, rule=rule, group=group, now_us=run.payload.at_us)
    going = [verdict.id for verdict in plan.verdicts if not verdict.stays]
    if plan.takes and run.state.get("asked") != [group.volume_id, group.project_id]:
        await _take(run, group)
    for backup_id in going:
        await _remove(run, group, backup_id)
    return plan.takes or bool(going)


async def _take(run: Working, group: Group) -> None:
    origin = _origin(run, group, "create")
    noted = {"asked": [group.volume_id, group.project_id]}
    try:
        await run.write_saving(
            noted | {TAKEN: run.state.get(TAKEN, 0) + 1},
            keeping.begin_backup,
            origin=origin,
            rule=run.payload.rule,
            backup_id=_id(run, group, "backup"),
            archive_id=_id(run, group, "archive"),
            group=group,
            quota_defaults=run.payload.quota_defaults,
        )
    except NotFound:
        await run.checkpoint(asked=noted["asked"])  # the volume went meanwhile
    except Rejected as refused:
        log.warning(
            "backup_policy.refused", policy=run.payload.rule.mark, volume_id=group.volume_id, reason=str(refused)
        )
        await run.write_saving(
            noted | _refusal(run, group.volume_id, refused),
            message_for_request,
            origin=origin,
            resource_type="volume",
            resource_id=group.volume_id,
            event="create_backup",
            text=f"The backup policy {run.payload.rule.mark} could not make a backup: {refused.message}",
        )


async def _remove(run: Working, group: Group, backup_id: str) -> None:
    """A repeat does not come here again: what is being deleted is not looked at."""
    origin = _origin(run, group, f"delete {backup_id}")
    try:
        counted = {REMOVED: run.state.get(REMOVED, 0) + 1}
        await run.write_saving(counted, backups.begin_delete, origin=origin, backup_id=BackupId(backup_id))
    except NotFound:
        return  # somebody else has deleted it
    except Rejected as refused:
        log.warning("backup_policy.refused", policy=run.payload.rule.mark, backup_id=backup_id, reason=str(refused))
        run.state |= _refusal(run, backup_id, refused)


def _refusal(run: Working, subject: str, refused: Rejected) -> dict[str, object]:
    """What the state says of it: the next checkpoint saves it."""
    reasons: dict[str, str] = run.state.get(REASONS, {})
    if len(reasons) < _REASONS_MOST:
        reasons = reasons | {subject: refused.message}
    return {REFUSED: run.state.get(REFUSED, 0) + 1, REASONS: reasons}


def _origin(run: Working, group: Group, purpose: str) -> Origin:
    """As a request of the project's that the service has made for it."""
    payload: RunBackupPolicy = run.payload
    return Origin(
        project_id=ProjectId(group.project_id),
        user_id=UserId(run.claim.user_id),
        is_admin=True,
        request_id=run.claim.request_id,
        # A clock that is behind the database's would date a backup into the period before.
        at_us=max(run.tools.clock.now_us(), payload.at_us),
        operation_id=OperationId(_id(run, group, f"{purpose} operation")),
        message_id=MessageId(_id(run, group, f"{purpose} message")),
    )


def _id(run: Working, group: Group, purpose: str) -> str:
    """An id that follows from what it is for: nobody can ask for the same thing under two."""
    return str(
        uuid.uuid5(uuid.NAMESPACE_OID, f"{run.claim.operation_id} {group.volume_id} {group.project_id} {purpose}")
    )


RUN_BACKUP_POLICY: Final = Operation(
    kind=backup_policies.KIND,
    version=1,
    payload=RunBackupPolicy,
    steps=(apply_rule,),
    finish=backup_policies.finish_run,
    fail=backup_policies.fail_run,
)
