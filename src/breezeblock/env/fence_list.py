"""Storage that refuses clients: a list beside a folder of files, asked right around every single effect.

Each client has a file of its own. An effect is made while its client's file is locked shared, after it was found empty; to
refuse a client is to write into its file while it is locked exclusively. So every effect is over before the refusal, or meets
it: there is no instant between the look and the system call in which a refusal could slip in, whatever is stopped or killed
there, since the kernel holds the lock until the call has returned. Who is stopped inside that lock keeps the refusal waiting,
and so the fence fails for as long; a storage of its own would not.

It holds back only who asks it, and one machine's kernel keeps the locks. So it is for chaos runs, in which a storage fence
has to be tried on real processes (`driver = "fenced_file"`), and nothing to keep volumes on.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["REFUSED", "Effect", "FenceList"]

# No call on files fails with it by itself, so it tells in every record who was refused here.
REFUSED: Final = errno.EKEYREJECTED
FILE_MODE: Final = 0o600
LOOK_EVERY_S: Final = 0.01
# Effects take milliseconds. One that lasts so long was stopped inside.
GIVE_UP_AFTER_S: Final = 10.0

Tokens = Mapping[str, tuple[int, int]]


class Effect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line about an effect: that it begins, has ended, or was refused. `boot_s` is CLOCK_BOOTTIME."""

    number: int
    boot_s: float
    tokens: Tokens = {}
    ended: bool = False
    refused: bool = False


class FenceList:
    """The list of one backend as one process has it.

    `note` takes a line about every effect, in one write. `pause_s` is how long a request is on its way to the storage: after
    its sender last looked whether it may, and before the storage does.
    """

    def __init__(self, folder: Path, *, note: Callable[[bytes], object] | None = None, pause_s: float = 0.0) -> None:
        self._folder = folder
        self._note = note
        self._pause_s = pause_s
        self._numbers = count()

    @contextmanager
    def effect(self, client: str, tokens: Tokens) -> Iterator[None]:
        """Around one effect of a client. OSError with REFUSED, and no effect, when it is on the list."""
        if self._pause_s:
            time.sleep(self._pause_s)
        number = next(self._numbers)
        with self._locked(client, fcntl.LOCK_SH) as file:
            if os.fstat(file).st_size:
                self._tell(Effect(number=number, boot_s=_now(), tokens=tokens, refused=True))
                raise OSError(REFUSED, os.strerror(REFUSED))
            self._tell(Effect(number=number, boot_s=_now(), tokens=tokens))
            try:
                yield
            finally:
                self._tell(Effect(number=number, boot_s=_now(), ended=True))

    def refuse(self, client: str) -> None:
        """From the return of this on, no effect of the client is under way, and none will be. OSError when that is not sure."""
        until = _now() + GIVE_UP_AFTER_S
        while _now() < until:
            try:
                with self._locked(client, fcntl.LOCK_EX | fcntl.LOCK_NB) as file:
                    os.pwrite(file, b"refused\n", 0)
                    os.fsync(file)
                return
            except BlockingIOError:
                time.sleep(LOOK_EVERY_S)
        raise OSError(errno.EBUSY, "a call of the node does not come to its end")

    def forget(self) -> None:
        """Let everybody in again, as no storage may: for the test that shows what comes of it."""
        for path in self._folder.iterdir():
            os.truncate(path, 0)

    @contextmanager
    def _locked(self, client: str, how: int) -> Iterator[int]:
        """By a descriptor of its own: threads that shared one would share its lock, and the first would drop it for all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        assert client and "/" not in client, f"not a client's name: {client!r}"
        file = os.open(self._folder / client, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(file, how)
            yield file
        finally:
            os.close(file)

    def _tell(self, line: Effect) -> None:
        if self._note is not None:
            self._note(msgspec.json.encode(line) + b"\n")


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
