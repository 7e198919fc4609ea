"""How one lost node is fenced: each of its backends by the fences of that backend, in their order, all backends at once.

Every success is recorded at once: what the node owned on that backend goes on elsewhere while the other backends are still
being fenced. A proof is about an incarnation, and holds for ever: it is recorded however long the database is away, so that
no agent is called again about a machine that is back by then. What could not be fenced is left to the next fencer, after a
pause.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from breezeblock.env.contract import Env
from breezeblock.env.waiting import NoAnswer, within
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.model.ids import Incarnation
from breezeblock.node.fences import Fence, FenceFailed, Fences
from breezeblock.protocol import membership
from breezeblock.protocol.membership import NodeRow
from breezeblock.protocol.node_events import Note
from breezeblock.store.run import Store

# What is kept of the reasons of all backends together.
ERROR_MOST: Final = 4_000

Proof = asyncio.Task[bool]

log = structlog.get_logger(__name__)


class Fencer:
    """One node's hand in fencing others."""

    def __init__(
        self,
        *,
        env: Env,
        store: Store,
        cluster: str,
        me: Incarnation,
        name: str,
        fences: Fences,
        may_act: Callable[[], bool],
    ) -> None:
        self._env = env
        self._may_act = may_act
        self._store = store
        self._cluster = cluster
        self._me = me
        self._name = name
        self._fences = fences
        every = [fence for one in fences.values() for fence in one]
        self._whole_boot = [fence for i, fence in enumerate(every) if fence.whole_boot and fence not in every[:i]]

    def note(self) -> Note:
        """This node's word, now."""
        return Note.of(self._env, self._name)

    def can_help(self, row: NodeRow) -> bool:
        """Whether this node can do anything about what is not fenced yet."""
        return not row.queues or any(self._fences_of(queue) for queue in row.unfenced)

    def is_ours(self, row: NodeRow) -> bool:
        """Whether this node has any of the backends that are not fenced yet: who has, can fence them in every way."""
        return not row.queues or any(queue in self._fences for queue in row.unfenced)

    def _fences_of(self, queue: str) -> list[Fence]:
        """What may fence a backend. Of one that is not ours the policy is not known here: only the end of everything that
        ran in the node's boot is certainly enough."""
        return list(self._fences[queue]) if queue in self._fences else self._whole_boot

    def _covered(self, fence: Fence, queues: Collection[str]) -> tuple[str, ...]:
        """The backends for which a proof about the whole node counts: those whose own policy has that fence."""
        return tuple(queue for queue in queues if fence in self._fences_of(queue))

    async def fence(self, row: NodeRow) -> None:
        """Make sure that the node writes no more, and say so backend by backend, only when it is certain."""
        lost = await self._read_expired(row.incarnation)
        if lost is None:
            return
        row = (
            lost  # from before it was expired, it may lack what was announced since; expired, it announces nothing more
        )
        if not row.queues:
            await self._record_unused(row)
            return
        proofs: dict[int, Proof] = {}
        walks = [asyncio.ensure_future(self._fence_backend(row, queue, proofs)) for queue in row.unfenced]
        try:
            outcomes = await asyncio.gather(*walks, return_exceptions=True)
        finally:
            for walk in walks:
                walk.cancel()
            for proof in proofs.values():
                proof.cancel()
        problems = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome  # the row still says what is left to do: the next round begins again
            if outcome is not None:
                problems.append(outcome)
        if problems:
            await self._record_failed(row, "; ".join(problems)[:ERROR_MOST])

    async def _fence_backend(self, row: NodeRow, queue: str, proofs: dict[int, Proof]) -> str | None:
        """Try one backend's fences until one gives proof. Returns why none did, or None."""
        problems: list[str] = []
        for fence in self._fences_of(queue):
            if problems and not await self._is_left(row, queue):
                return None  # fenced meanwhile, by whoever: an agent that is called now might cut off what works again
            # What counts for the whole node is tried once, whichever of its backends ask for it.
            key = id(fence)
            if not fence.whole_node or key not in proofs:
                proof = asyncio.ensure_future(self._prove(fence, row, queue))
                if fence.whole_node:
                    proofs[key] = proof
            else:
                proof = proofs[key]
            try:
                proved = await asyncio.shield(proof)
            except FenceFailed as failed:
                problems.append(f"{fence.method}: {failed.reason}")
                continue
            except (Contended, Ambiguous, Unavailable):
                raise  # about the database or our lease, not about the fence: this node begins again
            except Exception as error:
                # A driver may raise anything. It must not keep the backend's next fence, or the next fencer, from trying.
                log.exception("node.fence_broke", node=row.name, queue=queue, method=fence.method)
                problems.append(f"{fence.method}: {type(error).__name__}: {error}")
                continue
            finally:
                if not fence.whole_node:
                    proof.cancel()
            if proved:
                if fence.whole_node:
                    await self._record_node(row, fence)
                else:
                    await self._record_backend(row, queue, fence.method)
                if fence.whole_boot and row.boot_id:
                    await self._record_boot(row, fence)
                return None
            problems.append(f"{fence.method}: does not apply")
        return f"{queue}: {', '.join(problems) or 'no fence is configured here'}"

    async def _is_left(self, row: NodeRow, queue: str) -> bool:
        lost = await self._read_expired(row.incarnation)
        return lost is not None and queue in lost.unfenced

    async def _read_expired(self, incarnation: Incarnation) -> NodeRow | None:
        """The node as the table has it now; None when it is not expired, or not any more."""
        rows = await self._store.read(membership.read_nodes, cluster=self._cluster)
        return next((row for row in rows if row.incarnation == incarnation and row.state == "expired"), None)

    async def _prove(self, fence: Fence, row: NodeRow, queue: str) -> bool:
        """The fence's answer; FenceFailed when it does not come in time: a fence that hangs must be handed on.

        Whoever has no lease begins no fence: it may have been stopped for long, the lost node fenced by somebody else and
        back again, and an agent that is called now would cut off what works.
        """
        if not self._may_act():
            raise Unavailable("this node holds no lease, so it fences nobody")
        try:
            return await within(self._env.clock, fence.limit_s, fence.fence(row, queue))
        except NoAnswer:
            raise FenceFailed(f"gave no answer within {fence.limit_s:g} s") from None

    async def _record_backend(self, row: NodeRow, queue: str, method: str) -> None:
        """Proof for one backend."""
        news = await self._store.insist(
            membership.record_backend_fenced, incarnation=row.incarnation, queue=queue, method=method, note=self.note()
        )
        if news:
            log.warning(
                "node.backend_fenced", node=row.name, incarnation_fenced=row.incarnation, method=method, queue=queue
            )

    async def _record_node(self, row: NodeRow, fence: Fence) -> None:
        """Proof about the whole node: it counts for the backends whose policy has it, the others wait for their own."""
        queues = self._covered(fence, row.unfenced)
        news = await self._store.insist(
            membership.record_fenced,
            incarnation=row.incarnation,
            queues=queues,
            method=fence.method,
            note=self.note(),
        )
        if news:
            event = "node.fenced" if len(queues) == len(row.unfenced) else "node.backend_fenced"
            log.warning(
                event, node=row.name, incarnation_fenced=row.incarnation, method=fence.method, queue=", ".join(queues)
            )

    async def _record_unused(self, row: NodeRow) -> None:
        """It announced nothing, so it has used nothing: there is nothing to prove."""
        if await self._store.insist(membership.record_unused, incarnation=row.incarnation, note=self.note()):
            log.warning(
                "node.fenced", node=row.name, incarnation_fenced=row.incarnation, method=membership.UNUSED, queue=""
            )

    async def _record_boot(self, row: NodeRow, fence: Fence) -> None:
        """The same proof is one about every other lost incarnation of that boot."""
        for other in await self._store.read(membership.read_nodes, cluster=self._cluster):
            if other.state == "expired" and other.boot_id == row.boot_id and other.incarnation != row.incarnation:
                await self._record_node(other, fence)

    async def _record_failed(self, row: NodeRow, error: str) -> None:
        failed = await self._store.run(
            membership.record_fence_failed, incarnation=row.incarnation, me=self._me, error=error, note=self.note()
        )
        if failed:
            log.error("node.fence_failed", node=row.name, incarnation_expired=row.incarnation, reason=error)
