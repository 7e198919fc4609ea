"""Volumes to back up, as files: the same bytes in each run on the same machine."""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from blake3 import blake3

from .plan import CHANGED

__all__ = ["change", "digest", "make"]

PAGE_BYTES: Final = 4096
MIB: Final = 1024**2
SMALLEST_WRITE: Final = 4 * 1024
LARGEST_WRITE: Final = 1024**2
# Of the sparse one: how much of it is data, and in how long runs.
DATA_SHARE: Final = 0.1
RUN_BYTES: Final = 4 * MIB
# Each file of a mixed volume begins at a page, as on a filesystem. Those below a page are most, and hardly any of the bytes.
LARGEST_FILE: Final = 256 * MIB


def make(kind: str, path: Path, size: int, *, folders: Sequence[Path]) -> None:
    """A volume of that kind. Raises SystemExit when the folders do not have files enough for it."""
    with path.open("wb") as file:
        file.truncate(size)
        if kind == "random":
            for at in range(0, size, RUN_BYTES):
                file.write(_noise("volume", at, min(RUN_BYTES, size - at)))
        elif kind == "mixed":
            _fill(file.fileno(), [(0, size)], folders)
        else:
            _fill(file.fileno(), list(_places(size)), folders)


def _noise(name: str, at: int, length: int) -> bytes:
    return blake3(f"breezeblock benchmark {name}".encode()).digest(length=length, seek=at)


def _places(size: int) -> Iterator[tuple[int, int]]:
    """Runs of data all over a volume that is mostly holes."""
    step = int(RUN_BYTES / DATA_SHARE)
    chance = random.Random(size)
    for begin in range(0, size, step):
        length = int(min(step, size - begin) * DATA_SHARE) // PAGE_BYTES * PAGE_BYTES
        room = min(step, size - begin) - length
        start = begin + chance.randrange(room // PAGE_BYTES + 1) * PAGE_BYTES
        yield start, start + length


def _fill(out: int, places: Sequence[tuple[int, int]], folders: Sequence[Path]) -> None:
    """Write files into the places, one after the other, until these are full."""
    pages = _pages(folders)
    left = b""
    for start, end in places:
        while start < end:
            if not left and not (left := next(pages, b"")):
                raise SystemExit(f"not enough files in {', '.join(map(str, folders))}: name more with --files")
            written = os.pwrite(out, left[: end - start], start)
            start, left = start + written, left[written:]


def _pages(folders: Sequence[Path]) -> Iterator[bytes]:
    """The content of all files, each once and by the order of names, filled up with zeros to whole pages."""
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        for where, names, files in os.walk(folder):
            names.sort()
            for name in sorted(files):
                path = Path(where, name)
                info = path.lstat()
                if path.is_symlink() or not path.is_file() or not 0 < info.st_size <= LARGEST_FILE:
                    continue
                if (info.st_dev, info.st_ino) not in seen:
                    seen.add((info.st_dev, info.st_ino))
                    content = path.read_bytes()
                    yield content + bytes(-len(content) % PAGE_BYTES)


def change(path: Path, *, round_number: int) -> list[tuple[int, int]]:
    """Write over a hundredth of a volume, here and there. Returns what was written, as ranges of bytes in order."""
    size = path.stat().st_size
    chance = random.Random(f"{size} {round_number}")
    wanted, ranges = int(size * CHANGED), []
    with path.open("r+b") as file:
        while wanted > 0:
            length = SMALLEST_WRITE << chance.randrange((LARGEST_WRITE // SMALLEST_WRITE).bit_length())
            length = min(length, size)
            start = chance.randrange((size - length) // PAGE_BYTES + 1) * PAGE_BYTES
            file.seek(start)
            file.write(_noise(f"change {round_number}", start, length))
            ranges.append((start, start + length))
            wanted -= length
    return sorted(ranges)


def digest(path: Path) -> str:
    """What a restored volume is compared by."""
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
