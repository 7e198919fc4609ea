"""`breezeblock archive`: look at backups, check them and get them back with nothing but the store: no service, no database."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec

from breezeblock import wiring
from breezeblock.backup.contract import ObjectStore, StoreUnavailable
from breezeblock.backup.damage import Damaged
from breezeblock.backup.engine import Archive, Damage, Manifest, Options, Shares, Verified, root_key
from breezeblock.backup.seal import MasterKeyError, master_key
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.commands.failure import Failed
from breezeblock.env.contract import Env
from breezeblock.env.memory import keep_freed_memory
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.settings import Settings

T = TypeVar("T")

# Somebody sits and waits: a store that is away for longer is told.
PATIENCE_S: Final = 60.0
FOLDER: Final = "folder:"
GIB: Final = 1024**3


@dataclass(frozen=True)
class Place:
    """Where archives are, and how to read them."""

    store: str
    """`folder:/path`, or the name of a store in the settings."""
    key_file: Path | None
    settings: Callable[[], Settings]
    """Asked for the stores and keys only where `store` is the name of one."""


def list_archives(place: Place, archive_id: str | None) -> list[dict[str, object]]:
    """The archives of a store; or the backups of one."""

    async def ask(store: ObjectStore, env: Env, key: bytes | None) -> list[dict[str, object]]:
        if archive_id is None:
            return [{"archive": found} async for found in _archives(store)]
        archive = await _opened(store, env, key, archive_id)
        return [await _described(archive, name) for name in await archive.manifest_names()]

    return _run(place, ask)


def told(found: Sequence[dict[str, object]]) -> str:
    """The same as text, a line for each."""
    if not found:
        return "There is nothing."
    return "\n".join("  ".join(str(value) for value in one.values() if value is not None) for one in found)


def verify(place: Place, archive_id: str, backup: str, *, share: float) -> Verified:
    """Read a backup, or a share of its blocks, and say what is wrong with it."""

    async def ask(store: ObjectStore, env: Env, key: bytes | None) -> Verified:
        archive = await _opened(store, env, key, archive_id)
        return await archive.verify(await _manifest(archive, backup), share)

    return _run(place, ask)


def extract(place: Place, archive_id: str, backup: str, target: Path, *, skip_damaged: bool) -> list[Damage]:
    """Write a backup to a new, sparse file. Returns what could not be read, when that is to be skipped."""

    async def ask(store: ObjectStore, env: Env, key: bytes | None) -> list[Damage]:
        archive = await _opened(store, env, key, archive_id)
        manifest = await _manifest(archive, backup)
        damage: list[Damage] = []
        pieces = archive.pieces(manifest, on_damage=damage.append if skip_damaged else None)
        with _fresh_file(target, manifest.header.size_bytes) as file:
            try:
                async with aclosing(pieces):
                    async for offset, data in pieces:
                        await env.threads.run(partial(_write, file.fileno(), data, offset))
                await env.threads.run(partial(os.fsync, file.fileno()))
            except BaseException:
                await env.threads.run(target.unlink)  # nobody is to take a part of a volume for all of it
                raise
        return damage

    return _run(place, ask)


def explained(damage: Sequence[Damage]) -> list[str]:
    """A line for each range that cannot be read."""
    return [f"bytes {one.start} to {one.end} of the volume are lost: {one.where}: {one.what}" for one in damage]


def _run(place: Place, ask: Callable[[ObjectStore, Env, bytes | None], Awaitable[T]]) -> T:
    """What `ask` makes of the store. Raises Failed for all that operators can do something about."""
    keep_freed_memory()

    async def run() -> T:
        env = real_env()
        key = await env.threads.run(partial(_key, place))
        store = open_store(place, env)
        try:
            return await ask(store, env, key)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except (BackendFailed, Damaged) as error:
        raise Failed(error.message) from error
    except StoreUnavailable as error:
        raise Failed(f"The store does not answer: {error}") from error


def open_store(place: Place, env: Env) -> ObjectStore:
    """The store that was named. Raises Failed when there is none of that name."""
    if place.store.startswith(FOLDER):
        folder = Path(place.store.removeprefix(FOLDER)).absolute()
        return FolderStore(folder, name=place.store, ids=env.ids, threads=env.threads)
    stores = wiring.open_stores(place.settings(), env)
    if place.store not in stores:
        known = ", ".join(sorted(stores)) or "none"
        raise Failed(f"There is no [backup_stores.{place.store}] in the settings, only: {known}.")
    if place.settings().backup_stores[place.store].is_cinders:
        raise Failed(f"[backup_stores.{place.store}] keeps what Cinder made: there is no archive in it.")
    return stores[place.store]


def _key(place: Place) -> bytes | None:
    """The key of the file that was named, else that of the store in the settings. Raises Failed, BackendFailed."""
    if place.key_file is None:
        chosen = None if place.store.startswith(FOLDER) else place.settings().backup_stores.get(place.store)
        try:
            return None if chosen is None else wiring.open_key(place.store, chosen)()
        except StoreUnavailable as error:
            raise Failed(f"The key cannot be had now: {error}") from error
    try:
        return master_key(place.key_file.read_bytes())
    except OSError as error:
        raise Failed(f"The key cannot be read: {place.key_file}: {error.strerror}") from error
    except MasterKeyError as error:
        raise Failed(f"{place.key_file} has no key: {error}") from error


async def _opened(store: ObjectStore, env: Env, key: bytes | None, archive_id: str) -> Archive:
    options = Options(shares=Shares(env.clock), master_key=key, patience_s=PATIENCE_S)
    archive = Archive(store=store, archive_id=archive_id, env=env, options=options, cache_folder=None)
    await archive.open(begin=False)
    return archive


async def _archives(store: ObjectStore) -> AsyncIterator[str]:
    async for stored in store.list(""):
        archive_id, _, rest = stored.key.partition("/")
        if rest and stored.key == root_key(archive_id):
            yield archive_id


async def _described(archive: Archive, name: str) -> dict[str, object]:
    """A backup in a list. One whose manifest is damaged is there too."""
    try:
        manifest = await archive.read_manifest(name)
    except Damaged as damage:
        return {"manifest": name, "damaged": damage.what}
    header = msgspec.to_builtins(manifest.header)
    shown = ("backup_id", "volume_id", "name", "volume_name", "size_bytes", "created_us", "parent")
    return {"manifest": name, **{field: header[field] for field in shown}, "packs": len(manifest.packs)}


async def _manifest(archive: Archive, backup: str) -> Manifest:
    """A manifest by its name; or the newest of a backup, by the token in its name."""
    names = await archive.manifest_names(backup.partition(".")[0])
    wanted = [name for name in names if name == backup or name.partition(".")[0] == backup]
    if not wanted:
        raise Failed(f"The archive {archive.id} has no backup {backup}: `archive list` shows those that it has.")
    return await archive.read_manifest(max(wanted, key=_token))


def _token(name: str) -> list[int]:
    return [int(part) if part.isdigit() else -1 for part in name.split(".")[1:]]


def _fresh_file(target: Path, size: int) -> BinaryIO:
    """A new file of so many zeros that take no space."""
    try:
        file = target.open("xb", buffering=0)
    except FileExistsError:
        raise Failed(f"{target} is there already; a backup is written to a new file only.") from None
    except OSError as error:
        raise Failed(f"{target} cannot be made: {error.strerror}") from error
    file.truncate(size)
    return file


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        offset, view = offset + done, view[done:]
