"""How transactions reach SQLite from an asyncio process: one writer thread with group commit, a few reader threads.

SQLite has one writer at a time, and a durable commit costs a sync of the disk. So the transactions that wait together
are committed together: each runs inside its own savepoint, all share one BEGIN IMMEDIATE and one COMMIT, and nobody is
answered before that COMMIT. It is the same as running them one after another, with one sync instead of many.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from breezeblock.model.errors import Ambiguous, Unavailable
from breezeblock.store.dialects import translate
from breezeblock.store.turnstile import Turnstile

T = TypeVar("T")

# Enough to share a sync among a crowd, few enough that the write lock is held for milliseconds.
GROUP_MOST: Final = 48
# A transaction that has not begun after this long is given up, so that no request hangs behind a stopped process.
BEGIN_TIMEOUT_S: Final = 8.0
READERS: Final = 3
NO_ANSWER: Final = "The database does not answer in time; try again later."


class _Job:
    """One transaction on its way through the writer thread."""

    __slots__ = ("abandoned", "body", "error", "future", "result", "started")

    def __init__(self, body: Callable[[Connection], Any], future: "asyncio.Future[Any]") -> None:
        self.body = body
        self.future = future
        self.started = False
        self.abandoned = False
        self.result: Any = None
        self.error: Exception | None = None


class SqliteLane:
    """Implements `run.Lane` on one SQLite file. `close` it before the event loop ends."""

    def __init__(self, engine: Engine, database_path: str) -> None:
        self._engine = engine
        self._turnstile = Turnstile(database_path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._writer = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._writer.start()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._connections = threading.local()

    async def write(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.write`."""
        job = _Job(body, self._loop.create_future())
        self._jobs.put(job)
        timer = self._loop.call_later(BEGIN_TIMEOUT_S, self._give_up, job)
        try:
            result: T = await job.future
        finally:
            timer.cancel()
        return result

    async def read(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.read`."""
        return await self._loop.run_in_executor(self._readers, self._read, body)

    def close(self) -> None:
        """End the threads; what was put before is still done."""
        self._jobs.put(None)
        self._writer.join(timeout=5)
        self._readers.shutdown(wait=False)
        self._turnstile.close()

    @staticmethod
    def _give_up(job: _Job) -> None:
        # The writer sets `started` and then looks at `abandoned`; we do it the other way round, so at least one of us sees
        # the other, and the writer answers what it leaves out. What has started is waited for: only its commit knows.
        job.abandoned = True
        if not job.started and not job.future.done():
            job.future.set_exception(Unavailable(NO_ANSWER))

    def _read(self, body: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._connections, "open", None)
        try:
            if connection is None:
                connection = self._connections.open = self._engine.connect()
            connection.exec_driver_sql("BEGIN")
            try:
                return body(connection)
            finally:
                connection.rollback()
        except DBAPIError as error:
            self._connections.open = None
            _discard(connection)
            raise translate(error, committing=False) from error

    # --- the writer thread ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        connection: Connection | None = None
        while (first := self._jobs.get()) is not None:
            jobs = [first]
            try:
                with self._turnstile:
                    self._join(jobs)
                    begun = [job for job in jobs if self._begins(job)]
                    connection = connection or self._engine.connect()
                    self._transact(connection, begun)
            except Exception as error:
                # Whatever it was, this thread goes on: nobody else answers those who wait.
                _fail_all(jobs, error.error if isinstance(error, _GroupLost) else translate(error, committing=False))
                _discard(connection)
                connection = None
            self._answer(jobs)
        _discard(connection)

    def _join(self, jobs: list[_Job]) -> None:
        """Whatever came while we stood in the queue goes along."""
        while len(jobs) < GROUP_MOST and not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                return
            jobs.append(job)

    @staticmethod
    def _begins(job: _Job) -> bool:
        job.started = True
        if job.abandoned:
            job.error = Unavailable(NO_ANSWER)
        return not job.abandoned

    @staticmethod
    def _transact(connection: Connection, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction; each one's result or error is its own. Raises when the whole was lost."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for job in jobs:
            _run_in_savepoint(connection, job)
        if all(job.error for job in jobs):
            connection.rollback()
            return
        try:
            connection.commit()
        except Exception as error:
            # A job that was refused may have been refused because of one that is now not there: it runs again, too. The
            # connection is given up with the transaction: after a failed COMMIT it may still hold the write lock.
            raise _GroupLost(translate(error, committing=True)) from error

    def _answer(self, jobs: list[_Job]) -> None:
        def resolve() -> None:
            for job in jobs:
                if job.future.done():
                    continue
                if job.error is None:
                    job.future.set_result(job.result)
                elif isinstance(job.error, StopIteration):  # the one exception that a future refuses to carry
                    job.future.set_exception(RuntimeError("a transaction raised StopIteration"))
                else:
                    job.future.set_exception(job.error)

        if jobs and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(resolve)


class _GroupLost(Exception):
    """Nothing of the group is known to be committed; `error` is what each of its jobs is told."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _run_in_savepoint(connection: Connection, job: _Job) -> None:
    connection.exec_driver_sql("SAVEPOINT job")
    try:
        job.result = job.body(connection)
    except Exception as error:
        job.error = translate(error, committing=False)
        if isinstance(job.error, (Unavailable, Ambiguous)) or not _in_transaction(connection):
            # SQLite has rolled everything back by itself (disk full, I/O error, no memory): the whole group runs again.
            raise _GroupLost(Unavailable(str(error))) from error
        connection.exec_driver_sql("ROLLBACK TO job")
    connection.exec_driver_sql("RELEASE job")


def _in_transaction(connection: Connection) -> bool:
    raw: Any = connection.connection.dbapi_connection
    return bool(raw.in_transaction)


def _fail_all(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        job.error = error


def _discard(connection: Connection | None) -> None:
    """Close a connection for good, and with it whatever transaction it is still in."""
    if connection is not None:
        with contextlib.suppress(DBAPIError, sqlite3.Error):
            connection.invalidate()
            connection.close()
