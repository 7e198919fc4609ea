"""The operations table as queue, lock, cleanup record and checkpoint in one (architecture §4).

An operation is enqueued in the transaction of the request that it belongs to, with a place (`seq`) in the line of every
resource that it touches. It is claimable when nothing conflicting stands before it in any of its lines. Places are handed
out under the resource's row, so lower ones can no longer appear: *once claimable, always claimable*. That is why the
question needs no lock, and why no operation ever waits for another while it holds something.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Integer, and_, bindparam, delete, func, insert, literal, or_, select, update

from breezeblock.model.errors import Cancelled, Fenced
from breezeblock.model.ids import Incarnation, OperationId
from breezeblock.model.origin import Origin
from breezeblock.model.states import REPLICATION_FAILING_OVER
from breezeblock.protocol import versions
from breezeblock.store.dialects import always_null, db_now_us, unindexed
from breezeblock.store.outbox import Asked, outbox_of
from breezeblock.store.tables import backends, nodes, operation_locks, operation_log, operations

DO: Final = "do"
UNDO: Final = "undo"
# The kind of operation that moves a whole queue to other storage: while it is under way, nothing else there is claimed.
FAILOVER: Final = "failover_backend"
# More attempts than any operation can have: it is parked long before.
ATTEMPTS_MOST: Final = 1_000_000


def node_queue(cluster: str, node: str) -> str:
    """Where operations wait that one node has to do, whichever incarnation of it: unlike a backend's queue,
    `cluster@backend`, it has two of these signs. It is no backend's: what its node owns of it when it is lost is released
    with the proof that all of the node is dead.
    """
    return f"{cluster}@@{node}"


class NothingWon(Exception):
    """Others were faster with everything that we wanted to claim, or this node is not up any more."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A place in one resource's line. `seq` is the row's `op_seq` as this transaction wrote it."""

    resource_id: str
    seq: int
    exclusive: bool


def exclusive(row: Mapping[str, Any]) -> Lock:
    """The place that a just-locked row handed out, for an operation that changes the resource."""
    return Lock(row["id"], row["op_seq"], exclusive=True)


def shared(row: Mapping[str, Any]) -> Lock:
    """The same for an operation that only reads the resource. The row must have been written all the same."""
    return Lock(row["id"], row["op_seq"], exclusive=False)


@dataclass(frozen=True, slots=True)
class Job:
    """What to enqueue. `payload` is a msgspec struct or plain data; `version` the version of its form."""

    kind: str
    version: int
    queue: str
    resource_type: str
    resource_id: str
    payload: Any
    older: tuple[versions.Rewrite, ...] = ()
    """How it is written in the versions before (`versions.Kind.older`)."""
    is_new: bool = False
    """As `versions.Kind.is_new`."""
    needs: str | None = None
    """A second queue, whose storage it only reads: who does not serve that, too, does not claim it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An operation as this node owns it, read after the swap that made it ours."""

    operation_id: OperationId
    owner: Incarnation
    epoch: int
    kind: str
    version: int
    queue: str
    resource_type: str
    resource_id: str
    project_id: str
    user_id: str
    request_id: str
    payload_json: str
    direction: str
    step: str | None
    state_json: str
    failure_json: str | None
    cancel: bool
    attempt: int
    created_at_us: int
    claimed_at_us: int
    locks: tuple[Lock, ...]
    target: str | None = None
    """Where the queue's storage is worked on: a replication target, or None for the backend that is configured."""
    generation: int = 0
    """How often that has changed: what was begun under another number is not to be continued."""
    needs: str | None = None

    def token(self, resource_id: str) -> tuple[int, int]:
        """(seq, epoch) of this operation's lock on a resource: what its storage calls and new names carry."""
        return next((lock.seq, self.epoch) for lock in self.locks if lock.resource_id == resource_id)


# --- enqueue --------------------------------------------------------------------------------------------------------


def enqueue(tx: Connection, job: Job, *, origin: Origin, locks: Sequence[Lock]) -> None:
    """Add an operation in the request's own transaction: either all of the request is there, or none of it.

    Raises NotYet when a live node of its queue is of a release that cannot be told what is wanted.
    """
    assert locks, "an operation without a lock has no order"
    version, payload = job.version, job.payload
    if job.older or job.is_new:
        read_by = versions.read_by(tx, kind=job.kind, queue=job.queue, own_queue=node_queue)
        if job.is_new:
            versions.require_a_reader(read_by)
        version, payload = versions.written(payload, version=version, older=job.older, read_by=read_by)
    mine = {"operation_id": origin.operation_id}
    tx.execute(
        _INSERT_OPERATION,
        {
            "id": origin.operation_id,
            "kind": job.kind,
            "version": version,
            "queue": job.queue,
            "resource_type": job.resource_type,
            "resource_id": job.resource_id,
            "project_id": origin.project_id,
            "user_id": origin.user_id,
            "request_id": origin.request_id,
            "payload_json": msgspec.json.encode(payload).decode(),
            "created_at_us": origin.at_us,
            "needs": job.needs,
        },
    )
    tx.execute(
        _INSERT_LOCK,
        [{"resource_id": at.resource_id, "seq": at.seq, "exclusive": at.exclusive} | mine for at in locks],
    )
    if (box := outbox_of(tx)) is not None:
        asked = Asked(origin.request_id, origin.project_id, origin.user_id)
        box.begun(job, operation_id=origin.operation_id, locks=locks, asked=asked)


def cancel_earlier(tx: Connection, *, resource_id: str) -> int:
    """Flag every operation that has a place in the line of a resource, whose row the caller has locked.

    Queued ones end when their turn comes, a running one at its next save; neither touches the status any more.
    """
    in_line = tx.execute(_IN_LINE, {"resource_id": resource_id}).scalars().all()
    if not in_line:
        return 0
    return tx.execute(update(operations).where(operations.c.id.in_(in_line)).values(cancel=True)).rowcount


def someone_waits(tx: Connection, *, resource_id: str, exclusively: bool = False) -> bool:
    """Whether any operation still names this resource, or any that is going to change it."""
    named = _ANY_EXCLUSIVE if exclusively else _ANY_LOCK
    return tx.execute(named, {"resource_id": resource_id}).first() is not None


# --- claim ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """An operation as it was seen before claiming it."""

    operation_id: OperationId
    epoch: int
    queue: str
    attempt: int
    kind: str = ""


def claimable(
    tx: Connection, *, queue: str, kinds: Mapping[str, int], most: int, attempts: range, serves: Sequence[str] = ()
) -> list[Wanted]:
    """Operations of one queue that could be claimed now, oldest first, of kinds and versions that the caller can run.

    `serves` are all queues of the caller: what needs another one besides is left to those who have both.

    Per queue, so that a backlog of one backend hides nothing of another; per span of attempts, so that operations which
    have brought nodes down, and must run alone, neither hide the others nor are hidden by them.
    """
    values = {"queue": queue, "most": most, "attempts_from": attempts.start, "attempts_below": attempts.stop}
    both = {"serves": list(serves)} if len(serves) > 1 else {}
    statement = _claimable(tuple(sorted(kinds.items())), from_first=attempts.start == 0, both=bool(both))
    rows = tx.execute(statement, values | both).all()
    return [Wanted(row.id, row.epoch, row.queue, row.attempt, row.kind) for row in rows]


def claimable_apart(
    tx: Connection, *, queue: str, kinds: Mapping[str, int], most: int, risky_from: int, serves: Sequence[str] = ()
) -> tuple[list[Wanted], list[Wanted]]:
    """What could be claimed now: at most so many that may run beside others, and one that has to run alone.

    One statement, unless more is waiting than may be taken: then it is asked what else there is behind it.
    """
    look = functools.partial(claimable, tx, queue=queue, kinds=kinds, serves=serves)
    seen = look(most=most + 1, attempts=range(ATTEMPTS_MOST))
    normal = [one for one in seen if one.attempt < risky_from]
    risky = [one for one in seen if one.attempt >= risky_from]
    if len(seen) > most:
        normal = normal if len(normal) >= most else look(most=most, attempts=range(risky_from))
        risky = risky or look(most=1, attempts=range(risky_from, ATTEMPTS_MOST))
    return normal[:most], risky[:1]


def owned(tx: Connection, *, incarnation: Incarnation) -> list[Wanted]:
    """Everything that is marked as this node's, whatever its queue or kind.

    What a node owns is read here, never remembered: after a lost commit acknowledgement an operation may be ours without
    our knowing. The caller leaves out what is running.
    """
    rows = tx.execute(_MARKED_OURS, {"me": incarnation}).all()
    return [Wanted(row.id, row.epoch, row.queue, row.attempt, row.kind) for row in rows]


def claim(tx: Connection, *, wanted: Sequence[Wanted], incarnation: Incarnation, now_us: int) -> list[Claim]:
    """Make operations ours, as they were seen; returns those that we got. Raises NothingWon.

    The node's own row is written first: a claim and the node's expiry then conflict, and one of them sees the other. So do a
    claim and a failover of its queue, which writes every live node's row; what the claim reads of the backend is the present.
    Steps, state and locks are read after the swap, never before: the previous owner may have saved in between.
    """
    if tx.execute(_COUNT_CLAIM, {"me": incarnation}).rowcount == 0:
        raise NothingWon
    # A failover that ends meanwhile meets us at our row; one that begins is the later of the two, and takes what we claim.
    at = _backends(tx)
    closed = _closed(at)
    won = {
        one.operation_id
        for one in sorted(wanted, key=lambda one: one.operation_id)  # by id: two nodes may want the same ones
        if (one.queue not in closed or one.kind == FAILOVER)
        and tx.execute(
            _CLAIM, {"op": one.operation_id, "seen": one.epoch, "me": incarnation, "now_us": now_us}
        ).rowcount
    }
    if not won:
        raise NothingWon  # rolls back, so that losing costs no commit
    return _read_claims(tx, list(dict.fromkeys(one.operation_id for one in wanted if one.operation_id in won)), at)


def storage(tx: Connection) -> tuple[frozenset[str], dict[str, str | None]]:
    """The queues that are failing over, and the replication target that each queue works on."""
    at = _backends(tx)
    return _closed(at), {name: row["target"] for name, row in at.items()}


def _backends(tx: Connection) -> dict[str, Mapping[str, Any]]:
    return {row["queue"]: dict(row) for row in tx.execute(_TARGETS).mappings()}


def _closed(at: Mapping[str, Any]) -> frozenset[str]:
    """The queues in which nothing is claimed now, but the failover that they are in the middle of."""
    return frozenset(name for name, row in at.items() if row["replication_status"] == REPLICATION_FAILING_OVER)


def _read_claims(tx: Connection, ids: Sequence[OperationId], at: Mapping[str, Any]) -> list[Claim]:
    """The operations in this order. `at` are the backends' rows by queue, as the claim has read them under its node's row."""
    locks: dict[str, list[Lock]] = {}
    rows: dict[str, Any] = {}
    for row in tx.execute(_OPERATIONS, {"ids": list(ids)}).mappings():  # one for each lock: most have one or two
        rows[row["id"]] = row
        if row["line"] is not None:
            locks.setdefault(row["id"], []).append(Lock(row["line"], row["seq"], row["exclusive"]))
    claims = []
    for operation_id in ids:
        row = rows[operation_id]
        places = tuple(sorted(locks.get(operation_id, ()), key=lambda lock: lock.resource_id))
        values = {name: row[name] for name in _CLAIMED}
        values |= {name: at[row["queue"]][name] for name in _IN_USE if row["queue"] in at}
        claims.append(Claim(operation_id=operation_id, locks=places, **values))
    return claims


# --- while it runs --------------------------------------------------------------------------------------------------


def save(
    tx: Connection,
    claimed: Claim,
    *,
    direction: str,
    step: str | None,
    state_json: str,
    failure_json: str | None = None,
    progress: bool = True,
    cancellable: bool = True,
) -> None:
    """Record how far the operation got, as absolute values. Raises Fenced, or Cancelled when a later request says so.

    `progress`: the next claim need not do again what this one has done; that is what `attempt` is counted by.

    Saving the same twice succeeds: rowcount counts matched rows on all our databases, not changed ones.
    """
    values: dict[str, Any] = {"new_direction": direction, "new_step": step}
    values |= {"new_state": state_json, "new_failure": failure_json}
    if tx.execute(_SAVE if progress else _NOTE, _own(claimed) | values).rowcount == 0:
        raise Fenced(claimed.operation_id)
    if cancellable and direction == DO and was_cancelled(tx, claimed):
        raise Cancelled(claimed.operation_id)


def guard(tx: Connection, claimed: Claim, *, progress: bool = True) -> None:
    """Assert inside a step's transaction that the operation is still ours, by changing its row. Raises Fenced.

    `progress` as in `save`: without it an operation that brings its node down each time after this has got nowhere.
    """
    if tx.execute(_GUARD if progress else _OWNED, _own(claimed)).rowcount == 0:
        raise Fenced(claimed.operation_id)


def hand_back(tx: Connection, claimed: Claim) -> None:
    """Give an operation back in good order (a drain): the next claim goes on from its checkpoint. Raises Fenced."""
    if tx.execute(_OWNED.values(owner=None), _own(claimed)).rowcount == 0:
        raise Fenced(claimed.operation_id)


def postpone(tx: Connection, claimed: Claim, *, pause_us: int) -> None:
    """Give back an operation that a mistake of ours brought down: later, and one attempt nearer to being parked."""
    values = {"owner": None, "attempt": operations.c.attempt + 1, "not_before_us": db_now_us() + pause_us}
    if tx.execute(_OWNED.values(**values), _own(claimed)).rowcount == 0:
        raise Fenced(claimed.operation_id)


def was_cancelled(tx: Connection, claimed: Claim) -> bool:
    """Whether a later request has cancelled it."""
    return bool(tx.execute(_CANCELLED, {"op": claimed.operation_id}).scalar())


def close(tx: Connection, claimed: Claim, *, outcome: str, detail: str | None, now_us: int) -> None:
    """End the operation, if it is still ours: its row and locks go, its log row comes. Raises Fenced.

    Called inside Finish, after the resource rows were locked: resources come first in everybody's order. Finish changes
    the resource in the same transaction, so either all of an operation's outcome is there or none.
    """
    if tx.execute(_DELETE_OPERATION, _own(claimed)).rowcount == 0:
        raise Fenced(claimed.operation_id)
    tx.execute(_DELETE_LOCKS, {"op": claimed.operation_id})
    locks = [[at.resource_id, at.seq, at.exclusive] for at in claimed.locks]
    tx.execute(
        _INSERT_LOG,
        {
            "operation_id": claimed.operation_id,
            "kind": claimed.kind,
            "queue": claimed.queue,
            "resource_type": claimed.resource_type,
            "resource_id": claimed.resource_id,
            "project_id": claimed.project_id,
            "request_id": claimed.request_id,
            "outcome": outcome,
            "detail": detail,
            "attempt": claimed.attempt,
            "owner": claimed.owner,
            "epoch": claimed.epoch,
            "locks_json": msgspec.json.encode(locks).decode(),
            "created_at_us": claimed.created_at_us,
            "claimed_at_us": claimed.claimed_at_us,
            "finished_at_us": now_us,
        },
    )
    if (box := outbox_of(tx)) is not None:
        asked = Asked(claimed.request_id, claimed.project_id, claimed.user_id)
        box.ended(claimed, outcome=outcome, detail=detail, asked=asked)


# --- statements -----------------------------------------------------------------------------------------------------

_mine = operation_locks.alias("mine")
_before = operation_locks.alias("earlier")


def _nobody_before() -> Any:
    conflicts = and_(
        _before.c.resource_id == _mine.c.resource_id,
        _before.c.seq < _mine.c.seq,
        or_(_mine.c.exclusive, _before.c.exclusive),
    )
    # A number instead of EXISTS: of that MariaDB makes a table first, and reads all locks for it. Unequal, not IS NULL: of that
    # PostgreSQL expects so few rows that it reads all that wait and sorts them.
    found = (
        select(literal(1)).select_from(_mine.join(_before, conflicts)).where(_mine.c.operation_id == operations.c.id)
    )
    return func.coalesce(found.correlate(operations).limit(1).scalar_subquery(), 0) != 1


SEEN = (operations.c.id, operations.c.epoch, operations.c.queue, operations.c.attempt, operations.c.kind)
OLDEST_FIRST = (always_null(operations.c.owner), operations.c.created_at_us, operations.c.id)
FREE = and_(operations.c.owner.is_(None), operations.c.not_before_us <= db_now_us(), _nobody_before())
_MARKED_OURS = select(*SEEN).where(operations.c.owner == bindparam("me"))


@functools.cache
def _claimable(kinds: tuple[tuple[str, int], ...], *, from_first: bool, both: bool) -> Any:
    known = or_(*(and_(operations.c.kind == kind, operations.c.version <= version) for kind, version in kinds))
    # Those tried often have an index of their own. Left to themselves SQLite and MariaDB take it for the others, too, and sort
    # all that wait.
    attempt = unindexed(operations.c.attempt) if from_first else operations.c.attempt
    alone = operations.c.needs.is_(None)
    reached = or_(alone, operations.c.needs.in_(bindparam("serves", expanding=True))) if both else alone
    found = (
        select(*SEEN)
        .where(
            operations.c.queue == bindparam("queue"),
            attempt >= bindparam("attempts_from"),
            attempt < bindparam("attempts_below"),
            known,
            reached,
            FREE,
        )
        .order_by(*OLDEST_FIRST)
        .limit(bindparam("most", type_=Integer()))
    )
    return found.with_hint(operations, "FORCE INDEX (ix_operations_queue)", "mariadb") if from_first else found


def _own(claimed: Claim) -> dict[str, Any]:
    return {"op": claimed.operation_id, "me": claimed.owner, "mine": claimed.epoch}


_OWNED = (
    update(operations)
    .where(
        operations.c.id == bindparam("op"),
        operations.c.owner == bindparam("me"),
        operations.c.epoch == bindparam("mine"),
    )
    .values(touched=operations.c.touched + 1)
)
_GUARD = _OWNED.values(saved_epoch=bindparam("mine"))
_NOTE = _OWNED.values(
    direction=bindparam("new_direction"),
    step=bindparam("new_step"),
    state_json=bindparam("new_state"),
    failure_json=bindparam("new_failure"),
)
_SAVE = _NOTE.values(saved_epoch=bindparam("mine"))
_CANCELLED = select(operations.c.cancel).where(operations.c.id == bindparam("op"))
_COUNT_CLAIM = (
    update(nodes).where(nodes.c.incarnation == bindparam("me"), nodes.c.state == "up").values(claims=nodes.c.claims + 1)
)
_IN_USE = ("target", "generation")
_TARGETS = select(
    backends.c.queue, backends.c.replication_status, backends.c.active_backend_id.label("target"), backends.c.generation
)
_CLAIMED = tuple(name for name in Claim.__slots__ if name not in ("operation_id", "locks", *_IN_USE))
_OPERATIONS = (
    select(operations, operation_locks.c.resource_id.label("line"), operation_locks.c.seq, operation_locks.c.exclusive)
    .outerjoin(operation_locks, operation_locks.c.operation_id == operations.c.id)
    .where(operations.c.id.in_(bindparam("ids", expanding=True)))
)
_IN_LINE = (
    select(operation_locks.c.operation_id)
    .where(operation_locks.c.resource_id == bindparam("resource_id"), operation_locks.c.exclusive)
    .order_by(operation_locks.c.operation_id)
)
_INSERT_OPERATION = insert(operations)
_INSERT_LOCK = insert(operation_locks)
_INSERT_LOG = insert(operation_log)
_DELETE_OPERATION = delete(operations).where(
    operations.c.id == bindparam("op"), operations.c.owner == bindparam("me"), operations.c.epoch == bindparam("mine")
)
_DELETE_LOCKS = delete(operation_locks).where(operation_locks.c.operation_id == bindparam("op"))
_ANY_LOCK = select(operation_locks.c.seq).where(operation_locks.c.resource_id == bindparam("resource_id")).limit(1)
_ANY_EXCLUSIVE = _ANY_LOCK.where(operation_locks.c.exclusive)
_CLAIM = (
    update(operations)
    .where(
        operations.c.id == bindparam("op"),
        operations.c.epoch == bindparam("seen"),
        or_(operations.c.owner.is_(None), operations.c.owner == bindparam("me")),
    )
    .values(
        owner=bindparam("me"),
        epoch=operations.c.epoch + 1,
        claim_epoch=operations.c.epoch + 1,
        claimed_at_us=bindparam("now_us"),
    )
)
