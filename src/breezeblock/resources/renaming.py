"""Other names for backends and clusters, and the end of backends and nodes: what operators would else do by SQL.

A backend's name is in its queue (`cluster@backend`) and in its pools (`cluster@backend#pool`), and those are in many rows: they
change together, in one transaction. What is on storage is named by ids and tokens, and not by any of them; a marker there may
name the backend, which is the driver's to change (`Driver.take_name`), before or after this.

Nobody may be at work there: no node that might still write, no operation. Rows are written first and obstacles asked for last,
so that a request which comes meanwhile is either seen here or misses its pool, and is placed elsewhere.

History stays as it was: `operation_log`, `node_events` and messages tell names of their time.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Connection, delete, func, insert, or_, select, update

from breezeblock.model.errors import BadRequest, Conflict, Contended, NotFound
from breezeblock.model.states import NODE_DEAD, REPLICATION_DISABLED, REPLICATION_ENABLED
from breezeblock.protocol.queue import node_queue
from breezeblock.resources import log_levels
from breezeblock.resources.backends import backend_id
from breezeblock.resources.services import BACKEND, BACKUP, CLUSTER, SCHEDULER, VOLUME
from breezeblock.store.naming import metadata
from breezeblock.store.tables import (
    backends,
    backups,
    driver_locks,
    event_receivers,
    node_backends,
    nodes,
    operations,
    pools,
    services,
    snapshots,
    volumes,
)

__all__ = ["Listed", "list_backends", "remove_backend", "remove_node", "rename_backend", "rename_cluster"]

# What columns are called in which some row names a queue, or a pool. `operations.needs` names a queue as well, and an
# operation is in the way.
OF_QUEUES: Final = ("queue",)
OF_POOLS: Final = ("pool_name", "target_pool_name")
# Those that are no such rows: the names themselves, what must not be there, and history.
BY_THEMSELVES: Final = ("pools", "backends", "operations", "operation_log", "driver_locks", "node_backends")
# As the settings have it.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A backend as operators are shown it."""

    queue: str
    pools: list[str]
    nodes: list[str]
    volumes: int
    snapshots: int
    allocated_gib: int
    frozen: bool
    target: str | None


def list_backends(tx: Connection) -> list[Listed]:
    """Every backend that has ever reported, by queue. Four statements."""
    states = {row.queue: row for row in tx.execute(select(backends))}
    found_pools = tx.execute(select(pools.c.name, pools.c.queue, pools.c.allocated_gib)).all()
    live = tx.execute(select(nodes.c.name, nodes.c.queues_json).where(nodes.c.state.not_in(NODE_DEAD))).all()
    held = {table.name: _counts(tx, table) for table in (volumes, snapshots)}
    listed = []
    for queue in sorted({*states, *(pool.queue for pool in found_pools)}):
        mine = [pool for pool in found_pools if pool.queue == queue]
        state = states.get(queue)
        listed.append(
            Listed(
                queue=queue,
                pools=sorted(pool.name for pool in mine),
                nodes=sorted({one.name for one in live if queue in json.loads(one.queues_json)}),
                volumes=sum(held["volumes"].get(pool.name, 0) for pool in mine),
                snapshots=sum(held["snapshots"].get(pool.name, 0) for pool in mine),
                allocated_gib=sum(pool.allocated_gib for pool in mine),
                frozen=bool(state is not None and state.frozen),
                target=None if state is None else state.active_backend_id,
            )
        )
    return listed


def _counts(tx: Connection, table: Any) -> dict[str, int]:
    counted = select(table.c.pool_name, func.count().label("rows_there")).group_by(table.c.pool_name)
    return {row.pool_name: row.rows_there for row in tx.execute(counted)}


# --- rename -----------------------------------------------------------------------------------------------------------


def rename_backend(tx: Connection, *, cluster: str, before: str, after: str) -> list[str]:
    """Call a backend otherwise. Returns what has changed, a line each; none when it was done before.

    Raises BadRequest (a name that cannot be), NotFound, Conflict (with all that is in the way).
    """
    _require_name(after)
    old, new = f"{cluster}@{before}", f"{cluster}@{after}"
    known = _known_queues(tx)
    if old not in known and new in known:
        return []
    if old not in known:
        raise NotFound(f"There is no backend {before} in cluster {cluster}: {_shown(known)}.")
    changed = _rename(tx, {old: new})
    if not any(queue.endswith(f"@{before}") for queue in known - {old}):
        # Words about services name no cluster: they are this backend's if no other is called so.
        changed += _rename_words(tx, VOLUME, f"@{before}", f"@{after}")
        changed.append(_levels(tx, lambda server: _ends_otherwise(server, f"@{before}", f"@{after}")))
    else:
        changed.append(_levels(tx, lambda server: new if server == old else server))
    _check_nobody_there(tx, [old], now=[new])
    return _without_nothing(changed)


def rename_cluster(tx: Connection, *, before: str, after: str) -> list[str]:
    """Call a cluster otherwise, with all its backends. As `rename_backend`."""
    _require_name(after)
    known = _known_queues(tx)
    renames = {queue: after + queue[len(before) :] for queue in known if queue.startswith(f"{before}@")}
    if not renames and any(queue.startswith(f"{after}@") for queue in known):
        return []
    if not renames:
        raise NotFound(f"There is no cluster {before}: {_shown(known)}.")
    changed = _rename(tx, renames)
    told = update(services).where(services.c.binary == SCHEDULER, services.c.host == before).values(host=after)
    changed.append(("words about services", tx.execute(told).rowcount))
    changed.append(_levels(tx, lambda server: after if server == before else renames.get(server, server)))
    # Who is dead for certain comes along; anybody else is in the way.
    dead = update(nodes).where(nodes.c.cluster == before, nodes.c.state.in_(NODE_DEAD)).values(cluster=after)
    changed.append(("nodes", tx.execute(dead).rowcount))
    _check_nobody_there(tx, sorted(renames), now=sorted(renames.values()), cluster=before)
    return _without_nothing(changed)


def _rename(tx: Connection, renames: Mapping[str, str]) -> list[tuple[str, int]]:
    """Resources first, then pools, as everybody locks them."""
    taken = sorted(_known_queues(tx) & set(renames.values()))
    if taken:
        raise Conflict(f"There is a backend of that name already: {', '.join(taken)}. Remove it first, or rename it.")
    mine = select(pools.c.name, pools.c.queue).where(pools.c.queue.in_(list(renames)))
    names = {row.name: _renamed_pool(row.name, row.queue, renames[row.queue]) for row in tx.execute(mine)}
    changed = []
    for column in naming(OF_POOLS):
        changed += [_replace(tx, column, before, after) for before, after in sorted(names.items())]
    for before, after in sorted(names.items()):
        queue = after.partition("#")[0]
        moved = update(pools).where(pools.c.name == before).values(name=after, queue=queue)
        changed.append(("pools", tx.execute(moved).rowcount))
    for before, after in sorted(renames.items()):
        changed += [_replace(tx, column, before, after) for column in naming(OF_QUEUES)]
        changed.append(_replace(tx, backups.c.host, before, after))
        changed += _rename_words(tx, CLUSTER, before, after) + _rename_words(tx, BACKEND, before, after)
        changed.append(("backends", _move_backend(tx, before, after)))
    # A request that was under way has perhaps put something into the old pools since their rows were looked for.
    for column in naming(OF_POOLS):
        if tx.execute(select(column).where(column.in_(list(names))).limit(1)).first() is not None:
            raise Contended("something was put into a pool before its row was ours")
    return changed


def _renamed_pool(name: str, before: str, after: str) -> str:
    """A pool that is called like its backend stays called like it."""
    own, pool = before.rpartition("@")[2], name.partition("#")[2]
    return f"{after}#{after.rpartition('@')[2] if pool == own else pool}"


def _move_backend(tx: Connection, before: str, after: str) -> int:
    """Its id follows from its name, so it is another row; all that it says comes along."""
    row = tx.execute(select(backends).where(backends.c.queue == before)).mappings().one_or_none()
    if row is None:
        return 0
    tx.execute(delete(backends).where(backends.c.id == row["id"]))
    more = {"id": backend_id(after), "queue": after, "op_seq": row["op_seq"] + 1}
    tx.execute(insert(backends).values(**(dict(row) | more)))
    return 1


def naming(called: Sequence[str]) -> list[Column[Any]]:
    """Every column of that name, but those that are looked after by themselves."""
    tables = [table for name, table in sorted(metadata.tables.items()) if name not in BY_THEMSELVES]
    # Volumes come first: what is new of them is seen with the lock of their row.
    tables.sort(key=lambda table: table is not volumes)
    return [table.c[name] for table in tables for name in called if name in table.c]


def _replace(tx: Connection, column: Column[Any], before: str, after: str) -> tuple[str, int]:
    table = column.table
    values: dict[str, Any] = {column.name: after}
    if "op_seq" in table.c and table is not backups:
        values["op_seq"] = table.c.op_seq + 1
    return str(table.name), tx.execute(update(table).where(column == before).values(**values)).rowcount


def _rename_words(tx: Connection, binary: str, before: str, after: str) -> list[tuple[str, int]]:
    """What operators have said about services whose host is called, or ends, so."""
    of_kind = select(services.c.host).where(services.c.binary == binary)
    count = 0
    for host in tx.execute(of_kind).scalars().all():
        if host == before or (before.startswith("@") and host.endswith(before)):
            new = host[: len(host) - len(before)] + after
            # Words about what was called so once, and is no more.
            tx.execute(delete(services).where(services.c.binary == binary, services.c.host == new))
            told = update(services).where(services.c.binary == binary, services.c.host == host).values(host=new)
            count += tx.execute(told).rowcount
    return [("words about services", count)]


def _levels(tx: Connection, called: Callable[[str], str | None]) -> tuple[str, int]:
    return "words about log levels", log_levels.call_otherwise(tx, called)


def _ends_otherwise(server: str, before: str, after: str) -> str:
    return server[: len(server) - len(before)] + after if server.endswith(before) else server


# --- remove -----------------------------------------------------------------------------------------------------------


def remove_backend(tx: Connection, *, cluster: str, name: str) -> list[str]:
    """Forget a backend that holds nothing. Returns what has gone; its storage is not touched. Raises NotFound, Conflict."""
    queue = f"{cluster}@{name}"
    known = _known_queues(tx)
    if queue not in known:
        raise NotFound(f"There is no backend {name} in cluster {cluster}: {_shown(known)}.")
    mine = list(tx.execute(select(pools.c.name).where(pools.c.queue == queue)).scalars())
    touch = update(pools).where(pools.c.queue == queue).values(enabled=False, report_seq=pools.c.report_seq + 1)
    tx.execute(touch)
    in_the_way = [_count(tx, column, mine) for column in naming(OF_POOLS)]
    in_the_way += [_count(tx, column, [queue]) for column in naming(OF_QUEUES)]
    _check_nobody_there(tx, [queue], more=[f"{count} {what}" for what, count in in_the_way if count])
    others = sorted(one for one in known - {queue} if one.startswith(f"{cluster}@"))
    gone = [("pools", tx.execute(delete(pools).where(pools.c.queue == queue)).rowcount)]
    gone.append(("backends", tx.execute(delete(backends).where(backends.c.queue == queue)).rowcount))
    words = delete(services).where(services.c.binary.in_((CLUSTER, BACKEND)), services.c.host == queue)
    gone.append(("words about services", tx.execute(words).rowcount))
    gone.append(_levels(tx, lambda server: None if server == queue else server))
    if others:
        # Any node can delete and restore them; they wait for one of this queue now.
        gone.append(_replace(tx, backups.c.host, queue, others[0]))
    return _without_nothing(gone)


def remove_node(tx: Connection, *, cluster: str, name: str) -> list[str]:
    """Forget a node that is dead for certain, with what was said about its services. Raises NotFound, Conflict."""
    rows = tx.execute(select(nodes).where(nodes.c.cluster == cluster, nodes.c.name == name)).mappings().all()
    hosts = [host for host in tx.execute(select(services.c.host)).scalars() if host.startswith(f"{name}@")]
    # A word that was on its way when the node was removed is found by the next.
    backups_too = (services.c.binary == BACKUP) & (services.c.host == name)
    is_told_of = bool(hosts) or tx.execute(select(services.c.host).where(backups_too)).first() is not None
    if not rows and not is_told_of:
        raise NotFound(f"There is no node {name} in cluster {cluster}, and nothing was said about one.")
    ids = [row["incarnation"] for row in rows]
    tx.execute(update(nodes).where(nodes.c.incarnation.in_(ids)).values(claims=nodes.c.claims + 1))
    ways = {"up": "stop it", "draining": "wait until it has stopped", "expired": "fence it"}
    in_the_way = [
        f"it is {state} (`{ways.get(state, state)}` first)"
        for state in tx.execute(select(nodes.c.state).where(nodes.c.incarnation.in_(ids))).scalars()
        if state not in NODE_DEAD
    ]
    owned = or_(operations.c.owner.in_(ids), operations.c.queue == node_queue(cluster, name))
    in_the_way += _found("operations", tx.execute(select(func.count()).where(owned)).scalar_one())
    locks = select(func.count()).where(driver_locks.c.incarnation.in_(ids))
    in_the_way += _found("locks of drivers", tx.execute(locks).scalar_one())
    if in_the_way:
        raise Conflict(f"Node {name} cannot be removed: {'; '.join(in_the_way)}.")
    tx.execute(delete(node_backends).where(node_backends.c.incarnation.in_(ids)))
    gone = [("incarnations", tx.execute(delete(nodes).where(nodes.c.incarnation.in_(ids))).rowcount)]
    of_volumes = (services.c.binary == VOLUME) & services.c.host.in_(hosts)
    words = delete(services).where(of_volumes | backups_too)
    gone.append(("words about services", tx.execute(words).rowcount))
    gone.append(_levels(tx, lambda server: None if server == name or server.startswith(f"{name}@") else server))
    log_levels.forget_host(tx, binary=VOLUME, host=name)
    # Whoever is dead sends no events; nobody has to look for a node that is not there to find that out.
    tx.execute(update(event_receivers).where(event_receivers.c.holder.in_(ids)).values(holder=None))
    return _without_nothing(gone)


# --- what is in the way -----------------------------------------------------------------------------------------------


def _check_nobody_there(
    tx: Connection,
    queues: Sequence[str],
    *,
    now: Sequence[str] = (),
    cluster: str | None = None,
    more: Sequence[str] = (),
) -> None:
    """Raise Conflict with everything that is, or may be, at work in these queues. `now` is what they are called by now."""
    found = list(more)
    for row in tx.execute(select(nodes).where(nodes.c.state.not_in(NODE_DEAD)).order_by(nodes.c.name)).mappings():
        served = sorted(set(json.loads(row["queues_json"])) & set(queues))
        if served or row["cluster"] == cluster:
            found.append(f"node {row['name']} is {row['state']} and serves {', '.join(served) or 'the cluster'}")
    for queue in queues:
        told = (operations.c.payload_json, operations.c.state_json)
        mine = (operations.c.queue == queue, operations.c.needs == queue)
        there = or_(*mine, *(text.contains(queue, autoescape=True) for text in told))
        found += _found(
            f"operations of {queue}", tx.execute(select(func.count(operations.c.id)).where(there)).scalar_one()
        )
        locks = select(func.count()).where(driver_locks.c.queue == queue)
        found += _found(f"locks of drivers of {queue}", tx.execute(locks).scalar_one())
    moved = backends.c.replication_status.not_in((REPLICATION_DISABLED, REPLICATION_ENABLED))
    away = select(backends.c.queue).where(
        backends.c.queue.in_([*queues, *now]), or_(moved, backends.c.active_backend_id.is_not(None))
    )
    found += [f"{queue} has failed over (fail it back first)" for queue in tx.execute(away).scalars()]
    if found:
        raise Conflict(f"Something is in the way: {'; '.join(found)}. Nothing was changed.")


def _found(what: str, count: int) -> list[str]:
    return [f"{count} {what}"] if count else []


def _count(tx: Connection, column: Column[Any], values: Sequence[str]) -> tuple[str, int]:
    count = select(func.count()).select_from(column.table).where(column.in_(list(values)))
    return str(column.table.name), tx.execute(count).scalar_one()


def _known_queues(tx: Connection) -> set[str]:
    return {*tx.execute(select(pools.c.queue)).scalars(), *tx.execute(select(backends.c.queue)).scalars()}


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadRequest(
            f"Invalid name {name!r}: expected 1 to 63 letters, digits, - and _, not beginning with a sign."
        )


def _shown(known: set[str]) -> str:
    return f"there are {', '.join(sorted(known))}" if known else "none has reported yet"


def _without_nothing(changed: Sequence[tuple[str, int]]) -> list[str]:
    counts: dict[str, int] = {}
    for what, count in changed:
        counts[what] = counts.get(what, 0) + count
    return [f"{count} {what.replace('_', ' ')}" for what, count in counts.items() if count]
