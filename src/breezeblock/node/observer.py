"""What every node does about the others: notice the silent, expire them, fence them, and apply the standing rules.

Everything it is responsible for is read from the table each time, never remembered: a fence whose answer was lost is found
again because the row still names this node as its fencer.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.model.ids import Incarnation
from breezeblock.model.states import NODE_LIVE
from breezeblock.node.fences import Fences
from breezeblock.node.fencing import Fencer
from breezeblock.protocol import membership
from breezeblock.protocol.leases import Observer, Terms
from breezeblock.protocol.membership import ANY_TARGET, NodeRow
from breezeblock.protocol.queue import node_queue
from breezeblock.store.run import Store

# So often nodes with the same backends come first; if they all fail, their tries must not keep away one that could.
FIRST_TRIES: Final = 2

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
        name: str,
        terms: Terms,
        fences: Fences,
        may_act: Callable[[], bool],
        on_release: Callable[[list[str]], None],
    ) -> None:
        self._env = env
        self._store = store
        self._cluster = cluster
        self._me = me
        self._terms = terms
        self._fencer = Fencer(env=env, store=store, cluster=cluster, me=me, name=name, fences=fences, may_act=may_act)
        self._on_release = on_release
        self._observer = Observer(terms)
        self._fencing: dict[Incarnation, asyncio.Task[None]] = {}
        self._fenced = asyncio.Event()
        self._served_at: dict[tuple[str, str | None, str, int], float] = {}
        self._paired_at: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._fenced.clear()
            try:
                await self._round()
            except (Contended, Ambiguous, Unavailable) as error:
                # No reading, no judgement: the observer notices the gap by itself.
                log.info("watch.no_reading", reason=str(error))
            await self._pause(self._terms.renew_every_s * self._env.random.uniform(0.8, 1.0))

    async def _pause(self, seconds: float) -> None:
        """Until the next round is due; or a fence has ended, and what it has proved dead can be released."""
        fenced = asyncio.ensure_future(self._fenced.wait())
        timer = asyncio.ensure_future(self._env.clock.sleep(seconds))
        try:
            await asyncio.wait((fenced, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            fenced.cancel()
            timer.cancel()

    async def _round(self) -> None:
        rows = await self._store.probe(membership.read_nodes, cluster=self._cluster)
        at = self._env.clock.boottime()
        live = {row.incarnation: row for row in rows if row.state in NODE_LIVE}
        counters = {incarnation: row.heartbeat for incarnation, row in live.items()}
        own = counters.pop(self._me, None)
        silent = self._observer.read(at=at, counters=counters, own=own)
        self._note_served(live.values(), at)
        for incarnation, heartbeat in silent:
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

    def unserved_for(self, queue: str, target: str | None, kind: str, version: int) -> float:
        """For how many seconds no live node has served this on the replication target in use; 0 when we cannot tell.

        By our own uninterrupted readings.
        """
        known = (target, *([] if target is None else [ANY_TARGET]))
        newest = [
            at
            for (q, t, k, v), at in self._served_at.items()
            if (q, k) == (queue, kind) and t in known and v >= version
        ]
        return self._observer.watched_for(max(newest, default=None))

    def pair_unserved_for(self, queue: str, other: str) -> float:
        """For how many seconds no live node has served both of two queues; 0 when we cannot tell."""
        return self._observer.watched_for(self._paired_at.get((queue, other)))

    def _note_served(self, live: Iterable[NodeRow], at: float) -> None:
        for row in live:
            serves = [(queue, target) for queue in row.queues for target in row.targets(queue)]
            serves.append((node_queue(self._cluster, row.name), None))
            self._paired_at |= {(one, other): at for one in row.queues for other in row.queues}
            for kind, version in row.kinds.items():
                self._served_at |= {(queue, target, kind, version): at for queue, target in serves}

    async def _expire(self, row: NodeRow, heartbeat: int) -> None:
        expired = await self._store.run(
            membership.expire,
            incarnation=row.incarnation,
            heartbeat=heartbeat,
            fencer=self._me if (mine := self._fencer.can_help(row) and self._fencer.is_ours(row)) else None,
            note=self._fencer.note(),
        )
        if expired:
            log.warning("node.expired", node=row.name, incarnation_expired=row.incarnation)
            if mine:
                self._begin_fence(row)

    async def _see_to_fence(self, row: NodeRow, live: Mapping[Incarnation, NodeRow]) -> None:
        if row.fencer != self._me:
            if (row.fencer is not None and row.fencer in live) or not row.fence_due:
                return
            if not self._fencer.can_help(row):
                return  # one that can is in the cluster, or comes, or an operator confirms it by hand
            others_first = row.fence_tries < FIRST_TRIES and row.fence_due_s < self._terms.ttl_s
            if others_first and not self._fencer.is_ours(row):
                return  # nodes with the same backends come first: a vain attempt of ours would put theirs off
            taken = await self._store.run(
                membership.take_over_fence,
                incarnation=row.incarnation,
                was=row.fencer,
                me=self._me,
                note=self._fencer.note(),
            )
            if not taken:
                return
        self._begin_fence(row)

    def _begin_fence(self, row: NodeRow) -> None:
        """Fence beside the readings: they must not stop while a fence takes its time."""
        if row.incarnation not in self._fencing:
            task = asyncio.ensure_future(self._fencer.fence(row))
            self._fencing[row.incarnation] = task
            task.add_done_callback(lambda done: self._fence_ended(row.incarnation, done))

    def _fence_ended(self, incarnation: Incarnation, done: "asyncio.Task[None]") -> None:
        # The row still says what is to be done: whatever went wrong, the next round begins again.
        del self._fencing[incarnation]
        if done.cancelled():
            return
        if (error := done.exception()) is None:
            self._fenced.set()
        else:
            log.warning("node.fence_interrupted", incarnation_expired=incarnation, reason=str(error))
