"""What the tests of locks share: running operations with their contexts, and a diary of who was in when."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.store.given import ME, QUEUE, Base, store_on

from breezeblock.drivers.contract import Context
from breezeblock.env.contract import Env
from breezeblock.model.ids import Incarnation, OperationId
from breezeblock.node.gate import Gate, OperationGuard
from breezeblock.node.locks import LockSpace, OperationContext
from breezeblock.node.locks_database import DatabaseLocks
from breezeblock.protocol.queue import Claim, Lock
from breezeblock.store.run import Store
from breezeblock.store.tables import driver_lock_lines, driver_locks, operations


class Page:
    """The deadline of a lease that holds."""

    until = float("inf")
    lapses = 0


class Bell:
    """Notes who was rung for."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, queue: str) -> None:
        self.rung.append(queue)


class Node:
    """One worker's locks in the database."""

    def __init__(self, base: Base, env: Env, incarnation: Incarnation = ME, *, store: Store | None = None) -> None:
        self.base = base
        self.env = env
        self.incarnation = incarnation
        self.bell = Bell()
        self.store = store or store_on(base, env)
        self.calls: set[str] = set()
        self.locks = self.scope("c@b")

    def scope(self, name: str) -> DatabaseLocks:
        return DatabaseLocks(
            self.env, self.store, self.bell, incarnation=self.incarnation, scope=name, calls=self.calls
        )

    def claim(self, resource: str) -> Claim:
        """An operation on a resource of its own, running here."""
        at = len(self.base.rows(operations)) + 1
        return self.base.claim(self.base.enqueue(Lock(resource, at, exclusive=True)), self.incarnation)

    def context(self, resource: str, *, space: LockSpace | None = None) -> "Running":
        claim = self.claim(resource)
        guard = Gate(self.env.clock, Page()).guard({})
        return Running(OperationContext(guard, claim, space or self.locks), guard, claim)


class Running:
    """One operation that runs: its context, and what a worker has of it."""

    def __init__(self, ctx: OperationContext, guard: OperationGuard, claim: Claim) -> None:
        self.ctx = ctx
        self.guard = guard
        self.claim = claim


def running_nowhere(env: Env, space: LockSpace) -> Running:
    """An operation for locks that ask no database about it."""
    claim = Claim(
        operation_id=OperationId("o"), owner=ME, epoch=1, kind="copy", version=1, queue=QUEUE, resource_type="volume",
        resource_id="v", project_id="p", user_id="u", request_id="r", payload_json="{}", direction="do", step=None,
        state_json="{}", failure_json=None, cancel=False, attempt=0, created_at_us=0, claimed_at_us=0, locks=(),
    )  # fmt: skip
    guard = Gate(env.clock, Page()).guard({})
    return Running(OperationContext(guard, claim, space), guard, claim)


class Diary:
    """Who came in and who went out, in that order."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self.lines: list[str] = []
        self.inside: set[str] = set()
        self.most_inside = 0

    @asynccontextmanager
    async def hold(
        self, ctx: Context, who: str, *names: str, shared: bool = False, for_s: float = 0.0
    ) -> AsyncIterator[None]:
        async with ctx.lock(*names, shared=shared):
            self.lines.append(f"+{who}")
            self.inside.add(who)
            self.most_inside = max(self.most_inside, len(self.inside))
            try:
                await self._env.clock.sleep(for_s)
                yield
            finally:
                self.inside.discard(who)
                self.lines.append(f"-{who}")

    async def visit(self, ctx: Context, who: str, *names: str, shared: bool = False, for_s: float = 1.0) -> None:
        async with self.hold(ctx, who, *names, shared=shared, for_s=for_s):
            pass


async def until(env: Env, holds: Callable[[], object], *, for_s: float = 60.0) -> None:
    """Return when it holds. AssertionError when it does not come to hold."""
    give_up_at = env.clock.boottime() + for_s
    while not holds():
        assert env.clock.boottime() < give_up_at, "it never came to hold"
        await env.clock.sleep(0.05)


def places(base: Base) -> list[tuple[str, int, bool]]:
    """Who stands in line, whichever line it is: incarnation, place, exclusive."""
    rows = sorted(base.rows(driver_locks), key=lambda row: (row["line"], row["place"]))
    return [(row["incarnation"], row["place"], row["exclusive"]) for row in rows]


def nothing_is_left(base: Base) -> bool:
    return not base.rows(driver_locks) and not base.rows(driver_lock_lines)
