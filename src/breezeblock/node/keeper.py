"""The keeper: a small process that owns a node's lease and answers for its worker.

    start: bury predecessors that are certainly dead ─▶ register ─▶ launch the worker ─▶ renew, renew, …

It ends the node in one of four ways, and in each of them the worker is certainly gone before anything is released:

* told to leave (SIGTERM): the worker hands its operations back, then both go;
* expired by a survivor (a renewal matched no row): the worker is killed at once;
* the worker died, or does not answer: it is killed and reaped, which is proof, and the keeper records the fence itself;
* the lease is about to end without a renewal: the worker has its gate shut and confirms it before that, else it is killed
  before that; not stopped, since it may hold a transaction. A worker that confirmed waits for the next renewal.
"""

import asyncio
import contextlib
import enum
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

import structlog

from breezeblock.env.contract import Env
from breezeblock.model.errors import Unavailable
from breezeblock.node import link as words
from breezeblock.node.lease_table import LeaseTable, Registration
from breezeblock.protocol.leases import GATE_MARGIN, RENEWALS_PER_TTL, Lease, Terms

R = TypeVar("R")

log = structlog.get_logger(__name__)

# A worker has this long to import, open its storage and say that it is ready.
START_LIMIT_S: Final = 60.0
DRAIN_LIMIT_S: Final = 60.0
# How often an unreachable database is asked again while the keeper has nothing to lose.
RETRY_S: Final = 0.2
# How much of the time between the gate's end and the lease's a worker has to confirm that it is idle.
CONFIRM_SHARE: Final = 0.6
# How long a leaving keeper tries to record that its worker is gone; after that a survivor finds out by itself.
BURY_LIMIT_S: Final = 5.0


class Ending(enum.Enum):
    """Why a keeper ended."""

    LEFT = "left"
    EXPIRED = "expired"
    WORKER_LOST = "worker_lost"
    WORKER_HUNG = "worker_hung"
    LEASE_LOST = "lease_lost"


class WorkerHandle(Protocol):
    """The worker's process, as its keeper holds it."""

    def send(self, word: str) -> None: ...

    async def receive(self) -> str | None: ...

    def kill(self) -> None:
        """SIGKILL: works on stopped processes, too."""
        ...

    async def wait(self) -> None:
        """Return when the process is gone and reaped: none of its threads is in a system call any more."""
        ...


class Publish(Protocol):
    """Where the gate's deadline is published."""

    def publish(self, *, until: float, lapses: int) -> None: ...


class Keeper:
    """One incarnation of a node, from registration to its end."""

    def __init__(
        self,
        *,
        env: Env,
        table: LeaseTable,
        terms: Terms,
        registration: Registration,
        page: Publish,
        launch: Callable[[], Awaitable[WorkerHandle]],
    ) -> None:
        self._env = env
        self._table = table
        self._terms = terms
        self._me = registration
        self._page = page
        self._launch = launch
        self._lease = Lease(terms)
        self._lapses = 0
        self._leaving = asyncio.Event()
        self._worker: WorkerHandle | None = None
        self._ready = False
        self._shut_asked = 0
        self._shut_asks = 0
        self._shut_confirmed = False
        self._unanswered = 0
        self._ending: asyncio.Future[Ending] | None = None
        self.buried: list[str] = []
        """Lock files of incarnations that are recorded as fenced, in the end its own: nobody needs them any more."""

    def leave(self) -> None:
        """Drain the node and end. Safe to call again."""
        self._leaving.set()

    async def run(self) -> Ending:
        """Be the node until its end, and say why it ended."""
        self._ending = asyncio.get_running_loop().create_future()
        try:
            await self._bury_predecessors()
            await self._enter()
        except _Told:
            return Ending.LEFT
        if self._ending.done():
            return self._ending.result()  # expired before it began
        self._worker = await self._launch()
        tasks = [
            asyncio.ensure_future(work)
            for work in (self._renew(), self._listen(), self._guard(), self._await_exit(), self._await_leave())
        ]
        try:
            while not self._ending.done():
                waiting: list[asyncio.Future[Any]] = [self._ending, *tasks]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in tasks if task.done()]:
                    task.result()  # one that has failed must not be lost; one that is through is left out
                    tasks.remove(task)
        finally:
            for task in tasks:
                task.cancel()
            self._page.publish(until=float("-inf"), lapses=self._lapses + 1)
            self._worker.kill()
            await self._worker.wait()
        ending = self._ending.result()
        log.info("keeper.ended", why=ending.value)
        await self._record_own_end()
        return ending

    # --- the beginning ----------------------------------------------------------------------------------------------

    async def _bury_predecessors(self) -> None:
        """Earlier starts of this node whose processes are all gone need no expiry by silence: the lock file is the proof.

        A second container with the same name cannot be taken for one of them: it holds its own file.
        """
        found = await self._insist(
            lambda: self._table.predecessors(
                name=self._me.name, cluster=self._me.cluster, incarnation=self._me.incarnation
            )
        )
        for earlier in found:
            if earlier.unfenced and not await self._env.processes.nobody_holds(earlier.lock_path, earlier.lock_id):
                continue
            told = {"event_id": self._env.ids.uuid(), "detail": f"nobody holds its lock file, says {self._me.name}"}
            now_us = self._env.clock.now_us()
            if await self._insist(functools.partial(self._table.bury, earlier.incarnation, now_us=now_us, **told)):
                log.warning("keeper.buried_predecessor", predecessor=earlier.incarnation)
            self.buried.append(earlier.lock_path)

    async def _enter(self) -> None:
        """Register, and only then renew: the first renewal that succeeds begins the lease."""
        await self._insist(lambda: self._table.register(self._me, now_us=self._env.clock.now_us()))
        while not await self._renew_once() and self._ending is not None and not self._ending.done():
            if self._leaving.is_set():
                raise _Told
            await self._env.clock.sleep(RETRY_S)

    async def _insist(self, call: Callable[[], Awaitable[R]]) -> R:
        while True:
            if self._leaving.is_set():
                raise _Told
            try:
                return await call()
            except Unavailable as error:
                log.warning("keeper.database_unreachable", reason=str(error))
                await self._env.clock.sleep(RETRY_S)

    # --- the lease --------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            started = self._env.clock.boottime()
            await self._renew_once()
            took = self._env.clock.boottime() - started
            await self._env.clock.sleep(max(0.0, self._terms.renew_every_s - took))

    async def _renew_once(self) -> bool:
        sent_at = self._env.clock.boottime()
        try:
            alive = await self._table.renew(self._me.incarnation, now_us=self._env.clock.now_us())
        except Unavailable as error:
            log.warning("keeper.not_renewed", reason=str(error))
            return False
        answered_at = self._env.clock.boottime()
        if not alive:
            self._end(Ending.EXPIRED)
            return False
        lapsed = self._lease.until != float("-inf") and answered_at >= self._lease.gate_until
        if not self._lease.renewed(sent_at=sent_at, answered_at=answered_at):
            return False
        self._lapses += lapsed
        self._page.publish(until=self._lease.gate_until, lapses=self._lapses)
        if self._shut_asked:
            log.info("keeper.lease_regained", lapses=self._lapses)
            self._shut_asked, self._shut_confirmed = 0, False
            self._say(words.OPEN)
        return True

    async def _guard(self) -> None:
        """See to it that the worker has stopped before the lease may be taken as lost, and that it answers at all."""
        pinged_at = shut_at = float("-inf")
        launched_at = self._env.clock.boottime()
        while True:
            now = self._env.clock.boottime()
            if now >= self._lease.gate_until and not self._shut_asked:
                self._shut_asks += 1
                self._shut_asked, shut_at = self._shut_asks, now
                self._say(f"{words.SHUT} {self._shut_asked}")
            # Before the lease ends, so that a worker which does not confirm is dead by then. Counted from the question, too:
            # when the keeper itself was stopped, the page has shut the gate long ago, and the worker has only to say so.
            time_to_confirm_s = self._terms.ttl_s * GATE_MARGIN * CONFIRM_SHARE
            confirm_by = max(self._lease.gate_until, shut_at) + time_to_confirm_s
            if self._shut_asked and not self._shut_confirmed and now >= confirm_by:
                self._end(Ending.LEASE_LOST)
            # Unanswered pings are counted, not seconds: while the keeper itself stood still, nobody was asked anything.
            if self._unanswered > RENEWALS_PER_TTL if self._ready else now - launched_at > START_LIMIT_S:
                self._end(Ending.WORKER_HUNG)
            if now - pinged_at >= self._terms.renew_every_s:
                pinged_at = now
                self._unanswered += 1
                self._say(words.PING)
            await self._env.clock.sleep(self._terms.ttl_s / 30)

    # --- the worker -------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        assert self._worker is not None
        while (word := await self._worker.receive()) is not None:
            self._unanswered = 0
            if word == words.READY:
                self._ready = True
            elif word.startswith(words.IS_SHUT):
                # An answer to an earlier question says nothing: the gate may have been opened since.
                self._shut_confirmed = word == f"{words.IS_SHUT} {self._shut_asked}"
            elif word == words.DRAINED:
                self._end(Ending.LEFT)

    async def _await_exit(self) -> None:
        assert self._worker is not None
        await self._worker.wait()
        self._end(Ending.LEFT if self._leaving.is_set() else Ending.WORKER_LOST)

    async def _await_leave(self) -> None:
        await self._leaving.wait()
        # The worker first: it stops claiming whatever the database does. The row says it to others, when it can be written.
        self._say(words.DRAIN)
        saying = asyncio.ensure_future(self._say_draining())
        await self._env.clock.sleep(DRAIN_LIMIT_S)
        saying.cancel()
        self._end(Ending.LEFT)

    async def _say_draining(self) -> None:
        with contextlib.suppress(Unavailable):
            await self._table.drain(self._me.incarnation)

    def _say(self, word: str) -> None:
        if self._worker is not None:
            self._worker.send(word)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _end(self, why: Ending) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(why)

    async def _record_own_end(self) -> None:
        """The worker is reaped: that is proof, so nobody needs to wait for our silence."""
        recording = asyncio.ensure_future(self._bury_until_done())
        timer = asyncio.ensure_future(self._env.clock.sleep(BURY_LIMIT_S))
        await asyncio.wait((recording, timer), return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        recording.cancel()

    async def _bury_until_done(self) -> None:
        told = {"event_id": self._env.ids.uuid(), "detail": "its own keeper saw its worker end"}
        while True:
            try:
                await self._table.bury(self._me.incarnation, now_us=self._env.clock.now_us(), **told)
            except Unavailable:
                await self._env.clock.sleep(RETRY_S)
            else:
                self.buried.append(self._me.lock_path)
                return


class _Told(Exception):
    """Told to leave before there was anything to drain."""
