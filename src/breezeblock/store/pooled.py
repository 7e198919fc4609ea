"""How transactions reach a database server from an asyncio process: on threads, each with a connection of its own.

No transaction waits for ever, whatever the server does: one that finds no free thread is given up, and one that the server
does not answer has its connection cut, which counts as any other lost connection (nothing was written before the COMMIT was
sent, and who knows afterwards).
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from breezeblock.model.errors import Ambiguous, Contended, Unavailable
from breezeblock.store.dialects import translate
from breezeblock.store.endpoints import Endpoint, Endpoints
from breezeblock.store.servers import node_refusal, opening

T = TypeVar("T")

log = structlog.get_logger(__name__)

BEGIN_TIMEOUT_S: Final = 8.0
# The server ends what takes longer than `servers.STATEMENT_LIMIT_S` by itself; this is for one that does nothing any more.
ANSWER_TIMEOUT_S: Final = 9.0
LOOK_EVERY_S: Final = 1.0
NO_ANSWER: Final = "The database does not answer in time; try again later."


class _Running:
    """One transaction on its thread, and how to cut it off from its server."""

    __slots__ = ("_lock", "_same", "age_s")

    def __init__(self) -> None:
        self.age_s = 0.0
        self._same: socket.socket | None = None
        self._lock = threading.Lock()

    def on(self, raw: Any) -> None:
        """Its connection, the driver's own. Nobody else uses that until `off`.

        By a file number of our own: the connection's may be another's, as soon as it is closed in the middle of something.
        """
        same = socket.socket(fileno=os.dup(_file_of(raw)))
        self.off()
        with self._lock:
            self._same = same

    def off(self) -> None:
        with self._lock:
            if self._same is not None:
                self._same.close()
            self._same = None

    def cut(self) -> None:
        """End the connection under whoever waits on it, who then finds it lost."""
        with self._lock, contextlib.suppress(OSError):
            if self._same is not None:
                self._same.shutdown(socket.SHUT_RDWR)


class PooledLane:
    """Implements `run.Lane` on database servers. `close` it before the event loop ends."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._answer_limit_s = endpoints.session.answer_limit_s or ANSWER_TIMEOUT_S
        self._loop = asyncio.get_running_loop()
        at = endpoints.current
        self._writers = ThreadPoolExecutor(at.writing.pool.size(), thread_name_prefix="writer")  # type: ignore[attr-defined]
        self._readers = ThreadPoolExecutor(at.reading.pool.size(), thread_name_prefix="reader")  # type: ignore[attr-defined]
        self._running: set[_Running] = set()
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)

    async def write(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.write`."""
        return await self._run(self._writers, body, reading=False)

    async def read(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.read`."""
        return await self._run(self._readers, body, reading=True)

    def close(self) -> None:
        """What was begun is done; what was not is given up."""
        self._timer.cancel()
        for pool in (self._writers, self._readers):
            pool.shutdown(wait=False, cancel_futures=True)
        self._endpoints.close()

    async def _run(self, pool: ThreadPoolExecutor, body: Callable[[Connection], T], *, reading: bool) -> T:
        submitted = pool.submit(self._transact, body, reading=reading)
        timer = self._loop.call_later(BEGIN_TIMEOUT_S, submitted.cancel)  # does nothing to what has begun
        try:
            return await asyncio.wrap_future(submitted)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if submitted.cancelled() and (task is None or not task.cancelling()):
                raise Unavailable(NO_ANSWER) from None
            raise
        finally:
            timer.cancel()

    def _look(self) -> None:
        for one in tuple(self._running):
            one.age_s += LOOK_EVERY_S
            if one.age_s >= self._answer_limit_s:
                one.cut()
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)

    # --- on a thread ------------------------------------------------------------------------------------------------

    def _transact(self, body: Callable[[Connection], T], *, reading: bool) -> T:
        endpoint, me = self._endpoints.current, _Running()
        self._running.add(me)
        try:
            return self._attempt(endpoint, me, body, reading=reading)
        finally:
            self._running.discard(me)

    def _attempt(self, endpoint: Endpoint, me: _Running, body: Callable[[Connection], T], *, reading: bool) -> T:
        connection: Connection | None = None
        committing = False
        try:
            # A new connection is set up first, by statements that a server may not answer either.
            opening.tell = me.on
            connection = (endpoint.reading if reading else endpoint.writing).connect()
            me.on(connection.connection.dbapi_connection)
            result = body(connection)
            if reading:
                connection.rollback()
            else:
                committing = True
                connection.commit()
            return result
        except Exception as error:
            named = _named(error, connection, committing=committing)
            lost = named is not error and isinstance(named, (Ambiguous, Unavailable))
            if connection is not None:
                _take_back(connection, lost=lost, committing=committing)
            if lost:
                self._endpoints.failed(endpoint, str(named), opened=connection is not None)
            if named is error:
                raise
            raise named from error
        finally:
            me.off()
            if connection is not None:
                connection.close()


def _named(error: Exception, connection: Connection | None, *, committing: bool) -> Exception:
    """Our name for an error; for a doubtful one the server is asked what it means."""
    named = translate(error, committing=committing)
    if not isinstance(error, DBAPIError) or error.orig is None:
        return named
    if connection is None:
        # Refused at the door: a wrong password, too many connections of ours. The next server may take us.
        return Unavailable(str(error.orig)) if named is error else named
    if not isinstance(named, Contended):
        return named
    refusal = node_refusal(error.orig, connection.connection.dbapi_connection)
    if refusal is None:
        return named
    return Ambiguous(refusal) if committing else Unavailable(refusal)


def _take_back(connection: Connection, *, lost: bool, committing: bool) -> None:
    """End a transaction that failed. A connection on which that is not possible is given up, and with it what it locked.

    After a COMMIT that failed SQLAlchemy takes the transaction for ended, and sends no ROLLBACK: what the server may have kept
    open would be committed with the next one. So another is begun, which sends nothing, and rolled back, which does.
    """
    try:
        if not lost:
            connection.rollback()
            if committing:
                connection.begin()
                connection.rollback()
            return
    except SQLAlchemyError as error:
        log.debug("database.rollback_failed", reason=str(error))
    connection.invalidate()


def _file_of(raw: Any) -> int:
    return int(raw.fileno() if hasattr(raw, "fileno") else raw._sock.fileno())
