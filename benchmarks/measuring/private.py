"""Database servers that a benchmark starts for itself. They do not wait for disks: what is measured is the queue."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.database import USER
from tests.servers.home import Home
from tests.servers.mariadb import mariadb
from tests.servers.postgresql import PostgreSQL

__all__ = ["counted_server"]


@contextmanager
def counted_server(kind: str) -> Iterator[str]:
    """PostgreSQL or MariaDB, which count their statements: the URL without a database's name."""
    if kind == "mariadb":
        with mariadb() as server:
            yield f"mariadb://{USER}:{USER}@{server.host}:{server.port}"
        return
    with Home("counted") as home:
        database = PostgreSQL(home)
        database.launch("--shared_preload_libraries=pg_stat_statements", "--pg_stat_statements.track_utility=off")
        database.wait_ready()
        with database.admin() as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute(f"GRANT pg_read_all_stats TO {USER}".encode())
        yield f"postgresql://{USER}:{USER}@{database.host}:{database.port}"
        database.stop()
