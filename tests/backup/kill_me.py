"""A process that backs up a file and is killed while it does: `python -m tests.backup.kill_me FOLDER`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tests.backup.given import ARCHIVE

from breezeblock.backup.engine import Archive, Options, Shares
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env

MIB = 1024**2


class FileSource:
    """A file, read as drivers read theirs."""

    def __init__(self, env: Env, path: Path) -> None:
        self._files = env.files
        self._path = PurePosixPath(path)
        self.size_bytes = path.stat().st_size

    async def next_data(self, offset: int) -> tuple[int, int] | None:
        return await self._files.next_data(self._path, offset)

    async def read(self, offset: int, length: int) -> bytes:
        return await self._files.read_at(self._path, offset=offset, length=length)


class FileBook:
    """Names are in a file before they are given: as rows are that are committed."""

    def __init__(self, env: Env, path: Path) -> None:
        self._ids = env.ids
        self._path = path

    async def allot(self, count: int) -> Sequence[str]:
        names = [self._ids.uuid() for _ in range(count)]
        with self._path.open("a") as file:
            file.writelines(f"{name}\n" for name in names)
        return names

    async def usable(self) -> Sequence[str]:
        return self._path.read_text().split() if self._path.exists() else []


async def archive_on_disk(env: Env, folder: Path) -> Archive:
    """The archive below `folder`, with its cache beside it."""
    for name in ("store", "cache"):
        (folder / name).mkdir(exist_ok=True)
    store = FolderStore(folder / "store", name="s", ids=env.ids, threads=env.threads)
    await store.check()
    options = Options(shares=Shares(env.clock), pack_bytes=MIB)
    archive = Archive(store=store, archive_id=ARCHIVE, env=env, options=options, cache_folder=folder / "cache")
    await archive.open()
    return archive


async def main(folder: Path) -> None:
    env = real_env()
    archive = await archive_on_disk(env, folder)
    async with archive.writing(FileBook(env, folder / "book")) as writer:
        async for _ in writer.segments(FileSource(env, folder / "volume")):
            pass


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
