"""What steps need of archives: one of them opened, the book of its packs, a volume as its source, and patience."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from breezeblock.backup.contract import ObjectStore, StoreUnavailable
from breezeblock.backup.engine import Archive, Options, Shares
from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.env.contract import Env
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import archives
from breezeblock.resources.backups import was_published_in
from breezeblock.work.tools import Working

T = TypeVar("T")

log = structlog.get_logger(__name__)

# How long to leave a store alone that does not answer: twice as long each time. An outage may last for hours.
PAUSE_FIRST_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
# How long the engine itself waits for a store, in the middle of a segment, before it is begun again from its checkpoint.
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """One configured store, as a node uses it. `read_key` blocks; without a key nothing is encrypted."""

    objects: ObjectStore
    shares: Shares
    level: int
    read_key: Callable[[], bytes | None]


@dataclass(frozen=True, slots=True)
class Archives:
    """The stores that this node has, by their configured names, and where what is known of archives is kept."""

    shelves: Mapping[str, Shelf]
    env: Env
    cache_folder: Path | None

    async def open(self, store: str, archive_id: str, *, known: bool, begin: bool) -> Archive:
        """An archive, ready to be used. `known`: there is something in its store; `begin`: it may be new.

        Raises BackendFailed (this node has no such store, or that will not), StoreUnavailable.
        """
        shelf = self.shelves.get(store)
        if shelf is None:
            raise BackendFailed(f"Backup store {store} is not in the settings of the node that was to use it.")
        await shelf.objects.check(known=known)
        key = await self.env.threads.run(shelf.read_key)
        options = Options(shares=shelf.shares, master_key=key, level=shelf.level, patience_s=PATIENCE_S)
        archive = Archive(
            store=shelf.objects,
            archive_id=archive_id,
            env=self.env,
            options=options,
            cache_folder=self.cache_folder,
        )
        await archive.open(begin=begin)
        return archive


async def open_archive(run: Working, archive_id: str, *, begin: bool = True) -> Archive:
    """The archive of the operation's backup; without `begin` only where there is one.

    A store that something was published in is never begun anew: one that looks empty is one whose filesystem is not mounted.
    """
    store = run.payload.store
    known = await run.read(was_published_in, store=store)
    return await _tools(run).open(store, archive_id, known=known, begin=begin)


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
        await run.tools.clock.sleep(pause_s * _tools(run).env.random.uniform(0.5, 1.0))
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
        ids = [_tools(self._run).env.ids.uuid() for _ in range(count)]
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
