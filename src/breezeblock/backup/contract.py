"""What the archive works with: a store of objects, something to read from, and the book of its packs.

`docs/explanation/backup.md` has the words.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from breezeblock.model.errors import BackendFailed

Buffer = bytes | memoryview
"""Bytes, or a look at a part of longer ones, which saves a copy. A memoryview of this kind has items of one byte."""


class StoreUnavailable(Exception):
    """The store does not answer, or asks to be left alone for a while: what was asked is asked again later.

    Never the end of a backup: outages may last for hours.
    """


class StoreRefused(BackendFailed):
    """The store will not do it, however often it is asked: no such bucket, no right, no space. For users and operators."""


class ObjectMissing(Exception):
    """There is no object with that key."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in a listing."""

    key: str
    size_bytes: int


class ObjectStore(Protocol):
    """A place for objects. Keys are ASCII letters, digits, `-`, `_`, `.` and `/`, at most 200 of them.

    The parts of a key between slashes are not empty and do not begin with `.`, and no key goes on after a `/` where another one
    ends: a folder keeps keys as the paths of files. What is not a key is refused, whoever wrote it.

    An object is whole or absent, and durable once `put` returns. Every call may be repeated. All raise StoreUnavailable
    and StoreRefused.
    """

    @property
    def max_object_bytes(self) -> int:
        """The largest object that it takes."""
        ...

    async def check(self, *, known: bool = False) -> None:
        """Make sure that it is there and may be written to; makes what is missing on first use, where it can.

        `known` says that something of ours is in it already: then a place that is empty is one that is not there, such as a
        filesystem that is not mounted, and nothing is made.
        """
        ...

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Store the joined parts under a key. What was there before is replaced."""
        ...

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """The object's bytes from `offset`, all or at most `length` of them; none behind its end. Raises ObjectMissing."""
        ...

    async def size(self, key: str) -> int:
        """The object's length in bytes. Raises ObjectMissing."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object. One that is not there is fine."""
        ...

    def list(self, prefix: str) -> AsyncIterator[Stored]:
        """All objects whose keys begin with `prefix`, in the order of their keys; of those that come or go meanwhile, any."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


class Source(Protocol):
    """Something to back up, which does not change meanwhile. Raises BackendFailed."""

    @property
    def size_bytes(self) -> int: ...

    async def next_data(self, offset: int) -> tuple[int, int] | None:
        """The first run of what may hold data at or after `offset` as (start, end); None when only holes follow."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, unless the end comes first."""
        ...


class Book(Protocol):
    """The packs of an archive, as the database knows them. May raise Fenced or Cancelled: let them pass, at once."""

    async def allot(self, count: int) -> Sequence[str]:
        """Names of new packs, which are ours to upload under from now on. Never given twice."""
        ...

    async def usable(self) -> Sequence[str]:
        """Names of all packs whose blocks may be referred to: the live ones, and our own, which may not be there yet."""
        ...
