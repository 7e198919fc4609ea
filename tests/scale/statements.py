"""Every statement that the service executes: overheard while simulated clusters run, and while its API is asked for lists."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler

from breezeblock.testing.run import simulate

__all__ = ["Statement", "overheard", "simulated"]

# With so many, nearly all that happens to a cluster happens: crashes, fences, cancellations, failovers. What is still missing
# (housekeeping comes twice a minute) is waited for a little.
SEEDS: Final = range(7000, 7006)
MOST: Final = range(7006, 7060)
# Who reads everything, to find what is wrong: the simulation, and `db check`.
CHECKERS: Final = ("breezeblock.testing", "breezeblock.store.check")
# `IN` with any number of values is one statement.
_LIST: Final = re.compile(r"\(\?(?:, \?)+\)")


@dataclass(frozen=True)
class Statement:
    """As SQLAlchemy has it, with values that it was once executed with."""

    element: Any
    values: Any


def _caller() -> str:
    """The module of ours that executes the statement which is being overheard."""
    frame = sys._getframe(2)
    while not (name := frame.f_globals["__name__"]).startswith("breezeblock.") and frame.f_back is not None:
        frame = frame.f_back
    return str(name)


@contextmanager
def overheard() -> Iterator[dict[str, Statement]]:
    """All statements that are executed in the block, by their text."""
    found: dict[str, Statement] = {}
    asked: list[Statement] = []

    def ask(connection: sa.Connection, element: Any, many: Any, one: Any, options: Any) -> None:
        asked[:] = [Statement(element, many[0] if many else one)]

    def hear(connection: Any, cursor: Any, text: str, values: Any, context: Any, many: bool) -> None:
        compiled = context.compiled
        if isinstance(compiled, SQLCompiler) and not compiled.isinsert and not _caller().startswith(CHECKERS):
            found.setdefault(_LIST.sub("(?)", text), asked[0])

    sa.event.listen(sa.Engine, "before_execute", ask)
    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_execute", ask)
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)


def simulated(is_all: Callable[[], bool]) -> None:
    """Some clusters with all their faults, and more of them until all that is waited for was heard."""
    for seed in SEEDS:
        simulate(seed)
    for seed in MOST:
        if is_all():
            return
        simulate(seed)
