"""How fast a volume can be read, read and hashed, and read, hashed and compressed, by all cores and with nothing around it.

    python bound.py read|hash|compress --image FILE

A process for each core takes its share of the pieces of what is no hole: blocks of 64 KiB, BLAKE3 with a key, zstd level 1,
as in an archive. Nothing is kept, looked up or stored.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from typing import Final

import zstandard
from blake3 import blake3

BLOCK_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 4 * 1024**2
KEY: Final = bytes(32)


def main() -> None:
    """Do it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("read", "hash", "compress"))
    parser.add_argument("--image", required=True)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    began = time.monotonic()
    processes = [
        multiprocessing.Process(target=work, args=(options.image, options.what, number, cores))
        for number in range(cores)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, "a part of the bound was not measured"
    took = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"seconds": took, "cpu_s": used.ru_utime + used.ru_stime}))


def work(path: str, what: str, number: int, of: int) -> None:
    """One process's share."""
    compressor = zstandard.ZstdCompressor(level=1)
    buffer = bytearray(PIECE_BYTES)
    file = os.open(path, os.O_RDONLY)
    for count, (start, end) in enumerate(pieces(file)):
        if count % of != number:
            continue
        data = memoryview(buffer)[: end - start]
        assert os.preadv(file, [data], start) == end - start, "a piece was read in part"
        for at in range(0, 0 if what == "read" else len(data), BLOCK_BYTES):
            block = data[at : at + BLOCK_BYTES]
            blake3(block, key=KEY).digest()
            if what == "compress":
                compressor.compress(block)


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
