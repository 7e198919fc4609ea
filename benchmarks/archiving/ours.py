"""Breezeblock's engine with a folder as its store, as a worker uses it: one act, in a process of its own.

    python ours.py full|incremental --folder FOLDER --image FILE [--changed FILE]
    python ours.py restore --folder FOLDER --to FOLDER

Prints what it took, without the start of the interpreter: a worker is there already.
"""

import argparse
import asyncio
import json
import resource
import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import Any, Final

from breezeblock.backup.engine import Archive, Header, Options, Segment, Shares
from breezeblock.backup.stores.folder import FolderStore
from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Env
from breezeblock.env.memory import keep_freed_memory
from breezeblock.env.real import real_env

ARCHIVE: Final = "2f9a4e5c-0d57-4d5e-8c52-93b5a7a1f0c4"


class Image:
    """A volume's file, read by the calls that the file driver makes."""

    def __init__(self, env: Env, path: Path) -> None:
        self._files = env.files
        self._path = PurePosixPath(path)
        self.size_bytes = path.stat().st_size

    async def next_data(self, offset: int) -> tuple[int, int] | None:
        return await self._files.next_data(self._path, offset)

    async def read(self, offset: int, length: int) -> bytes:
        return await self._files.read_at(self._path, offset=offset, length=length)


class Book:
    """The packs of the archive: those of the last backup are live."""

    def __init__(self, live: Sequence[str]) -> None:
        self.live = live

    async def allot(self, count: int) -> Sequence[str]:
        return [str(uuid.uuid4()) for _ in range(count)]

    async def usable(self) -> Sequence[str]:
        return self.live


class Nothing:
    """Progress of a call that is not interrupted."""

    done_bytes = 0

    async def save(self, done_bytes: int) -> None:
        """Nobody goes on with it."""


async def back_up(env: Env, folder: Path, image: Path, changed: list[tuple[int, int]] | None) -> dict[str, Any]:
    """A backup of the file, incremental to the last one where it is told what changed. Returns what the next one needs."""
    last = _state(folder)
    archive = await _open(env, folder)
    parent = await archive.read_manifest(last["manifest"]) if changed is not None else None
    source = Image(env, image)

    async def told(number: int) -> tuple[Segment, list[tuple[int, int]]] | None:
        return (parent.segment(number), changed) if parent is not None and changed is not None else None

    async with archive.writing(Book(last["live"])) as writer, aclosing(writer.segments(source, told=told)) as stored:
        segments = [segment async for segment in stored]
    backup_id = str(uuid.uuid4())
    header = Header(backup_id=backup_id, volume_id=ARCHIVE, size_bytes=source.size_bytes, created_us=1)
    name = f"{backup_id}.1.1"
    published = await archive.put_manifest(name, header, segments)
    return {"manifest": name, "live": sorted({*last["live"], *published.named})}


async def restore(env: Env, folder: Path, to: Path) -> None:
    """The last backup as a new object of a file driver."""
    archive = await _open(env, folder)
    manifest = await archive.read_manifest(_state(folder)["manifest"])
    driver = FileDriver(env.files, name="file", path=PurePosixPath(to), clock=env.clock, ids=env.ids)
    await driver.check(known=False)
    await driver.fill(
        ObjectName(str(uuid.uuid4()), 1, 1),
        size_bytes=manifest.header.size_bytes,
        pieces=lambda start: archive.pieces(manifest, start=start),
        progress=Nothing(),
    )


async def _open(env: Env, folder: Path) -> Archive:
    store = FolderStore(folder / "store", name="folder", ids=env.ids, threads=env.threads)
    await store.check()
    options = Options(shares=Shares(env.clock))
    archive = Archive(store=store, archive_id=ARCHIVE, env=env, options=options, cache_folder=folder / "cache")
    await archive.open()
    return archive


def _state(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"live": []}
    return found


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("act", choices=("full", "incremental", "restore"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--changed", type=Path)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    (options.folder / "cache").mkdir(exist_ok=True)
    keep_freed_memory()
    env = real_env()
    began, before = time.monotonic(), _cpu_s()
    if options.act == "restore":
        asyncio.run(restore(env, options.folder, options.to))
    else:
        changed = json.loads(options.changed.read_text()) if options.changed else None
        state = asyncio.run(back_up(env, options.folder, options.image, changed))
        (options.folder / "state.json").write_text(json.dumps(state))
    print(json.dumps({"seconds": time.monotonic() - began, "cpu_s": _cpu_s() - before}))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
