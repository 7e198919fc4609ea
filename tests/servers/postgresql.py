"""A private PostgreSQL."""

import functools
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from tests.servers.database import USER, DatabaseServer, run_as, version_of
from tests.servers.home import Home, user_for
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK
from tests.servers.seeds import copy_seed
from tests.servers.server import Address, running

__all__ = ["PostgreSQL", "postgresql"]

_ADMIN: Final = "postgres"
# English order by default, as many operators have: code that relies on the order of bytes must ask for it.
_INITDB: Final = (
    "-A",
    "trust",
    "-U",
    _ADMIN,
    "-E",
    "UTF8",
    "--locale=C.UTF-8",
    "--locale-provider=icu",
    "--icu-locale=en-US",
)
# The role is made without a server, so that the seed has it. A dump of one statement a line is what --single reads.
_ROLE: Final = f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{USER}'\n"
# A test that kills the server kills processes, not the machine: what is in the kernel's cache stays. So nothing waits for a
# disk, and COMMIT is as durable as those tests can tell.
_FAST: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "jit": "off",
}


class PostgreSQL(DatabaseServer):
    """See `database.DatabaseServer`."""

    NOT_READY = (psycopg.OperationalError,)

    def __init__(self, home: Home, name: str = "postgresql", *, host: str = LOOPBACK) -> None:
        self._program = find("postgres", package="postgresql")
        # SIGINT: without waiting for clients to leave.
        super().__init__(home, name, host=host, user=user_for("postgres"), stop_signal=signal.SIGINT)
        self.data: Final = self.folder / "data"
        recipe = f"{version_of(self._program)} {_INITDB} {_ROLE}"
        make = functools.partial(_initdb, user=self.user)
        copy_seed("postgresql", recipe=recipe, make=make, to=self.data, user=self.user)
        if host != LOOPBACK:
            with (self.data / "pg_hba.conf").open("a", encoding="ascii") as rules:
                rules.write("host all all samenet trust\n")

    @property
    def patience(self) -> dict[str, int]:
        """See `database.DatabaseServer`."""
        return {"connect_timeout": 2}

    def url(self, database: str, *, via: Address | None = None) -> str:
        """See `database.DatabaseServer`."""
        return self.libpq_url(database, via=via).replace("postgresql:", "postgresql+psycopg:", 1)

    def libpq_url(self, database: str, *, via: Address | None = None) -> str:
        """For PostgreSQL's own library."""
        at = via or self
        return f"postgresql://{USER}:{USER}@{at.host}:{at.port}/{database}"

    def admin(self, database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        """A superuser's connection that commits each statement."""
        return psycopg.connect(
            host=self.host, port=self.port, user=_ADMIN, dbname=database, autocommit=True, connect_timeout=5
        )

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Empty, or a copy of `template`, to which nobody may be connected."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        names = (sql.Identifier(one) for one in (name, USER, template or "template0"))
        with self.admin() as connection:
            connection.execute(statement.format(*names))

    def drop_database(self, name: str) -> None:
        """See `database.DatabaseServer`."""
        with self.admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        own = {"listen_addresses": self.host, "port": str(self.port), "unix_socket_directories": ""}
        options = [f"--{name}={value}" for name, value in {**_FAST, **own}.items()]
        return (self._program, "-D", str(self.data), *options)

    def look(self) -> None:
        """See `server.Server`."""
        self.admin().close()

    def read_only(self, on: bool) -> None:
        """For transactions that begin from now on, as on a standby. Those that are open go on."""
        wanted = "on" if on else "off"
        with self.admin() as connection:
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {wanted}")
            connection.execute("SELECT pg_reload_conf()")
        # The server tells its processes by a signal: a fresh one has the new value from its beginning.
        self.daemon.wait_ready(lambda: self._is_read_only(wanted), seconds=self.READY_S, unless=(_NotYet,))

    def _is_read_only(self, wanted: str) -> None:
        with self.admin() as connection:
            row = connection.execute("SHOW default_transaction_read_only").fetchone()
        if row != (wanted,):
            raise _NotYet(f"default_transaction_read_only is still {row}")


class _NotYet(Exception):
    """The server has another value yet."""


def _initdb(folder: Path, user: str | None) -> None:
    initdb = find("initdb", package="postgresql")
    run_as(user, initdb, "-D", str(folder), *_INITDB, "--no-sync", cwd=folder)
    postgres = find("postgres", package="postgresql")
    run_as(user, postgres, "--single", "-D", str(folder), "-F", "postgres", cwd=folder, says=_ROLE)


def postgresql() -> AbstractContextManager[PostgreSQL]:
    """A server of one's own for the length of a block."""
    return running("pg", PostgreSQL)
