"""Policies of backups that the service applies by itself: what they say, when they are due, and the operation that each begins.

A policy is due at the start of each of its shortest periods. Any worker that finds it due begins its run and says in the same
transaction when it is due next, so each due time has one run, whoever lives. While a run is under way there is no second one.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from breezeblock.model.errors import BadRequest, NotFound
from breezeblock.model.keeping import next_start_us, zone_named
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds
from breezeblock.resources.keeping import Rule
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import backup_policies, operations

KIND: Final = "run_backup_policy"
# What an operation's state keeps of its run.
TAKEN: Final = "taken"
REMOVED: Final = "removed"
REFUSED: Final = "refused"
REASONS: Final = "reasons"


class RunBackupPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `run_backup_policy`. `at_us`: when it was begun, which says what period it is."""

    policy_id: str
    rule: Rule
    at_us: int
    quota_defaults: dict[str, int]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has come to: how many backups were asked for and deletions, how much was refused, and some of the reasons."""

    began_at_us: int
    ended_at_us: int
    outcome: str
    detail: str | None
    taken: int
    removed: int
    refused: int
    reasons: dict[str, str]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, for operators."""

    id: str
    name: str
    rule: Rule
    due_at_us: int
    is_running: bool
    ended: Ended | None


# --- an operator's word ---------------------------------------------------------------------------------------------


def set_policy(tx: Connection, *, policy_id: str, name: str, rule: Rule) -> int:
    """Make a policy, or let the one of that name say something else. Returns when it is due. Raises BadRequest."""
    rule.check()
    if rule.keep.shortest() is None:
        raise BadRequest(
            "A policy is applied once in the shortest period that it keeps; expected one of hourly, daily, weekly, monthly, "
            "yearly besides last."
        )
    now_us = _now_us(tx)
    due_at_us = _next_us(rule, now_us)
    said = {"rule_json": msgspec.json.encode(rule).decode(), "due_at_us": due_at_us, "updated_at_us": now_us}
    if tx.execute(_HOLD.values(**said), {"policy": name}).rowcount == 0:
        tx.execute(insert(backup_policies).values(id=policy_id, op_seq=1, name=name, created_at_us=now_us, **said))
    return due_at_us


def remove_policy(tx: Connection, *, name: str) -> None:
    """Forget a policy. What it has made stays; a run that is under way is cancelled. Raises NotFound."""
    row = _held(tx, name)
    if row["operation_id"] is not None:
        queue.cancel_earlier(tx, resource_id=row["operation_id"])
    tx.execute(delete(backup_policies).where(backup_policies.c.id == row["id"]))


def run_soon(tx: Connection, *, name: str) -> None:
    """Let a policy be due now. Raises NotFound."""
    row = _held(tx, name)
    tx.execute(update(backup_policies).where(backup_policies.c.id == row["id"]).values(due_at_us=0))


def policies(tx: Connection) -> list[Policy]:
    """All of them, by name."""
    rows = tx.execute(_ALL.order_by(backup_policies.c.name)).mappings().all()
    running = _running(tx, [row["operation_id"] for row in rows])
    return [_read(dict(row), running) for row in rows]


def _read(row: Mapping[str, Any], running: set[str]) -> Policy:
    return Policy(
        id=row["id"],
        name=row["name"],
        rule=msgspec.json.decode(row["rule_json"], type=Rule),
        due_at_us=row["due_at_us"],
        is_running=row["operation_id"] in running,
        ended=None if row["ended_json"] is None else msgspec.json.decode(row["ended_json"], type=Ended),
    )


def _held(tx: Connection, name: str) -> Mapping[str, Any]:
    """The row, written first. Raises NotFound."""
    tx.execute(_HOLD, {"policy": name})
    row = tx.execute(_ALL.where(backup_policies.c.name == name)).mappings().first()
    if row is None:
        raise NotFound(f"There is no backup policy {name}.")
    return dict(row)


# --- when it is due -------------------------------------------------------------------------------------------------


def has_due_policy(tx: Connection) -> bool:
    """Whether there is anything to begin."""
    return bool(_due(tx))


def begin_due_policy(tx: Connection, *, origin: Origin, where: str, quota_defaults: Mapping[str, int]) -> str | None:
    """Begin the run of one policy that is due, to wait in queue `where`, and say when it is due next. Returns its name.

    The policy is held, and only then asked whether it is (still) due: of two that find it so, one begins it.
    """
    for name in _due(tx):
        if tx.execute(_HOLD, {"policy": name}).rowcount and name in _due(tx):
            row = tx.execute(_ALL.where(backup_policies.c.name == name)).mappings().one()
            rule, now_us = msgspec.json.decode(row["rule_json"], type=Rule), _now_us(tx)
            begun = {"due_at_us": _next_us(rule, now_us), "operation_id": origin.operation_id}
            tx.execute(update(backup_policies).where(backup_policies.c.id == row["id"]).values(**begun))
            payload = RunBackupPolicy(policy_id=row["id"], rule=rule, at_us=now_us, quota_defaults=dict(quota_defaults))
            # A line of its own: nothing waits for it, and it waits for nothing.
            alone = Lock(origin.operation_id, 1, exclusive=True)
            queue.enqueue(
                tx, kinds.job(KIND, where, "backup_policy", row["id"], payload), origin=origin, locks=(alone,)
            )
            return name
    return None


def _due(tx: Connection) -> list[str]:
    """The policies that are due by the database's clock, and have no run under way."""
    now_us = _now_us(tx)
    due = [row for row in tx.execute(_DUE) if _is_due(row, now_us)]
    running = _running(tx, [row.operation_id for row in due])
    return [row.name for row in due if row.operation_id not in running]


def _running(tx: Connection, ids: Iterable[str | None]) -> set[str]:
    """Which of these operations have not ended."""
    asked = [one for one in ids if one is not None]
    return set(tx.execute(_THERE, {"ids": asked}).scalars()) if asked else set()


def _is_due(row: Any, now_us: int) -> bool:
    """Also one whose due time is further away than the period after this one: then the clock was wrong when that was said."""
    if row.due_at_us <= now_us:
        return True
    rule = msgspec.json.decode(row.rule_json, type=Rule)
    return bool(row.due_at_us > _next_us(rule, _next_us(rule, now_us)))


def _next_us(rule: Rule, at_us: int) -> int:
    unit, zone = rule.keep.shortest(), zone_named(rule.keep.zone)
    assert unit is not None and zone is not None, "checked before"
    return next_start_us(unit, at_us, zone)


def _now_us(tx: Connection) -> int:
    now_us: int = tx.execute(select(db_now_us())).scalar_one()
    return now_us


# --- how a run ends -------------------------------------------------------------------------------------------------


def finish_run(tx: Connection, claim: Claim, payload: RunBackupPolicy, state: dict[str, Any], *, now_us: int) -> None:
    """Let the policy tell what its run has come to."""
    _end(tx, claim, payload, state, outcome="done", detail=None, now_us=now_us)


def fail_run(
    tx: Connection, claim: Claim, payload: RunBackupPolicy, state: dict[str, Any], *, failure: Failure, now_us: int
) -> None:
    """The same of one that was cancelled, or that nobody could run: what it has not done is for the next one."""
    _end(tx, claim, payload, state, outcome=failure.outcome, detail=failure.message, now_us=now_us)


def _end(
    tx: Connection,
    claim: Claim,
    payload: RunBackupPolicy,
    state: dict[str, Any],
    *,
    outcome: str,
    detail: str | None,
    now_us: int,
) -> None:
    ended = Ended(
        began_at_us=payload.at_us,
        ended_at_us=now_us,
        outcome=outcome,
        detail=detail,
        taken=state.get(TAKEN, 0),
        removed=state.get(REMOVED, 0),
        refused=state.get(REFUSED, 0),
        reasons=state.get(REASONS, {}),
    )
    # The row first, as everybody; it may be gone, or have a later run when this one was parked.
    said = {"policy": payload.policy_id, "operation": claim.operation_id, "ended": msgspec.json.encode(ended).decode()}
    tx.execute(_ENDED, said)
    queue.close(tx, claim, outcome=outcome, detail=detail, now_us=now_us)


_HOLD: Final = (
    update(backup_policies)
    .where(backup_policies.c.name == bindparam("policy"))
    .values(op_seq=backup_policies.c.op_seq + 1)
)
_ALL: Final = select(backup_policies)
_DUE: Final = select(
    *(backup_policies.c[name] for name in ("name", "due_at_us", "rule_json", "operation_id"))
).order_by(backup_policies.c.due_at_us, backup_policies.c.name)
_THERE: Final = select(operations.c.id).where(operations.c.id.in_(bindparam("ids", expanding=True)))
_ENDED: Final = (
    update(backup_policies)
    .where(backup_policies.c.id == bindparam("policy"), backup_policies.c.operation_id == bindparam("operation"))
    .values(op_seq=backup_policies.c.op_seq + 1, ended_json=bindparam("ended"))
)
