"""What every node does about the others: notice the silent, expire them, fence them, and apply the standing rules.

Everything it is responsible for is read from the table each time, never remembered: a fence whose answer was lost is found
again because the row still names this node as its fencer.
"""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_LIVE
from breezeblock.protocol import membership
from breezeblock.protocol.leases import Observer, Terms
from breezeblock.protocol.membership import NodeRow
from breezeblock.store.run import Store

Prove = Callable[[NodeRow], Awaitable[bool]]

log = structlog.get_logger(__name__)


class Watch:
    """One node's watch over its cluster."""

    def __init__(
        self,
        *,
        env: Env,
        store: Store,
        cluster: str,
        me: Incarnation,
        terms: Terms,
        prove_dead: Prove,
        on_release: Callable[[list[str]], None],
    ) -> None:
        self._env = env
        self._store = store
        self._cluster = cluster
        self._me = me
        self._terms = terms
        self._prove_dead = prove_dead
        self._on_release = on_release
        self._observer = Observer(terms)
        self.live_queues: dict[str, dict[str, int]] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._round()
            except (Contended, Ambiguous, Unavailable) as error:
                # No reading, no judgement: the observer notices the gap by itself.
                log.info("watch.no_reading", reason=str(error))
            await self._env.clock.sleep(self._terms.renew_every_s * self._env.random.uniform(0.8, 1.0))

    async def _round(self) -> None:
        rows = await self._store.probe(membership.read_nodes, cluster=self._cluster)
        at = self._env.clock.boottime()
        self.live_queues = _served(rows)
        live = {row.incarnation: row for row in rows if row.state in NODE_LIVE}
        counters = {incarnation: row.heartbeat for incarnation, row in live.items() if incarnation != self._me}
        for incarnation, heartbeat in self._observer.read(at=at, counters=counters):
            await self._expire(live[incarnation], heartbeat)
        for row in rows:
            if row.state == "expired":
                await self._see_to_fence(row, live)
        if await self._store.read(membership.needs_housekeeping, cluster=self._cluster):
            released = await self._store.run(
                membership.housekeeping, cluster=self._cluster, now_us=self._env.clock.now_us()
            )
            if released:
                log.info("operations.released", queues=released)
                self._on_release(released)

    async def _expire(self, row: NodeRow, heartbeat: int) -> None:
        expired = await self._store.run(
            membership.expire,
            incarnation=row.incarnation,
            heartbeat=heartbeat,
            fencer=self._me,
            now_us=self._env.clock.now_us(),
        )
        if expired:
            log.warning("node.expired", node=row.name, incarnation_expired=row.incarnation)
            await self._fence(row)

    async def _see_to_fence(self, row: NodeRow, live: Mapping[Incarnation, NodeRow]) -> None:
        if row.fencer != self._me:
            if (row.fencer is not None and row.fencer in live) or not row.fence_due:
                return
            taken = await self._store.run(
                membership.take_over_fence, incarnation=row.incarnation, was=row.fencer, me=self._me
            )
            if not taken:
                return
        await self._fence(row)

    async def _fence(self, row: NodeRow) -> None:
        """Make sure that the node writes no more, and only then say so."""
        now_us = self._env.clock.now_us
        if await self._prove_dead(row):
            if await self._store.run(membership.record_fenced, incarnation=row.incarnation, now_us=now_us()):
                log.warning("node.fenced", node=row.name, incarnation_fenced=row.incarnation)
            return
        error = f"no proof that the processes holding {row.lock_path} are gone"
        log.error("node.fence_failed", node=row.name, incarnation_expired=row.incarnation, reason=error)
        await self._store.run(membership.record_fence_failed, incarnation=row.incarnation, me=self._me, error=error)


def _served(rows: list[NodeRow]) -> dict[str, dict[str, int]]:
    served: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.state in NODE_LIVE:
            for queue in row.queues:
                kinds = served.setdefault(queue, {})
                for kind, version in row.kinds.items():
                    kinds[kind] = max(version, kinds.get(kind, 0))
    return served
