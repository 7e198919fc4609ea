"""A storage that makes drivers take locks, and what must hold of the locks.

Objects lie on shelves, by their resource: any number may add to a shelf or grow what lies there, but who copies or removes has
to be alone on each shelf that it touches. So operations on different resources, of different backends even, exclude each other
for as long as a call of the driver lasts: which nothing but `ctx.lock` brings about.

What is checked: an effect lands only while its operation has a place in the line of its shelf, and nobody conflicting is before
it there. So two that conflict never overlap, and they come in the order of their places. A place goes by its own node, or when
that node is silenced, and not earlier.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from breezeblock.drivers.contract import (
    Capabilities,
    Context,
    Driver,
    Manageable,
    ObjectName,
    Pieces,
    PoolReport,
    Progress,
)
from breezeblock.drivers.file import PART
from breezeblock.model.ids import is_canonical_uuid
from breezeblock.testing.history import Tell
from breezeblock.testing.memory_files import Tokens

__all__ = ["LockingDriver", "Shelves", "shelf_of"]

# Few, so that those who work at the same time meet.
SHELVES: Final = 2


def shelf_of(resource_id: str) -> str:
    """The shelf of a resource, which is the name that is locked."""
    return f"shelf-{int(resource_id[-1], 16) % SHELVES}"


class LockingDriver:
    """Implements `drivers.contract.Driver`: another driver, on such a storage."""

    def __init__(self, driver: Driver, ctx: Context | None = None) -> None:
        self._driver = driver
        self._ctx = ctx

    def _lock(self, *names: ObjectName, shared: bool = False) -> AbstractAsyncContextManager[None]:
        assert self._ctx is not None, "bound before it changes anything"
        return self._ctx.lock(*(shelf_of(name.resource_id) for name in names), shared=shared)

    # What takes locks.

    async def create(self, name: ObjectName, *, size_bytes: int) -> None:
        async with self._lock(name, shared=True):
            await self._driver.create(name, size_bytes=size_bytes)

    async def copy(self, source: ObjectName, target: ObjectName, *, size_bytes: int, progress: Progress) -> None:
        async with self._lock(source, target):
            await self._driver.copy(source, target, size_bytes=size_bytes, progress=progress)

    async def extend(self, name: ObjectName, *, size_bytes: int) -> None:
        async with self._lock(name, shared=True):
            await self._driver.extend(name, size_bytes=size_bytes)

    async def keep(self, source: ObjectName, target: ObjectName) -> bool:
        async with self._lock(target):
            return await self._driver.keep(source, target)

    async def fill(self, target: ObjectName, *, size_bytes: int, pieces: Pieces, progress: Progress) -> None:
        async with self._lock(target):
            await self._driver.fill(target, size_bytes=size_bytes, pieces=pieces, progress=progress)

    async def delete(self, name: ObjectName) -> None:
        async with self._lock(name):
            await self._driver.delete(name)

    async def connect(
        self, name: ObjectName, access: ObjectName, *, connector: Mapping[str, Any], mode: str
    ) -> Mapping[str, Any]:
        async with self._lock(access):
            return await self._driver.connect(name, access, connector=connector, mode=mode)

    async def disconnect(self, access: ObjectName) -> None:
        async with self._lock(access):
            await self._driver.disconnect(access)

    async def adopt(self, reference: str, name: ObjectName) -> int:
        async with self._lock(name, shared=True):
            return await self._driver.adopt(reference, name)

    async def release(self, name: ObjectName, reference: str) -> None:
        async with self._lock(name):
            await self._driver.release(name, reference)

    # What does not.

    async def manageable(self) -> tuple[Manageable, ...]:
        return await self._driver.manageable()

    @property
    def capabilities(self) -> Capabilities:
        return self._driver.capabilities

    def bind(self, ctx: Context) -> Driver:
        return LockingDriver(self._driver.bind(ctx), ctx)

    def on(self, target: str) -> Driver:
        return LockingDriver(self._driver.on(target), self._ctx)

    def identity(self) -> Mapping[str, str]:
        return self._driver.identity()

    async def fence(self, identity: Mapping[str, str]) -> None:
        await self._driver.fence(identity)

    async def check(self, *, known: bool) -> None:
        await self._driver.check(known=known)

    async def take_name(self, before: str) -> None:
        await self._driver.take_name(before)

    async def report(self) -> tuple[PoolReport, ...]:
        return await self._driver.report()

    async def read(self, name: ObjectName, *, offset: int, length: int) -> bytes:
        return await self._driver.read(name, offset=offset, length=length)

    async def next_data(self, name: ObjectName, offset: int) -> tuple[int, int] | None:
        return await self._driver.next_data(name, offset)

    async def changes(
        self, name: ObjectName, *, since: ObjectName, offset: int, length: int
    ) -> Sequence[tuple[int, int]] | None:
        return await self._driver.changes(name, since=since, offset=offset, length=length)

    async def exists(self, name: ObjectName) -> bool:
        return await self._driver.exists(name)

    async def accesses(self, attachment_id: str | None = None) -> tuple[ObjectName, ...]:
        return await self._driver.accesses(attachment_id)

    async def reached_by(self, access: ObjectName) -> tuple[ObjectName, str | None] | None:
        return await self._driver.reached_by(access)

    async def length_of(self, name: ObjectName) -> int | None:
        return await self._driver.length_of(name)

    async def names_of(self, resource_id: str) -> tuple[ObjectName, ...]:
        return await self._driver.names_of(resource_id)

    async def every_name(self) -> tuple[ObjectName, ...]:
        return await self._driver.every_name()

    async def failover(self, target: str) -> None:
        await self._driver.failover(target)


@dataclass(frozen=True, slots=True)
class _Place:
    """A row of `driver_locks`."""

    operation: str
    epoch: int
    exclusive: bool
    incarnation: str
    queue: str
    shown: str

    def is_of(self, operation: str | None, epoch: int, shelf: str) -> bool:
        return (self.operation, self.epoch) == (operation, epoch) and self.shown.endswith(f": {shelf}")


class Shelves:
    """The lines of the locks as commits have made them, and who works in them."""

    def __init__(self, violated: Callable[[str, str], None], tell: Tell) -> None:
        self._violated = violated
        self._tell = tell
        self._lines: dict[str, dict[int, _Place]] = {}
        self._operations: dict[tuple[str, int], str] = {}
        self.are_locked = False
        """Whether the storage of this run asks for locks."""

    def in_line(self, operation: str, resource: str, seq: int) -> None:
        """An operation has that place in the line of a resource: its effects carry it."""
        self._operations[resource, seq] = operation

    def placed(self, operation: str, line: str, said: str) -> None:
        """A call got a place. *Order*: behind all that are there."""
        place, epoch, exclusive, incarnation, queue, shown = said.split(" ", 5)
        new, places = _Place(operation, int(epoch), exclusive == "1", incarnation, queue, shown), self._line(line)
        if any(int(place) <= other for other in places):
            self._violated("Order", f"{operation} got place {place} of {shown}, where {max(places)} is taken")
        places[int(place)] = new
        if self._before(line, int(place)) is not None:
            self._tell(f"{operation} waits for {shown}", kind="waits", operation=operation)

    def left(self, line: str, place: int, *, me: str | None, is_silenced: Callable[[str, str], bool]) -> None:
        """A place went. *Fence*: others take it from nobody who may still write there."""
        gone = self._line(line).pop(place)
        if me != gone.incarnation and not is_silenced(gone.incarnation, gone.queue):
            self._violated("Fence", f"{me} took place {place} of {gone.shown} from {gone.incarnation}, which may write")

    def on_effect(self, process: str, call: str, path: PurePosixPath, tokens: Tokens) -> None:
        """*Exclusion*: under a lock that is held, and in its turn."""
        resource = path.name.removesuffix(PART).partition(".")[0]
        if not self.are_locked or not is_canonical_uuid(resource):
            return
        what, shelf = f"{call} {path.name} by {process}", shelf_of(resource)
        (operation, epoch), *_ = {(self._operations.get((one, seq)), epoch) for one, (seq, epoch) in tokens.items()}
        found = [
            (line, place)
            for line, places in self._lines.items()
            for place, held in places.items()
            if held.is_of(operation, epoch, shelf)
        ]
        if not found:
            self._violated(
                "Exclusion", f"{what} for {operation} in epoch {epoch}, which has no place in line for {shelf}"
            )
        for line, place in found:
            if (other := self._before(line, place)) is not None:
                self._violated(
                    "Exclusion", f"{what} for {operation} before {other.operation}, which is first at {shelf}"
                )

    def _line(self, line: str) -> dict[int, _Place]:
        return self._lines.setdefault(line, {})

    def _before(self, line: str, place: int) -> _Place | None:
        """Somebody conflicting who stands before a place."""
        places = self._lines[line]
        mine = places[place]
        return next((other for at, other in places.items() if at < place and (mine.exclusive or other.exclusive)), None)
