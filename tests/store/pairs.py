"""Two transactions beside each other against the same two one after the other: whatever came of them, one order explains it.

What is compared is everything: both answers, with their sentences, and every row of every table, but for instants. The second
transaction begins at any statement of the first, or just before its commit, and each runs again for as long as it has to.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, event
from tests.databases import empty
from tests.store.beside import Body, attempt, insist
from tests.store.given import Base

from breezeblock.model.errors import Contended, Fenced, Rejected
from breezeblock.store import tables

__all__ = ["BEFORE_COMMIT", "Answered", "Pair", "Request", "differences", "rows_of"]

Request = Callable[[str], Body]
"""Its transaction, by a letter that all ids are made of which it draws."""
Answered = tuple[str, str, Mapping[str, Sequence[str]]]
BEFORE_COMMIT: Final = 1_000
# How long the second of two has to come to its end, or to a row that the first one holds.
HEAD_START_S: Final = 0.1
_IGNORED: Final = (tables.tx_done,)


Rows = Mapping[sa.Table, Sequence[Mapping[str, Any]]]


def rows_of(base: Base) -> Rows:
    """A situation, to be put back."""
    return {table: base.rows(table) for table in tables.metadata.sorted_tables if table not in _IGNORED}


class Pair:
    """Two requests in one situation, which is put back before each time that they are made."""

    def __init__(self, base: Base, given: Rows, first: Request, second: Request) -> None:
        self._base, self._given = base, given
        self._first, self._second = first("x"), second("y")
        self.serial = [self._one_by_one(first_leads=leads) for leads in (True, False)]

    def beside(self, at: int) -> tuple[Answered, int]:
        """The second one begins before statement number `at` of the first, if it has so many. And how many it has."""
        self._put_back()
        statements = 0
        running: list[Future[Any]] = []
        database = self._base.database
        with database.beside() as mine, database.beside() as other, ThreadPoolExecutor(1) as pool:

            def begin() -> None:
                if not running:
                    running.append(pool.submit(insist, other, self._second))
                    wait(running, timeout=HEAD_START_S)

            @event.listens_for(mine, "before_cursor_execute")
            def between(*args: Any) -> None:
                nonlocal statements
                if statements == at:
                    begin()
                statements += 1

            def stops(tx: Connection) -> Any:
                result = self._first(tx)
                begin()
                return result

            try:
                first: Any = attempt(mine, stops)
            except Contended:
                first = insist(mine, self._first)
            except (Rejected, Fenced) as refused:
                first = refused
            if not running:
                begin()
            second = running[0].result()
        return self._answered(first, second), statements

    def _one_by_one(self, *, first_leads: bool) -> Answered:
        self._put_back()
        with self._base.database.beside() as one, self._base.database.beside() as other:
            if first_leads:
                first, second = insist(one, self._first), insist(other, self._second)
            else:
                second, first = insist(other, self._second), insist(one, self._first)
        return self._answered(first, second)

    def _put_back(self) -> None:
        with self._base.tx() as tx:
            empty(tx)
            for table, rows in self._given.items():
                if rows:
                    tx.execute(sa.insert(table), rows)

    def _answered(self, first: Any, second: Any) -> Answered:
        return _said(first), _said(second), {**self._contents(), "problems": self._base.problems()}

    def _contents(self) -> Mapping[str, Sequence[str]]:
        found = {}
        with self._base.tx() as tx:
            for table in tables.metadata.sorted_tables:
                if table not in _IGNORED:
                    columns = [column for column in table.columns if not column.name.endswith("_us")]
                    rows = tx.execute(sa.select(*columns)).mappings()
                    found[table.name] = sorted(repr(dict(row)) for row in rows)
        return {name: rows for name, rows in found.items() if rows}


def _said(result: Any) -> str:
    return f"{type(result).__name__}: {result}" if isinstance(result, Exception) else "done"


def differences(found: Answered, serial: Sequence[Answered]) -> str:
    """For whoever reads a failure: in what it is different from each of both orders."""
    lines = [f"found: {found[0]} | {found[1]}"]
    for number, one in enumerate(serial):
        lines.append(f"order {number}: {one[0]} | {one[1]}")
        for name in sorted({*found[2], *one[2]}):
            here, there = found[2].get(name, []), one[2].get(name, [])
            lines += [f"  {name} +{row}" for row in here if row not in there]
            lines += [f"  {name} -{row}" for row in there if row not in here]
    return "\n".join(lines)
