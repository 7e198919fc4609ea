"""Looking whether a backup can be read: asked by operators, at any time. It changes nothing of what the backup is.

What was found is in the operation's log row; where data is lost the backup's `fail_reason` says so, and a message to its user.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from breezeblock.backup.lost import Losses, text_of
from breezeblock.model import states
from breezeblock.model.ids import BackupId, OperationId
from breezeblock.model.origin import Origin
from breezeblock.placement import allocate
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds
from breezeblock.resources.accepted import Accepted, at_rest, clear_tombstones, message_for_failure
from breezeblock.resources.restores import how_to_skip
from breezeblock.store.tables import backups, operation_log
from breezeblock.store.transitions import Must, Transition, change_row, differs, equals, lock_row, read_row

KIND: Final = "verify_backup"
# Where an operation's state keeps what was found so far.
TALLY: Final = "tally"
GIB: Final = 1024**3


class VerifyBackup(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `verify_backup`. `share` of its blocks are read, from 0 (only whether all objects are there) to 1 (all)."""

    backup_id: str
    store: str
    share: float = 1.0


class Tally(msgspec.Struct, kw_only=True):
    """What a verification has found so far: the first so many packs and segments of the manifest were looked at."""

    packs: int = 0
    segments: int = 0
    blocks: int = 0
    bytes: int = 0
    losses: Losses = msgspec.field(default_factory=Losses)
    unread: list[str] = []
    """Other backups whose manifests cannot be read, so that it is not known what they need."""
    is_complete: bool = False
    """Not so when it has given way to a request that waits for the backup."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a verification has ended. `outcome` is `done`, with a tally, or why there is none."""

    operation_id: str
    backup_id: str
    outcome: str
    finished_at_us: int
    share: float | None = None
    tally: Tally | None = None
    detail: str | None = None


class _Logged(msgspec.Struct, frozen=True, kw_only=True):
    """What the log row says."""

    share: float
    tally: Tally


VERIFY: Final = Transition(
    backups,
    name="backup.verify",
    musts=(
        Must(
            equals(backups.c.status, states.AVAILABLE),
            "Backup {id} has status {status}; it must be available to be verified.",
        ),
        at_rest(backups),
        Must(
            differs(backups.c.manifest, None),
            "Backup {id} has no data: it was never completed, whatever its status was reset to.",
        ),
        Must(
            differs(backups.c.archive_id, None),
            "Backup {id} was made by Cinder, and is in no archive: only a restore reads it, and checks it then.",
        ),
    ),
    sets={},
)


def begin_verify(tx: Connection, *, origin: Origin, backup_id: BackupId, share: float) -> Accepted:
    """Accept a verification, beside others that only read the backup. Raises NotFound, InvalidState, NotYet."""
    assert 0.0 <= share <= 1.0, f"no share: {share}"
    live = sorted({pool.queue for pool in allocate.read_pools(tx) if pool.live})
    lock_row(tx, backups, backup_id, origin=origin)
    row = VERIFY.check_locked(tx, backup_id)
    # As a deletion: any node that has the store can do it.
    where = row["host"] if row["host"] in live or not live else live[0]
    payload = VerifyBackup(backup_id=backup_id, store=row["store"], share=share)
    job = kinds.job(KIND, where, "backup", backup_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.shared(row),))
    return Accepted(where, row)


def finish_verify(tx: Connection, claim: Claim, payload: VerifyBackup, state: dict[str, Any], *, now_us: int) -> None:
    """Log what was found. Where data is lost the backup and its user are told; where all was read and is well, that was so."""
    tally = msgspec.convert(state.get(TALLY, {}), Tally)
    lock_row(tx, backups, payload.backup_id)
    detail = msgspec.json.encode(_Logged(share=payload.share, tally=tally)).decode()
    queue.close(tx, claim, outcome="done", detail=detail, now_us=now_us)
    row = read_row(tx, backups, payload.backup_id)
    assert row is not None, "its lock names the row"
    if tally.losses.bytes:
        text = _told(payload.backup_id, tally.losses)
        change_row(tx, backups, payload.backup_id, fail_reason=text, updated_at_us=now_us)
        message_for_failure(tx, claim, event=KIND, text=text, now_us=now_us)
    elif tally.is_complete and payload.share >= 1.0 and row["fail_reason"] is not None:
        change_row(tx, backups, payload.backup_id, fail_reason=None, updated_at_us=now_us)
    clear_tombstones(tx, claim)


def fail_verify(
    tx: Connection, claim: Claim, payload: VerifyBackup, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """It was cancelled, or nobody could look: nothing is said about the backup."""
    lock_row(tx, backups, payload.backup_id)
    queue.close(tx, claim, outcome=failure.outcome, detail=failure.message, now_us=now_us)
    clear_tombstones(tx, claim)


def result(tx: Connection, *, operation_id: OperationId) -> Result | None:
    """How a verification has ended; None while it has not."""
    found = _results(tx, select(operation_log).where(operation_log.c.operation_id == operation_id))
    return found[0] if found else None


def latest(tx: Connection, *, project_id: str | None, most: int) -> list[Result]:
    """The last verifications that have ended, newest first, as long as the log keeps them."""
    of_kind = select(operation_log).where(operation_log.c.kind == KIND)
    if project_id is not None:
        of_kind = of_kind.where(operation_log.c.project_id == project_id)
    order = (operation_log.c.finished_at_us.desc(), operation_log.c.operation_id)
    return _results(tx, of_kind.order_by(*order).limit(most))


def to_verify(tx: Connection, *, project_id: str | None) -> list[tuple[str, str]]:
    """The ids of all backups that can be read, of a project or of all, each with its project; oldest first."""
    found = select(backups.c.id, backups.c.project_id).where(
        backups.c.status == states.AVAILABLE,
        backups.c.manifest.is_not(None),
        backups.c.archive_id.is_not(None),
        backups.c.tombstone.is_(False),
    )
    if project_id is not None:
        found = found.where(backups.c.project_id == project_id)
    return [(row.id, row.project_id) for row in tx.execute(found.order_by(backups.c.created_at_us, backups.c.id))]


def _results(tx: Connection, query: Any) -> list[Result]:
    return [_result(row) for row in tx.execute(query).mappings()]


def _result(row: Any) -> Result:
    told = {name: row[name] for name in ("operation_id", "outcome", "finished_at_us")}
    if row["outcome"] != "done":
        return Result(backup_id=row["resource_id"], detail=row["detail"], **told)
    logged = msgspec.json.decode(row["detail"], type=_Logged)
    return Result(backup_id=row["resource_id"], share=logged.share, tally=logged.tally, **told)


def _told(backup_id: str, losses: Losses) -> str:
    first = losses.objects[0]
    return (
        f"The backup is damaged. Of the volume's data these bytes cannot be read: {text_of(losses, most=1000)}. "
        f"{len(losses.objects)} object{'s are' if len(losses.objects) > 1 else ' is'} damaged or missing in the store, "
        f"the first of them {first.object}: {first.what}. {how_to_skip(backup_id)}"
    )
