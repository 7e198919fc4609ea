"""How many requests were answered, and how fast: counted in memory that the API processes of one machine share.

They answer on one socket, so whoever is asked for metrics must know what all of them have counted, or each answer would be
another process's, and no counter would rise steadily. `up` makes one nameless file in memory for each place of an API process
and gives all of them to each process. A process counts in its own and adds up all; who follows a dead one at its place
counts on. So nothing is lost by a kill, nothing is on a disk that may be full, and nothing is left when `up` ends.

Every cell is an aligned 8-byte word with one writer: no lock, and no cell is read half-written. Where each lies follows from
the table of routes. A process of another release has another table; a number at the beginning tells, and what it counted is
left out until all processes are of one release.
"""

import mmap
import os
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

# Upper bounds in seconds; what took longer has a bucket without one.
BUCKETS_S: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Those this API answers with; any other is counted as 0.
STATUSES: Final = (0, 200, 201, 202, 204, 300, 400, 401, 403, 404, 405, 406, 409, 413, 415, 429, 500, 501, 503)
# What matches no route, so that a scanner's URLs make no series of their own.
UNKNOWN: Final = ("any", "unknown")

_WORD: Final = 8
# For one route and status: a count for each bucket and the one beyond, then the sum of seconds.
_COUNTS: Final = len(BUCKETS_S) + 1
_CELLS: Final = _COUNTS + 1
_STATUS_AT: Final = {status: number for number, status in enumerate(STATUSES)}


class Answered(NamedTuple):
    """Requests of one kind with one status: how many in each bucket of time, and their seconds together."""

    method: str
    route: str
    status: int
    buckets: tuple[int, ...]
    seconds: float


class RequestCounts:
    """What this process counts, and what all have counted. Without files it is the only one."""

    def __init__(self, files: Sequence[int] = (), *, place: int = 0) -> None:
        self._files = list(files) or [os.memfd_create("breezeblock-requests")]
        self._place = place
        self._pages: dict[int, _Page] = {}

    def begin(self, kinds: Sequence[tuple[str, str]]) -> None:
        """Before the first request: method and route of everything that is served."""
        self._kinds = (UNKNOWN, *kinds)
        self._number = {kind: number for number, kind in enumerate(self._kinds)}
        self._size = (1 + len(self._kinds) * len(STATUSES) * _CELLS) * _WORD
        self._layout = zlib.crc32(repr((self._kinds, STATUSES, BUCKETS_S)).encode()) + 1
        own = self._files[self._place]
        if os.fstat(own).st_size < self._size:
            # All of it now: memory that runs out later would end the process. Never shorter: others may look at it.
            os.posix_fallocate(own, 0, self._size)
        self._own = self._pages[own] = _Page(own, self._size)
        if self._own.layout != self._layout:
            self._own.begin_anew(self._layout)

    def add(self, kind: tuple[str, str] | None, status: int, seconds: float) -> None:
        """Count one answered request; None is one that was for no route."""
        number = self._number[kind or UNKNOWN]
        at = 1 + (number * len(STATUSES) + _STATUS_AT.get(status, 0)) * _CELLS
        self._own.counts[at + bisect_left(BUCKETS_S, seconds)] += 1
        self._own.seconds[at + _COUNTS] += seconds

    def total(self) -> Iterator[Answered]:
        """What all processes have counted together; kinds of requests that never came are left out."""
        pages = self._readable()
        for number, (method, route) in enumerate(self._kinds):
            for status_number, status in enumerate(STATUSES):
                at = 1 + (number * len(STATUSES) + status_number) * _CELLS
                cells = [page.counts[at : at + _COUNTS].tolist() for page in pages]
                buckets = tuple(map(sum, zip(*cells, strict=True)))
                if any(buckets):
                    yield Answered(method, route, status, buckets, sum(page.seconds[at + _COUNTS] for page in pages))

    def _readable(self) -> "list[_Page]":
        for file in self._files:
            if file not in self._pages and os.fstat(file).st_size >= self._size:
                self._pages[file] = _Page(file, self._size)
        return [page for page in self._pages.values() if page.layout == self._layout]


class _Page:
    """One file, seen as words: whole numbers or floats, whichever a cell is."""

    def __init__(self, file: int, size: int) -> None:
        self._memory = memoryview(mmap.mmap(file, size))
        self.counts = self._memory.cast("Q")
        self.seconds = self._memory.cast("d")

    @property
    def layout(self) -> int:
        return self.counts[0]

    def begin_anew(self, layout: int) -> None:
        self.counts[0] = 0  # nobody adds it up meanwhile
        self._memory[_WORD:] = bytes(len(self._memory) - _WORD)
        self.counts[0] = layout
