"""One transaction: a plain function, run until it is certain that it happened exactly once, or not at all.

`await store.run(f, …)` calls `f(tx, …)` inside a transaction that it owns. `f` is short, synchronous, and has everything
it needs in its arguments, because it may run again as a whole: after losing against another transaction, and after a
commit whose answer was lost. The second case is the dangerous one (an extend would extend twice), so each transaction
has an id, drawn before its first attempt and inserted by its first statement: an attempt after the first looks for it.
"""

from collections.abc import Callable, Sequence
from typing import Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, bindparam, delete, insert, select

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.model.origin import Origin
from breezeblock.store import outbox
from breezeblock.store.dialects import db_now_us
from breezeblock.store.outbox import Outbox, Post
from breezeblock.store.tables import tx_done

P = ParamSpec("P")
T = TypeVar("T")
Body = Callable[[Connection], T]

# A request gives up (503) after this many attempts that the database did not answer, or this long, whichever comes first.
REQUEST_ATTEMPTS: Final = 12
REQUEST_PATIENCE_S: Final = 15.0
# Of servers that cannot be read from, so many are asked.
SERVERS_ASKED: Final = 4
PAUSE_FIRST_S: Final = 0.005
PAUSE_MOST_S: Final = 2.0
# Who has lost against another transaction waits no longer than this: a database that is away is to be spared, but a race has a
# winner each time, and who waits ever longer only lets the others win the next ones too. Those who are at work come before
# those who ask for more: a crowd of requests must not keep an operation from ending.
RACE_PAUSE_MOST_S: Final = 0.3
RACE_PAUSE_AT_WORK_MOST_S: Final = 0.04
# Rows of tx_done are kept this long. Every retry that needs them ends long before: an API gives up within seconds, and a
# node that was cut off for longer has been expired, so its transactions no longer match the rows that they guard.
TX_DONE_KEPT_US: Final = 3600 * 1_000_000
PRUNE_ROWS: Final = 2_000
PRUNE_AT_ONCE: Final = 100

log = structlog.get_logger(__name__)


class Lane(Protocol):
    """How one attempt reaches the database. Implemented for threads (`lanes.py`) and for the simulation."""

    async def write(self, body: Body[T]) -> T:
        """Run `body` in one writing transaction and commit. Raises Contended, Unavailable, Ambiguous, or body's error."""
        ...

    async def read(self, body: Body[T]) -> T:
        """Run `body` on one consistent snapshot."""
        ...


class Store:
    """The database as everything above it sees it. `receivers` are to be told of what transactions change (`outbox`)."""

    def __init__(
        self, lane: Lane, env: Env, *, receivers: Sequence[str] = (), patience_s: float = REQUEST_PATIENCE_S
    ) -> None:
        self._lane = lane
        self._env = env
        self._receivers = tuple(receivers)
        self._patience_s = patience_s

    def telling(self, receiver: str) -> "Store":
        """The same database, where only this one is to be told."""
        return Store(self._lane, self._env, receivers=(receiver,), patience_s=self._patience_s)

    async def read(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading function on one snapshot that holds everything answered so far. Raises Unavailable.

        A lost connection is no answer yet: the next server may have one, and each is asked at once.
        """
        give_up_at = self._env.clock.boottime() + self._patience_s
        lost = 0
        for attempt in range(REQUEST_ATTEMPTS):
            try:
                return await self._lane.read(lambda tx: f(tx, *args, **kwargs))
            except Contended:
                await self._pause(attempt)
            except Unavailable:
                lost += 1
                if lost == SERVERS_ASKED or self._env.clock.boottime() > give_up_at:
                    raise
                await self._pause(attempt)
        raise Unavailable("The database is too busy to answer; try again later.")

    async def try_read(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, in one attempt: for who would rather go on with something else. Raises Contended, Unavailable."""
        return await self._lane.read(lambda tx: f(tx, *args, **kwargs))

    async def run(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `f` as one transaction, exactly once.

        Raises what `f` raises (nothing was written), Unavailable (nothing was written), or Ambiguous: an answer was lost, and
        nobody could be asked since.
        """
        return await self._run(
            lambda tx: f(tx, *args, **kwargs), attempts=REQUEST_ATTEMPTS, origin=kwargs.get("origin")
        )

    async def insist(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for the work of a node: a database outage of any length pauses it and fails nothing."""
        return await self._run(lambda tx: f(tx, *args, **kwargs), attempts=None, origin=kwargs.get("origin"))

    async def insist_read(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, for the work of a node: it waits through a database outage as `insist` does."""
        attempt = 0
        while True:
            try:
                return await self._lane.read(lambda tx: f(tx, *args, **kwargs))
            except (Contended, Unavailable) as error:
                attempt += 1
                if attempt % REQUEST_ATTEMPTS == 0:
                    log.warning("store.waiting", attempts=attempt, error=str(error))
            await self._pause(attempt)

    async def probe(self, f: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading function inside a *writing* transaction, once, without an id and without retries.

        For observers of leases: on SQLite readers get through while a stopped process blocks every writer, and then the
        heartbeats of healthy nodes look silent. A reading that had to pass the writers' gate does not have that blind spot.
        """
        return await self._lane.write(lambda tx: f(tx, *args, **kwargs))

    async def prune(self) -> int:
        """Forget transaction ids that no retry can ask for any more. Returns the rows removed."""
        return await self._run(_prune_tx_done, attempts=1, patience_s=0.0)

    async def _run(
        self, f: Body[T], *, attempts: int | None, patience_s: float | None = None, origin: object = None
    ) -> T:
        tx_id = self._env.ids.uuid()
        if self._receivers:
            asked = origin if isinstance(origin, Origin) else None
            f = _Told(f, Post(self._receivers, tx_id, self._env.clock.now_us(), asked))
        results: dict[int, T] = {}
        attempt, races, in_doubt = 0, 0, False
        give_up_at = self._env.clock.boottime() + (self._patience_s if patience_s is None else patience_s)
        while True:
            try:
                return await self._lane.write(_Attempt(f, tx_id, attempt, results))
            except (Contended, Ambiguous, Unavailable) as error:
                attempt += 1
                is_race = isinstance(error, Contended)
                races += is_race
                in_doubt = in_doubt or isinstance(error, Ambiguous)
                is_over = attempt - races == attempts or self._env.clock.boottime() >= give_up_at
                if attempts is not None and is_over:
                    # "Nothing was changed" would be a guess when an earlier commit's answer was lost.
                    if in_doubt:
                        raise Ambiguous("Whether the transaction was committed could not be found out.") from error
                    raise Unavailable("The database does not answer in time; try again later.") from error
                if attempt % REQUEST_ATTEMPTS == 0:
                    log.warning("store.waiting", attempts=attempt, error=str(error))
            race_most_s = RACE_PAUSE_AT_WORK_MOST_S if attempts is None else RACE_PAUSE_MOST_S
            await self._pause(attempt, most_s=race_most_s if is_race else PAUSE_MOST_S)

    async def _pause(self, attempt: int, *, most_s: float = PAUSE_MOST_S) -> None:
        most = min(most_s, PAUSE_FIRST_S * 2 ** min(attempt, 20))
        await self._env.clock.sleep(self._env.random.uniform(most / 2, most))


class _Attempt(Generic[T]):
    """One attempt of a transaction, as the lane runs it."""

    def __init__(self, f: Body[T], tx_id: str, attempt: int, results: dict[int, T]) -> None:
        self._f, self._tx_id, self._attempt, self._results = f, tx_id, attempt, results

    def __call__(self, tx: Connection) -> T:
        if self._attempt:
            # An earlier attempt may have been committed although its answer was lost. This transaction is ordered after
            # it (writers are serial on SQLite; elsewhere the insert below collides), so a miss here is a real miss.
            done = tx.execute(_FIND, {"id": self._tx_id}).scalar()
            if done is not None:
                return self._results[done]
        tx.execute(_MARK, {"id": self._tx_id, "attempt": self._attempt})
        result = self._f(tx)
        self._results[self._attempt] = result
        return result


class _Told(Generic[T]):
    """A transaction whose changes are told: the same, and at its end what it has noted is written."""

    def __init__(self, f: Body[T], post: Post) -> None:
        self._f, self._post = f, post

    def __call__(self, tx: Connection) -> T:
        box = Outbox(self._post)
        outbox.put(tx, box)
        try:
            result = self._f(tx)
            box.write(tx)
            return result
        finally:
            outbox.put(tx, None)


def _prune_tx_done(tx: Connection) -> int:
    # Asked once, apart: PostgreSQL compares a clock that runs on with each row anew, and uses no index for it.
    now_us: int = tx.execute(select(db_now_us())).scalar_one()
    old = select(tx_done.c.id).where(tx_done.c.at_us < now_us - TX_DONE_KEPT_US).limit(PRUNE_ROWS)
    ids = [row.id for row in tx.execute(old)]
    # A few at a time: for a list that is a good part of the table MariaDB reads, and so locks, all of it, and waits for whoever
    # has just marked a transaction.
    return sum(
        tx.execute(delete(tx_done).where(tx_done.c.id.in_(ids[at : at + PRUNE_AT_ONCE]))).rowcount
        for at in range(0, len(ids), PRUNE_AT_ONCE)
    )


_FIND = select(tx_done.c.attempt).where(tx_done.c.id == bindparam("id"))
_MARK = insert(tx_done).values(id=bindparam("id"), attempt=bindparam("attempt"), at_us=db_now_us())
