"""Wall clocks that jump, for one node at a time.

libfaketime would do it, but the release in Debian 12 makes `time.sleep` of Python 3.11 fail with EINVAL. So this is the
smallest equivalent: a preloaded library that adds an offset to CLOCK_REALTIME and to nothing else, read from a file of eight
bytes that its process has mapped. CLOCK_MONOTONIC and CLOCK_BOOTTIME never pass through it; `make` proves that before use.
It needs a C compiler; without one no clock jumps, and the report says so.
"""

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

__all__ = ["Clocks"]

SOURCE: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset_ns;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("BREEZEBLOCK_CHAOS_CLOCK");
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *offset_ns, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) offset_ns = page;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    if (!failed && offset_ns && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t offset = *offset_ns; /* once: it may change at any instant */
        int64_t ns = at->tv_nsec + offset % 1000000000;
        at->tv_sec += offset / 1000000000;
        if (ns < 0) { ns += 1000000000; at->tv_sec--; }
        if (ns >= 1000000000) { ns -= 1000000000; at->tv_sec++; }
        at->tv_nsec = ns;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
PROOF: Final = "import time; print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())"
PROOF_OFFSET_S: Final = 5000.0
PROOF_SLACK_S: Final = 60.0


class Clocks:
    """The nodes' wall clocks: processes that are started with `library` and a file in `folder`, named after the keeper."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        self.library = library

    @classmethod
    def make(cls, folder: Path) -> "Clocks | None":
        """None where there is no compiler, or where the library does more or less than it should."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return None
        files = folder / "clocks"
        files.mkdir(parents=True)
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(SOURCE, encoding="utf-8")
        built = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"],
            capture_output=True,
            check=False,
        )
        if built.returncode != 0 or not _is_honest(library, files / "proof"):
            return None
        return cls(files, library)

    def set(self, keeper_pid: int, offset_s: float) -> bool:
        """Let the clock of a keeper and its worker be off by so much; False when it has none (any more)."""
        try:
            file = os.open(self.folder / str(keeper_pid), os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            os.pwrite(file, struct.pack("=q", int(offset_s * 1e9)), 0)
        finally:
            os.close(file)
        return True


def _is_honest(library: Path, clock: Path) -> bool:
    """Whether a process with it sees another wall clock, and the same other clocks."""
    clock.write_bytes(struct.pack("=q", int(PROOF_OFFSET_S * 1e9)))
    preloaded = os.environ | {"LD_PRELOAD": str(library), "BREEZEBLOCK_CHAOS_CLOCK": str(clock)}
    done = subprocess.run([sys.executable, "-c", PROOF], env=preloaded, capture_output=True, text=True, check=False)
    clock.unlink()
    if done.returncode != 0:
        return False
    wall, boot, monotonic = (float(word) for word in done.stdout.split())
    off = (
        wall - time.time() - PROOF_OFFSET_S,
        boot - time.clock_gettime(time.CLOCK_BOOTTIME),
        monotonic - time.monotonic(),
    )
    return all(abs(one) < PROOF_SLACK_S for one in off)
