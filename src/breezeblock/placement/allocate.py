"""The allocation: one guarded update of the chosen pool's row, inside the request's own transaction.

There is no scheduler whose memory could differ from another's. A pool that filled up since we read it refuses by its own
row, and the next one is tried.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, select, update

from breezeblock.model.errors import InvalidState, NotYet
from breezeblock.model.states import NODE_LIVE
from breezeblock.placement.choose import Pool, Wish, in_order, refusal
from breezeblock.store.tables import nodes, pools


def place(tx: Connection, wish: Wish, *, among: Sequence[Pool]) -> tuple[Pool | None, str]:
    """Find a pool among those that were read, and allocate in it. Returns it, or None and the reasons for the user.

    They may be a moment old: whether there is still room in a pool, and whether it takes volumes, its row itself decides.

    Raises NotYet when no pool has ever been reported: in the first second of a new service a volume in `error` would help
    nobody.
    """
    candidates = in_order(among)
    if not candidates:
        raise NotYet("No backend has reported its storage yet; try again in a moment.")
    reasons: list[str] = []
    for pool in candidates:
        why = refusal(pool, wish)
        if why is None and allocate(tx, pool.name, wish.size_gib):
            return pool, ""
        reasons.append(f"{pool.name} {why or 'just filled up'}")
    return None, "No pool can take it: " + "; ".join(reasons) + "."


def fits(tx: Connection, pool_name: str, wish: Wish) -> str | None:
    """Why the pool that a volume is in does not suit a new type or size; None when it does."""
    pool = next((pool for pool in read_pools(tx) if pool.name == pool_name), None)
    return f"pool {pool_name} is unknown" if pool is None else refusal(pool, wish)


def require_capability(tx: Connection, pool_name: str, capability: str, to: str) -> None:
    """Raise InvalidState unless the pool says that it can do something."""
    said = tx.execute(_CAPABILITIES, {"pool": pool_name}).scalar()
    if said is None or json.loads(said).get(capability) != "True":
        raise InvalidState(f"Pool {pool_name} cannot {to} ({capability}).")


def allocate(tx: Connection, pool_name: str, size_gib: int) -> bool:
    """Promise `size_gib` more in a pool, unless that exceeds its limit. The row itself decides."""
    return tx.execute(_ALLOCATE, {"pool": pool_name, "size_gib": size_gib}).rowcount > 0


def hold(tx: Connection, pool_name: str) -> bool:
    """Write the pool's row, for who puts something into it that takes no room yet: so whoever renames or removes it is met.

    Returns whether it is there. A report that was measured before is lost, as if another node had reported since.
    """
    return tx.execute(_HOLD, {"pool": pool_name}).rowcount > 0


def record(tx: Connection, pool_name: str, size_gib: int) -> None:
    """Count what is there whatever the limit says: snapshots, and (negative) what goes away."""
    if size_gib:
        tx.execute(_RECORD, {"pool": pool_name, "size_gib": size_gib})


def read_pools(tx: Connection) -> list[Pool]:
    """All pools, each with whether a live node serves it."""
    live: set[str] = set()
    for queues_json in tx.execute(_LIVE_QUEUES).scalars():
        live.update(json.loads(queues_json))
    return [_pool(row, live) for row in tx.execute(_POOLS).mappings()]


def _pool(row: Any, live: set[str]) -> Pool:
    return Pool(
        name=row["name"],
        queue=row["queue"],
        allocated_gib=row["allocated_gib"],
        total_gib=row["total_gib"],
        free_gib=row["free_gib"],
        reserved_percentage=row["reserved_percentage"],
        over_subscription_percent=row["over_subscription_percent"],
        availability_zone=row["availability_zone"],
        capabilities=json.loads(row["capabilities_json"]),
        enabled=row["enabled"],
        live=row["queue"] in live,
    )


def report(
    tx: Connection,
    *,
    name: str,
    queue: str,
    total_gib: int,
    free_gib: int,
    reserved_percentage: int,
    over_subscription_percent: int,
    availability_zone: str,
    capabilities_json: str,
    report_seq: int | None,
    now_us: int,
) -> bool:
    """Swap in a fresh measurement, if nobody reported since `report_seq` was read (None: there was no row yet).

    A node that measured, slept and woke up must not overwrite what a survivor has measured since.
    """
    values = {
        "queue": queue,
        "total_gib": total_gib,
        "free_gib": free_gib,
        "reserved_percentage": reserved_percentage,
        "over_subscription_percent": over_subscription_percent,
        "availability_zone": availability_zone,
        "capabilities_json": capabilities_json,
        "reported_at_us": now_us,
    }
    if report_seq is None:
        if tx.execute(select(pools.c.name).where(pools.c.name == name)).first() is not None:
            return False
        # The caller lets it obey what operators have said before it was ever seen.
        tx.execute(pools.insert().values(name=name, allocated_gib=0, enabled=True, report_seq=1, **values))
        return True
    same = update(pools).where(pools.c.name == name, pools.c.report_seq == report_seq)
    return tx.execute(same.values(report_seq=report_seq + 1, **values)).rowcount > 0


def report_seq(tx: Connection, *, name: str) -> int | None:
    """The number to `report` against, read before measuring."""
    return tx.execute(select(pools.c.report_seq).where(pools.c.name == name)).scalar()


_USABLE = pools.c.total_gib * (100 - pools.c.reserved_percentage) // 100
_LIMIT = _USABLE * pools.c.over_subscription_percent // 100
_MORE = bindparam("size_gib", type_=BigInteger())
_RECORD = update(pools).where(pools.c.name == bindparam("pool")).values(allocated_gib=pools.c.allocated_gib + _MORE)
_HOLD = update(pools).where(pools.c.name == bindparam("pool")).values(report_seq=pools.c.report_seq + 1)
_ALLOCATE = _RECORD.where(pools.c.enabled.is_(True), pools.c.allocated_gib + _MORE <= _LIMIT)
# Nodes of one cluster mostly serve the same.
_LIVE_QUEUES = select(nodes.c.queues_json).where(nodes.c.state.in_(NODE_LIVE)).distinct()
_POOLS = select(pools)
_CAPABILITIES = select(pools.c.capabilities_json).where(pools.c.name == bindparam("pool"))
