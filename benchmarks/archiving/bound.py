"""How fast a volume can be read, then hashed, then compressed, then written, by all cores and with nothing around it.

    python bound.py read|hash|compress|write --image FILE --folder FOLDER

A process for each core takes its share of the pieces of what is no hole: blocks of 64 KiB, BLAKE3 with a key, zstd level 1,
as in an archive. Nothing is looked up. What is written, to a file in FOLDER for each 16 MiB, passes by the page cache, where a
copy of it would take longer than its hash.
"""

import argparse
import json
import mmap
import multiprocessing
import os
import queue
import resource
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import zstandard
from blake3 import blake3

BLOCK_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 4 * 1024**2
FILE_BYTES: Final = 16 * 1024**2
PAGE_BYTES: Final = 4096
# At a time, of each process.
WRITES: Final = 2
KEY: Final = bytes(32)


def main() -> None:
    """Do it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("read", "hash", "compress", "write"))
    parser.add_argument("--image", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    began = time.monotonic()
    processes = [multiprocessing.Process(target=work, args=(options, number, cores)) for number in range(cores)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, "a part of the bound was not measured"
    took = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"seconds": took, "cpu_s": used.ru_utime + used.ru_stime}))


def work(options: argparse.Namespace, number: int, of: int) -> None:
    """One process's share."""
    compressor = zstandard.ZstdCompressor(level=1)
    buffer = bytearray(PIECE_BYTES)
    file = os.open(options.image, os.O_RDONLY)
    with Output(options.folder / str(number), kept=options.what == "write") as output:
        for count, (start, end) in enumerate(pieces(file)):
            if count % of != number:
                continue
            data = memoryview(buffer)[: end - start]
            assert os.preadv(file, [data], start) == end - start, "a piece was read in part"
            for at in range(0, 0 if options.what == "read" else len(data), BLOCK_BYTES):
                block = data[at : at + BLOCK_BYTES]
                blake3(block, key=KEY).digest()
                if options.what != "hash":
                    small = compressor.compress(block)
                    output.add(small if len(small) < len(block) else block)


class Output:
    """Files of 16 MiB, in a folder of its own, which goes again; nothing at all when they are not to be `kept`."""

    def __init__(self, folder: Path, *, kept: bool) -> None:
        self._folder, self._kept = folder, kept
        self._free: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
        for _ in range(WRITES + 1):
            self._free.put(mmap.mmap(-1, FILE_BYTES))
        self._threads = ThreadPoolExecutor(WRITES)
        self._writes: list[Future[None]] = []
        self._buffer, self._end = self._free.get(), 0

    def __enter__(self) -> "Output":
        self._folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        for write in self._writes:
            write.result()
        shutil.rmtree(self._folder)

    def add(self, data: bytes | memoryview) -> None:
        """Write it when there is enough."""
        if not self._kept:
            return
        if self._end + len(data) > FILE_BYTES:
            self._flush()
            self._buffer, self._end = self._free.get(), 0
        self._buffer[self._end : self._end + len(data)] = data
        self._end += len(data)

    def _flush(self) -> None:
        if self._end:
            path = self._folder / str(len(self._writes))
            self._writes.append(self._threads.submit(self._write, path, self._buffer, self._end))

    def _write(self, path: Path, buffer: mmap.mmap, end: int) -> None:
        try:
            _write_file(path, buffer, -(-end // PAGE_BYTES) * PAGE_BYTES)
        finally:
            self._free.put(buffer)


def _write_file(path: Path, buffer: mmap.mmap, length: int) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    except OSError:  # a filesystem that has nothing but its page cache
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
    with memoryview(buffer) as view, view[:length] as pages:
        assert os.write(file, pages) == length, "a file was written in part"
    os.fsync(file)
    os.close(file)


def pieces(file: int) -> Iterator[tuple[int, int]]:
    """What is no hole."""
    size, at = os.fstat(file).st_size, 0
    while at < size:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        end = os.lseek(file, at, os.SEEK_HOLE)
        for start in range(at, end, PIECE_BYTES):
            yield start, min(end, start + PIECE_BYTES)
        at = end


if __name__ == "__main__":
    main()
