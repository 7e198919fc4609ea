"""A private PostgreSQL."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from tests.servers.database import USER, Address, run_as
from tests.servers.home import Daemon, Home, user_for
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.seeds import copy_seed

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
_READY_S: Final = 30.0


class PostgreSQL:
    """Implements `database.DatabaseServer`."""

    def __init__(self, home: Home, name: str = "postgresql") -> None:
        self.host: Final = LOOPBACK
        self.port: Final = free_port()
        self.patience: Final = {"connect_timeout": 2}
        self._program = find("postgres", package="postgresql")
        user = user_for("postgres")
        self._data = home.path / name
        copy_seed(
            "postgresql", recipe=self._recipe(), make=lambda folder: _initdb(folder, user), to=self._data, user=user
        )
        # SIGINT: without waiting for clients to leave.
        self.daemon = Daemon(home, f"{name}-server", user=user, stop_signal=signal.SIGINT)

    def _recipe(self) -> str:
        version = subprocess.run([self._program, "--version"], check=True, capture_output=True, text=True).stdout
        return f"{version} {_INITDB} {_ROLE}"

    def url(self, database: str, *, via: Address | None = None) -> str:
        """See `database.DatabaseServer`."""
        at = via or self
        return f"postgresql+psycopg://{USER}:{USER}@{at.host}:{at.port}/{database}"

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

    def start(self) -> None:
        """See `database.DatabaseServer`."""
        own = {"listen_addresses": self.host, "port": str(self.port), "unix_socket_directories": ""}
        options = [f"--{name}={value}" for name, value in {**_FAST, **own}.items()]
        self.daemon.start(self._program, "-D", str(self._data), *options)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until it answers; it recovers from a kill by itself."""
        self.daemon.wait_ready(lambda: self.admin().close(), seconds=_READY_S, unless=(psycopg.OperationalError,))

    def stop(self) -> None:
        """See `database.DatabaseServer`."""
        self.daemon.stop()

    def kill(self) -> None:
        """See `database.DatabaseServer`."""
        self.daemon.kill()

    def pause(self) -> None:
        """See `database.DatabaseServer`."""
        self.daemon.pause()

    def resume(self) -> None:
        """See `database.DatabaseServer`."""
        self.daemon.resume()

    def read_only(self, on: bool) -> None:
        """For transactions that begin from now on, as on a standby. Those that are open go on."""
        wanted = "on" if on else "off"
        with self.admin() as connection:
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {wanted}")
            connection.execute("SELECT pg_reload_conf()")
        # The server tells its processes by a signal: a fresh one has the new value from its beginning.
        self.daemon.wait_ready(lambda: self._is_read_only(wanted), seconds=_READY_S, unless=(_NotYet,))

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
    subprocess.run(
        [postgres, "--single", "-D", str(folder), "-F", "postgres"],
        input=_ROLE,
        text=True,
        cwd=folder,
        check=True,
        capture_output=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server of one's own for the length of a block."""
    with Home("pg") as home:
        server = PostgreSQL(home)
        server.start()
        yield server
