"""Restores of damaged backups: what cannot be read is left out, and every byte of that is told, whoever dies meanwhile."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec

from breezeblock.backup.engine import Archive, Damage, Manifest
from breezeblock.backup.lost import Losses
from breezeblock.resources.restores import LOST
from breezeblock.work.archives import metered
from breezeblock.work.pace import FillProgress
from breezeblock.work.tools import Working

# What the reader has told of behind what is saved as done. Whoever goes on is told of it anew.
_AHEAD: Final = "lost_ahead"


class Gaps(FillProgress):
    """Progress of a restore that leaves out what is damaged. Both are saved together, so they say the same.

    What was damaged before `done_bytes` is in the state for good. What is behind that belongs to this attempt alone: data that
    could not be read once may be there when it is read again.
    """

    def __init__(self, run: Working, archive: Archive, manifest: Manifest) -> None:
        super().__init__(run, manifest.header.size_bytes)
        self._archive = archive
        self._manifest = manifest
        self._losses = msgspec.convert(run.state.get(LOST, {}), Losses)
        self._ahead = [msgspec.convert(one, Damage) for one in run.state.get(_AHEAD, ())]

    async def pieces(self, start: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """All that can be read from byte `start` on, as a driver wants it."""
        self._ahead = []
        if start == 0:
            self._losses = Losses()
        reading = metered(self._run, self._archive.pieces(self._manifest, start=start, on_damage=self._found))
        async with aclosing(reading):
            async for piece in reading:
                yield piece
        # The driver may finish the object now, and whoever comes after that reads nothing any more.
        self._note()
        await self._run.checkpoint(progress=False)

    def _found(self, damage: Damage) -> None:
        self._ahead.append(damage)

    async def save(self, done_bytes: int) -> None:
        """See `FillProgress`."""
        self._pass(done_bytes)
        await super().save(done_bytes)

    def end(self) -> None:
        """The object is whole: all that was told of is lost."""
        self._pass(None)

    def _pass(self, done_bytes: int | None) -> None:
        """Keep what lies before that byte, or all of it."""
        left: list[Damage] = []
        for damage in self._ahead:
            if done_bytes is None or damage.end <= done_bytes:
                self._losses.add(damage)
            else:
                left.append(damage)
        self._ahead = left
        self._note()

    def _note(self) -> None:
        changes: dict[str, Any] = {LOST: self._losses, _AHEAD: self._ahead}
        self._run.state |= {key: msgspec.to_builtins(value) for key, value in changes.items()}
