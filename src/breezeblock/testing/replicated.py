"""A database whose transactions overlap, as those of a multi-writer cluster do: snapshots, certification, and lag.

The engine is still the one SQLite in memory, which knows neither. So every change of a row is written to a journal by triggers,
and with it a transaction can be begun in the past (newer commits are undone for it), taken back, and committed later: its
changes are made then, unless a row among them was changed meanwhile. First committer wins; what a transaction only read
protects it from nothing; and one that changed nothing is never refused, however old what it saw (architecture §2).
"""

import sqlite3
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Table

from breezeblock.model.errors import Contended

__all__ = ["Change", "Commit", "Journal"]

# Commits older than this are in everybody's snapshot.
KEPT_S: Final = 8.0
_WHAT: Final = ("insert", "update", "move", "delete")


@dataclass(frozen=True, slots=True)
class Change:
    """One row before and after a statement; None where it was not there. The key is the primary key as JSON."""

    table: str
    key: str
    old: str | None
    new: str | None

    @property
    def row(self) -> tuple[str, str]:
        return self.table, self.key


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction changed, its number in the order of commits, and when it was."""

    number: int
    at: float
    changes: tuple[Change, ...]


class Journal:
    """The changes of all tables of one connection. Only the methods below may be between BEGIN and COMMIT with it."""

    def __init__(self, raw: sqlite3.Connection, tables: Sequence[Table]) -> None:
        self._raw = raw
        self._columns = {table.name: [column.name for column in table.columns] for table in tables}
        self._keys = {table.name: [column.name for column in table.primary_key] for table in tables}
        self._commits: deque[Commit] = deque()
        self._number = 0
        raw.execute("CREATE TABLE journal (n INTEGER PRIMARY KEY, tbl TEXT, key TEXT, old TEXT, new TEXT)")

    def begin(self) -> None:
        """A run begins: write everything down, and have no past."""
        self._commits.clear()
        for name in self._columns:
            self._raw.executescript(self._triggers(name))

    def end(self) -> None:
        """Write nothing down any more."""
        for name in self._columns:
            for what in _WHAT:
                self._raw.execute(f"DROP TRIGGER journal_{what}_{name}")

    def _triggers(self, table: str) -> str:
        def row(which: str, columns: Sequence[str]) -> str:
            return "json_array(" + ", ".join(f"{which}.{column}" for column in columns) + ")"

        columns, keys = self._columns[table], self._keys[table]
        put = "INSERT INTO journal (tbl, key, old, new) VALUES"
        moved = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in keys)
        return f"""
CREATE TRIGGER journal_insert_{table} AFTER INSERT ON {table} BEGIN
  {put} ('{table}', {row("NEW", keys)}, NULL, {row("NEW", columns)}); END;
CREATE TRIGGER journal_update_{table} AFTER UPDATE ON {table} WHEN NOT ({moved}) BEGIN
  {put} ('{table}', {row("NEW", keys)}, {row("OLD", columns)}, {row("NEW", columns)}); END;
CREATE TRIGGER journal_move_{table} AFTER UPDATE ON {table} WHEN {moved} BEGIN
  {put} ('{table}', {row("OLD", keys)}, {row("OLD", columns)}, NULL);
  {put} ('{table}', {row("NEW", keys)}, NULL, {row("NEW", columns)}); END;
CREATE TRIGGER journal_delete_{table} AFTER DELETE ON {table} BEGIN
  {put} ('{table}', {row("OLD", keys)}, {row("OLD", columns)}, NULL); END;
"""

    def taken(self) -> tuple[Change, ...]:
        """The changes since the last call, inside the transaction that made them."""
        rows = self._raw.execute("SELECT tbl, key, old, new FROM journal ORDER BY n").fetchall()
        if rows:
            self._raw.execute("DELETE FROM journal")
        return tuple(Change(*row) for row in rows)

    def committed(self, at: float, changes: tuple[Change, ...]) -> None:
        """These are everybody's past from now on."""
        if changes:
            self._number += 1
            self._commits.append(Commit(self._number, at, changes))
        while self._commits and self._commits[0].at < at - KEPT_S:
            self._commits.popleft()

    def snapshot(self, at: float) -> int:
        """The number of the last commit that a snapshot of that instant has."""
        return next((commit.number for commit in reversed(self._commits) if commit.at <= at), self._oldest() - 1)

    def _oldest(self) -> int:
        return self._commits[0].number if self._commits else self._number + 1

    def since(self, snapshot: int) -> list[Commit]:
        """What a snapshot does not have, oldest first."""
        newer: list[Commit] = []
        for commit in reversed(self._commits):
            if commit.number <= snapshot:
                break
            newer.append(commit)
        return newer[::-1]

    def go_back(self, commits: Sequence[Commit]) -> None:
        """Undo commits inside a transaction that will be rolled back."""
        for commit in reversed(commits):
            for change in reversed(commit.changes):
                self._write(change.table, change.key, change.new, change.old)

    def certify(self, changes: Sequence[Change], *, snapshot: int) -> None:
        """Raises Contended when a row among them was changed after the snapshot."""
        rows = {change.row for change in changes}
        for commit in self.since(snapshot):
            if any(change.row in rows for change in commit.changes):
                raise Contended("certification failed: a row was changed by another transaction")

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes of a transaction that was begun earlier."""
        for change in changes:
            self._write(change.table, change.key, change.old, change.new)

    def _write(self, table: str, key: str, old: str | None, new: str | None) -> None:
        columns, keys = self._columns[table], self._keys[table]
        where = " AND ".join(f"{name} = ?" for name in keys)
        key_values: list[object] = msgspec.json.decode(key)
        if new is None:
            self._raw.execute(f"DELETE FROM {table} WHERE {where}", key_values)  # noqa: S608  our own tables' names
            return
        values: list[object] = msgspec.json.decode(new)
        if old is None:
            marks = ", ".join("?" for _ in columns)
            self._raw.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)  # noqa: S608
            return
        sets = ", ".join(f"{name} = ?" for name in columns)
        self._raw.execute(f"UPDATE {table} SET {sets} WHERE {where}", [*values, *key_values])  # noqa: S608
