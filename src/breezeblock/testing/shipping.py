"""How the storage calls of one simulated process reach the storage, and what may become of them on the way."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, TypeVar

from breezeblock.testing.faults import Faults
from breezeblock.testing.loop import Process
from breezeblock.testing.memory_files import Change, MemoryFiles, Tokens
from breezeblock.testing.virtual import LockFiles, VirtualClock

__all__ = ["Shipping"]

T = TypeVar("T")
# What calls fail with by a fault, and by nothing else.
FAULTS: Final = (errno.EIO, errno.ENOSPC)


@dataclass(frozen=True)
class Shipping:
    """The hooks of one process's view of the disk (`MemoryFiles.view`)."""

    process: Process
    faults: Faults
    locks: LockFiles
    lock_path: str
    """The lock file that it holds: a call under way counts as holding it."""
    refuses: Callable[[str], bool]
    """Whether a backend's storage refuses this process."""
    stop_node: Callable[[float], None]
    on_use: Callable[[], None]
    """A call of any kind begins."""
    on_guarded: Callable[[str, PurePosixPath], None]
    """A changing call begins whose guard has just said yes."""
    on_fault: Callable[[], None]
    """A call fails by a fault in the middle of what its caller does: not because the storage refuses this process, nor because
    the call asked for what is not there, or came to a side of an array that is not in use."""
    on_effect: Callable[[Process, str, PurePosixPath, Tokens], None]

    def view(self, disk: MemoryFiles) -> MemoryFiles:
        """The disk as the process has it."""
        return disk.view(before=self._before, stalled=self._stalled, ship=self._ship, effect=self._effect)

    async def _before(self, call: str, path: PurePosixPath, changes: bool) -> None:
        self.on_use()
        with self._telling():
            await self.faults.before_storage(self.process, call, path, changes)

    async def _stalled(self, call: str, path: PurePosixPath, guarded: bool) -> None:
        if guarded:
            self.on_guarded(call, path)
        await self.faults.right_before_effect(self.stop_node)

    async def _ship(self, call: str, effect: Change[T], path: PurePosixPath) -> T:
        with self._telling():
            return await self._send(call, effect, path)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FAULTS:
                self.on_fault()
            raise

    async def _send(self, call: str, effect: Change[T], path: PurePosixPath) -> T:
        later_s, machine = self.faults.late_s(self.process), self.process.machine
        boot_id = machine.boot_id if machine is not None else ""
        if later_s == 0.0:
            return self._land(call, effect, path)
        # In nobody's context: a write that is on its way lands, whatever becomes of its process.
        way = asyncio.get_running_loop().create_task(
            self._arrive(call, effect, path, later_s, boot_id), context=Context()
        )
        way.add_done_callback(lambda done: done.exception(), context=Context())
        return await asyncio.shield(way)

    async def _arrive(self, call: str, effect: Change[T], path: PurePosixPath, later_s: float, boot_id: str) -> T:
        self.locks.count_call(self.lock_path, 1)
        try:
            await VirtualClock().sleep(later_s)
            if self.process.machine is not None and self.process.machine.boot_id != boot_id:
                raise OSError(errno.EIO, "its machine was booted meanwhile")
            return self._land(call, effect, path)
        finally:
            self.locks.count_call(self.lock_path, -1)

    def _land(self, call: str, effect: Change[T], path: PurePosixPath) -> T:
        if self.refuses(path.parts[1]):  # asked at the very instant of the effect, as storage does
            raise OSError(errno.EACCES, "this client is fenced")
        share, error = self.faults.fate_of_effect(self.process, call, path)
        result = effect(share)
        if error is not None:
            raise error
        return result

    def _effect(self, call: str, path: PurePosixPath, tokens: Tokens) -> None:
        self.on_effect(self.process, call, path, tokens)
