"""What operators do to a backend as a whole: freeze, thaw, and fail over to a replication target.

A failover is one operation, alone in the backend's own line. From the request's commit until its end nothing else of the
queue is claimed (`protocol/queue.py` asks for that in each claim). Its first step takes away what was claimed before, so that
no error of a dying storage ends a user's operation; its Finish sets the target that every later claim reads. Nobody has to
be told anything, and the failover waits for no operation that runs.
"""

import json
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, bindparam, select, update

from breezeblock.model import states
from breezeblock.model.errors import BadRequest, InvalidState
from breezeblock.model.origin import Origin
from breezeblock.protocol import queue, recovery
from breezeblock.protocol.queue import Claim
from breezeblock.protocol.steps import Failure
from breezeblock.resources import kinds, services
from breezeblock.resources.accepted import Accepted, message_for_failure
from breezeblock.resources.backends import DEFAULT_TARGET, backend_id, introduce, read_states
from breezeblock.resources.services import VOLUME
from breezeblock.store.tables import backends, nodes, pools
from breezeblock.store.transitions import Must, Transition, change_row, equals, is_in, lock_row, new, read_row

# How a pool's report names the targets that its driver offers, with blanks between them.
TARGETS: Final = "replication_targets"
FROZEN: Final = "frozen"
FAILED_OVER: Final = "failed-over"


class FailoverBackend(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `failover_backend`. `target` is one of the driver's, or `default`."""

    backend_id: str
    queue: str
    target: str


FREEZE = Transition(
    backends,
    name="backend.freeze",
    musts=(Must(equals(backends.c.frozen, False), "Backend {queue} is frozen already."),),
    sets={"frozen": True, "updated_at_us": new("now_us")},
)
THAW = Transition(
    backends,
    name="backend.thaw",
    musts=(Must(equals(backends.c.frozen, True), "Backend {queue} is not frozen."),),
    sets={"frozen": False, "updated_at_us": new("now_us")},
)
# From `error`, too: a failover that failed half-way is repeated, or taken back, by another one.
FAIL_OVER = Transition(
    backends,
    name="backend.fail_over",
    musts=(
        Must(
            is_in(
                backends.c.replication_status,
                (states.REPLICATION_ENABLED, states.REPLICATION_FAILED_OVER, states.REPLICATION_ERROR),
            ),
            "Backend {queue} has replication status {replication_status}; "
            "to fail over it must be enabled, failed-over or error.",
        ),
    ),
    sets={"replication_status": states.REPLICATION_FAILING_OVER, "updated_at_us": new("now_us")},
)


def find_queue(tx: Connection, *, host: str | None, cluster: str | None) -> str:
    """The one queue that a host (`node@backend`, also a part before the @, or with a pool) or cluster means.

    By its cluster's name a backend is found also while none of its nodes serves it: what was frozen must not stay so because
    nodes restart. Raises BadRequest when there is none, or more than one: these calls do nothing by halves.
    """
    asked = (host or cluster or "").partition("#")[0]
    found = {
        one.queue
        for one in services.list_services(tx, own_cluster="", default_zone="")
        if one.binary == VOLUME and one.queue is not None and _is(one.host if host else one.queue, asked)
    }
    if not host:
        found |= {queue_name for queue_name in read_states(tx) if _is(queue_name, asked)}
    if not found:
        raise BadRequest(f"No service found with {'host' if host else 'cluster'}={asked}.")
    if len(found) > 1:
        raise BadRequest(f"{asked} has several backends: {', '.join(sorted(found))}. Name one of them.")
    return found.pop()


def _is(name: str, asked: str) -> bool:
    return name == asked or name.startswith(f"{asked}@")


# --- freeze and thaw ------------------------------------------------------------------------------------------------


def freeze(tx: Connection, *, host: str | None, cluster: str | None, origin: Origin) -> None:
    """Keep what is on a backend as it is. Raises BadRequest (which backend?), InvalidState.

    It takes no new volumes either: its cluster is disabled, with `frozen` as the reason, unless an operator has done so.
    """
    name = find_queue(tx, host=host, cluster=cluster)
    FREEZE.apply(tx, introduce(tx, queue=name, replicates=bool(targets_of(tx, name))), now_us=origin.at_us)
    close_or_open(tx, queue_name=name, at_us=origin.at_us)


def thaw(tx: Connection, *, host: str | None, cluster: str | None, origin: Origin) -> None:
    """Let a frozen backend be changed again. Raises BadRequest (which backend?), InvalidState."""
    name = find_queue(tx, host=host, cluster=cluster)
    THAW.apply(tx, introduce(tx, queue=name, replicates=bool(targets_of(tx, name))), now_us=origin.at_us)
    close_or_open(tx, queue_name=name, at_us=origin.at_us)


def close_or_open(tx: Connection, *, queue_name: str, at_us: int) -> None:
    """Let the cluster take new volumes only while its backend is neither failed over nor frozen. The row is locked."""
    row = read_row(tx, backends, backend_id(queue_name))
    assert row is not None, "a locked row is there"
    reason = FAILED_OVER if row["active_backend_id"] is not None else FROZEN if row["frozen"] else None
    services.obey_backend(tx, queue=queue_name, reason=reason, at_us=at_us)


# --- failover -------------------------------------------------------------------------------------------------------


def begin_failover(
    tx: Connection, *, host: str | None, cluster: str | None, target: str | None, origin: Origin
) -> Accepted:
    """Accept a failover. From here on no operation of the queue is claimed but this one.

    Raises BadRequest (which backend? which target?), InvalidState (not now).
    """
    name = find_queue(tx, host=host, cluster=cluster)
    offered = targets_of(tx, name)
    if not offered:
        raise BadRequest(f"Backend {name} has no replication: its driver offers no target to fail over to.")
    row_id = introduce(tx, queue=name, replicates=True)
    lock_row(tx, backends, row_id)
    _check_nodes(tx, name)
    row = FAIL_OVER.check_locked(tx, row_id, now_us=origin.at_us)
    wanted = _target(name, offered, row["active_backend_id"], target)
    if wanted == (row["active_backend_id"] or DEFAULT_TARGET) and row["replication_status"] != states.REPLICATION_ERROR:
        raise InvalidState(f"Backend {name} works on target {wanted} already.")
    changed = FAIL_OVER.apply_locked(tx, row_id, now_us=origin.at_us)
    payload = FailoverBackend(backend_id=row_id, queue=name, target=wanted)
    job = kinds.job(queue.FAILOVER, name, "backend", row_id, payload)
    queue.enqueue(tx, job, origin=origin, locks=(queue.exclusive(changed),))
    return Accepted(name, changed)


def _check_nodes(tx: Connection, name: str) -> None:
    """Somebody must be up to do it, and nobody may be who would not obey: a node of a release that knows no failover.

    Nobody knows yet what a node that has not announced itself will serve. Its row is written before it is read, as those of
    all that live: an announcement at the same moment comes before this or after it, and a worker that announces itself later
    finds the queue closed.
    """
    in_cluster = {"in_cluster": name.rpartition("@")[0]}
    tx.execute(_TOUCH_LIVE, in_cluster)
    known = tx.execute(_LIVE, in_cluster).all()
    live = [row for row in known if name in json.loads(row.queues_json)]
    if not live:
        raise InvalidState(f"No service of {name} is up; one must be, to fail over.")
    unknowing = sorted(row.name for row in live if queue.FAILOVER not in json.loads(row.kinds_json))
    if unknowing:
        raise InvalidState(f"{', '.join(unknowing)} cannot fail over (yet): starting, or of an older release.")
    starting = sorted(row.name for row in known if not json.loads(row.queues_json) and not json.loads(row.kinds_json))
    if starting:
        raise InvalidState(f"{', '.join(starting)} cannot fail over yet: starting.")


def targets_of(tx: Connection, name: str) -> tuple[str, ...]:
    """The replication targets that a queue's pools have reported."""
    reported = tx.execute(_CAPABILITIES, {"queue": name}).scalars()
    return tuple(sorted({target for text in reported for target in json.loads(text).get(TARGETS, "").split()}))


def _target(name: str, offered: tuple[str, ...], active: str | None, wanted: str | None) -> str:
    """The target that is meant; without a word, the only one that is not in use."""
    if wanted == DEFAULT_TARGET or wanted in offered:
        return wanted
    choice = [one for one in offered if one != active]
    if wanted is None and len(choice) == 1:
        return choice[0]
    known = ", ".join((*offered, DEFAULT_TARGET))
    said = "No replication target was named" if wanted is None else f"'{wanted}' is no replication target"
    raise BadRequest(f"{said} of backend {name}; expected one of: {known}.")


def revoke_others(tx: Connection, *, queue_name: str, row_id: str) -> None:
    """Take every operation of the queue from whoever works on it. Runs inside the failover's first step.

    In a transaction after the one that closed the queue, which is what makes it complete: a claim that had not seen the queue
    closed has either committed by now, and is revoked here, or conflicts with this transaction at its node's row. The
    generation rises with it: what was half made is begun anew, for who made it may still be writing to it.
    """
    lock_row(tx, backends, row_id)
    _next_generation(tx, row_id)
    recovery.revoke_queue(tx, queue=queue_name)


def finish_failover(
    tx: Connection, claim: Claim, payload: FailoverBackend, state: dict[str, Any], *, now_us: int
) -> None:
    """Every later claim of the queue works on the new target; a new volume needs an operator's word meanwhile."""
    _end(
        tx,
        claim,
        payload,
        outcome="done",
        detail=None,
        replication_status=states.REPLICATION_FAILED_OVER if _active(payload) else states.REPLICATION_ENABLED,
        active_backend_id=_active(payload),
        updated_at_us=now_us,
    )
    close_or_open(tx, queue_name=payload.queue, at_us=now_us)


def fail_failover(
    tx: Connection,
    claim: Claim,
    payload: FailoverBackend,
    state: dict[str, Any],
    *,
    failure: Failure,
    now_us: int,
) -> None:
    """The queue goes on where its storage is: where it was, or on the target if that is in use by now.

    Which resources are there may not be known then. An operator decides what next: the same failover once more sees to it.
    """
    switched = {"active_backend_id": _active(payload)} if state.get("switched") else {}
    _end(
        tx,
        claim,
        payload,
        outcome=failure.outcome,
        detail=failure.message,
        replication_status=states.REPLICATION_ERROR,
        updated_at_us=now_us,
        **switched,
    )
    if switched:
        close_or_open(tx, queue_name=payload.queue, at_us=now_us)
    message_for_failure(tx, claim, event=claim.kind, text=failure.message, now_us=now_us)


def park_failover(tx: Connection, claim: Claim, *, now_us: int) -> None:
    """End a failover that nobody could run: its queue must not stay closed for ever, and goes on where its storage is.

    Its payload may be of a newer release, of which only the target is read.
    """
    switched = json.loads(claim.state_json).get("switched")
    target = json.loads(claim.payload_json)["target"] if switched else None
    values: dict[str, Any] = {
        "replication_status": states.REPLICATION_ERROR,
        "op_seq": backends.c.op_seq + 1,
        "updated_at_us": now_us,
    }
    if switched:
        values["active_backend_id"] = None if target == DEFAULT_TARGET else target
    stuck = (backends.c.id == claim.resource_id, backends.c.replication_status == states.REPLICATION_FAILING_OVER)
    parked = update(backends).where(*stuck).values(generation=backends.c.generation + 1, **values)
    if tx.execute(parked).rowcount and switched:
        close_or_open(tx, queue_name=claim.queue, at_us=now_us)


def _active(payload: FailoverBackend) -> str | None:
    return None if payload.target == DEFAULT_TARGET else payload.target


def _end(
    tx: Connection, claim: Claim, payload: FailoverBackend, *, outcome: str, detail: str | None, **values: Any
) -> None:
    """Open the queue again. What has an owner loses its epoch once more: nothing survives from before the change."""
    lock_row(tx, backends, payload.backend_id)
    recovery.revoke_queue(tx, queue=payload.queue)
    queue.close(tx, claim, outcome=outcome, detail=detail, now_us=values["updated_at_us"])
    _next_generation(tx, payload.backend_id)
    change_row(tx, backends, payload.backend_id, **values)


def _next_generation(tx: Connection, row_id: str) -> None:
    generation = tx.execute(_GENERATION, {"row_id": row_id}).scalar_one()
    change_row(tx, backends, row_id, generation=generation + 1)


_CAPABILITIES: Any = select(pools.c.capabilities_json).where(pools.c.queue == bindparam("queue"))
_ALIVE: Any = and_(nodes.c.cluster == bindparam("in_cluster"), nodes.c.state.in_(states.NODE_LIVE))
_LIVE: Any = select(nodes.c.name, nodes.c.queues_json, nodes.c.kinds_json).where(_ALIVE)
_TOUCH_LIVE: Any = update(nodes).where(_ALIVE).values(claims=nodes.c.claims + 1)
_GENERATION: Any = select(backends.c.generation).where(backends.c.id == bindparam("row_id"))
