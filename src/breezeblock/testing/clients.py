"""Clients and the APIs that serve them: what handlers do with the store, and what clients know of it.

A request is answered (accepted or refused), or its fate is unknown: the API died, or the database did not answer in time.
"""

import asyncio
from collections.abc import Container, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import Connection, select

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, NotFound, Rejected, Unavailable
from breezeblock.model.ids import MessageId, OperationId, ProjectId, UserId
from breezeblock.model.origin import Origin
from breezeblock.resources.accepted import Accepted
from breezeblock.resources.cleanup import Cleanup
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.testing.asks import Asks
from breezeblock.testing.call import Call
from breezeblock.testing.cluster import Cluster
from breezeblock.testing.database import SimLane
from breezeblock.testing.invariants import Watcher
from breezeblock.testing.linear import Answered, Claims, claims_of, claims_of_row
from breezeblock.testing.loop import Process
from breezeblock.testing.orders import PROJECTS, put_right
from breezeblock.testing.told import RECEIVERS
from breezeblock.testing.virtual import VirtualClock

__all__ = ["Clients"]


@dataclass
class Request:
    """One request and what became of it."""

    operation_id: str
    kind: str
    answer: str = "unknown"


class Clients:
    """All clients of a run, and what they know."""

    def __init__(
        self, cluster: Cluster, watcher: Watcher, *, requests: int, pause_s: float, unasked: Container[int] = ()
    ) -> None:
        """`unasked` are numbers of requests that are drawn and not made."""
        self._cluster = cluster
        self._watcher = watcher
        self._left = requests
        self._pause_s = pause_s
        self._unasked = unasked
        self._asked = 0
        self._asks = Asks(cluster.random, cluster)
        self.requests: list[Request] = []
        self._last = count(1)
        self.stopped = False
        self._asking: dict[int, Process] = {}
        """Who has asked what by its number, and has no answer yet."""

    def start_api(self, name: str, number: int, clock: VirtualClock) -> Process:
        """One API process with two clients."""
        return self._cluster.spawn(f"{name}.api{number}", lambda process: self._serve(process, clock))

    async def _serve(self, process: Process, clock: VirtualClock) -> None:
        env = self._cluster.env(process, clock)
        while not self._cluster.database.raw.execute("SELECT 1 FROM pools").fetchall():
            await env.clock.sleep(0.1)  # no backend has reported yet: whatever is asked now is refused
        lane = SimLane(self._cluster.database, process, self._cluster.faults, self._cluster.random)
        store = Store(lane, env, receivers=RECEIVERS)
        await asyncio.gather(self._client(process, env, store), self._client(process, env, store))

    async def _client(self, process: Process, env: Env, store: Store) -> None:
        while True:
            await env.clock.sleep(self._cluster.random.expovariate(1 / self._pause_s))
            if self._left > 0 and not self.stopped:
                await self._ask(process, env, store)

    async def _ask(self, process: Process, env: Env, store: Store) -> None:
        """One request, as its handler makes it."""
        call = self._asks.draw(env)
        if call is None:
            return
        origin = self._origin(env, call)
        self._left -= 1
        self._asked += 1
        number = self._asked
        if number in self._unasked:
            self._asks.forget(call.about if call.kind.startswith("create") else "")
            return
        request = Request(origin.operation_id, call.kind)
        self.requests.append(request)
        self._cluster.tell(
            f"{process.name}: {call.kind} {call.about} {call.said} of {origin.project_id}, operation {origin.operation_id}",
            kind="request",
            number=number,
            call=call.kind,
            operation=origin.operation_id,
            resource=call.about,
            table=call.table,
        )
        asked_at = self._cluster.loop.time()
        self._asking[number] = process
        try:
            answer = await self._run(store, call, origin)
        except Rejected as error:
            request.answer = "refused"
            if isinstance(error, NotFound) or call.kind.startswith("create"):
                self._asks.forget(call.about)
            self._answered(process, number, call.kind, "refused", f": {error.message}")
            said = claims_of(error.message, about=call.about, type_id=call.type_id)
            self._note(call, asked_at, origin, claims=said)
            return
        except (Ambiguous, Unavailable):
            self._answered(process, number, call.kind, "unavailable")
            return
        queue = answer.queue if isinstance(answer, Accepted) else None
        request.answer = "answered" if queue is None else "accepted"
        claims = _shown(call, answer)
        told = f": {claims[0][1]}" if call.reads and claims else ""
        self._answered(process, number, call.kind, request.answer, told)
        self._note(call, asked_at, origin, operation=None if queue is None else origin.operation_id, claims=claims)
        for name in answer.queues if isinstance(answer, Cleanup) else () if queue is None else (queue,):
            self._cluster.bell.ring(name)

    @staticmethod
    async def _run(store: Store, call: Call, origin: Origin) -> Any:
        if call.reads:
            return await store.read(call.f, about=call.about, origin=origin, **call.arguments)
        signed = {"origin": origin} if call.signed else {}
        return await store.run(call.f, **signed, **call.arguments)

    def _note(
        self, call: Call, asked_at: float, origin: Origin, *, operation: str | None = None, claims: Claims = ()
    ) -> None:
        """What this answer says, to be judged when the run is over."""
        now, project = self._cluster.loop.time(), None if origin.is_admin else origin.project_id
        self._watcher.line.answered(Answered(call.kind, call.about, asked_at, now, operation, claims, project))

    def is_asking(self) -> bool:
        """Whether anybody who lives waits for an answer."""
        return any(process.alive for process in self._asking.values())

    def _answered(self, process: Process, number: int, kind: str, answer: str, why: str = "") -> None:
        del self._asking[number]
        self._cluster.tell(f"{process.name}: {kind} {answer}{why}", kind="answer", number=number, answer=answer)

    def _origin(self, env: Env, call: Call) -> Origin:
        return Origin(
            project_id=ProjectId(self._asks.project(call.about)),
            user_id=UserId("ann"),
            is_admin=call.admin or self._cluster.random.random() < 0.3,
            request_id=f"req-{len(self.requests)}",
            at_us=env.clock.now_us(),
            operation_id=OperationId(env.ids.uuid()),
            message_id=MessageId(env.ids.uuid()),
        )

    def _operator(self) -> Origin:
        """Who puts things right: their transactions are never lost, so ids need not be drawn."""
        number = next(self._last)
        return Origin(
            project_id=ProjectId(PROJECTS[0]),
            user_id=UserId("ann"),
            is_admin=True,
            request_id=f"req-last-{number}",
            at_us=VirtualClock().now_us(),
            operation_id=OperationId(f"00000000-0000-4000-8000-{number:012}"),
            message_id=MessageId(f"00000000-0000-4000-9000-{number:012}"),
        )

    # --- afterwards -------------------------------------------------------------------------------------------------

    def put_right(self, tx: Connection) -> None:
        """Faults have stopped, and requests: operators open what they have closed."""
        put_right(tx, as_operator=self._operator)

    def check(self, tx: Connection) -> None:
        """*Once*: what was accepted was done once, and what was refused left nothing."""
        ended = set(tx.execute(select(tables.operation_log.c.operation_id)).scalars())
        for request in self.requests:
            if request.answer == "accepted" and request.operation_id not in ended:
                self._watcher.violated("Once", f"{request.kind} {request.operation_id} was accepted and never ended")
            if request.answer == "refused" and request.operation_id in self._watcher.resources_of:
                self._watcher.violated("Once", f"{request.kind} {request.operation_id} was refused and still done")
        for problem in self._watcher.line.problems(self._watcher.resources_of):
            self._watcher.violated("Order", problem)


def _shown(call: Call, answer: Any) -> Claims:
    """What an answer says of the resource that was asked about."""
    row = answer.row if isinstance(answer, Accepted) else answer
    if call.table not in ("volumes", "snapshots", "backups") or not isinstance(row, Mapping):
        return ()
    if isinstance(answer, Accepted) and answer.queue is None and row.get("pool_name") is None and "delete" in call.kind:
        return ()  # it shows what is gone with this very answer
    return claims_of_row(call.about, row)
