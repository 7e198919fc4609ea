"""*Data*: what every volume and snapshot must hold, as a model beside the storage, and whole objects compared with it.

A guest writes short pieces at many places, so that a copy has several pieces with holes between them. What nobody wrote must
read as zeros. After a revert that did not come to its end a volume is what it was or what the snapshot is, never a mixture:
it may be either, until it is looked at.
"""

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from random import Random
from typing import Any, Final

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file import PART, PIECE_BYTES
from breezeblock.testing.memory_files import BLOCK, EMPTY, MemoryFiles, Tokens

__all__ = ["Blocks", "Contents", "Resumed", "draw_places", "mark", "read_whole"]

GIB: Final = 1 << 30
MARK_BYTES: Final = 64
# What begins at those is copied in a piece of its own, and between most of them a copy saves how far it is. One crosses the
# border of two pieces.
PLACES: Final = (0, PIECE_BYTES, 2 * PIECE_BYTES - 32, *(number * PIECE_BYTES for number in (8, 9, 24, 64, 127)))
PLACES_MOST: Final = 5
UNWRITTEN: Final[Mapping[int, bytes]] = {}

# What makes a volume another thing's content, and what its payload calls that.
REPLACES: Final = {"revert_volume": "snapshot_id", "restore_backup": "backup_id"}

# What makes something on storage a resource, and what its payload calls that.
MANAGES: Final = {"manage_volume": "volume_id", "manage_snapshot": "snapshot_id"}

# Block number -> what is in it; blocks of zeros are not there.
Blocks = Mapping[int, bytes]


def draw_places(random: Random, *, size_gib: int) -> list[int]:
    """Where a guest writes next: some of the places, and now and then the very end of the volume."""
    places = random.sample(PLACES, random.randint(1, PLACES_MOST))
    return [*places, size_gib * GIB - MARK_BYTES] if random.random() < 0.3 else places


def mark(number: int, resource: str, place: int) -> bytes:
    """What a guest writes: no two of them are alike."""
    return f"{number} of {resource} at {place >> 12:x}".encode().ljust(MARK_BYTES)


async def read_whole(disk: MemoryFiles, path: PurePosixPath) -> Blocks:
    """All of a file but its zeros. Raises FileNotFoundError."""
    blocks: dict[int, bytes] = {}
    offset = 0
    while (run := await disk.next_data(path, offset)) is not None:
        start, offset = run
        data = await disk.read_at(path, offset=start, length=offset - start)
        for at in range(0, len(data), BLOCK):
            block = data[at : at + BLOCK].ljust(BLOCK, b"\0")
            if block != EMPTY:
                blocks[(start + at) // BLOCK] = block
    return blocks


class Contents:
    """What resources may hold: one content each, but for what a revert that failed left open."""

    def __init__(self) -> None:
        self._may: dict[str, tuple[Blocks, ...]] = {}
        self._grown: set[str] = set()

    def enqueued(self, kind: str, payload: Mapping[str, Any]) -> None:
        """A new resource is what its source is now: from here to the end of the copy nobody may change that."""
        if kind == "create_volume":
            self._make(payload["volume_id"], payload.get("source_id"))
        elif kind == "create_snapshot":
            self._make(payload["snapshot_id"], payload["volume_id"])
        elif kind == "create_backup":
            self._make(payload["backup_id"], payload["snapshot_id"] or payload["volume_id"])
        elif kind in ("create_group_snapshot", "create_group_from_source"):
            for part in payload["parts"]:
                self._make(part["id"], part["source_id"])
        elif kind == "create_from_backup":
            self._make(payload["volume_id"], payload["backup_id"])
        elif kind in MANAGES:
            # What was let go is called after what it was.
            self._make(payload[MANAGES[kind]], payload["reference"].partition("-")[2])

    def _make(self, made: str, source: str | None) -> None:
        self._may[made] = (UNWRITTEN,) if source is None else self._may.get(source, ())
        if source in self._grown:
            self._grown.add(made)

    def ended(self, kind: str, payload: Mapping[str, Any], *, outcome: str) -> None:
        """An operation has ended, and may have changed what its resource holds."""
        if kind in REPLACES:
            volume, source = payload["volume_id"], payload[REPLACES[kind]]
            before = () if outcome == "done" else self._may.get(volume, ())
            self._may[volume] = before + self._may.get(source, ())
        elif kind == "extend_volume" and outcome != "done":
            self._grown.add(payload["volume_id"])

    def wrote(self, resource: str, offset: int, data: bytes) -> None:
        """Somebody wrote to an attached volume."""
        self._may[resource] = tuple(_written(blocks, offset, data) for blocks in self._may[resource])

    def knows(self, resource: str) -> bool:
        """Whether anything was ever said of what it holds."""
        return bool(self._may.get(resource))

    def judge(self, resource: str, found: Blocks) -> str | None:
        """What is wrong with what was found in a resource; None if it may hold that. From now on it must hold just that."""
        may = self._may[resource]
        if found in may:
            self._may[resource] = (found,)
            return None
        return "holds " + ", nor ".join(_difference(found, wanted) for wanted in may)

    def may_be_larger(self, resource: str) -> bool:
        """Whether its object may be larger than its row says: an extend failed, and nothing ever shrinks an object."""
        return resource in self._grown


def _written(blocks: Blocks, offset: int, data: bytes) -> Blocks:
    after = dict(blocks)
    for at in range(offset, offset + len(data)):
        if at == offset or at % BLOCK == 0:
            inside = at % BLOCK
            piece = data[at - offset : at - offset + BLOCK - inside]
            old = after.get(at // BLOCK, EMPTY)
            after[at // BLOCK] = old[:inside] + piece + old[inside + len(piece) :]
    return after


def _difference(found: Blocks, wanted: Blocks) -> str:
    """The first block in which they differ."""
    first = next(n for n in sorted(found.keys() | wanted.keys()) if found.get(n) != wanted.get(n))
    at = f"in block {first} of {len(found)} with data"
    return f"{_shown(found.get(first))} {at}, not {_shown(wanted.get(first))}"


def _shown(block: bytes | None) -> str:
    return "zeros" if block is None else repr(block.strip(b"\0")[:MARK_BYTES])


class Resumed:
    """Finds copies that went on from a checkpoint: a piece was added to what an earlier claim had left."""

    def __init__(self, told: Callable[[str, str], None]) -> None:
        """`told` is called with the resource and the name of the file in question."""
        self._told = told
        self._pieces: dict[PurePosixPath, int] = {}

    def on_effect(self, call: str, path: PurePosixPath, tokens: Tokens) -> None:
        """Something landed on storage. A copy that is begun anew removes what is there first."""
        if not path.name.endswith(PART):
            return
        if call in ("remove", "rename"):
            self._pieces.pop(path, None)
        elif call == "copy_range" and tokens:
            resource = ObjectName.parse(path.name.removesuffix(PART)).resource_id
            _, epoch = tokens[resource]
            if self._pieces.get(path, epoch) < epoch:
                self._told(resource, path.name)
            self._pieces[path] = epoch
