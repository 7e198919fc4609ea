"""What steps need of archives: one of them opened, the book of its packs, a volume as its source, and patience."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from breezeblock.backup.contract import ObjectStore, StoreRefused, StoreUnavailable
from breezeblock.backup.engine import Archive, NoArchive, Options, Shares, elsewhere
from breezeblock.drivers.contract import Driver, ObjectName
from breezeblock.env.contract import Env, Threads
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import archives
from breezeblock.work.claimed import Claimed
from breezeblock.work.tools import Working
from breezeblock.work.traffic import NoTraffic, Traffic

T = TypeVar("T")

log = structlog.get_logger(__name__)

# How long to leave a store alone that does not answer: twice as long each time. An outage may last for hours.
PAUSE_FIRST_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """One configured store, as a node uses it. `read_key` blocks; without a key nothing is encrypted."""

    objects: ObjectStore
    shares: Shares
    level: int
    read_key: Callable[[], bytes | None]
    pack_bytes: int = 16 * 1024**2
    patience_s: float | None = None
    """How long the engine itself waits for it, in the middle of a segment, before it is begun again from its checkpoint."""
    traffic: Traffic = field(default_factory=NoTraffic)
    spend_restoring: Callable[[int], Awaitable[None]] | None = None
    """Returns when so many bytes may be restored; None where there is no limit."""


@dataclass(frozen=True, slots=True)
class Archives:
    """The stores that this node has, by their configured names, and where what is known of archives is kept.

    `cinders` are those with what Cinder made: in them is no archive.
    """

    shelves: Mapping[str, Shelf]
    env: Env
    cache_folder: Path | None
    cinders: Mapping[str, ObjectStore] = field(default_factory=dict)

    def claimed(self, require_current: Callable[[], None]) -> "Archives":
        """The same for one claim of an operation, which changes nothing any more once `require_current` raises Fenced."""
        shelves = {
            name: replace(shelf, objects=Claimed(shelf.objects, require_current))
            for name, shelf in self.shelves.items()
        }
        return replace(self, shelves=shelves)

    async def open(
        self,
        store: str,
        archive_id: str,
        *,
        known: bool,
        begin: bool,
        key_check: str | None = None,
        witness: str | None = None,
    ) -> Archive:
        """An archive, ready to be used. `known`: there is something in its store; `begin`: it may be new, and is written to;
        `key_check` and `witness`: as `archives.Said` has them.

        A store is tried only by who writes: one that is full must still let go of what is deleted. Raises BackendFailed (this
        node has no such store, or another key, or that will not), StoreUnavailable.
        """
        archive = await self.closed(store, archive_id)
        if key_check not in (None, archive.key_check):
            raise StoreRefused(f"The archive {archive_id} was begun with another key than this node has, or with none.")
        if begin:
            await self.shelves[store].objects.check(known=known)
            if witness is not None and not (await archive.is_there(archive_id) or await archive.is_there(witness)):
                raise StoreUnavailable(elsewhere(store, witness))
        await archive.open(begin=begin)
        return archive

    async def closed(self, store: str, archive_id: str) -> Archive:
        """An archive that was not looked for yet. Raises BackendFailed: this node has no such store, or no good key for it."""
        shelf = self.shelves.get(store)
        if shelf is None:
            raise BackendFailed(f"Backup store {store} is not in the settings of the node that was to use it.")
        key = await self.env.threads.run(shelf.read_key)
        options = Options(
            shares=shelf.shares,
            master_key=key,
            level=shelf.level,
            pack_bytes=shelf.pack_bytes,
            patience_s=PATIENCE_S if shelf.patience_s is None else shelf.patience_s,
        )
        return Archive(
            store=shelf.objects,
            archive_id=archive_id,
            env=self.env,
            options=options,
            cache_folder=self.cache_folder,
        )


async def open_archive(run: Working, archive_id: str, *, begin: bool = True) -> Archive:
    """The archive of the operation's backup; without `begin` only where there is one.

    A store that has anything of ours is never begun anew: one that looks empty is one whose filesystem is not mounted, and one
    that lacks an archive which has backups is another one. Nor is anything written by a node that has another key.
    """
    store = run.payload.store
    said = await run.read(archives.said, store=store, archive_id=archive_id)
    if begin and said.key_check is None:
        said = replace(said, key_check=await _say_key(run, archive_id))
    open_it = partial(_tools(run).open, store, archive_id, begin=begin)
    return await open_it(known=said.known, key_check=said.key_check, witness=said.witness)


async def _say_key(run: Working, archive_id: str) -> str | None:
    """Let the row of an archive, which an older release has made, say which key it has: the store's own word, or else ours."""
    with suppress(NoArchive):
        await _tools(run).open(run.payload.store, archive_id, known=True, begin=False)
    await run.note(archives.say_key, archive_id=archive_id, key_check=await key_check_of(run, archive_id))
    return (await run.read(archives.said, store=run.payload.store, archive_id=archive_id)).key_check


async def key_check_of(run: Working, archive_id: str) -> str:
    """What tells the key that this node has for an archive. Raises BackendFailed, StoreUnavailable."""
    return (await _tools(run).closed(run.payload.store, archive_id)).key_check


def traffic_of(run: Working) -> Traffic:
    """Who counts the bytes of the operation's store, which this node has."""
    return _tools(run).shelves[run.payload.store].traffic


async def metered(
    run: Working, pieces: AsyncGenerator[tuple[int, bytes], None]
) -> AsyncGenerator[tuple[int, bytes], None]:
    """The same pieces of a restore, counted when they are taken, and no faster than the store's limit."""
    shelf = _tools(run).shelves[run.payload.store]
    async with aclosing(pieces):
        async for offset, data in pieces:
            if shelf.spend_restoring is not None:
                await shelf.spend_restoring(len(data))
            shelf.traffic.add(restored=len(data))
            yield offset, data


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
        await self._run.note(archives.allot, **self._ours, ids=ids, now_us=self._run.tools.clock.now_us())
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


def cinders_of(run: Working) -> tuple[Mapping[str, ObjectStore], Threads]:
    """The stores with what Cinder made, and on what to read them."""
    return _tools(run).cinders, _tools(run).env.threads


def _tools(run: Working) -> Archives:
    tools: Archives | None = run.tools.archives
    if tools is None:
        raise BackendFailed("This node has no backup store.")
    return tools
