"""Somewhere to keep a backend, whatever is below it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.drivers.guards import FakeClock

from breezeblock.drivers.contract import ObjectName, Pieces
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Clock, Files
from breezeblock.env.real import RealIds

MIB = 1 << 20


@dataclass(frozen=True)
class Place:
    """Somewhere to keep a backend. `root` is not there yet; its parent is."""

    files: Files
    root: PurePosixPath

    def driver(self, *, files: Files | None = None, clock: Clock | None = None, rate: int = 0) -> FileDriver:
        return FileDriver(
            files or self.files,
            name="fast",
            path=self.root,
            clock=clock or FakeClock(),
            ids=RealIds(),
            copy_rate_limit_bytes_per_s=rate,
        )

    def path(self, name: ObjectName) -> PurePosixPath:
        return self.root / name.resource_id[:2] / str(name)

    def part(self, name: ObjectName) -> PurePosixPath:
        return self.root / name.resource_id[:2] / f"{name}.part"


def pieces_of(*all_of_them: tuple[int, bytes]) -> Pieces:
    """These pieces, from any offset on."""

    async def pieces(start: int) -> AsyncGenerator[tuple[int, bytes], None]:
        for offset, data in all_of_them:
            if offset + len(data) > start:
                skipped = max(0, start - offset)
                yield offset + skipped, data[skipped:]

    return pieces
