"""Files written past the cache have all their bytes, on filesystems that can do that and on those that cannot."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from breezeblock.backup.stores.direct import write_direct

MIB = 1024**2


@pytest.mark.parametrize(
    "lengths",
    [
        (),
        (1,),
        (4096,),
        (4 * MIB,),
        (4 * MIB + 1,),
        (32, *(65536,) * 200, 9000, 56),
        (8 * MIB, 0, 1, 4095),
        (3, 5 * MIB, 4 * MIB - 3),
    ],
)
@pytest.mark.parametrize("folder", ["disk", "memory"])
def test_all_bytes_are_there(folder: str, lengths: Sequence[int], tmp_path: Path) -> None:
    """Of any lengths: aligned, not aligned, and none."""
    chance = random.Random(1)
    parts = [chance.randbytes(length) for length in lengths]
    path = tmp_path / "file" if folder == "disk" else Path("/dev/shm") / f"breezeblock-test-{os.getpid()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_direct(fd, [memoryview(part) for part in parts])
        assert path.read_bytes() == b"".join(parts)
    finally:
        os.close(fd)
        path.unlink()


def test_a_full_filesystem_is_told(tmp_path: Path) -> None:
    """As by any other write."""
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space"):
            write_direct(fd, [bytes(2 * MIB)])
    finally:
        os.close(fd)
