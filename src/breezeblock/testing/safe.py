"""Where a simulation keeps its backups: one store, how each process writes archives in it, and what they hold in the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

from breezeblock.backup.engine import Archive, Options, Shares
from breezeblock.env.contract import Env
from breezeblock.protocol import archives
from breezeblock.testing.contents import Blocks
from breezeblock.testing.loop import Process
from breezeblock.testing.memory_files import BLOCK, EMPTY
from breezeblock.testing.objects import Far, Shelf, Weather
from breezeblock.testing.themes import Theme
from breezeblock.work import archives as work
from breezeblock.work.archives import Archives

__all__ = ["STORE", "Safe"]

STORE: Final = "safe"
# For how long an archive asks a store again that does not answer, before the operation does.
PATIENCE_S: Final = (1.0, 20.0)
MASTER_KEY: Final = bytes(range(32))


class Safe:
    """The store, and how this run uses it. It outlives everybody."""

    def __init__(self, random: Random, theme: Theme) -> None:
        self.shelf = Shelf()
        self._pack_bytes = random.choice(theme.pack_bytes)
        self._patience_s = random.choice(PATIENCE_S)
        self._key = random.choice((None, MASTER_KEY))
        self._collect_after_s = random.choice(theme.collect_after_s)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """While inside, archives are looked through as soon as this run wants it."""
        real = archives.COLLECT_AFTER_US
        archives.COLLECT_AFTER_US = int(self._collect_after_s * 1_000_000)  # type: ignore[misc]
        try:
            yield
        finally:
            archives.COLLECT_AFTER_US = real  # type: ignore[misc]

    def archives(self, process: Process, env: Env, weather: Weather) -> Archives:
        """What a worker has."""
        far = work.Shelf(
            objects=Far(self.shelf, process, weather),
            shares=Shares(env.clock),
            level=1,
            read_key=lambda: self._key,
            pack_bytes=self._pack_bytes,
            patience_s=self._patience_s,
        )
        return Archives({STORE: far}, env, None)

    def at_rest(self, archive_id: str, env: Env) -> Archive:
        """An archive as whoever looks in the end reads it: from the store alone, with no faults on the way."""
        options = Options(shares=Shares(env.clock), master_key=self._key)
        return Archive(store=self.shelf, archive_id=archive_id, env=env, options=options, cache_folder=None)

    async def read_whole(self, archive_id: str, manifest: str, env: Env) -> Blocks:
        """All that a backup has but its zeros, every block of it checked. Raises Damaged, StoreRefused."""
        archive = self.at_rest(archive_id, env)
        await archive.open(begin=False)
        blocks: dict[int, bytes] = {}
        async for start, data in archive.pieces(await archive.read_manifest(manifest)):
            for at in range(0, len(data), BLOCK):
                block = bytes(data[at : at + BLOCK])
                if block != EMPTY:
                    blocks[(start + at) // BLOCK] = block.ljust(BLOCK, b"\0")
        return blocks
