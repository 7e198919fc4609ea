"""The nodes table as observers use it: expire, fence, release, bury. The keeper's few statements are in `node/`.

    up | draining ──expire──▶ expired ──proof──▶ fenced ──nothing owned──▶ gone

Proof comes for the whole node, or backend by backend (`node_backends`): what a lost node owned on a backend that is fenced
from it is released, whatever became of the others. Nothing is released before the proof that the old node cannot write there
any more.

Every function that fences writes the node's row first, so that two of them are ordered whatever the database is.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, exists, insert, or_, select, update

from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_LIVE
from breezeblock.protocol import driver_locks, node_events, recovery
from breezeblock.protocol.node_events import Note
from breezeblock.store.dialects import db_now_us
from breezeblock.store.tables import node_backends, nodes, operations

FENCE_RETRY_FIRST_US: Final = 1_000_000
FENCE_RETRY_MOST_US: Final = 60_000_000
# How long the row of a node that is gone stays, for `status` to show.
GONE_KEPT_US: Final = 3600 * 1_000_000
# Left-over rows are removed from so many nodes at a time.
FORGOTTEN_MOST: Final = 1_000
# In what the storage knows an incarnation by, the keys that are not the driver's: on which machine it runs, and the
# replication targets that it can work on, with blanks between them.
MACHINE: Final = "machine"
TARGETS: Final = "targets"
NOT_OF_THE_DRIVER: Final = frozenset({MACHINE, TARGETS})
# What a node of a release that does not announce its targets may know.
ANY_TARGET: Final = "*"
# A node that announced no backend has used none: the announcement is refused once it is expired.
UNUSED: Final = "unused"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One incarnation, as the tables have it."""

    incarnation: Incarnation
    name: str
    state: str
    heartbeat: int
    fencer: Incarnation | None
    fence_due: bool
    queues: tuple[str, ...]
    kinds: Mapping[str, int]
    lock_path: str
    lock_id: str
    fence_due_s: float = 0.0
    """For how long its fence has been waiting for somebody, by the clock that all of them share."""
    fence_tries: int = 0
    """How many walks through its fences have left something unfenced."""
    boot_id: str = ""
    identities: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Queue -> what its storage knows this incarnation by."""
    fenced: frozenset[str] = frozenset()
    """The queues on whose backends it certainly writes no more."""

    @property
    def unfenced(self) -> tuple[str, ...]:
        """The queues that still have to be fenced."""
        return tuple(name for name in self.queues if name not in self.fenced)

    @property
    def machine(self) -> str:
        """The machine that it runs on; empty when that is not certain."""
        return next((known[MACHINE] for known in self.identities.values() if known.get(MACHINE)), "")

    def targets(self, queue: str) -> tuple[str | None, ...]:
        """The replication targets of a queue that it can work on; None is the backend that is configured."""
        return None, *self.identities.get(queue, {}).get(TARGETS, ANY_TARGET).split()


def read_nodes(tx: Connection, *, cluster: str) -> list[NodeRow]:
    """All incarnations of a cluster that are not gone."""
    ours = {"of_cluster": cluster}
    # Nodes first: where each statement sees a later moment, no expired node lacks what it had announced by then.
    rows = tx.execute(_NODES_IN_USE, ours).mappings().all()
    identities: dict[str, dict[str, Mapping[str, str]]] = {}
    fenced: dict[str, set[str]] = {}
    for row in tx.execute(_BACKENDS_IN_USE, ours).mappings():
        identities.setdefault(row["incarnation"], {})[row["queue"]] = json.loads(row["identity_json"])
        if row["fenced_by"] is not None:
            fenced.setdefault(row["incarnation"], set()).add(row["queue"])
    found = []
    for row in rows:
        known = identities.get(row["incarnation"], {})
        found.append(
            NodeRow(
                incarnation=row["incarnation"],
                name=row["name"],
                state=row["state"],
                heartbeat=row["heartbeat"],
                fencer=row["fencer"],
                fence_due=row["due_us"] >= 0,
                fence_due_s=row["due_us"] / 1_000_000,
                fence_tries=row["fence_tries"],
                queues=tuple(sorted({*json.loads(row["queues_json"]), *known})),
                kinds=json.loads(row["kinds_json"]),
                lock_path=row["lock_path"],
                lock_id=row["lock_id"],
                boot_id=row["boot_id"],
                identities=known,
                fenced=frozenset(fenced.get(row["incarnation"], ())),
            )
        )
    return found


# --- expiry ---------------------------------------------------------------------------------------------------------


def expire(tx: Connection, *, incarnation: Incarnation, heartbeat: int, fencer: Incarnation | None, note: Note) -> bool:
    """Declare a silent node expired, if its counter still stands where we saw it, and take its operations from it.

    One transaction: between the two, the node could otherwise finish an operation that a survivor is about to repeat.
    Its lease was over before: who may be expired has been silent for longer than a lease holds, so a fence that begins
    after this never meets a node that still has the right to write.
    """
    silent = update(nodes).where(
        nodes.c.incarnation == incarnation, nodes.c.heartbeat == heartbeat, nodes.c.state.in_(NODE_LIVE)
    )
    values = {"state": "expired", "fencer": fencer, "fence_after_us": db_now_us(), "changed_at_us": note.at_us}
    if tx.execute(silent.values(**values)).rowcount == 0:
        return False
    recovery.revoke(tx, owner=incarnation)
    node_events.tell(tx, incarnation=incarnation, event="expired", detail=f"silent, says {note.by}", note=note)
    return True


def force_expire(tx: Connection, *, incarnation: Incarnation, now_us: int) -> bool:
    """An operator's word: treat the node as expired now, whether or not its lease is over. It still has to be fenced."""
    live = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state.in_(NODE_LIVE))
    if tx.execute(live.values(state="expired", fencer=None, changed_at_us=now_us)).rowcount == 0:
        return False
    recovery.revoke(tx, owner=incarnation)
    return True


# --- fencing --------------------------------------------------------------------------------------------------------


def take_over_fence(
    tx: Connection, *, incarnation: Incarnation, was: Incarnation | None, me: Incarnation, note: Note
) -> bool:
    """Become the fencer of an expired node whose fencer failed or died."""
    same = nodes.c.fencer.is_(None) if was is None else nodes.c.fencer == was
    mine = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state == "expired", same)
    if tx.execute(mine.values(fencer=me)).rowcount == 0:
        return False
    node_events.tell(tx, incarnation=incarnation, event="fence_taken_over", detail=f"by {note.by}", note=note)
    return True


def record_fenced(
    tx: Connection, *, incarnation: Incarnation, method: str, note: Note, queues: Collection[str] | None = None
) -> bool:
    """There is proof about the whole node; whoever has the proof may say so. Returns whether it was news.

    It counts for `queues`, whose policies accept it (None: for all): another backend may ask for more than that.
    """
    if not _hold_expired(tx, incarnation):
        return False
    unfenced = _unfenced(tx, incarnation)
    now = [name for name in unfenced if queues is None or name in queues]
    if unfenced and not now:
        return False
    for name in now:
        _mark(tx, incarnation, name, method=method, note=note)
    if len(now) == len(unfenced):
        _end_fencing(tx, incarnation, note)
        event, detail = "fenced", f"{method}, by {note.by}"
    else:
        event, detail = "backend_fenced", f"{', '.join(now)}: {method}, by {note.by}"
    node_events.tell(tx, incarnation=incarnation, event=event, detail=detail, note=note)
    return True


def record_unused(tx: Connection, *, incarnation: Incarnation, note: Note) -> bool:
    """An expired node that announced nothing has used nothing. Who did announce something is left to the fences."""
    if not _hold_expired(tx, incarnation) or _announced(tx, incarnation):
        return False
    _end_fencing(tx, incarnation, note)
    node_events.tell(tx, incarnation=incarnation, event="fenced", detail=f"{UNUSED}, by {note.by}", note=note)
    return True


def record_backend_fenced(tx: Connection, *, incarnation: Incarnation, queue: str, method: str, note: Note) -> bool:
    """There is proof that the node writes no more to one backend. With its last one the node is fenced.

    Whoever has the proof may say so, and saying it twice changes nothing. Returns whether it was news.
    """
    if not _hold_expired(tx, incarnation) or not _mark(tx, incarnation, queue, method=method, note=note):
        return False
    left = _unfenced(tx, incarnation)
    detail = f"{queue}: {method}, by {note.by}"
    if not left:
        _end_fencing(tx, incarnation, note)
    event = "backend_fenced" if left else "fenced"
    node_events.tell(tx, incarnation=incarnation, event=event, detail=detail, note=note)
    return True


def record_fence_failed(tx: Connection, *, incarnation: Incarnation, me: Incarnation, error: str, note: Note) -> bool:
    """No proof, or not for every backend: another node tries what is left, after a pause that grows."""
    mine = (nodes.c.incarnation == incarnation, nodes.c.fencer == me, nodes.c.state == "expired")
    if tx.execute(update(nodes).where(*mine).values(fence_tries=nodes.c.fence_tries + 1)).rowcount == 0:
        return False
    tries: int = tx.execute(select(nodes.c.fence_tries).where(*mine)).scalar_one()
    pause_us = min(FENCE_RETRY_MOST_US, FENCE_RETRY_FIRST_US * 2 ** min(tries - 1, 10))
    failed = update(nodes).where(*mine)
    tx.execute(failed.values(fencer=None, fence_error=error, fence_after_us=db_now_us() + pause_us))
    node_events.tell(tx, incarnation=incarnation, event="fence_failed", detail=f"{note.by}: {error}", note=note)
    return True


def confirm_fenced(tx: Connection, *, incarnation: Incarnation, note: Note) -> tuple[str, ...] | None:
    """An operator's word that a node writes no more and never will. Returns the queues that it fences, None for nothing.

    A node that is not expired yet is expired and fenced in this one transaction: no fence is ever run on a node whose lease
    may not be over.
    """
    forced = force_expire(tx, incarnation=incarnation, now_us=note.at_us)
    if not _hold_expired(tx, incarnation):
        return None
    left = _unfenced(tx, incarnation)
    for name in left:
        _mark(tx, incarnation, name, method="operator", note=note)
    _end_fencing(tx, incarnation, note)
    event = "forced" if forced else "confirmed"
    node_events.tell(tx, incarnation=incarnation, event=event, detail=f"fenced by the word of {note.by}", note=note)
    return left


def _hold_expired(tx: Connection, incarnation: Incarnation) -> bool:
    """Whether it is expired, by changing its row: Galera certifies nothing where a write leaves everything as it is."""
    expired = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state == "expired")
    return tx.execute(expired.values(claims=nodes.c.claims + 1)).rowcount > 0


def _end_fencing(tx: Connection, incarnation: Incarnation, note: Note) -> None:
    done = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state == "expired")
    tx.execute(done.values(state="fenced", fence_error=None, changed_at_us=note.at_us))


def _unfenced(tx: Connection, incarnation: Incarnation) -> tuple[str, ...]:
    """The queues that are not fenced from a node whose row the caller has written."""
    this = (node_backends.c.incarnation == incarnation, node_backends.c.fenced_by.is_not(None))
    done = tx.execute(select(node_backends.c.queue).where(*this)).scalars().all()
    return tuple(sorted(_announced(tx, incarnation).difference(done)))


def _announced(tx: Connection, incarnation: Incarnation) -> set[str]:
    """Every queue that it may have used."""
    listed = tx.execute(select(nodes.c.queues_json).where(nodes.c.incarnation == incarnation)).scalar_one()
    rows = select(node_backends.c.queue).where(node_backends.c.incarnation == incarnation)
    return {*json.loads(listed), *tx.execute(rows).scalars()}


def _mark(tx: Connection, incarnation: Incarnation, queue: str, *, method: str, note: Note) -> bool:
    """Write the proof down. The row is missing when the node's release did not announce its backends one by one."""
    this = (node_backends.c.incarnation == incarnation, node_backends.c.queue == queue)
    values = {"fenced_by": method, "fenced_at_us": note.at_us}
    unfenced = update(node_backends).where(*this, node_backends.c.fenced_by.is_(None))
    if tx.execute(unfenced.values(**values)).rowcount:
        return True
    if tx.execute(select(node_backends.c.queue).where(*this)).first() is not None:
        return False
    tx.execute(insert(node_backends).values(incarnation=incarnation, queue=queue, identity_json="{}", **values))
    return True


# --- the standing rules ---------------------------------------------------------------------------------------------


# Backends of nodes that are forgotten: a release that knows of no such rows deletes a node's row alone. A node's row is there
# before it announces, so what has none belongs to nobody.
_WITHOUT_NODE: Final = select(node_backends.c.incarnation).where(
    ~exists(
        select(nodes.c.incarnation).where(nodes.c.incarnation == node_backends.c.incarnation).correlate(node_backends)
    )
)
_ONE_WITHOUT_NODE: Final = _WITHOUT_NODE.limit(1)
# Statements that every node runs all the time are built once: building one costs several times as much as running it.
_OF_CLUSTER: Final = nodes.c.cluster == bindparam("of_cluster")
_IN_USE: Final = and_(_OF_CLUSTER, nodes.c.state != "gone")
_NODES_IN_USE: Final[Any] = select(nodes, (db_now_us() - nodes.c.fence_after_us).label("due_us")).where(_IN_USE)
_BACKENDS_IN_USE: Final[Any] = (
    select(node_backends).join(nodes, nodes.c.incarnation == node_backends.c.incarnation).where(_IN_USE)
)
_A_FENCED_NODE: Final[Any] = select(nodes.c.incarnation).where(_OF_CLUSTER, nodes.c.state == "fenced").limit(1)
# First the few nodes, then what they own, by its index: a database that may choose begins at the many operations.
_GONE: Final[Any] = select(nodes.c.incarnation).where(nodes.c.state == "gone")
_A_STRAY: Final[Any] = (
    select(operations.c.id).where(operations.c.owner.in_(bindparam("owners", expanding=True))).limit(1)
)


def housekeeping(tx: Connection, *, cluster: str, now_us: int) -> list[str]:
    """Apply the standing rules: release what the dead own, bury who owns nothing, forget the long gone.

    Returns the queues in which something became claimable, or somebody waits for a driver's lock that became free.
    """
    released = sorted({*recovery.release_dead(tx), *driver_locks.release_dead(tx)})
    owns = exists(select(operations.c.id).where(operations.c.owner == nodes.c.incarnation).correlate(nodes))
    tx.execute(
        update(nodes)
        .where(nodes.c.cluster == cluster, nodes.c.state == "fenced", ~owns)
        .values(state="gone", changed_at_us=now_us)
    )
    old = or_(nodes.c.changed_at_us.is_(None), nodes.c.changed_at_us < now_us - GONE_KEPT_US)
    forgotten = and_(nodes.c.cluster == cluster, nodes.c.state == "gone", old, ~owns)
    ids = tx.execute(select(nodes.c.incarnation).where(forgotten)).scalars().all()
    if ids:
        tx.execute(delete(node_backends).where(node_backends.c.incarnation.in_(ids)))
        tx.execute(delete(nodes).where(nodes.c.incarnation.in_(ids)))
    if strays := tx.execute(_WITHOUT_NODE.distinct().limit(FORGOTTEN_MOST)).scalars().all():
        tx.execute(delete(node_backends).where(node_backends.c.incarnation.in_(strays)))
    return released


def needs_housekeeping(tx: Connection, *, cluster: str) -> bool:
    """Whether a standing rule has anything to do. Asked before the transaction, so that idle nodes write nothing."""
    if tx.execute(_A_FENCED_NODE, {"of_cluster": cluster}).first() is not None:
        return True
    gone = tx.execute(_GONE).scalars().all()
    if gone and tx.execute(_A_STRAY, {"owners": gone}).first() is not None:
        return True
    if recovery.owned_on_fenced_backends(tx) or tx.execute(_ONE_WITHOUT_NODE).first() is not None:
        return True
    return driver_locks.has_dead(tx)


def announce(
    tx: Connection,
    *,
    incarnation: Incarnation,
    identities: Mapping[str, Mapping[str, str]],
    kinds: Mapping[str, int],
    worker_pid: int,
) -> bool:
    """A worker's word about what it serves and what each storage knows it by, before it uses any of them.

    False: the node is not up any more, and the worker must touch nothing. So an expired node has used no storage but that
    which its rows name.
    """
    values = {"queues_json": json.dumps(sorted(identities)), "kinds_json": json.dumps(kinds), "worker_pid": worker_pid}
    mine = update(nodes).where(nodes.c.incarnation == incarnation, nodes.c.state.in_(NODE_LIVE))
    if tx.execute(mine.values(**values, claims=nodes.c.claims + 1)).rowcount == 0:
        return False
    tx.execute(delete(node_backends).where(node_backends.c.incarnation == incarnation))
    for name, known in sorted(identities.items()):
        row = {"incarnation": incarnation, "queue": name, "identity_json": json.dumps(known, sort_keys=True)}
        tx.execute(insert(node_backends).values(**row))
    return True
