"""A table of numbers: what tests of servers write and read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from tests.servers.database import DatabaseServer

__all__ = ["engine_for", "numbers", "read", "write"]

_NAME: Final = "numbers"


def engine_for(url: str, arguments: dict[str, Any] | None = None) -> sa.Engine:
    """With a connection for each transaction."""
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments or {})


@contextmanager
def numbers(server: DatabaseServer) -> Iterator[sa.Engine]:
    """A database of this name with the empty table, on a server that runs at the end as well."""
    server.create_database(_NAME)
    engine = engine_for(server.url(_NAME), server.patience)
    with engine.begin() as tx:
        tx.execute(sa.text("CREATE TABLE numbers (number INT PRIMARY KEY)"))
    yield engine
    engine.dispose()
    server.drop_database(_NAME)


def write(engine: sa.Engine, number: int) -> None:
    with engine.begin() as tx:
        tx.execute(sa.text("INSERT INTO numbers VALUES (:number)"), {"number": number})


def read(engine: sa.Engine) -> list[int]:
    with engine.connect() as tx:
        return list(tx.execute(sa.text("SELECT number FROM numbers ORDER BY number")).scalars())
