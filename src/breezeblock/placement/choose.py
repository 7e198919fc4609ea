"""Filters and weighers: which pools may take a volume, and which one is tried first. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from breezeblock.placement.extra_specs import unmet
from breezeblock.placement.hints import NO_HINTS, Hints


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as its row says. Sizes in whole GiB."""

    name: str
    queue: str
    allocated_gib: int
    total_gib: int
    free_gib: int
    reserved_percentage: int
    over_subscription_percent: int
    availability_zone: str
    capabilities: Mapping[str, str]
    enabled: bool
    live: bool
    """Whether a live node serves its queue. Not a filter: a request may be accepted while all nodes restart, and waits."""

    @property
    def limit_gib(self) -> int:
        """How much may be promised in all: the size less the reserve, times the over-subscription."""
        usable = self.total_gib * (100 - self.reserved_percentage) // 100
        return usable * self.over_subscription_percent // 100


@dataclass(frozen=True, slots=True)
class Wish:
    """What a volume needs of its pool. `pool_name` is set where its source already decides."""

    size_gib: int
    availability_zone: str | None
    extra_specs: Mapping[str, str]
    pool_name: str | None = None
    hints: Hints = NO_HINTS


def refusal(pool: Pool, wish: Wish) -> str | None:
    """Why this pool cannot take the volume, as part of a sentence, or None when it can."""
    if not pool.enabled:
        return "is disabled"
    if wish.pool_name is not None and pool.name != wish.pool_name:
        return "does not hold the source"
    if wish.availability_zone is not None and pool.availability_zone != wish.availability_zone:
        return f"is in availability zone {pool.availability_zone}"
    if (requirement := unmet(wish.extra_specs, pool.capabilities)) is not None:
        return f"does not offer {requirement}"
    if (against := wish.hints.refusal(pool.name, lambda: _values(pool))) is not None:
        return against
    if pool.allocated_gib + wish.size_gib > pool.limit_gib:
        return f"may promise {max(0, pool.limit_gib - pool.allocated_gib)} GiB more"
    if wish.size_gib > pool.free_gib * max(100, pool.over_subscription_percent) // 100:
        return f"has {pool.free_gib} GiB free"
    return None


def _values(pool: Pool) -> Mapping[str, object]:
    """What a query of a request may ask about a pool, by the names that it has for that."""
    own = {
        "name": pool.name,
        "host": pool.name,
        "backend_id": pool.name,
        "cluster_name": pool.name,
        "pool_name": pool.name.partition("#")[2],
        "volume_backend_name": pool.queue.rpartition("@")[2],
        "availability_zone": pool.availability_zone,
        "total_capacity_gb": pool.total_gib,
        "free_capacity_gb": pool.free_gib,
        "allocated_capacity_gb": pool.allocated_gib,
        "provisioned_capacity_gb": pool.allocated_gib,
        "reserved_percentage": pool.reserved_percentage,
        "max_over_subscription_ratio": pool.over_subscription_percent / 100,
    }
    return {**pool.capabilities, **own, "capabilities": {**own, **pool.capabilities}}


def in_order(pools: Sequence[Pool]) -> list[Pool]:
    """Best first: live before silent, then the one with the most left to promise; names break ties."""
    return sorted(pools, key=lambda pool: (not pool.live, pool.allocated_gib - pool.limit_gib, pool.name))
