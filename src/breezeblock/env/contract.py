"""What the protocol may ask of the outside world. Two implementations: `env.real` and `testing.virtual`.

Nothing in the protocol, the resources, the work or the drivers reads a clock, draws a number or opens a file but
through these. That is what makes a whole cluster repeatable from one seed.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Time as one machine sees it."""

    def boottime(self) -> float:
        """Seconds on a clock that never jumps and counts suspend (CLOCK_BOOTTIME). Compared on one machine only."""
        ...

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970 UTC: for what users read. The protocol never decides by it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` of boottime pass."""
        ...


class Random(Protocol):
    """Randomness for jitter and choices; ids come from `Ids`."""

    def uniform(self, low: float, high: float) -> float: ...


class Ids(Protocol):
    """Fresh ids."""

    def uuid(self) -> str:
        """A new random UUID, lower case with dashes."""
        ...


@dataclass(frozen=True, slots=True)
class Space:
    """What a filesystem says of itself."""

    total_bytes: int
    free_bytes: int


class Extent(NamedTuple):
    """A run of a file's data, in bytes of the file, and where it lies; None: that says nothing of what it is."""

    start: int
    end: int
    place: int | None


class Guard(Protocol):
    """Asked right before each effect on storage: may this process still touch it?

    `enter` is called in the thread that makes the system call, with nothing between it and the call.
    """

    async def wait_open(self) -> None:
        """Return once storage calls may start (the lease holds). Raises Fenced when that can never be again."""
        ...

    def enter(self) -> AbstractContextManager[bool]:
        """Claim the right to make one storage call: True inside it, or False when the lease ended meanwhile."""
        ...

    def tokens(self) -> dict[str, tuple[int, int]]:
        """Resource id -> (seq, epoch) under which the calls are made. Only checkers and logs look."""
        ...


class Files(Protocol):
    """Files as drivers use them. Paths are absolute. OSError subclasses tell what went wrong, as in the os module.

    All calls are safe to repeat. Reads need no guard; calls that change storage go through `guarded`.
    """

    def guarded(self, guard: Guard) -> "Files":
        """The same files, with every changing call asking `guard` right before its system call."""
        ...

    async def make_folder(self, path: PurePosixPath) -> None:
        """Make a folder, and sync its parent. An existing one is fine; missing parents are FileNotFoundError."""
        ...

    async def list_folder(self, path: PurePosixPath) -> list[str]:
        """Names in a folder, sorted."""
        ...

    async def size(self, path: PurePosixPath) -> int:
        """Length in bytes. FileNotFoundError when there is no such file; IsADirectoryError when it is no file."""
        ...

    async def create(self, path: PurePosixPath, *, size_bytes: int) -> None:
        """Make a sparse file of that length, or leave an existing one that is at least as long; synced with its folder."""
        ...

    async def make_whole(self, part: PurePosixPath, target: PurePosixPath, *, size_bytes: int) -> None:
        """Make `target` a sparse file of zeros of that length, by way of `part` in the same folder; synced with the folder.

        Whole or absent: `target` gets its name when it is complete. One that is there already is left as it is; a `part`
        that is there is begun anew. One call, because creating a volume is what everybody waits for.
        """
        ...

    async def grow(self, path: PurePosixPath, *, size_bytes: int) -> None:
        """Make a file at least `size_bytes` long by a call that cannot shrink it, however late it lands; synced."""
        ...

    async def reflink(self, source: PurePosixPath, target: PurePosixPath) -> bool:
        """Make `target` share all data of `source` (FICLONE). False where the filesystem cannot; nothing is left then."""
        ...

    async def next_data(self, path: PurePosixPath, offset: int) -> tuple[int, int] | None:
        """The first run of data at or after `offset` as (start, end), or None when only holes follow."""
        ...

    async def extents(self, path: PurePosixPath, *, offset: int, length: int) -> list[Extent] | None:
        """Where the data of these bytes lies, in order; what reaches beyond them may be whole. None where nobody can tell.

        While both files are there, the same place at the same offset of two of them is the same data.
        """
        ...

    async def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, length: int) -> int:
        """Copy up to `length` bytes between the same offsets; returns the bytes copied, 0 at the source's end."""
        ...

    async def read_at(self, path: PurePosixPath, *, offset: int, length: int) -> bytes:
        """Bytes from `offset`, fewer at the end of the file."""
        ...

    async def write_at(self, path: PurePosixPath, *, offset: int, data: bytes) -> None:
        """Write inside the file or beyond its end."""
        ...

    async def sync(self, path: PurePosixPath) -> None:
        """Return once the file's data and length would survive a power cut."""
        ...

    async def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Rename within one folder, and sync the folder. FileNotFoundError when `source` is not there."""
        ...

    async def move(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Rename a file between folders of one filesystem, and sync both. One that was moved before is synced again.

        FileNotFoundError when neither is there; FileExistsError when both are: nothing is ever moved over something else.
        """
        ...

    async def plain_size(self, path: PurePosixPath) -> int | None:
        """Length in bytes of a file that is reached by this name alone; None for a link, a folder and whatever else it is.

        FileNotFoundError when there is no such name.
        """
        ...

    async def remove(self, *paths: PurePosixPath) -> None:
        """Remove files of one folder, and sync the folder. Missing ones are fine."""
        ...

    async def space(self, path: PurePosixPath) -> Space:
        """Size and free bytes of the filesystem that holds `path`."""
        ...


class Processes(Protocol):
    """Other processes of this machine."""

    async def kill_holders(self, lock_path: str, lock_id: str) -> bool:
        """Kill -9 every process that holds `lock_path` open and wait for its end.

        True is proof that none is left and none of its system calls is under way: the exclusive lock on the file was
        obtained and the file still names `lock_id`. False: no proof (no such file here, another id, or somebody we
        cannot see or kill holds it).
        """
        ...

    async def nobody_holds(self, lock_path: str, lock_id: str) -> bool:
        """The same proof without killing anyone."""
        ...


class Threads(Protocol):
    """Where plain blocking functions run."""

    async def run(self, f: Callable[[], T]) -> T:
        """Run `f` beside the event loop and return what it returns. In simulation: inline."""
        ...


class Env(Protocol):
    """One process's view of the world."""

    @property
    def clock(self) -> Clock: ...
    @property
    def random(self) -> Random: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def files(self) -> Files: ...
    @property
    def processes(self) -> Processes: ...
    @property
    def threads(self) -> Threads: ...


Sleep = Callable[[float], Awaitable[None]]
