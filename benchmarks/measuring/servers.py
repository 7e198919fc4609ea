"""Databases for benchmarks, on servers that run already: made empty, counted, removed."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

from breezeblock.database_urls import POSTGRESQL, kind_of

__all__ = ["NAME", "Counter", "made"]

# Nobody keeps anything under this name: what an interrupted run has left of it is removed by the next.
NAME: Final = "breezeblock_benchmark"
# What asks for rows or changes them. BEGIN, COMMIT and settings are not counted.
_MARIADB: Final = ("com_select", "com_insert", "com_update", "com_delete")
_CONNECTED: Final = {
    POSTGRESQL: "SELECT count(*) FROM pg_stat_activity WHERE datname = %s",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = %s",
}
_POSTGRESQL: Final = (
    "SELECT sum(calls) FROM pg_stat_statements WHERE query !~* '^(begin|commit|rollback|set|show|listen)'"
)


@contextmanager
def made(server: str, name: str = NAME) -> Iterator[str]:
    """An empty database on a server: its URL. It is gone after the block.

    `server` is a URL without a database's name, of a user who may make one. Raises SystemExit when another run is using it.
    """
    with closing(_admin(server)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(_CONNECTED[kind_of(server)], (name,))
        if cursor.fetchone()[0]:
            raise SystemExit(f"somebody is connected to {name}: one run at a time")
        force = " WITH (FORCE)" if kind_of(server) == POSTGRESQL else ""
        cursor.execute(f"DROP DATABASE IF EXISTS {name}{force}")
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{server.rstrip('/')}/{name}"
    finally:
        with closing(_admin(server)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}{force}")


def _admin(server: str) -> Any:
    """A connection that commits each statement."""
    if kind_of(server) == POSTGRESQL:
        return psycopg.connect(f"{server.rstrip('/')}/postgres", autocommit=True)
    parts = urlsplit(server)
    user, password = unquote(parts.username or "root"), unquote(parts.password or "")
    return pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=user, password=password, autocommit=True, ssl_disabled=True
    )


class Counter:
    """How many statements a server has executed, in all of its databases: only one should be in use.

    PostgreSQL needs `pg_stat_statements`.
    """

    def __init__(self, server: str) -> None:
        self._postgresql = kind_of(server) == POSTGRESQL
        self._connection = _admin(server)
        self._asked = 0

    def read(self) -> int:
        """Its own questions are not in it."""
        with closing(self._connection.cursor()) as cursor:
            if self._postgresql:
                cursor.execute(_POSTGRESQL)
                (calls,) = cursor.fetchone()
                self._asked += 1
                return int(calls) - self._asked + 1
            cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Com\\_%'")
            return sum(int(value) for name, value in cursor.fetchall() if name.lower() in _MARIADB)

    def per_second(self, seconds: float) -> float:
        """So many from now on, in so many seconds."""
        before, began = self.read(), time.monotonic()
        time.sleep(seconds)
        return (self.read() - before) / (time.monotonic() - began)

    def close(self) -> None:
        """Its connection."""
        self._connection.close()
