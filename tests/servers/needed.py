"""Servers that a test cannot do without."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from tests.proof import not_here
from tests.servers.packages import Missing

__all__ = ["needed"]

T = TypeVar("T")


@contextmanager
def needed(server: AbstractContextManager[T]) -> Iterator[T]:
    """The server. Where it is not installed the test is left out; in a proof it fails."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except Missing as missing:
            not_here(str(missing))
        yield running
