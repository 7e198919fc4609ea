"""A doorbell through PostgreSQL: NOTIFY on a connection of its own, LISTEN on another.

A ring is never part of a request's transaction: PostgreSQL makes all commits that notify wait for each other. All workers that
listen to a queue hear each ring of it.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import psycopg
from psycopg import sql

from breezeblock.doorbells.contract import Tally
from breezeblock.doorbells.served import ServedBell, ServedListener, within
from breezeblock.env.contract import Clock, Env

KIND: Final = "postgresql"
# PostgreSQL cuts identifiers off after 63 bytes: two long names would be one.
CHANNEL_BYTES_MOST: Final = 63
# A connection on which nothing was heard for so long is asked whether it is there.
QUIET_S: Final = 10.0
ANSWER_S: Final = 5.0
_PREFIX: Final = "breezeblock "
_ASK: Final = b"SELECT 1"
_NOTIFY: Final = b"SELECT pg_notify(channel, '') FROM unnest(%s::text[]) AS rings (channel)"


def channel_of(queue: str) -> str:
    """The channel of a queue: its name where that fits, else a digest of it."""
    name = _PREFIX + queue
    if len(name.encode()) <= CHANNEL_BYTES_MOST:
        return name
    return _PREFIX + hashlib.sha256(queue.encode()).hexdigest()[:48]


def postgresql_bell(urls: Sequence[str], *, env: Env, tally: Tally) -> ServedBell:
    """A bell; `urls` are as libpq reads them, tried in turn."""

    async def open_sender(url: str) -> _Notifier:
        return _Notifier(await _connect(url, "bell"), env.clock)

    return ServedBell(KIND, urls, open_sender, env=env, tally=tally)


def postgresql_listener(urls: Sequence[str], queues: Sequence[str], *, env: Env, tally: Tally) -> ServedListener:
    """Hears the rings of `queues`."""

    async def open_ear(url: str) -> _Listening:
        ear = _Listening(await _connect(url, "listener"))
        try:
            await ear.listen(queues)
        except BaseException:
            ear.close()
            raise
        return ear

    return ServedListener(KIND, urls, open_ear, env=env, tally=tally)


async def _connect(url: str, purpose: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(
        url,
        autocommit=True,
        prepare_threshold=None,
        target_session_attrs="read-write",  # a replica neither rings nor listens
        application_name=f"breezeblock {purpose}",
    )


class _Connection:
    """An open connection, never in a transaction."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    def close(self) -> None:
        """See `served.Sender`. libpq's own call, which waits for nothing."""
        self._connection.pgconn.finish()

    async def _ask(self) -> None:
        """Return when the server has answered. Raises TimeoutError when it does not."""
        await within(ANSWER_S, self._execute(_ASK), otherwise=self.close)

    async def _execute(self, statement: bytes | sql.Composed, values: Sequence[object] | None = None) -> None:
        await self._connection.execute(statement, values)


class _Notifier(_Connection):
    """Implements `served.Sender`."""

    def __init__(self, connection: psycopg.AsyncConnection, clock: Clock) -> None:
        super().__init__(connection)
        self._clock = clock

    async def send(self, queues: Sequence[str]) -> None:
        """See `served.Sender`: all by one statement."""
        await self._execute(_NOTIFY, ([channel_of(queue) for queue in queues],))

    async def lost(self) -> None:
        """See `served.Sender`: asks from time to time, so that no ring has to find it out."""
        while True:
            await self._clock.sleep(QUIET_S)
            await self._ask()


class _Listening(_Connection):
    """Implements `served.Ear`."""

    async def hear(self, on_ring: Callable[[], None]) -> None:
        """See `served.Ear`."""
        while True:
            async for _ in self._connection.notifies(timeout=QUIET_S):
                on_ring()
            await self._ask()

    async def listen(self, queues: Sequence[str]) -> None:
        """Ask for the rings of `queues`."""
        for queue in queues:
            await self._execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel_of(queue))))
