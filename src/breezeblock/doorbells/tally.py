"""Counting rings, in memory that `up` shares among the processes of one machine: who is asked for metrics knows them all.

`up` makes one nameless file in memory for each process and gives it to all that follow at its place, so nothing is lost by a
kill. Every word has one writer and is never read half-written.
"""

import mmap
import os
from typing import Final, NamedTuple

BELL, LISTENER = "bell", "listener"
SIZE: Final = 4096
WHAT: Final = ("sent", "failed", "received")
# Where each end says whether it is connected; 0 is an end that there is not.
_STATE_AT: Final = {BELL: len(WHAT), LISTENER: len(WHAT) + 1}
_LOST, _CONNECTED = 1, 2


class Counted(NamedTuple):
    """What one process has counted. `connected` is about all of its ends; None is of a process that has none yet."""

    rings: dict[str, int]
    connected: bool | None


class Rings:
    """One end's count. Implements `contract.Tally`. Without a file it counts for itself."""

    def __init__(self, file: int = -1, *, end: str = BELL) -> None:
        self._words = _words_of(os.memfd_create("breezeblock-rings") if file < 0 else file)
        self._state_at = _STATE_AT[end]
        self._words[self._state_at] = _LOST

    @property
    def counts(self) -> dict[str, int]:
        """What was counted, by both ends where they share a file."""
        return _counted(self._words).rings

    def sent(self, rings: int) -> None:
        """See `contract.Tally`."""
        self._words[0] += rings

    def failed(self, rings: int) -> None:
        """See `contract.Tally`."""
        self._words[1] += rings

    def received(self, rings: int) -> None:
        """See `contract.Tally`."""
        self._words[2] += rings

    def connected(self, connected: bool) -> None:
        """See `contract.Tally`."""
        self._words[self._state_at] = _CONNECTED if connected else _LOST


def counted_in(file: int) -> Counted:
    """What the process with this file has counted."""
    return _counted(_words_of(file))


def _words_of(file: int) -> "memoryview[int]":
    if os.fstat(file).st_size < SIZE:
        os.posix_fallocate(file, 0, SIZE)  # all of it now: memory that runs out later would end the process
    return memoryview(mmap.mmap(file, SIZE)).cast("Q")


def _counted(words: "memoryview[int]") -> Counted:
    states = [words[at] for at in _STATE_AT.values() if words[at]]
    return Counted(
        dict(zip(WHAT, words, strict=False)), all(state == _CONNECTED for state in states) if states else None
    )
