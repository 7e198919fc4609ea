"""What a test sees behind the API: the file driver's files, and the tables."""

import fcntl
import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.service import Service

from breezeblock.chaos.database import Row

GIB: Final = 1024**3
BLOCK: Final = 4096
_NO_DATA: Final = bytes(BLOCK)
_FICLONE: Final = 0x40049409


class Sighting(NamedTuple):
    """An operation at one moment: its claim, and how much of its copy is saved."""

    epoch: int
    owner: str | None
    done_bytes: int
    object_name: str | None


class Storage:
    """The files and tables of one running service."""

    def __init__(self, service: Service) -> None:
        self._data = service.data
        self._database = service.database

    def file_of(self, kind: str, resource_id: str) -> Path:
        """The file that a volume or snapshot is; `kind` is its table."""
        (row,) = self._database.rows(f"SELECT object_name FROM {kind} WHERE id = ?", resource_id)  # noqa: S608
        name = row["object_name"]
        assert name is not None, f"{resource_id} has no object"
        (found,) = self._data.glob(f"volumes/*/{name[:2]}/{name}")
        return found

    def content_of(self, kind: str, resource_id: str) -> str:
        """A digest of its bytes."""
        return digest(self.file_of(kind, resource_id))

    def operation_on(self, resource_id: str) -> Sighting | None:
        """The operation that is under way on a resource."""
        found = self._database.rows(
            "SELECT epoch, owner, state_json FROM operations WHERE resource_id = ?", resource_id
        )
        if not found:
            return None
        (row,) = found
        state = json.loads(row["state_json"])
        return Sighting(row["epoch"], row["owner"], state.get("done_bytes") or 0, state.get("object"))

    def latest_end(self, resource_id: str) -> Row:
        """What the log says of the operation on a resource that ended last."""
        query = "SELECT * FROM operation_log WHERE resource_id = ? ORDER BY finished_at_us DESC LIMIT 1"
        (row,) = self._database.rows(query, resource_id)
        return row

    def worker_of(self, incarnation: str) -> int:
        """The process that runs an owner's operations."""
        (row,) = self._database.rows("SELECT worker_pid FROM nodes WHERE incarnation = ?", incarnation)
        return int(row["worker_pid"])

    def shares_blocks(self) -> bool:
        """Whether a copy costs nothing on this filesystem; then there is no middle of a copy."""
        one, other = (self._data / f"volumes/{name}" for name in ("reflink-source", "reflink-target"))
        one.write_bytes(_NO_DATA)
        try:
            with one.open("rb") as source, other.open("wb") as target:
                fcntl.ioctl(target, _FICLONE, source.fileno())
        except OSError:
            return False
        else:
            return True
        finally:
            one.unlink()
            other.unlink()


def fill(path: Path, numbers: random.Random, *, offset: int, length: int) -> None:
    """Write bytes of chance into a volume, as an attached machine would."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(numbers.randbytes(length))
        file.flush()
        os.fsync(file.fileno())


def digest(path: Path) -> str:
    """Of every block that is not zeros, and where it is: the same for a file with holes and one without."""
    found = hashlib.blake2b()
    with path.open("rb") as file:
        for offset, block in _blocks(file.fileno()):
            if block != _NO_DATA[: len(block)]:
                found.update(offset.to_bytes(8) + block)
    return found.hexdigest()


def _blocks(file: int) -> Iterator[tuple[int, bytes]]:
    end = 0
    while True:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole until the end
            return
        end = os.lseek(file, start, os.SEEK_HOLE)
        for offset in range(start - start % BLOCK, end, BLOCK):
            yield offset, os.pread(file, BLOCK, offset)
