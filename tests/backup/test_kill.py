"""A process is killed in the middle of a backup, again and again; who goes on uploads only what was on its way."""

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.backup.given import ARCHIVE, run
from tests.backup.kill_me import FileBook, FileSource, archive_on_disk

from breezeblock.backup.engine import Header
from breezeblock.env.real import real_env

MIB = 1024**2
SIZE = 96 * MIB
# Uploads under way, the pack that is filled, and what waits for its turn.
ON_ITS_WAY = 6


def packs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "store" / ARCHIVE / "packs").rglob("*") if path.is_file()}


def kill_after(folder: Path, more: int) -> None:
    """Start it, and kill it when so many more packs are there."""
    wanted = len(packs(folder)) + more
    process = subprocess.Popen([sys.executable, "-m", "tests.backup.kill_me", str(folder)])
    deadline = time.monotonic() + 60
    while len(packs(folder)) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()


def test_a_killed_backup_is_gone_on_with(tmp_path: Path) -> None:
    """Three times, with the cache that was being written; nothing is read wrong, and little is uploaded twice."""
    data = random.Random(5).randbytes(SIZE)
    (tmp_path / "volume").write_bytes(data)
    for _ in range(3):
        kill_after(tmp_path, 15)
    arrived = len(packs(tmp_path))
    env = real_env()

    async def finish() -> tuple[int, bytes]:
        archive = await archive_on_disk(env, tmp_path)
        async with archive.writing(FileBook(env, tmp_path / "book")) as writer:
            segments = [segment async for segment in writer.segments(FileSource(env, tmp_path / "volume"))]
        header = Header(backup_id="b", volume_id="v", size_bytes=SIZE, created_us=1)
        await archive.put_manifest("b.1.1", header, segments)
        pieces = archive.pieces(await archive.read_manifest("b.1.1"))
        return writer.written.new, b"".join([piece async for _, piece in pieces])

    new, read = run(finish())

    assert read == data
    assert arrived >= 40
    assert new <= SIZE - (arrived - 3 * ON_ITS_WAY) * MIB
    assert new >= SIZE - arrived * MIB
