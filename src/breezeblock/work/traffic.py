"""How many bytes the backups and restores of a process move, counted for each store as they go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from breezeblock.backup.engine import Written


class Traffic(Protocol):
    """Who counts. All are bytes of content but `stored`: read from volumes, new in the store (as they are there, with maps and
    indexes), not stored since they were there already, and written to volumes by restores.
    """

    def add(self, *, read: int = 0, stored: int = 0, deduplicated: int = 0, restored: int = 0) -> None: ...


class NoTraffic:
    """Counts nothing: where nobody asks for the numbers."""

    def add(self, *, read: int = 0, stored: int = 0, deduplicated: int = 0, restored: int = 0) -> None:
        """See `Traffic`."""


class Counting:
    """Hands on what a writer has done since the last time."""

    def __init__(self, traffic: Traffic, written: Written) -> None:
        self._traffic = traffic
        self._written = written
        self._read = self._stored = self._skipped = 0

    def count(self) -> None:
        now = self._written
        self._traffic.add(
            read=now.read - self._read,
            stored=now.stored - self._stored,
            deduplicated=now.skipped - self._skipped,
        )
        self._read, self._stored, self._skipped = now.read, now.stored, now.skipped


@asynccontextmanager
async def counting(traffic: Traffic, written: Written) -> AsyncIterator[Counting]:
    """For as long as a writer writes; what it has done is counted at the end, too, however that is."""
    made = Counting(traffic, written)
    try:
        yield made
    finally:
        made.count()
