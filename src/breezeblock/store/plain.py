"""Database servers by their own drivers alone, for processes that have to stay small: the keeper, and `up`.

Only the driver of the server in question is loaded, and no SQLAlchemy. Statements mark parameters by `?`, as for SQLite.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from breezeblock.database_urls import POSTGRESQL, kind_of
from breezeblock.store.sessions import Limits, prepare_mariadb, prepare_postgresql

__all__ = ["Failed", "PlainConnection", "PlainCursor", "connect", "cut_late"]

CONNECT_LIMIT_S: Final = 3
MARIADB_PORT: Final = 3306
CUT_EVERY_S: Final = 0.1


class Failed(Exception):
    """Whatever a driver raised."""


class PlainCursor(Protocol):
    """What a statement answers."""

    @property
    def rowcount(self) -> int: ...

    @property
    def description(self) -> Sequence[Any] | None: ...

    def fetchall(self) -> list[Any]: ...


class PlainConnection:
    """One session. Every error is Failed, and the connection is then good for nothing but `close`."""

    def __init__(self, raw: Any, errors: tuple[type[Exception], ...]) -> None:
        self._raw = raw
        self._errors = errors
        self._lock = threading.Lock()
        self._file = int(raw.fileno() if hasattr(raw, "fileno") else raw._sock.fileno())

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> PlainCursor:
        """Run one statement; the first one begins a transaction."""
        try:
            cursor: Any = self._raw.cursor()
            cursor.execute(sql.replace("?", "%s"), tuple(parameters))
        except self._errors as error:
            raise Failed(str(error)) from error
        made: PlainCursor = cursor
        return made

    def commit(self) -> None:
        """End the transaction."""
        try:
            self._raw.commit()
        except self._errors as error:
            raise Failed(str(error)) from error

    def close(self) -> None:
        """End the session, and with it what was not committed."""
        with self._lock:
            self._file = -1  # the number may soon be another connection's
        with contextlib.suppress(*self._errors):  # it may be lost already
            self._raw.close()

    def cut(self) -> None:
        """End the connection under a thread that waits on it: its call then fails."""
        with self._lock, contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._file)) as same:
            same.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cut_late(current: Callable[[], PlainConnection | None], *, after_s: float) -> Iterator[None]:
    """For as long as this lasts, and from so many seconds on, cut whatever connection is the `current` one.

    Again and again, since the one that hangs may be opened only then: connecting has a limit of its own, and a server may
    well take the connection before it falls silent.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def cut() -> None:
        nonlocal timer
        timer = loop.call_later(CUT_EVERY_S, cut)
        if (connection := current()) is not None:
            connection.cut()

    timer = loop.call_later(after_s, cut)
    try:
        yield
    finally:
        timer.cancel()


def connect(
    url: str,
    *,
    statement_limit_s: float,
    idle_limit_s: float,
    reading: bool = False,
    opened: Callable[[PlainConnection], None] = lambda connection: None,
) -> PlainConnection:
    """Begin a session at READ COMMITTED. Raises Failed, also when the server takes no writes (unless only `reading`).

    `opened` is given the connection before its first statement, for whoever may want to cut it.
    """
    parts, kind = urlsplit(url), kind_of(url)
    made = _postgresql(parts) if kind == POSTGRESQL else _mariadb(parts, statement_limit_s)
    opened(made)
    try:
        _set_up(made, kind, Limits(statement_limit_s, statement_limit_s, idle_limit_s), reading=reading)
    except Failed:
        made.close()
        raise
    return made


def _postgresql(parts: SplitResult) -> PlainConnection:
    import psycopg

    errors = (psycopg.Error, OSError)
    url = parts._replace(scheme="postgresql").geturl()
    try:
        raw = psycopg.connect(url, connect_timeout=CONNECT_LIMIT_S, application_name="breezeblock")
    except errors as error:
        raise Failed(str(error)) from error
    return PlainConnection(raw, errors)


def _mariadb(parts: SplitResult, limit_s: float) -> PlainConnection:
    import pymysql

    errors = (pymysql.Error, OSError, TypeError)  # the last: of an option in the URL that there is not
    try:
        return PlainConnection(_connect_mariadb(parts, limit_s), errors)
    except errors as error:
        raise Failed(str(error)) from error


def _connect_mariadb(parts: SplitResult, limit_s: float) -> Any:
    import pymysql
    from pymysql.constants import CLIENT

    arguments: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": parts.port or MARIADB_PORT,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path.lstrip("/")),
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_LIMIT_S,
        "read_timeout": limit_s + 1,
        "write_timeout": limit_s + 1,
        "client_flag": CLIENT.FOUND_ROWS,
        "program_name": "breezeblock",
    }
    # As SQLAlchemy takes the same URL: what we ask for ourselves (`?charset=…`) is ours to choose.
    return pymysql.connect(**{**dict(parse_qsl(parts.query)), **arguments})


def _set_up(made: PlainConnection, kind: str, limits: Limits, *, reading: bool) -> None:
    def ask(statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        return made.execute(statement, values).fetchall()

    if kind == POSTGRESQL:
        refusal = prepare_postgresql(ask, limits, reading=reading)
    else:
        refusal = prepare_mariadb(ask, limits, reading=reading, snapshot=False)
    if refusal is not None:
        raise Failed(refusal)
    made.commit()
