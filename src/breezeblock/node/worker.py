"""The worker: takes operations from its backends' queues and runs them, as long as its keeper holds the lease.

It pulls: a node claims only for free slots, so a busy or dying one is never handed work. What it owns it reads from the
tables at every poll; an operation that is marked ours and does not run here is taken up again, under a new epoch.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Connection

from breezeblock.doorbells.contract import Doorbell, Listener
from breezeblock.drivers.contract import PoolReport
from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, BackendFailed, Contended, Fenced, Unavailable
from breezeblock.model.ids import OperationId
from breezeblock.node import link as words
from breezeblock.node.backends import Backend
from breezeblock.node.fences import Fences
from breezeblock.node.gate import Gate, OperationGuard
from breezeblock.node.identity import Identity, Limits
from breezeblock.node.link import Link
from breezeblock.node.locks import LockSpace, OperationContext
from breezeblock.node.observer import Watch
from breezeblock.node.pacing import Pacing
from breezeblock.node.reports import Reporter
from breezeblock.node.upkeep import Upkeep
from breezeblock.protocol import membership, queue, steps
from breezeblock.protocol.leases import Terms
from breezeblock.protocol.queue import Claim, NothingWon, Wanted
from breezeblock.protocol.steps import Failure, HandedBack, Operation, Run
from breezeblock.resources.charges import park_unknown
from breezeblock.store.run import Store
from breezeblock.work.archives import Archives
from breezeblock.work.nodes import Probes
from breezeblock.work.tools import NodeTools, Tools

log = structlog.get_logger(__name__)

# After a mistake of ours brought an operation down: wait before the next attempt.
POSTPONE_US: Final = 5_000_000
# How many operations that only this node can do run at once, besides those of its backends.
OWN_SLOTS: Final = 2
# How long an operation that must run alone waits for the node to be idle before nothing else is begun.
RISKY_PATIENCE_S: Final = 10.0
INTERNAL: Final = "The operation failed by an internal error; the service's log has the details under its request id."


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look into the queues found."""

    ours: list[Wanted]
    """All that is marked as ours."""
    to_take: list[Wanted]
    """Of these, what may be claimed again if it does not run here."""
    normal: list[Wanted]
    risky: list[Wanted]
    failovers: list[Wanted]
    targets: Mapping[str, str | None]


class Worker:
    """One worker process. `run` returns when it was told to drain and has nothing left, or its keeper is gone."""

    def __init__(
        self,
        *,
        env: Env,
        store: Store,
        backends: Mapping[str, Backend],
        catalogue: Mapping[str, Operation],
        doorbell: Doorbell,
        listener: Listener,
        identity: Identity,
        terms: Terms,
        gate: Gate,
        link: Link,
        limits: Limits,
        fences: Fences,
        locks: Mapping[str, LockSpace] = {},
        archives: Archives | None = None,
    ) -> None:
        self._env = env
        self._store = store
        self._backends = dict(backends)
        self._catalogue = catalogue
        self._doorbell = doorbell
        self._listener = listener
        self._me = identity
        self._probes = Probes()
        self._own_queue = queue.node_queue(identity.cluster, identity.name)
        self._gate = gate
        self._link = link
        self._limits = limits
        self._pacing = Pacing(limits)
        self._locks = dict(locks)
        self._archives = archives
        self._running: dict[OperationId, Claim] = {}
        self._guards: dict[OperationId, OperationGuard] = {}
        # Revoked here, and their tasks have not noticed yet.
        self._revoked: dict[OperationId, list[Claim]] = {}
        self._alone = False
        # Whether the last claim got everything that there was to take: whatever comes later rings.
        self._took_all = False
        self._unserved: list[Wanted] = []
        self._risky_since: float | None = None
        self._draining = False
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch = self._new_watch(terms, fences)
        self._upkeep = self._new_upkeep()

    def _new_watch(self, terms: Terms, fences: Fences) -> Watch:
        return Watch(
            env=self._env,
            store=self._store,
            cluster=self._me.cluster,
            me=self._me.incarnation,
            name=self._me.name,
            terms=terms,
            fences=fences,
            may_act=self._gate.is_open,
            on_release=self._ring,
        )

    def _new_upkeep(self) -> Upkeep:
        return Upkeep(
            env=self._env,
            store=self._store,
            identity=self._me,
            limits=self._limits,
            watch=self._watch,
            locks=self._locks,
            on_unserved=self._park_soon,
            on_open=self._ring,
            queues=list(self._backends),
            stores=frozenset(self._archives.shelves if self._archives is not None else ()),
        )

    @property
    def kinds(self) -> dict[str, int]:
        """The newest version of each kind that this worker runs."""
        return {kind: operation.version for kind, operation in self._catalogue.items()}

    async def run(self) -> None:
        """Work until drained, or until the keeper is gone."""
        self._listener.listen(self._rung)
        announced = await self._store.insist(
            membership.announce,
            incarnation=self._me.incarnation,
            identities={name: self._identity_on(backend) for name, backend in self._backends.items()},
            kinds=self.kinds,
            worker_pid=self._me.pid,
        )
        if not announced:
            log.warning("worker.expired_before_it_began")
            return
        self._link.send(words.READY)
        background = [
            asyncio.ensure_future(self._watch.run()),
            # Each backend by itself, and none before the queues are looked into: one that hangs must keep nobody from
            # failing it over.
            *(
                asyncio.ensure_future(Reporter(backend, store=self._store, env=self._env).run())
                for backend in self._backends.values()
            ),
            asyncio.ensure_future(self._upkeep.run()),
        ]
        poll = asyncio.ensure_future(self._poll())
        listen = asyncio.ensure_future(self._obey())
        # A background task that ends has failed: then this process is of no use, and its keeper sees it go.
        await asyncio.wait([poll, listen, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in (poll, listen, *background):
            if task.done():
                task.result()
            else:
                task.cancel()

    def _identity_on(self, backend: Backend) -> dict[str, str]:
        """What others need to fence this incarnation from a backend; recorded before the storage is used."""
        known = dict(backend.driver.identity())
        assert known.keys().isdisjoint(membership.NOT_OF_THE_DRIVER), "a driver speaks for its storage only"
        known[membership.TARGETS] = " ".join(backend.driver.capabilities.replication)
        return known | {membership.MACHINE: self._me.machine} if self._me.machine else known

    # --- the keeper's words -----------------------------------------------------------------------------------------

    async def _obey(self) -> None:
        while (word := await self._link.receive()) is not None:
            if word == words.PING:
                self._link.send(words.PONG)
            elif word.startswith(words.SHUT):
                number = word.removeprefix(words.SHUT).strip()
                self._spawn(self._confirm_shut(self._gate.shut(), number))
            elif word == words.OPEN:
                self._gate.open()
            elif word == words.DRAIN:
                log.info("worker.draining", running=len(self._running))
                self._draining = True
                self._wake.set()
        log.warning("worker.keeper_gone")

    async def _confirm_shut(self, no_call_is_under_way: Coroutine[Any, Any, None], number: str) -> None:
        await no_call_is_under_way
        self._link.send(f"{words.IS_SHUT} {number}")

    # --- claiming ---------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        while not (self._draining and not self._running):
            self._wake.clear()
            claimed: list[Claim] = []
            try:
                claimed = await self._claim()
            except (Contended, Ambiguous, Unavailable) as error:
                log.info("worker.cannot_claim", reason=str(error))
            for claim in claimed:
                self._start(claim)
            if not claimed or self._took_all:
                await self._wait()
        self._link.send(words.DRAINED)

    async def _claim(self) -> list[Claim]:
        self._took_all = False
        if self._draining or not self._gate.is_open():
            return []
        wanted, alone, is_all = await self._choose()
        if not wanted:
            return []
        try:
            claimed = await self._store.run(
                queue.claim, wanted=wanted, incarnation=self._me.incarnation, now_us=self._env.clock.now_us()
            )
        except NothingWon:
            self._pacing.found()
            return []
        # Only now: after a claim that failed for want of a database nothing runs here, and nothing would ever end it.
        self._alone = alone
        self._took_all = is_all and len(claimed) == len(wanted)
        self._pacing.found()
        return claimed

    async def _choose(self) -> tuple[list[Wanted], bool, bool]:
        """What to claim now, whether it has to run alone, and whether it is all there is. One place for all claims, so that no
        two cross.

        First of all what is marked ours and does not run here, and failovers: what runs, even alone, may hang in calls to the
        storage that is failed over from. Then what nobody else can run and is to be parked; then what the free slots of each
        backend allow. But what has brought nodes down runs alone, also when it is taken up again.
        """
        free = {name: backend.slots - self._busy(name) for name, backend in self._backends.items()}
        free[self._own_queue] = OWN_SLOTS - self._busy(self._own_queue)
        # Counted before the look, which another thread makes while operations begin and end.
        rooms = {name: self._room_for_patient(name) for name in free}
        seen = await self._store.read(self._look, free=free, rooms=rooms)
        self._let_go(seen.ours)
        lost = [
            one
            for one in seen.to_take
            if one.operation_id not in self._running and not self._still_works(one, on=seen.targets.get(one.queue))
        ]
        if self._alone:
            return [one for one in lost if one.kind == queue.FAILOVER] + seen.failovers, True, False
        suspect = [one for one in lost if one.attempt >= self._limits.risky_from and one.kind != queue.FAILOVER]
        lost = [one for one in lost if one not in suspect]
        if lost or self._unserved or seen.failovers:
            nobodys, self._unserved = self._unserved, []
            return lost + nobodys + seen.failovers, False, False
        risky = suspect + seen.risky
        if not risky:
            self._risky_since = None
            found = Counter(one.queue for one in seen.normal)
            return seen.normal, False, all(found[name] < slots for name, slots in free.items() if slots > 0)
        # It may be what killed the nodes before us: it runs alone, so that it takes nothing else with it. When it has waited
        # for that moment long enough, nothing else is begun until the moment is there.
        now = self._env.clock.boottime()
        self._risky_since = now if self._risky_since is None else self._risky_since
        if not self._running and (not seen.normal or now - self._risky_since > RISKY_PATIENCE_S):
            self._risky_since = None
            return risky[:1], True, False
        return [] if now - self._risky_since > RISKY_PATIENCE_S else seen.normal, False, False

    def _look(self, tx: Connection, *, free: Mapping[str, int], rooms: Mapping[str, int]) -> "_Seen":
        """What is marked ours, and for each backend what is to be claimed: normal, what must run alone, and failovers.

        A failover needs no free slot, and never waits to run alone. Of a backend that works on a target unknown to this node
        nothing is taken: others know it.
        """
        half, serves = self._limits.risky_from, tuple(self._backends)
        normal: list[Wanted] = []
        risky: list[Wanted] = []
        failovers: list[Wanted] = []
        closed, targets = queue.storage(tx)
        for name, slots in free.items():
            kinds = self.kinds
            if name in closed:
                kinds = {kind: version for kind, version in kinds.items() if kind == queue.FAILOVER}
                if kinds:
                    every = range(queue.ATTEMPTS_MOST)
                    failovers += queue.claimable(tx, queue=name, kinds=kinds, most=1, attempts=every)
            elif slots > 0 and (name == self._own_queue or self._backends[name].knows(targets.get(name))):
                look = functools.partial(
                    queue.claimable_apart, tx, queue=name, most=slots, risky_from=half, serves=serves
                )
                found = look(kinds=kinds)
                patient = [one for one in found[0] if self._is_patient(one.kind)]
                if len(patient) > (room := rooms[name]):
                    hasty, _ = look(kinds={kind: kinds[kind] for kind in kinds if not self._is_patient(kind)})
                    found = ((patient[:room] + hasty)[:slots], found[1])
                normal += found[0]
                risky += found[1]
        ours = queue.owned(tx, incarnation=self._me.incarnation)
        to_take = [one for one in ours if one.queue not in closed or one.kind == queue.FAILOVER]
        return _Seen(ours, to_take, normal, risky, failovers, targets)

    def _still_works(self, one: Wanted, *, on: str | None) -> bool:
        """Whether a task of ours that has lost the operation is not over yet, on the very target that it would go on on."""
        return any(old.target == on for old in self._revoked.get(one.operation_id, ()))

    def _let_go(self, ours: list[Wanted]) -> None:
        """Count no longer what runs here under an epoch that is over: it was revoked, and may hang where it never notices.

        No storage call of it begins from now on. On another target the operation is taken up again at once; on the same one
        only when the old task has ended: a call of it that is still under way would land there after the new claim has cleared
        up behind the old one.
        """
        for one in ours:
            running = self._running.get(one.operation_id)
            if running is not None and running.epoch < one.epoch:
                log.warning("operation.revoked", operation_id=one.operation_id, epoch=running.epoch)
                if (guard := self._guards.pop(one.operation_id, None)) is not None:
                    guard.revoke()
                self._revoked.setdefault(one.operation_id, []).append(self._running.pop(one.operation_id))
                self._alone = self._alone and bool(self._running)

    def _is_patient(self, kind: str) -> bool:
        return kind in self._catalogue and self._catalogue[kind].is_patient

    def _room_for_patient(self, name: str) -> int:
        """How many more of a backend's slots may go to what may wait for hours: half of them, in all."""
        most = max(1, self._backends[name].slots // 2) if name in self._backends else 1
        return max(0, most - sum(one.queue == name and self._is_patient(one.kind) for one in self._running.values()))

    def _busy(self, queue_name: str) -> int:
        return sum(claim.queue == queue_name for claim in self._running.values())

    async def _wait(self) -> None:
        """Until somebody rings, an operation ends here, or the slow poll is due."""
        ring = asyncio.ensure_future(self._wake.wait())
        pause = self._pacing.pause_s(connected=self._listener.is_connected()) * self._env.random.uniform(0.8, 1.2)
        timer = asyncio.ensure_future(self._env.clock.sleep(pause))
        await asyncio.wait((ring, timer), return_when=asyncio.FIRST_COMPLETED)
        ring.cancel()
        timer.cancel()

    def _rung(self) -> None:
        self._wake.set()
        for space in self._locks.values():
            space.wake()

    def _park_soon(self, unserved: list[Wanted]) -> None:
        self._unserved = unserved
        self._wake.set()

    def _ring(self, queues: list[str]) -> None:
        self._wake.set()
        for name in queues:
            self._doorbell.ring(name)

    # --- running ----------------------------------------------------------------------------------------------------

    def _start(self, claim: Claim) -> None:
        running = self._running.get(claim.operation_id)
        assert running is None or running.epoch < claim.epoch, "claims are made one after another"
        self._running[claim.operation_id] = claim
        self._spawn(self._perform(claim))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, claim: Claim) -> None:
        structlog.contextvars.bind_contextvars(
            operation_id=claim.operation_id, request_id=claim.request_id, kind=claim.kind, epoch=claim.epoch
        )
        try:
            await self._execute(claim)
        except Fenced:
            log.warning("operation.lost")
        except HandedBack:
            log.info("operation.handed_back")
            self._doorbell.ring(claim.queue)
        except Exception:
            # The outermost loop: a mistake in a step must not leave the operation with nobody.
            log.exception("operation.crashed")
            await self._postpone(claim)
        finally:
            if self._running.get(claim.operation_id) is claim:
                del self._running[claim.operation_id]
                self._guards.pop(claim.operation_id, None)
            revoked = [old for old in self._revoked.pop(claim.operation_id, []) if old is not claim]
            if revoked:
                self._revoked[claim.operation_id] = revoked
            self._alone = self._alone and bool(self._running)
            self._wake.set()

    async def _execute(self, claim: Claim) -> None:
        operation = self._catalogue.get(claim.kind)
        if operation is None or operation.version < claim.version:
            await self._park_unknown(
                claim, f"No node of this service understands '{claim.kind}' version {claim.version}."
            )
            return
        run = self._run_of(claim, operation)
        now_us = self._env.clock.now_us
        if (
            run.tools is None
            and claim.queue in self._backends
            and not self._upkeep.is_unserved(claim, claim.queue, claim.target)
        ):
            await self._store.insist(queue.hand_back, claim)  # a target that only others know: they take it
            raise HandedBack(claim.operation_id)
        if claim.attempt >= self._limits.poison_limit or run.tools is None:
            await self._park(claim, operation, run, served=run.tools is not None)
            return
        log.info("operation.begun", step=claim.step, attempt=claim.attempt)
        await steps.execute(operation, run, self._store, self._gate, now_us)
        log.info("operation.ended", outcome=run.failure.outcome if run.failure else "done")

    async def _park(self, claim: Claim, operation: Operation, run: Run[Any, Any], *, served: bool) -> None:
        """End an operation that is not to be run any more, in its error state.

        What it has half made is undone first, where there is a backend for it; if that, too, brings the node down, the
        next claim finds the direction saved and leaves it at that.
        """
        where = claim.queue if claim.target is None else f"{claim.queue}, target {claim.target}"
        why = f"No running node serves '{where}'."
        if served:
            why = f"It was given up after {claim.attempt} attempts in which the service stopped while working on it."
        log.error("operation.parked", attempt=claim.attempt, reason=why)
        failure = Failure(message=why, detail_id="parked", outcome="parked")
        now_us = self._env.clock.now_us
        if served and run.direction == queue.DO:
            await steps.turn_back(operation, run, failure)
            await steps.compensate(operation, run, self._store, self._gate, now_us)
            return
        await steps.fail(operation, run, self._store, failure, now_us=now_us())

    def _run_of(self, claim: Claim, operation: Operation) -> Run[Any, Any]:
        payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
        return Run(claim, payload, self._tools_of(claim), self._store, leaving=lambda: self._draining)

    def _tools_of(self, claim: Claim) -> Tools | NodeTools | None:
        """What the operation works with, on the target that its claim has read; None when this node does not serve that."""
        if claim.queue == self._own_queue:
            return NodeTools(tuple(self._backends), self._probe, self._env.clock)
        backend = self._backends.get(claim.queue)
        if backend is None or claim.needs not in (None, *self._backends):
            return None
        try:
            # A failover speaks to the backend as a whole: the one in use may be what it moves away from.
            driver = backend.driver if claim.kind == queue.FAILOVER else backend.on(claim.target)
        except BackendFailed as error:
            log.error("backend.target_unknown", backend=backend.name, reason=error.message)
            return None
        guard = self._gate.guard({at.resource_id: (at.seq, claim.epoch) for at in claim.locks})
        self._guards[claim.operation_id] = guard
        context = OperationContext(guard, claim, self._locks.get(claim.queue))
        bound, source = driver.bind(context), None if claim.needs is None else self._backends[claim.needs].on
        archives = None if self._archives is None else self._archives.claimed(guard.require_current)
        return Tools(bound, self._env.clock, continues=backend.continues, archives=archives, source=source)

    async def _probe(self, name: str, target: str | None) -> tuple[PoolReport, ...]:
        return await self._probes.report(self._backends[name].on(target), name, target)

    async def _postpone(self, claim: Claim) -> None:
        """Try again later and nearer to the poison limit, at which it is parked: it ends, whatever the mistake was."""
        if claim.attempt + 1 >= self._limits.poison_limit * 2:
            await self._park_unknown(claim, INTERNAL)  # even its own failure transaction fails
            return
        try:
            await self._store.insist(queue.postpone, claim, pause_us=POSTPONE_US)
        except Fenced:
            log.warning("operation.lost")

    async def _park_unknown(self, claim: Claim, text: str) -> None:
        log.error("operation.parked", reason=text)
        try:
            await self._store.insist(park_unknown, claim, text=text, now_us=self._env.clock.now_us())
        except Fenced:
            log.warning("operation.lost")
