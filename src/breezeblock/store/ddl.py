"""How tables are made on MariaDB: with the collation of `kinds`, so that making them may be repeated, and never by a copy.

Statements that change the schema cannot be taken back there: a process that dies in the middle of an upgrade, or two that
upgrade on two Galera nodes, find a part of it made. Whoever repeats it makes the rest.

A change that would need a copy of the table is refused: nobody could write meanwhile.
"""

from typing import Any

from alembic.ddl.base import AddColumn
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex

from breezeblock.store.kinds import MARIADB_COLLATION

__all__: list[str] = []


@compiles(CreateTable, "mysql", "mariadb")
def _create_table(element: CreateTable, compiler: Any, **kw: Any) -> str:
    made = compiler.visit_create_table(element, **kw).strip()
    repeatable = made.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
    return f"{repeatable} ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={MARIADB_COLLATION}"


@compiles(CreateIndex, "mysql", "mariadb")
def _create_index(element: CreateIndex, compiler: Any, **kw: Any) -> str:
    made: str = compiler.visit_create_index(element, **kw)
    if not element.if_not_exists:
        made = made.replace("INDEX ", "INDEX IF NOT EXISTS ", 1)
    return f"{made} ALGORITHM=INPLACE LOCK=NONE"


@compiles(DropIndex, "mysql", "mariadb")
def _drop_index(element: DropIndex, compiler: Any, **kw: Any) -> str:
    made: str = compiler.visit_drop_index(element, **kw)
    # It takes no word about how: no row is looked at.
    return made if element.if_exists else made.replace("INDEX ", "INDEX IF EXISTS ", 1)


@compiles(AddColumn, "mysql", "mariadb")
def _add_column(element: AddColumn, compiler: Any, **kw: Any) -> str:
    from alembic.ddl.base import visit_add_column

    made: str = visit_add_column(element, compiler, **kw)
    return f"{made.replace(' ADD COLUMN ', ' ADD COLUMN IF NOT EXISTS ', 1)}, ALGORITHM=INSTANT"
