"""How a keeper reaches its database: one connection, one call at a time, and no call for ever."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog

from breezeblock.database_urls import is_server_url
from breezeblock.env.contract import Threads
from breezeblock.model.errors import Unavailable
from breezeblock.node.lease_table import Executor, Lane
from breezeblock.store import plain
from breezeblock.store.turnstile import Turnstile

T = TypeVar("T")

log = structlog.get_logger(__name__)

# The same as `store.dialects.sqlite_pragmas`, which the keeper cannot import: it would load SQLAlchemy. A test compares.
PRAGMAS: Final = (
    "PRAGMA busy_timeout = 2000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
SQLITE: Final = "sqlite:///"


def open_lane(urls: Sequence[str], threads: Threads, *, ttl_s: float) -> Lane:
    """The lane to a database, by the URLs of its servers or of its one file."""
    if is_server_url(urls[0]):
        return ServerLane(urls, threads, ttl_s=ttl_s)
    return SqliteLane(urls[0].removeprefix(SQLITE), threads, PRAGMAS)


class SqliteLane:
    """The lane of a real keeper: one connection, used on the environment's threads, one call at a time."""

    def __init__(self, database_path: str, threads: Threads, pragmas: Sequence[str]) -> None:
        self._path = database_path
        self._threads = threads
        self._pragmas = tuple(pragmas)
        self._turnstile = Turnstile(database_path)
        # A call that nobody waits for any more (its task was cancelled) may still be on its thread when the next one comes:
        # the turnstile keeps out other processes, not us, and a connection that one closes under the other ends the process.
        self._one_at_a_time = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def write(self, f: Callable[[Executor], T]) -> T:
        """See `Lane`."""
        return await self._threads.run(lambda: self._transact(f))

    def _transact(self, f: Callable[[Executor], T]) -> T:
        with self._one_at_a_time, self._turnstile:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                    for pragma in self._pragmas:
                        answer = self._connection.execute(pragma).fetchone()
                        if "journal_mode" in pragma and answer[0] != "wal":
                            raise sqlite3.NotSupportedError(f"no write-ahead logging on this filesystem: {answer}")
                self._connection.execute("BEGIN IMMEDIATE")
                result = f(self._connection)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                raise Unavailable(str(error)) from error
            return result


class ServerLane:
    """The lane of a keeper whose database is on a server: one connection, to one server while that answers.

    A call that takes longer than a third of the ttl is cut off, and the next one goes to the next server: there is time for a
    second try before the lease ends.
    """

    def __init__(self, urls: Sequence[str], threads: Threads, *, ttl_s: float) -> None:
        self._urls = tuple(urls)
        self._threads = threads
        self._limit_s = ttl_s / 3
        self._at = 0
        self._one_at_a_time = threading.Lock()
        self._connection: plain.PlainConnection | None = None

    async def write(self, f: Callable[[Executor], T]) -> T:
        """See `Lane`."""
        with plain.cut_late(lambda: self._connection, after_s=self._limit_s):
            return await self._threads.run(lambda: self._transact(f))

    def _opened(self, connection: plain.PlainConnection) -> None:
        self._connection = connection

    def _transact(self, f: Callable[[Executor], T]) -> T:
        with self._one_at_a_time:
            try:
                connection = self._connection or plain.connect(
                    self._urls[self._at],
                    statement_limit_s=self._limit_s,
                    idle_limit_s=self._limit_s * 0.8,
                    opened=self._opened,
                )
                result = f(connection)
                connection.commit()
            except plain.Failed as error:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                self._at = (self._at + 1) % len(self._urls)
                raise Unavailable(str(error)) from error
            return result
