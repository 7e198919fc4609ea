"""A private MariaDB."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Final

import pymysql
from tests.servers.database import USER, DatabaseServer, run_as, version_of
from tests.servers.home import Home, user_for
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK
from tests.servers.seeds import copy_seed
from tests.servers.server import Address, running

__all__ = ["FAST", "MariaDB", "copy_data", "mariadb"]

_ADMIN: Final = "root"
# An ordinary user: neither SUPER nor READ ONLY ADMIN, before whom `read_only` would not stop.
_USERS: Final = f"""FLUSH PRIVILEGES;
CREATE USER {_ADMIN}@'%' IDENTIFIED BY '';
GRANT ALL ON *.* TO {_ADMIN}@'%' WITH GRANT OPTION;
CREATE USER {USER}@'%' IDENTIFIED BY '{USER}';
GRANT ALL ON `%`.* TO {USER}@'%';
"""
_LOG_SIZE: Final = "--innodb-log-file-size=16M"
_INSTALL: Final = ("--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", _LOG_SIZE)
# A test that kills the server kills processes, not the machine: what is in the kernel's cache stays. So nothing waits for a
# disk (flush method nosync), and COMMIT is as durable as those tests can tell. Words compare as Debian lets them, without
# regard to case: code that needs more must ask for it.
FAST: Final = (
    _LOG_SIZE,
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=64M",
    "--innodb-doublewrite=OFF",
    "--performance-schema=OFF",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_general_ci",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--max-connections=300",
)


class MariaDB(DatabaseServer):
    """See `database.DatabaseServer`."""

    NOT_READY: ClassVar[tuple[type[Exception], ...]] = (pymysql.err.OperationalError,)

    def __init__(self, home: Home, name: str = "mariadb", *, host: str = LOOPBACK, port: int | None = None) -> None:
        self._program = find("mariadbd", package="mariadb-server")
        super().__init__(home, name, host=host, port=port, user=user_for("mysql"))
        self.data: Final = self.folder / "data"
        self.copy_fresh_data()

    def copy_fresh_data(self) -> None:
        """Fill `data`."""
        copy_data(self._program, to=self.data, user=self.user)

    @property
    def patience(self) -> dict[str, int]:
        """See `database.DatabaseServer`. `connect_timeout` ends with TCP's handshake, which the kernel does for a server that
        is stopped."""
        return {"connect_timeout": 2, "read_timeout": 2, "write_timeout": 2}

    def url(self, database: str, *, via: Address | None = None) -> str:
        """See `database.DatabaseServer`."""
        at = via or self
        return f"mysql+pymysql://{USER}:{USER}@{at.host}:{at.port}/{database}?charset=utf8mb4"

    def admin(self) -> "pymysql.Connection[Any]":
        """A superuser's connection that commits each statement."""
        return pymysql.connect(
            host=self.host, port=self.port, user=_ADMIN, autocommit=True, connect_timeout=5, read_timeout=30
        )

    def ask(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """The rows that answer a superuser's statement."""
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def create_database(self, name: str) -> None:
        """See `database.DatabaseServer`."""
        self.ask(f"CREATE DATABASE `{name}`")

    def drop_database(self, name: str) -> None:
        """See `database.DatabaseServer`."""
        self.kick(name)
        self.ask(f"DROP DATABASE IF EXISTS `{name}`")

    def kick(self, name: str) -> None:
        """Send away whoever is connected to a database: a forgotten transaction would hold up DROP for ever.

        Not the server's own threads: those that apply what other nodes of a cluster have done may not be killed.
        """
        those = f"db = '{name}' AND user <> 'system user'"
        for (connection_id,) in self.ask(f"SELECT id FROM information_schema.processlist WHERE {those}"):  # noqa: S608
            with contextlib.suppress(pymysql.err.OperationalError):  # it has left by itself
                self.ask(f"KILL SOFT {connection_id}")

    def options(self) -> tuple[str, ...]:
        """What a kind of server adds to the command line."""
        return ()

    def command(self) -> Sequence[str]:
        """See `server.Server`."""
        own = (f"--datadir={self.folder}/data", f"--socket={self.folder}/sock", f"--pid-file={self.folder}/pid")
        listen = (f"--bind-address={self.host}", f"--port={self.port}")
        return (self._program, "--no-defaults", *own, *listen, *FAST, *self.options())

    def look(self) -> None:
        """See `server.Server`."""
        self.admin().close()

    def read_only(self, on: bool) -> None:
        """For statements from now on, also of open transactions."""
        self.ask(f"SET GLOBAL read_only = {'ON' if on else 'OFF'}")


def copy_data(program: str, *, to: Path, user: str | None) -> None:
    """The data folder of a fresh server, with its users."""

    def make(folder: Path) -> None:
        users = folder.parent / "users.sql"
        users.write_text(_USERS)
        install = find("mariadb-install-db", package="mariadb-server")
        run_as(user, install, *_INSTALL, f"--datadir={folder}", f"--extra-file={users}", cwd=folder)

    copy_seed("mariadb", recipe=f"{version_of(program)} {_INSTALL} {_USERS}", make=make, to=to, user=user)


def mariadb() -> AbstractContextManager[MariaDB]:
    """A server of one's own for the length of a block."""
    return running("my", MariaDB)
