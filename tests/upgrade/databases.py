"""Databases of earlier revisions, on each kind of server: fresh ones, rows for them, and processes that upgrade them."""

import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from breezeblock.env.real import RealClock
from breezeblock.store import schema
from breezeblock.store.dialects import open_engine
from breezeblock.store.servers import Session, open_server

__all__ = [
    "KILLED",
    "REVISIONS",
    "Database",
    "Row",
    "begin",
    "fill",
    "forked",
    "read_rows",
    "statuses",
    "upgrade_and_die",
]

Row = dict[str, Any]
KILLED: Final = 77
_VERSION_TABLE: Final = "alembic_version"
# Three bytes, four bytes, a quote, and what SQL and JSON escape.
_WILD: Final = "№\N{FISH}'\"\\%_\t"
_LONG: Final = 70_000


def _config(tx: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    config.attributes["connection"] = tx
    return config


REVISIONS: Final = tuple(sorted(one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions()))


@dataclass(frozen=True)
class Database:
    """One that is this test's own. `urls`: one for each server that writes to it."""

    kind: str
    urls: tuple[str, ...]

    def open(self, server: int = 0) -> sa.Engine:
        """A pool for transactions through one of its servers."""
        url = self.urls[server]
        if self.kind == "sqlite":
            return open_engine(url, now_us=RealClock().now_us)
        return open_server(url, Session(ttl_s=60, connections=2), reading=False)

    @contextmanager
    def tx(self) -> Iterator[sa.Connection]:
        """One transaction that writes."""
        engine = self.open()
        try:
            with engine.connect() as connection:
                begin(connection)
                yield connection
                connection.commit()
        finally:
            engine.dispose()

    def upgrade_to(self, revision: str) -> None:
        """As a release whose newest revision that was."""
        with self.tx() as tx:
            command.upgrade(_config(tx), revision)


def begin(connection: sa.Connection) -> None:
    """Begin a transaction that writes, where that is not done by itself."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


# --- rows -------------------------------------------------------------------------------------------------------------


def fill(tx: sa.Connection) -> dict[str, list[Row]]:
    """Rows for every table there is, whatever its columns: full, mostly NULL, and such as differ in case and blanks alone."""
    reflected = sa.MetaData()
    reflected.reflect(tx)
    made: dict[str, list[Row]] = {}
    for table in reflected.sorted_tables:
        if table.name == _VERSION_TABLE:
            continue
        made[table.name] = [_row(table, number, made) for number in range(4)]
        tx.execute(sa.insert(table), made[table.name])
    return made


def _row(table: sa.Table, number: int, made: dict[str, list[Row]]) -> Row:
    row: Row = {}
    for column in table.columns:
        if column.foreign_keys:
            key = next(iter(column.foreign_keys)).column
            row[column.name] = made[key.table.name][number][key.name]
        elif column.nullable and number == 1:
            row[column.name] = None
        else:
            row[column.name] = _value(column, number)
    return row


def _value(column: "sa.Column[Any]", number: int) -> Any:
    # Equal but for the case, and but for a blank at the end: keys must be apart on every database.
    text = ("key", "KEY", "key ", _WILD)[number] + column.name
    if isinstance(column.type, sa.Text) or (isinstance(column.type, sa.String) and column.type.length is None):
        return text + "\N{FISH}" * (_LONG if number == 3 else 0)
    if isinstance(column.type, sa.String):
        length = column.type.length or 0
        # As long as may be, in characters of four bytes.
        return text[:length].ljust(length, "\N{FISH}") if number == 3 else text[:length]
    if isinstance(column.type, sa.BigInteger):
        return (0, -1, 2**62, 1_800_000_000_000_000)[number]
    if isinstance(column.type, sa.Boolean) or str(column.type).startswith("TINYINT"):
        return bool(number % 2)
    assert isinstance(column.type, sa.Integer), column
    return (0, -1, 2**31 - 1, 7)[number]


def read_rows(tx: sa.Connection, wanted: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The same columns of the same tables as in `wanted`, of as many of their rows as are there."""
    found: dict[str, list[Row]] = {}
    for name, rows in wanted.items():
        table = sa.table(name, *(sa.column(column) for column in rows[0]))
        there = [dict(row) for row in tx.execute(sa.select(table)).mappings()]
        found[name] = [row for row in rows if row in there]
    return found


def write_again(tx: sa.Connection, rows: dict[str, list[Row]]) -> None:
    """Remove everything from those tables, and insert the rows by statements that name no other column."""
    tables = {name: sa.table(name, *(sa.column(column) for column in rows[name][0])) for name in rows}
    for name in reversed(rows):
        tx.execute(sa.delete(tables[name]))
    for name in rows:
        tx.execute(sa.insert(tables[name]), rows[name])


# --- processes --------------------------------------------------------------------------------------------------------


def forked(work: Callable[[], object]) -> int:
    """The pid of a process of its own that does `work` and ends with 0, or with 1 and the reason on the standard error."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def statuses(pids: Iterable[int]) -> list[int]:
    """How each of them has ended."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def upgrade_and_die(url: str, *, after: int) -> None:
    """Upgrade in this process, which ends, without a word to anybody, when it has made so many changes."""
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        if done == after:
            os._exit(KILLED)
        done += 1

    def count_changes(*given: object) -> None:
        if not str(given[2]).lstrip().upper().startswith(_ASKING):
            count()

    sa.event.listen(sa.Engine, "before_cursor_execute", count_changes)
    sa.event.listen(sa.Engine, "commit", count)
    schema.upgrade(url)


_ASKING: Final = ("SELECT", "SHOW", "SET", "DESCRIBE", "PRAGMA", "BEGIN")
