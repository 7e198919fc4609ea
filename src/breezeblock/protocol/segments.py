"""The segments that backups have stored so far, as rows: what a checkpoint of a backup consists of.

Rows of a backup are written and read by its one operation alone, in transactions that hold that, so nothing here is ever
decided beside anybody else. They go with the operation, before its end in slices, and what is left of them in the end itself.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from breezeblock.store.tables import backup_segments

# Rows of one transaction that removes them, and of one that reads them: a row has 1.5 KB as a rule, 10 KB and more at times.
AT_ONCE: Final = 1_000

Row = tuple[int, str]
"""A segment's number, and what the archive says of it."""


def put(tx: Connection, *, backup_id: str, read_in: int, rows: Sequence[Row]) -> None:
    """Save segments, in place of those that were read of other storage."""
    if not rows:
        return
    tx.execute(_CLEAR, {"backup": backup_id, "numbers": [number for number, _ in rows]})
    same = {"backup_id": backup_id, "read_in": read_in}
    tx.execute(_INSERT, [same | {"number": number, "segment_json": text} for number, text in rows])


def count(tx: Connection, *, backup_id: str, read_in: int) -> int:
    """How many there are that were read in that generation: they are saved in order, so they are the first ones."""
    return int(tx.execute(_COUNT, {"backup": backup_id, "read_in": read_in}).scalar_one())


def page(tx: Connection, *, backup_id: str, start: int, most: int = AT_ONCE) -> list[Row]:
    """Those from number `start` on, in order: at most so many."""
    rows = tx.execute(_PAGE, {"backup": backup_id, "start": start, "stop": start + most})
    return [(row.number, row.segment_json) for row in rows]


def forget_some(tx: Connection, *, backup_id: str, most: int = AT_ONCE) -> bool:
    """Remove at most so many. Returns whether there are more."""
    first, last = tx.execute(_SPAN, {"backup": backup_id}).one()
    if first is None:
        return False
    tx.execute(_FORGET_SOME, {"backup": backup_id, "stop": first + most})
    return bool(last >= first + most)


def forget(tx: Connection, *, backup_id: str) -> None:
    """Remove what is left: a part of every end of a backup that is being made."""
    tx.execute(_FORGET, {"backup": backup_id})


_OF: Final = backup_segments.c.backup_id == bindparam("backup")
_INSERT: Final = insert(backup_segments)
_FORGET: Final = delete(backup_segments).where(_OF)
_FORGET_SOME: Final = _FORGET.where(backup_segments.c.number < bindparam("stop"))
_CLEAR: Final = delete(backup_segments).where(_OF, backup_segments.c.number.in_(bindparam("numbers", expanding=True)))
_COUNT: Final = select(func.count()).where(_OF, backup_segments.c.read_in == bindparam("read_in"))
_SPAN: Final = select(func.min(backup_segments.c.number), func.max(backup_segments.c.number)).where(_OF)
_PAGE: Final = (
    select(backup_segments.c.number, backup_segments.c.segment_json)
    .where(_OF, backup_segments.c.number >= bindparam("start"), backup_segments.c.number < bindparam("stop"))
    .order_by(backup_segments.c.number)
)
