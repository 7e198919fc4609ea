"""One archive in one store: what operations and commands use. `docs/explanation/backup.md` tells how it is used."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from breezeblock.backup.contract import Book, ObjectMissing, ObjectStore, Stored, StoreRefused
from breezeblock.backup.damage import Damaged
from breezeblock.backup.known import Known
from breezeblock.backup.manifest import (
    Header,
    Manifest,
    Published,
    Segment,
    build_manifest,
    manifest_key,
    manifest_prefix,
    manifest_token,
    parse_manifest,
)
from breezeblock.backup.packer import Names, Target
from breezeblock.backup.packs import SEGMENT_BYTES, Entry, pack_id_of, pack_key
from breezeblock.backup.read import Damage, Reader, Verified
from breezeblock.backup.seal import Keys
from breezeblock.backup.shares import Shares, patiently, together
from breezeblock.backup.write import Told, Writer, Written
from breezeblock.env.contract import Env

__all__ = [
    "SEGMENT_BYTES",
    "Archive",
    "Damage",
    "Header",
    "Manifest",
    "NoArchive",
    "Options",
    "Published",
    "Segment",
    "Shares",
    "Told",
    "Verified",
    "Writer",
    "Written",
    "elsewhere",
    "root_key",
]

T = TypeVar("T")

log = structlog.get_logger(__name__)

FORMAT: Final = 1
# Indexes are remembered so many at a time, which bounds the memory that filling the cache takes.
INDEXES_AT_ONCE: Final = 64
DELETIONS_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Options:
    """How an archive is written and read."""

    shares: Shares
    """Those of the store in this process."""
    master_key: bytes | None = field(default=None, repr=False)
    """32 bytes; an archive that was begun without one stays as it is, and is not opened with one."""
    level: int = 1
    """Of zstd; 0 compresses nothing."""
    pack_bytes: int = 16 * 1024**2
    patience_s: float = 12 * 3600.0
    """How long a store may be away before a call fails."""


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """What `archive.json` says: enough to refuse a wrong key, or a format of the future, before anything is read."""

    format: int
    archive: str
    encrypted: bool
    key_check: str


def root_key(archive_id: str) -> str:
    """Where an archive says what it is."""
    return f"{archive_id}/archive.json"


def elsewhere(store: str, archive_id: str) -> str:
    """Why a store is not to be used that does not have what it must have."""
    return (
        f"Backup store {store} does not have the archive {archive_id}, which has backups: what is mounted or configured "
        "there is another store."
    )


class NoArchive(StoreRefused):
    """The store has nothing of the archive, not even what says that it is one."""


class Archive:
    """All that one project keeps in one store. `open` comes first."""

    def __init__(
        self, *, store: ObjectStore, archive_id: str, env: Env, options: Options, cache_folder: Path | None
    ) -> None:
        self.id: Final = archive_id
        self._store = store
        self._env = env
        self._options = options
        self._cache = cache_folder / f"{archive_id}.known" if cache_folder is not None else None
        self._keys = Keys(archive_id, options.master_key)
        self._reader = Reader(store, archive_id, self._keys, env, shares=options.shares, patience_s=options.patience_s)

    @property
    def key_check(self) -> str:
        """Tells the key that it is opened with from others."""
        return self._keys.check

    async def is_there(self, archive_id: str) -> bool:
        """Whether the store has that archive, which may be another one."""
        return await self._has(root_key(archive_id))

    async def open(self, *, begin: bool = True) -> None:
        """Make sure that it is ours to read and write; with `begin` also make one where there is none.

        Raises StoreRefused when its key is another one, or its format one of the future, or there is none.
        """
        if (found := await self._root()) is None:
            if not begin:
                raise NoArchive(f"There is no archive {self.id} in this store.")
            root = Root(format=FORMAT, archive=self.id, encrypted=self._keys.encrypted, key_check=self._keys.check)
            await self._patiently(lambda: self._store.put(root_key(self.id), [msgspec.json.encode(root)]))
            found = await self._root()  # somebody else may have begun it at the same time, with another key
        if found is None or found.archive != self.id:
            raise StoreRefused(f"The archive {self.id} is not what its store says that it is.")
        if found.format != FORMAT:
            raise StoreRefused(f"The archive {self.id} has format {found.format}; this release knows {FORMAT} only.")
        if found.encrypted != self._keys.encrypted:
            is_, lacks = ("encrypted", "no key") if found.encrypted else ("not encrypted", "a key")
            raise StoreRefused(f"The archive {self.id} is {is_}, and {lacks} is configured for it.")
        if found.key_check != self._keys.check:
            raise StoreRefused(f"The archive {self.id} was begun with another key.")

    @asynccontextmanager
    async def writing(self, book: Book) -> AsyncIterator[Writer]:
        """For storing segments. Asks the book once what may be referred to: after the pin, which the caller has made."""
        known = Known(self._cache)
        try:
            await self._fill(known, await book.usable())
            yield Writer(
                self._target(),
                names=Names(book),
                known=known,
                reader=self._reader,
                shares=self._options.shares,
                level=self._options.level,
            )
        finally:
            await self._env.threads.run(known.close)

    async def put_manifest(self, name: str, header: Header, segments: Sequence[Segment]) -> Published:
        """Store the manifest of a backup all of whose segments are stored."""
        own = self._env.ids.uuid()

        def build() -> bytes:
            return build_manifest(header, segments, manifest_id=own, keys=self._keys)

        data = await self._env.threads.run(build)
        await self._patiently(lambda: self._store.put(manifest_key(self.id, name), [data]))
        named = [pack_id_of(raw) for raw in dict.fromkeys(raw for segment in segments for raw in segment.raw_packs)]
        uploaded = sum(segment.uploaded for segment in segments)
        return Published(named, object_count=len(named) + 1, stored_bytes=uploaded + len(data))

    async def read_manifest(self, name: str) -> Manifest:
        """A manifest by its name. Raises Damaged, also when it is missing."""
        key = manifest_key(self.id, name)
        data = await self._reader.get(key)
        manifest = await self._env.threads.run(lambda: parse_manifest(name, data, self._keys, key))
        if not name.startswith(f"{manifest.header.backup_id}."):
            raise Damaged(key, f"it is of another backup, {manifest.header.backup_id}")
        return manifest

    def pieces(
        self, manifest: Manifest, *, start: int = 0, on_damage: Callable[[Damage], None] | None = None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """All data from byte `start` on; see Reader.pieces."""
        return self._reader.pieces(manifest, start=start, on_damage=on_damage)

    async def verify(self, manifest: Manifest, share: float = 1.0) -> Verified:
        """Look whether a backup can be read: all of it, or that share of its blocks."""
        return await self._reader.verify(manifest, share=share)

    async def check(self, manifest: Manifest, *, share: float, missing: Collection[str]) -> Verified:
        """The same of the blocks alone, where it is known which packs are missing; see Reader.check. In turn with backups."""
        async with self._options.shares.turn():
            return await self._reader.check(manifest, share=share, missing=missing)

    async def check_indexes(self, packs: Iterable[str], *, share: float) -> list[Damaged]:
        """Look whether it can be said what is in these packs, or that share of them, as backups need that build upon them."""
        drawn = [pack for pack in packs if self._reader.is_drawn(share)]
        found = await together(self._index_damage(pack) for pack in drawn)
        return [damage for damage in found if damage is not None]

    async def manifest_names(self, backup_id: str | None = None) -> list[str]:
        """The manifests of a backup, or of all: one for each attempt that came so far."""
        prefix = manifest_prefix(self.id)
        found = await self._list(manifest_prefix(self.id, backup_id))
        return [stored.key.removeprefix(prefix) for stored in found]

    async def delete_manifests(
        self, backup_id: str, *, up_to: tuple[int, int] | None = None, named: Sequence[str] = ()
    ) -> None:
        """Remove the manifests of a backup, those of earlier attempts too: all, or those whose token is no higher.

        Whoever has a token tells it: nothing keeps a node that was lost from a store, and the manifest that its survivor has
        published since must not be among those that it finds there. `named`: those that are known by name, also where a
        listing of the store does not show them yet.
        """
        names = dict.fromkeys((*named, *await self.manifest_names(backup_id)))
        doomed = [name for name in names if up_to is None or manifest_token(name) <= up_to]
        await self._delete([manifest_key(self.id, name) for name in doomed])

    async def missing_packs(self, ids: Iterable[str]) -> list[str]:
        """Which of these packs are not in the store.

        Those that a listing shows are there. It may lag behind: the others are asked for one by one.
        """
        listed = {stored.key.rpartition("/")[2] for stored in await self._list(f"{self.id}/packs/")}
        unseen = sorted(set(ids) - listed)
        found: list[bool] = []
        for at in range(0, len(unseen), DELETIONS_AT_ONCE):
            found += await together(self._has(pack_key(self.id, pack)) for pack in unseen[at : at + DELETIONS_AT_ONCE])
        return [pack for pack, there in zip(unseen, found, strict=True) if not there]

    async def _has(self, key: str) -> bool:
        try:
            await self._patiently(lambda: self._store.size(key))
        except ObjectMissing:
            return False
        return True

    async def delete_packs(self, ids: Sequence[str]) -> None:
        """Remove packs. Those that are not there are fine."""
        await self._delete([pack_key(self.id, pack) for pack in ids])

    def _target(self) -> Target:
        options = self._options
        return Target(
            self._store, self.id, self._keys, self._env, pack_bytes=options.pack_bytes, patience_s=options.patience_s
        )

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        return await patiently(self._env, call, patience_s=self._options.patience_s)

    async def _root(self) -> Root | None:
        try:
            data = await self._patiently(lambda: self._store.get(root_key(self.id)))
        except ObjectMissing:
            return None
        try:
            return msgspec.json.decode(data, type=Root)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Damaged(root_key(self.id), f"it cannot be read: {error}") from None

    async def _fill(self, known: Known, usable: Sequence[str]) -> None:
        missing = await self._env.threads.run(lambda: known.keep(usable))
        for at in range(0, len(missing), INDEXES_AT_ONCE):
            found = await together(self._index(pack) for pack in missing[at : at + INDEXES_AT_ONCE])
            whole = [one for one in found if one is not None]
            await self._env.threads.run(partial(known.add, whole))

    async def _index_damage(self, pack: str) -> Damaged | None:
        try:
            await self._reader.read_index(pack)
        except Damaged as damage:
            return damage
        return None

    async def _index(self, pack: str) -> tuple[str, list[Entry]] | None:
        """What is in a pack; None when that is not known, so that nothing will be said to be in it."""
        try:
            return pack, await self._reader.read_index(pack)
        except Damaged as damage:
            # Our own, which an earlier attempt did not get to upload; or one that is damaged, and is not built upon.
            log.debug("archive.pack_not_used", pack=pack, why=damage.what)
            return None

    async def _list(self, prefix: str) -> list[Stored]:
        async def ask() -> list[Stored]:
            return [stored async for stored in self._store.list(prefix)]

        return await self._patiently(ask)

    async def _delete(self, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), DELETIONS_AT_ONCE):
            await together(
                self._patiently(partial(self._store.delete, key)) for key in keys[at : at + DELETIONS_AT_ONCE]
            )
