"""State changes as declarations: which row, what must hold, what is set.

A `Transition` is declared once and used twice, to decide and to explain: its conditions are SQL, evaluated on the row
after it was locked, and the first one that does not hold names the error that the user sees. Nothing re-checks later to
find out why, so the explanation is of the same instant as the decision.

Lock first, ask later: the first statement writes the row (`op_seq = op_seq + 1`), which makes every other transaction on
it conflict, on every database. The conditions are asked by a later statement, which then sees the present. Evaluated the
other way round, PostgreSQL asks a sub-query of its old snapshot, and Galera certifies no reads at all.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    exists,
    false,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql.elements import BindParameter

from breezeblock.model.errors import Contended, InvalidState, NotFound, Rejected
from breezeblock.model.origin import Origin
from breezeblock.store.outbox import outbox_of

Row = Mapping[str, Any]
Condition = ColumnElement[bool]

# --- conditions -----------------------------------------------------------------------------------------------------
# SQL's NULL is treated as Python treats None: `differs(x, 1)` holds for NULL, `not_in(x, (1, 2))` too.


def new(name: str, kind: Any = None) -> BindParameter[Any]:
    """A parameter of the transition, given to `apply` by that name."""
    return bindparam(name, type_=kind)


def equals(column: ColumnElement[Any], value: Any) -> Condition:
    """`column == value`, where value may be None, a constant, a parameter or another column."""
    if value is None:
        return column.is_(None)
    if isinstance(value, ColumnElement):
        return or_(column == value, and_(column.is_(None), value.is_(None)))
    return and_(column.is_not(None), column == value)


def differs(column: ColumnElement[Any], value: Any) -> Condition:
    """`column != value` as Python means it."""
    if value is None:
        return column.is_not(None)
    if isinstance(value, ColumnElement):
        return ~case((equals(column, value), true()), else_=false())
    return or_(column.is_(None), column != value)


def is_in(column: ColumnElement[Any], values: Iterable[Any]) -> Condition:
    """`column in values`; None among the values matches NULL."""
    values = tuple(values)
    there: Condition = and_(column.is_not(None), column.in_([v for v in values if v is not None]))
    return or_(column.is_(None), there) if None in values else there


def not_in(column: ColumnElement[Any], values: Iterable[Any]) -> Condition:
    """`column not in values`; matches NULL unless None is among the values."""
    values = tuple(values)
    away: Condition = column.not_in([v for v in values if v is not None])
    return and_(column.is_not(None), away) if None in values else or_(column.is_(None), away)


def has(question: Select[Any], *, of: Table) -> Condition:
    """Whether a question to another table about a row `of` this table has an answer."""
    return exists(question.correlate(of))


def has_no(question: Select[Any], *, of: Table) -> Condition:
    """Whether it has none."""
    return ~has(question, of=of)


@dataclass(frozen=True)
class Must:
    """One condition and the sentence that explains its failure.

    `otherwise` is a format string over the row's columns and the parameters. Which error it becomes is `error`.
    """

    condition: Condition
    otherwise: str
    error: type[Rejected] = InvalidState


@dataclass(frozen=True, eq=False)
class Transition:
    """A declared state change of one row of `table`.

    `sets` gives new values: constants, parameters (`new`), other columns, arithmetic over them, or a CASE; all are
    evaluated on the row as it was before. `moves` lists the status changes that this may cause, as (before, after) pairs
    with None for "any": the table that the *Transitions* invariant and the documentation's diagram are read from.
    """

    table: Table
    musts: Sequence[Must]
    sets: Mapping[str, Any]
    name: str = ""
    moves: Sequence[tuple[str | None, str]] = ()
    _question: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        asked = [_boolean(must.condition).label(f"must_{i}") for i, must in enumerate(self.musts)]
        values = [v.label(f"set_{name}") for name, v in self.sets.items() if isinstance(v, ColumnElement)]
        statement = select(self.table, *asked, *values).where(self.table.c.id == bindparam("row_id"))
        object.__setattr__(self, "_question", statement)

    def apply(self, tx: Connection, row_id: str, *, origin: Origin | None = None, **params: Any) -> dict[str, Any]:
        """Lock the row, decide, change it. Returns the row as it is afterwards, `op_seq` being the caller's place.

        Raises NotFound (no such row for `origin`), or the error of the first condition that does not hold.
        """
        lock_row(tx, self.table, row_id, origin=origin)
        return self.apply_locked(tx, row_id, **params)

    def apply_locked(
        self, tx: Connection, row_id: str, *, known: Row | None = None, also: Mapping[str, Any] = {}, **params: Any
    ) -> dict[str, Any]:
        """The same on a row that this transaction has written already.

        `known` is that row as it was read since, and spares a statement where nothing is asked about it. `also` are columns to
        change with it, none of them a status.
        """
        row = known if known is not None and self._asks_nothing else self.check_locked(tx, row_id, **params)
        values = {
            name: row[f"set_{name}"] if isinstance(value, ColumnElement) else value for name, value in self.sets.items()
        } | dict(also)
        if values:
            change_row(tx, self.table, row_id, **values)
        changed = {column.name: row[column.name] for column in self.table.c} | values
        if changed.get("status") != row.get("status") and (box := outbox_of(tx)) is not None:
            box.status(self.table, changed, before=row["status"], after=changed["status"], transition=self.name)
        return changed

    @property
    def _asks_nothing(self) -> bool:
        return not self.musts and not any(isinstance(value, ColumnElement) for value in self.sets.values())

    def check_locked(self, tx: Connection, row_id: str, **params: Any) -> Row:
        """Only decide and explain, on a row that this transaction has written."""
        row = dict(tx.execute(self._question, {"row_id": row_id, **params}).mappings().one())
        for i, must in enumerate(self.musts):
            if not row[f"must_{i}"]:
                raise must.error(must.otherwise.format_map({**row, **params}))
        return row


def _boolean(condition: Condition) -> ColumnElement[Any]:
    # As a number: not every database can select a truth value. NULL counts as "does not hold".
    return case((condition, literal(1)), else_=literal(0))


# --- locking rows ---------------------------------------------------------------------------------------------------

NOUNS: Final = {
    "volumes": "Volume",
    "snapshots": "Snapshot",
    "backups": "Backup",
    "volume_types": "Volume type",
    "attachments": "Attachment",
    "volume_groups": "Group",
    "group_snapshots": "GroupSnapshot",
    "group_types": "Group type",
    "qos_specs": "QoS specs",
}


def lock_row(tx: Connection, table: Table, row_id: str, *, origin: Origin | None = None) -> None:
    """Write the row's `op_seq`, so that nobody else decides anything about it until we commit.

    With an `origin`, only a row that this caller can see: not a tombstone, and their project's unless they are admin.
    Raises NotFound.
    """
    seen_by = None if origin is None or origin.is_admin else origin.project_id
    statement = _lock(table, living=origin is not None, owned=seen_by is not None)
    if tx.execute(statement, {"row_id": row_id, "seen_by": seen_by}).rowcount == 0:
        raise NotFound(f"{NOUNS.get(table.name, table.name)} {row_id} could not be found.")


def lock_rows(
    tx: Connection,
    targets: Iterable[tuple[Table, str]],
    *,
    origin: Origin | None = None,
    asked_for: str | Set[str | None] | None = None,
) -> None:
    """Lock several rows in the one order that everybody uses: by id, whatever the table.

    With `asked_for`, only the rows of that id, or of those ids, have to be such that `origin` can see: the others come along
    with them, as they were read before. One that has gone since raises Contended: the transaction runs again, and reads them
    anew.
    """
    for table, row_id in sorted(set(targets), key=lambda target: (target[1], target[0].name)):
        if asked_for is None or row_id == asked_for or (not isinstance(asked_for, str) and row_id in asked_for):
            lock_row(tx, table, row_id, origin=origin)
        elif tx.execute(_lock(table, living=False, owned=False), {"row_id": row_id}).rowcount == 0:
            raise Contended(f"{NOUNS.get(table.name, table.name)} {row_id} has gone since it was read")


def read_seen(tx: Connection, table: Table, row_id: str, *, origin: Origin) -> dict[str, Any]:
    """The row now, if the caller can see it; raises NotFound otherwise. Nothing is locked.

    For whoever goes on to read, and to lock, what belongs to the row: those who cannot see it must not make others wait for
    that, and must not learn from the time it takes that there is something.
    """
    seen_by = None if origin.is_admin else origin.project_id
    statement = _read(table, living=True, owned=seen_by is not None)
    row = tx.execute(statement, {"row_id": row_id, "seen_by": seen_by}).mappings().one_or_none()
    if row is None:  # whether it is there and another's only the database knows: taking it from there would take time
        raise NotFound(f"{NOUNS.get(table.name, table.name)} {row_id} could not be found.")
    return dict(row)


def read_row(tx: Connection, table: Table, row_id: str) -> dict[str, Any] | None:
    """The row now, or None."""
    row = tx.execute(_read(table, living=False, owned=False), {"row_id": row_id}).mappings().one_or_none()
    return None if row is None else dict(row)


def insert_row(tx: Connection, table: Table, row: Row) -> None:
    """Make a resource's row; whoever makes one makes it here, since that is where its events begin."""
    tx.execute(_insert(table), dict(row))
    if (box := outbox_of(tx)) is not None:
        box.new(table, row)


def note_update(tx: Connection, table: Table, row_id: str) -> None:
    """Tell that something of a row was set that its owner may set. For whoever changes columns without a transition."""
    if (box := outbox_of(tx)) is not None:
        box.updated(table, row_id)


# Statements are built once: building one costs several times as much as running it.


def _this(table: Table, *, living: bool, owned: bool) -> ColumnElement[bool]:
    mine = table.c.id == bindparam("row_id")
    if living and "tombstone" in table.c:
        mine &= table.c.tombstone.is_(False)
    if owned and "project_id" in table.c:
        mine &= table.c.project_id == bindparam("seen_by")
    return mine


@functools.cache
def _lock(table: Table, *, living: bool, owned: bool) -> Update:
    return update(table).where(_this(table, living=living, owned=owned)).values(op_seq=table.c.op_seq + 1)


@functools.cache
def _insert(table: Table) -> Insert:
    return insert(table)


@functools.cache
def _read(table: Table, *, living: bool, owned: bool) -> Select[Any]:
    return select(table).where(_this(table, living=living, owned=owned))


@functools.cache
def _change(table: Table, names: tuple[str, ...]) -> Update:
    values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    return update(table).where(table.c.id == bindparam("row_id")).values(**values)


def change_row(tx: Connection, table: Table, row_id: str, **values: Any) -> None:
    """Set columns of a row that this transaction has locked. Not for a status: that is what transitions are for."""
    tx.execute(
        _change(table, tuple(values)), {"row_id": row_id} | {f"new_{name}": value for name, value in values.items()}
    )
