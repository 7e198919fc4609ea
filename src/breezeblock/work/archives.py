"""What steps need of archives: one of them opened, the book of its packs, a volume as its source, and patience."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from breezeblock.backup.contract import ObjectStore, StoreUnavailable
from breezeblock.backup.engine import Archive
from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.env.contract import Ids, Random
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import archives
from breezeblock.work.tools import Working

T = TypeVar("T")

log = structlog.get_logger(__name__)

# How long to leave a store alone that does not answer: twice as long each time. An outage may last for hours.
PAUSE_FIRST_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Archives:
    """The stores that this node has. `archive` gives one not opened yet: (store, archive id); raises BackendFailed."""

    archive: Callable[[str, str], Archive]
    ids: Ids
    random: Random
    stores: Mapping[str, ObjectStore] = field(default_factory=dict)
    """By their configured names."""
    checked: set[str] = field(default_factory=set)
    """Those that were found to be there, and ours, since this process began."""


async def open_archive(run: Working, archive_id: str, *, begin: bool = True) -> Archive:
    """The archive of the operation's backup; without `begin` only where there is one.

    Raises BackendFailed (this node has no such store, or the store will not), StoreUnavailable.
    """
    tools, name = _tools(run), run.payload.store
    archive = tools.archive(name, archive_id)
    if name in tools.stores and name not in tools.checked:
        await tools.stores[name].check(known=await run.read(archives.is_used, store=name))
        tools.checked.add(name)
    await archive.open(begin=begin)
    return archive


async def patiently(run: Working, call: Callable[[], Awaitable[T]], *, cancellable: bool = True) -> T:
    """What `call` returns, asked again for as long as the store does not answer.

    Each time, the operation is saved: so one that is cancelled, or whose node is drained, waits no longer than a pause.
    Raises Fenced, HandedBack, and if it may, Cancelled.
    """
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            log.warning("store.unavailable", store=run.payload.store, reason=str(error), pause_s=pause_s)
        await run.tools.clock.sleep(pause_s * _tools(run).random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, PAUSE_MOST_S)
        if cancellable:
            await run.checkpoint(progress=False)
        else:
            await run.record()


class OperationBook:
    """The packs of an archive, as the operation's transactions know them. Its calls raise Fenced."""

    def __init__(self, run: Working, archive_id: str) -> None:
        self._run = run
        self._ours = {"archive_id": archive_id, "backup_id": run.payload.backup_id}

    async def allot(self, count: int) -> Sequence[str]:
        """Rows for new packs, before any of them is uploaded."""
        ids = [_tools(self._run).ids.uuid() for _ in range(count)]
        await self._run.write(archives.allot, **self._ours, ids=ids, now_us=self._run.tools.clock.now_us())
        return ids

    async def usable(self) -> Sequence[str]:
        return await self._run.read(archives.usable, **self._ours)


class ObjectSource:
    """An object on the backend's storage, which the operation's lock keeps from changing."""

    def __init__(self, driver: Driver, name: ObjectName, size_bytes: int) -> None:
        self._driver = driver
        self._name = name
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    async def next_data(self, offset: int) -> tuple[int, int] | None:
        """The next run of data. What the object has behind the size that the backup is of, is not looked at."""
        run = await self._driver.next_data(self._name, offset)
        if run is None or run[0] >= self._size_bytes:
            return None
        return run[0], min(run[1], self._size_bytes)

    async def read(self, offset: int, length: int) -> bytes:
        return await self._driver.read(self._name, offset=offset, length=min(length, self._size_bytes - offset))


def _tools(run: Working) -> Archives:
    tools: Archives | None = run.tools.archives
    if tools is None:
        raise BackendFailed("This node has no backup store.")
    return tools
