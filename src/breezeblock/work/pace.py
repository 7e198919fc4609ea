"""How far a backup or a restore is and how fast it goes, told in the operation's state (`resources/progress.py`)."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from breezeblock.backup.contract import Source
from breezeblock.backup.engine import SEGMENT_BYTES
from breezeblock.backup.shares import stop
from breezeblock.resources.progress import TOLD
from breezeblock.work.tools import CopyProgress, Working

T = TypeVar("T")

# Where no checkpoint comes by itself for so long, one is saved that tells how far it is. It also finds out whether somebody
# wants the operation to end.
TELL_EVERY_S: Final = 5.0
# A rate of less time than that is chance.
RATED_AFTER_S: Final = 1.0


class Pace:
    """Of one step in one claim, which begins at `start`. Bytes are the volume's: a hole is done as soon as it is passed."""

    def __init__(self, run: Working, total_bytes: int, *, start: int) -> None:
        self._run = run
        self._total = total_bytes
        self._start = start
        self._clock = run.tools.clock
        self._began = self._told_at = self._clock.boottime()

    def told(self, done_bytes: int) -> dict[str, Any]:
        """What to save with a checkpoint. The rate is that since this claim began."""
        now = self._told_at = self._clock.boottime()
        if done_bytes < self._start:  # what an earlier claim had done was not there any more
            self._began, self._start = now, done_bytes
        spent_s = now - self._began
        rate = int((done_bytes - self._start) / spent_s) if spent_s >= RATED_AFTER_S else 0
        return {TOLD: {"done": done_bytes, "total": self._total, "rate": rate}}

    async def while_telling(self, job: Awaitable[T], source: "Passed") -> T:
        """What `job` returns. While it takes long, how far `source` was read is told from time to time.

        The job ends before anything passes on from here: no two save the operation at a time. Raises what the job raises,
        Fenced, Cancelled, HandedBack.
        """
        working = asyncio.ensure_future(job)
        try:
            while not working.done():
                pause_s = max(0.0, self._told_at + TELL_EVERY_S - self._clock.boottime())
                timer = asyncio.ensure_future(self._clock.sleep(pause_s))
                await asyncio.wait((working, timer), return_when=asyncio.FIRST_COMPLETED)
                await stop([timer])
                if not working.done():
                    await self._run.checkpoint(progress=False, **self.told(source.done_bytes))
            return working.result()
        finally:
            await stop([working])


class Passed:
    """A source that knows how far it was read: its segments one after the other, or several at a time.

    `whole`: so many are stored already, the first ones.
    """

    def __init__(self, source: Source, *, whole: int) -> None:
        self._source = source
        self._whole = whole
        self._ends: dict[int, int] = {}

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    @property
    def done_bytes(self) -> int:
        """What is stored, and what was read of the segments after it."""
        return min(self._whole * SEGMENT_BYTES + sum(self._ends.values()), self.size_bytes)

    def pass_over(self, segments: int) -> None:
        """So many are stored by now."""
        self._whole = segments
        for number in [one for one in self._ends if one < segments]:
            del self._ends[number]

    async def next_data(self, offset: int) -> tuple[int, int] | None:
        return await self._source.next_data(offset)

    async def read(self, offset: int, length: int) -> bytes:
        data = await self._source.read(offset, length)
        number = offset // SEGMENT_BYTES
        if number >= self._whole:
            end = offset + len(data) - number * SEGMENT_BYTES
            self._ends[number] = max(end, self._ends.get(number, 0))
        return data


class FillProgress(CopyProgress):
    """Progress of a restore: what is saved is told as well."""

    def __init__(self, run: Working, total_bytes: int) -> None:
        super().__init__(run)
        self._pace = Pace(run, total_bytes, start=self.done_bytes)

    async def save(self, done_bytes: int) -> None:
        """See `CopyProgress`."""
        self._run.state |= self._pace.told(done_bytes)
        await super().save(done_bytes)
