"""Two transactions beside each other, each as the store runs it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from sqlalchemy import Connection
from tests.store.given import Base

from breezeblock.model.errors import Contended, Fenced, Rejected
from breezeblock.store.dialects import translate

Body = Callable[[Connection], Any]
ATTEMPTS = 10
# How long the second of two has to come to its end, or to a row that the first one holds.
HEAD_START_S = 0.5


def attempt(connection: Connection, body: Body) -> Any:
    """One attempt, as a lane makes it."""
    try:
        result = body(connection)
        connection.commit()
    except Exception as error:
        connection.rollback()
        raise translate(error, committing=False) from error
    return result


def insist(connection: Connection, body: Body) -> Any:
    """As the store runs it: again, for as long as others are in the way. What it refuses is its result."""
    for _ in range(ATTEMPTS):
        try:
            return attempt(connection, body)
        except Contended:
            continue
        except (Rejected, Fenced) as refused:
            return refused
    raise AssertionError("nobody can be in the way for so long")


def beside(base: Base, first: Body, second: Body) -> tuple[Any, Any, bool]:
    """Run `first` to just before its commit, then `second`. Returns both results, and whether the second came first."""

    overtaken, running = False, list[Any]()

    def stops(tx: Connection) -> Any:
        nonlocal overtaken
        result = first(tx)
        running.append(pool.submit(insist, other, second))
        wait(running, timeout=HEAD_START_S)
        overtaken = running[0].done()
        return result

    with base.database.beside() as mine, base.database.beside() as other, ThreadPoolExecutor(1) as pool:
        try:
            result = attempt(mine, stops)
        except Contended:
            result = insist(mine, first)
        return result, running[0].result(), overtaken
