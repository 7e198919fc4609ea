"""Triggers with which the database itself writes down what its commits do, so that nothing escapes the checkers.

Each note is written in the transaction that it tells of, and goes with it when that is rolled back. Notes are read in the
order of `number`. On SQLite there is one writer at a time, so it is the order of commits. On a server, of two transactions
that touch the same row the second has waited for the first one's commit before its triggers draw a number, and others are not
compared. On Galera each node draws numbers of its own; there the clock of this one machine, read when the trigger runs,
comes first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from breezeblock.chaos.database import Database
from breezeblock.database_urls import POSTGRESQL

__all__ = ["EVENTS", "Event", "read_events", "watch"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a commit did, in the order of commits. What the columns mean is in `_NOTES`."""

    number: int
    what: str
    id: str
    before: str | None
    after: str | None


# `before` is a word of MariaDB's language.
EVENTS: Final = 'SELECT number, what, id, was AS "before", became AS "after" FROM chaos_events'


class _Note(NamedTuple):
    """What is written down when a row of a table appears, or when one of its columns changes."""

    name: str
    table: str
    column: str
    """Empty: when a row appears."""
    when: str
    what: str
    id: str
    was: str
    became: str


_NOTES: Final = (
    _Note("volume", "volumes", "", "", "volumes", "NEW.id", "NULL", "NEW.status"),
    _Note("volume_status", "volumes", "status", "", "volumes", "NEW.id", "OLD.status", "NEW.status"),
    _Note("snapshot", "snapshots", "", "", "snapshots", "NEW.id", "NULL", "NEW.status"),
    _Note("snapshot_status", "snapshots", "status", "", "snapshots", "NEW.id", "OLD.status", "NEW.status"),
    _Note("backup", "backups", "", "", "backups", "NEW.id", "NULL", "NEW.status"),
    _Note("backup_status", "backups", "status", "", "backups", "NEW.id", "OLD.status", "NEW.status"),
    _Note("lock", "operation_locks", "", "", "locked", "NEW.operation_id", "NEW.resource_id", "SEQ_AND_EXCLUSIVE"),
    _Note("claim", "operations", "owner", "NEW.owner IS NOT NULL", "claimed", "NEW.id", "NEW.owner", "NEW.epoch"),
    _Note("turn", "operations", "direction", "", "turned", "NEW.id", "NEW.epoch", "NEW.direction"),
    _Note("node", "nodes", "state", "", "node", "NEW.incarnation", "NEW.state", "NEW.fencer"),
    _Note("fence_first", "node_backends", "", "NEW.fenced_by IS NOT NULL", "fenced", "NEW.incarnation", "NEW.fenced_by",
          "NEW.queue"),
    _Note("fence", "node_backends", "fenced_by", "", "fenced", "NEW.incarnation", "NEW.fenced_by", "NEW.queue"),
    _Note("end", "operation_log", "", "", "ended", "NEW.operation_id", "NEW.outcome", "NEW.kind"),
)  # fmt: skip


def watch(database: Database) -> None:
    """Let the database write down what its commits do, from now on."""
    kinds = {"sqlite": _sqlite, POSTGRESQL: _postgresql}
    database.run(tuple(kinds.get(database.kind, _mariadb)()))


def read_events(database: Database) -> list[Event]:
    """What the database wrote down."""
    order = "at_us, number" if database.kind == "mariadb" else "number"
    return [Event(**row) for row in database.rows(f"{EVENTS} ORDER BY {order}")]


def _sqlite() -> Iterator[str]:
    yield "CREATE TABLE chaos_events (number INTEGER PRIMARY KEY, what TEXT, id TEXT, was TEXT, became TEXT)"
    for note in _NOTES:
        differs = f"OLD.{note.column} IS NOT NEW.{note.column}" if note.column else ""
        insert = _insert(note, "NEW.seq || ' ' || NEW.exclusive")
        yield (
            f"CREATE TRIGGER chaos_{note.name} {_moment(note, of=True)} {_if('WHEN {}', note.when, differs)}"
            f" BEGIN {insert}; END"
        )


def _postgresql() -> Iterator[str]:
    yield "CREATE TABLE chaos_events (number BIGSERIAL PRIMARY KEY, what TEXT, id TEXT, was TEXT, became TEXT)"
    for note in _NOTES:
        differs = f"OLD.{note.column} IS DISTINCT FROM NEW.{note.column}" if note.column else ""
        insert = _insert(note, "NEW.seq || ' ' || NEW.exclusive::int")
        yield (
            f"CREATE FUNCTION chaos_{note.name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {insert}; RETURN NULL; END $$"
        )
        yield (
            f"CREATE TRIGGER chaos_{note.name} {_moment(note, of=True)} FOR EACH ROW"
            f" {_if('WHEN ({})', note.when, differs)} EXECUTE FUNCTION chaos_{note.name}()"
        )


def _mariadb() -> Iterator[str]:
    # SYSDATE is the instant at which a trigger runs; NOW would be that at which its statement began.
    clock = "(CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED))"
    yield (
        "CREATE TABLE chaos_events (number BIGINT AUTO_INCREMENT PRIMARY KEY, at_us BIGINT NOT NULL, what VARCHAR(16),"
        " id VARCHAR(255), was VARCHAR(255), became VARCHAR(255), KEY (what, number))"
    )
    for note in _NOTES:
        differs = f"NOT (OLD.{note.column} <=> NEW.{note.column})" if note.column else ""
        insert = _insert(note, "CONCAT(NEW.seq, ' ', NEW.exclusive)", more=("at_us", clock))
        yield (
            f"CREATE TRIGGER chaos_{note.name} {_moment(note, of=False)} FOR EACH ROW"
            f" BEGIN {_if('IF {} THEN', note.when, differs)} {insert}; {'END IF;' if note.when or differs else ''} END"
        )


def _moment(note: _Note, *, of: bool) -> str:
    what = (f"UPDATE OF {note.column}" if of else "UPDATE") if note.column else "INSERT"
    return f"AFTER {what} ON {note.table}"


def _if(form: str, *conditions: str) -> str:
    said = " AND ".join(one for one in conditions if one)
    return form.format(said) if said else ""


def _insert(note: _Note, seq_and_exclusive: str, more: tuple[str, str] = ("", "")) -> str:
    became = note.became.replace("SEQ_AND_EXCLUSIVE", seq_and_exclusive)
    names, values = ["what", "id", "was", "became"], [f"'{note.what}'", note.id, note.was, became]
    if more[0]:
        names, values = [*names, more[0]], [*values, more[1]]
    return f"INSERT INTO chaos_events ({', '.join(names)}) VALUES ({', '.join(values)})"  # noqa: S608
