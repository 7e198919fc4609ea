"""Filling the tables by the quickest way that each database has, and the accounts by what is there then."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import psycopg
import pymysql
import sqlalchemy as sa
from tests.servers.database import USER

from breezeblock.env.real import RealClock
from breezeblock.store import tables
from breezeblock.store.dialects import open_engine
from breezeblock.store.servers import Session, open_server

from .plan import Plan
from .rows import MANY, Values, few, many
from .sites import DATABASE, Site

__all__ = ["begin", "grow", "opened", "settle"]

CHUNK: Final = 20_000
# Longer than any statement here takes.
PATIENCE_S: Final = 600.0


def _batched(rows: Iterable[Values], size: int) -> Iterator[list[Values]]:
    rows = iter(rows)
    while chunk := list(islice(rows, size)):
        yield chunk


def opened(at: Site) -> sa.Engine:
    """A pool for what takes longer than the service would wait."""
    if at.kind == "sqlite":
        return open_engine(at.url, now_us=RealClock().now_us)
    return open_server(at.url, Session(ttl_s=PATIENCE_S, connections=1, statement_limit_s=PATIENCE_S), reading=False)


@contextmanager
def _writing(at: Site) -> Iterator[sa.Connection]:
    """One transaction."""
    engine = opened(at)
    with engine.connect() as tx:
        if at.kind == "sqlite":
            tx.exec_driver_sql("BEGIN IMMEDIATE")  # else each statement is one
        yield tx
        tx.commit()
    engine.dispose()


def begin(at: Site, plan: Plan) -> None:
    """What does not grow."""
    with _writing(at) as tx:
        for table, rows in few(plan).items():
            tx.execute(sa.insert(table), rows)


def grow(at: Site, numbers: range) -> None:
    """Volumes of these numbers, all that belongs to them, and the accounts."""
    for table in MANY:
        rows = many(table, numbers)
        if at.kind == "sqlite":
            _into_sqlite(at, table, rows)
        elif at.kind == "postgresql":
            _into_postgresql(at, table, rows)
        else:
            _into_mariadb(at, table, rows)
    _accounts(at)


def _lines(rows: Iterable[Values]) -> bytes:
    """As COPY and LOAD DATA both read them. No text has a tab, a line's end or a backslash."""
    return "".join("\t".join("\\N" if value is None else str(value) for value in row) + "\n" for row in rows).encode()


def _names(table: sa.Table) -> str:
    return ", ".join(column.name for column in table.c)


def _into_postgresql(at: Site, table: sa.Table, rows: Iterator[Values]) -> None:
    url = at.url.replace("postgresql+psycopg:", "postgresql:")
    copying = f"COPY {table.name} ({_names(table)}) FROM STDIN".encode()
    with psycopg.connect(url) as connection, connection.cursor().copy(copying) as copy:
        for chunk in _batched(rows, CHUNK):
            copy.write(_lines(chunk))


def _into_mariadb(at: Site, table: sa.Table, rows: Iterator[Values]) -> None:
    url = sa.make_url(at.url)
    file = at.folder / f"{table.name}.tsv"
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 0,
        user=USER,
        password=USER,
        database=DATABASE,
        local_infile=True,
        autocommit=True,
    )
    key = [column.name for column in table.primary_key]
    places = [list(table.c.keys()).index(name) for name in key]
    with connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION unique_checks = 0, foreign_key_checks = 0")
        # In the order of the key: else InnoDB, whose tables are in that order, goes back and forth.
        ordered = sorted(rows, key=lambda row: [row[place] for place in places])
        for chunk in _batched(ordered, 10 * CHUNK):
            file.write_bytes(_lines(chunk))
            cursor.execute(
                f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {table.name} CHARACTER SET utf8mb4 ({_names(table)})"
            )
        file.unlink(missing_ok=True)


def _into_sqlite(at: Site, table: sa.Table, rows: Iterator[Values]) -> None:
    marks = ", ".join("?" for _ in table.c)
    connection = sqlite3.connect(at.url.removeprefix("sqlite:///"))
    for pragma in ("synchronous = OFF", "cache_size = -1000000"):
        connection.execute(f"PRAGMA {pragma}")
    with connection:  # one transaction
        connection.executemany(f"INSERT INTO {table.name} ({_names(table)}) VALUES ({marks})", rows)  # noqa: S608
    connection.close()


# --- accounts ---------------------------------------------------------------------------------------------------------


def _accounts(at: Site) -> None:
    """Usage of projects and allocation in pools, from what there is."""
    with _writing(at) as tx:
        used: Counter[tuple[str, str]] = Counter()
        promised: Counter[str] = Counter()
        for noun, table in (("volumes", tables.volumes), ("snapshots", tables.snapshots)):
            for project, type_id, pool, count, gib in tx.execute(_sums(table)):
                for name, amount in (
                    (noun, count),
                    ("gigabytes", gib),
                    (f"{noun}_{type_id}", count),
                    (f"gigabytes_{type_id}", gib),
                ):
                    used[project, name] += int(amount)
                promised[pool] += int(gib)
        tx.execute(sa.delete(tables.quota_usage))
        rows = [{"project_id": project, "resource": name, "in_use": sum_} for (project, name), sum_ in used.items()]
        tx.execute(sa.insert(tables.quota_usage), rows)
        for pool, gib in promised.items():
            tx.execute(sa.update(tables.pools).where(tables.pools.c.name == pool).values(allocated_gib=gib))


def _sums(table: sa.Table) -> sa.Select[Any]:
    keys = (table.c.project_id, table.c.charged_type_id, table.c.pool_name)
    return sa.select(*keys, sa.func.count(), sa.func.sum(table.c.charged_gib)).group_by(*keys)


def settle(at: Site) -> None:
    """Let the database find out what it has now, and be done with what it put off."""
    engine = opened(at)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if at.kind == "sqlite":
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in sorted(tables.metadata.tables) if at.kind != "sqlite" else ():
            connection.exec_driver_sql(f"ANALYZE TABLE {name}" if at.kind == "mariadb" else f"VACUUM ANALYZE {name}")
    engine.dispose()
    if at.kind == "postgresql":
        assert at.server is not None
        with at.server.admin() as admin:
            admin.execute("CHECKPOINT")
