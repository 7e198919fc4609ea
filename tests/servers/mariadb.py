"""A private MariaDB."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pymysql
from tests.servers.database import USER, Address, run_as
from tests.servers.home import Daemon, Home, user_for
from tests.servers.packages import find
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.seeds import copy_seed

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
_READY_S: Final = 60.0


class MariaDB:
    """Implements `database.DatabaseServer`."""

    def __init__(self, home: Home, name: str = "mariadb", *, host: str = LOOPBACK, port: int | None = None) -> None:
        self.host: Final = host
        self.port: Final = port or free_port()
        # PyMySQL's connect_timeout ends with TCP's handshake, which the kernel does for a server that is stopped.
        self.patience: Final = {"connect_timeout": 2, "read_timeout": 2, "write_timeout": 2}
        self._program = find("mariadbd", package="mariadb-server")
        self._user = user_for("mysql")
        self.folder = home.folder(name, user=self._user)
        self.data = self.folder / "data"
        self.copy_fresh_data()
        self.daemon = Daemon(home, f"{name}-server", user=self._user)

    def copy_fresh_data(self) -> None:
        """Fill `data`."""
        copy_data(self._program, to=self.data, user=self._user)

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
        """Send away whoever is connected to a database: a forgotten transaction would hold up DROP for ever."""
        for (connection_id,) in self.ask(f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"):  # noqa: S608
            self.ask(f"KILL SOFT {connection_id}")

    def options(self) -> tuple[str, ...]:
        """What a kind of server adds to the command line."""
        return ()

    def start(self) -> None:
        """See `database.DatabaseServer`."""
        self.launch()
        self.wait_ready()

    def launch(self, *more: str) -> None:
        """Start without waiting."""
        own = (f"--datadir={self.folder}/data", f"--socket={self.folder}/sock", f"--pid-file={self.folder}/pid")
        listen = (f"--bind-address={self.host}", f"--port={self.port}")
        self.daemon.start(self._program, "--no-defaults", *own, *listen, *FAST, *self.options(), *more)

    def wait_ready(self) -> None:
        """Until it answers; it recovers from a kill by itself."""
        self.daemon.wait_ready(lambda: self.admin().close(), seconds=_READY_S, unless=(pymysql.err.OperationalError,))

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
        """For statements from now on, also of open transactions."""
        self.ask(f"SET GLOBAL read_only = {'ON' if on else 'OFF'}")


def copy_data(program: str, *, to: Path, user: str | None) -> None:
    """The data folder of a fresh server, with its users."""
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout

    def make(folder: Path) -> None:
        users = folder.parent / "users.sql"
        users.write_text(_USERS)
        install = find("mariadb-install-db", package="mariadb-server")
        run_as(user, install, *_INSTALL, f"--datadir={folder}", f"--extra-file={users}", cwd=folder)

    copy_seed("mariadb", recipe=f"{version} {_INSTALL} {_USERS}", make=make, to=to, user=user)


@contextmanager
def mariadb() -> Iterator[MariaDB]:
    """A server of one's own for the length of a block."""
    with Home("my") as home:
        server = MariaDB(home)
        server.start()
        yield server
