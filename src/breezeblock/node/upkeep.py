"""What a worker does now and then besides its work: forget what is old, and see what nobody serves."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import structlog

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, Contended, NotYet, Unavailable
from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId
from breezeblock.model.origin import Origin
from breezeblock.node.accounts_check import AccountsCheck
from breezeblock.node.identity import Identity, Limits
from breezeblock.node.locks import LockSpace
from breezeblock.node.observer import Watch
from breezeblock.protocol import queue, waiting
from breezeblock.protocol.queue import Claim, Wanted
from breezeblock.protocol.waiting import Waiting
from breezeblock.resources.backends import end_forgotten_failovers, has_forgotten_failover
from breezeblock.resources.backup_policies import begin_due_policy, has_due_policy
from breezeblock.resources.garbage import begin_due, end_forgotten_pin, has_due, has_forgotten_pins
from breezeblock.resources.retention import forget_old
from breezeblock.resources.strays import begin_due as begin_removal
from breezeblock.resources.strays import has_due as has_strays
from breezeblock.store.run import Store
from breezeblock.store.type_accounts import has_named, move_to_ids

log = structlog.get_logger(__name__)

PRUNE_ROUNDS: Final = 50
PARK_MOST: Final = 100
# Who asks for what nobody asked for.
SYSTEM: Final = "breezeblock"


class Upkeep:
    """The standing rules that are about the whole cluster, kept by each of its workers.

    `on_unserved` is given operations that are to be parked, `on_open` queues in which something became claimable.
    """

    def __init__(
        self,
        *,
        env: Env,
        store: Store,
        identity: Identity,
        limits: Limits,
        watch: Watch,
        locks: Mapping[str, LockSpace],
        on_unserved: Callable[[list[Wanted]], None],
        on_open: Callable[[list[str]], None],
        queues: Sequence[str],
        stores: Collection[str],
    ) -> None:
        self._env = env
        self._store = store
        self._me = identity
        self._limits = limits
        self._watch = watch
        self._locks = locks
        self._on_unserved = on_unserved
        self._on_open = on_open
        self._queues = tuple(queues)
        self._stores = stores
        self._accounts = AccountsCheck(env=env, store=store, identity=identity)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._env.clock.sleep(self._limits.upkeep_s * self._env.random.uniform(0.5, 1.5))
            await self._attempt(self._find_unserved)
            await self._attempt(self._reopen)
            await self._attempt(self._collect)
            await self._attempt(self._drop_strays)
            await self._attempt(self._run_policies)
            await self._attempt(self._prune)
            await self._attempt(self._accounts.look)
            for space in self._locks.values():
                await self._attempt(space.sweep)

    async def _attempt(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except (Contended, Ambiguous, Unavailable, NotYet) as error:
            log.info("worker.put_off", reason=str(error))

    async def _prune(self) -> None:
        for _ in range(PRUNE_ROUNDS):
            if not await self._store.prune():
                break
        await self._store.run(forget_old, now_us=self._env.clock.now_us())
        if await self._store.read(has_named):
            await self._store.run(move_to_ids)

    async def _reopen(self) -> None:
        """A queue that is closed for a failover which nobody has any more opens again, in its error state."""
        if await self._store.read(has_forgotten_failover):
            queues = await self._store.run(end_forgotten_failovers, now_us=self._env.clock.now_us())
            log.error("backend.failover_forgotten", queues=queues)
            self._on_open(queues)

    async def _collect(self) -> None:
        """Let archives be looked through that are due, in the stores that we have; in our own queue, since we have them."""
        while await self._store.read(has_forgotten_pins):
            if (backup_id := await self._store.run(end_forgotten_pin, now_us=self._env.clock.now_us())) is None:
                break
            log.error("backup.forgotten", backup_id=backup_id)
        if not self._stores or not self._queues:
            return
        while await self._store.read(has_due, stores=self._stores):
            begun = await self._store.run(
                begin_due, origin=self._own_word(), where=self._queues[0], stores=self._stores
            )
            if not begun:
                break
            self._on_open([self._queues[0]])

    async def _drop_strays(self) -> None:
        """Have removed what migrations have left on backends that we serve."""
        if not self._queues:
            return
        while await self._store.read(has_strays, queues=self._queues):
            if (name := await self._store.run(begin_removal, origin=self._own_word(), queues=self._queues)) is None:
                break
            self._on_open([name])

    async def _run_policies(self) -> None:
        """Begin what policies of backups say, when it is due; in our own queue, as any node can do it."""
        if not self._queues:
            return
        while await self._store.read(has_due_policy):
            name = await self._store.run(
                begin_due_policy,
                origin=self._own_word(),
                where=self._queues[0],
                quota_defaults=self._limits.quotas,
            )
            if name is None:
                break
            log.info("backup_policy.due", policy=name)
            self._on_open([self._queues[0]])

    def _own_word(self) -> Origin:
        """For work that nobody asked for."""
        ids = self._env.ids
        return Origin(
            project_id=ProjectId(""),
            user_id=UserId(SYSTEM),
            is_admin=True,
            request_id=f"req-{ids.uuid()}",
            at_us=self._env.clock.now_us(),
            operation_id=OperationId(ids.uuid()),
            message_id=MessageId(ids.uuid()),
        )

    async def _find_unserved(self) -> None:
        """Note operations that no live node has been able to run for too long: a delete must not wait behind them for ever.

        How long nobody served them is what counts, by our own readings; not how long they have waited, which may be for
        another operation, or through a night in which everything was off.
        """
        found: list[Wanted] = []
        closed, targets = await self._store.read(queue.storage)
        # Another cluster in the same database has nodes that we do not watch.
        for one in await self._store.read(waiting.waiting_kinds, cluster=self._me.cluster):
            if one.queue in closed and one.kind != queue.FAILOVER:
                continue  # it waits for the failover, which is not waited for without end
            if self.is_unserved(one, one.queue, targets.get(one.queue)):
                found += await self._store.read(waiting.heads, waiting=one, most=PARK_MOST)
            elif one.kind in waiting.NEED_TWO:
                for needs, wanted in await self._store.read(waiting.needing_two, waiting=one, most=PARK_MOST):
                    if self._watch.pair_unserved_for(one.queue, needs) > self._limits.park_after_s:
                        found.append(wanted)
        if found:
            self._on_unserved(found)

    def is_unserved(self, one: Waiting | Claim, name: str, target: str | None) -> bool:
        """Whether no live node has been able to run it for as long as one waits for that."""
        longest_s = self._limits.park_after_s
        if isinstance(one, Claim) and one.needs and self._watch.pair_unserved_for(one.queue, one.needs) > longest_s:
            return True
        on = None if one.kind == queue.FAILOVER else target  # a failover speaks to the backend as a whole
        return self._watch.unserved_for(name, on, one.kind, one.version) > longest_s
