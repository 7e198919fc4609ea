"""Copying no faster than an operator wants."""

from typing import Final

from breezeblock.env.contract import Clock

__all__ = ["BLOCK_BYTES", "Pace"]

# Filesystems copy, and cut a copy short, at multiples of it.
BLOCK_BYTES: Final = 4096


class Pace:
    """Spreads copied bytes over time: each piece waits until those before it are paid for."""

    def __init__(self, clock: Clock, bytes_per_s: int) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._free_at = clock.boottime()

    def piece(self, length: int) -> int:
        """How much of `length` to copy at once: about a second's worth in whole blocks, so that a slow pace is even."""
        return min(length, max(self._bytes_per_s // BLOCK_BYTES, 1) * BLOCK_BYTES) if self._bytes_per_s else length

    async def wait_for(self, length: int) -> None:
        """Wait for one's turn. It is booked before the wait, so that copies side by side share the rate."""
        if not self._bytes_per_s:
            return
        now = self._clock.boottime()
        turn = max(now, self._free_at)
        self._free_at = turn + length / self._bytes_per_s
        if turn > now:
            await self._clock.sleep(turn - now)
