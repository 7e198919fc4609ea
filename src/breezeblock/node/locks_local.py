"""Locks of one machine: a line among the tasks of this process, and a file lock against other processes.

Among processes there is no line: who finds the file free has it. A dead process holds nothing, a stopped one what it held.
"""

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog

from breezeblock.env.contract import Env
from breezeblock.model.errors import BackendFailed
from breezeblock.node.locks import Holds, Lines, Names, always
from breezeblock.protocol.driver_locks import key_of
from breezeblock.protocol.queue import Claim

__all__ = ["LocalLocks"]

log = structlog.get_logger(__name__)

# Between two looks at a file that another process has locked.
PAUSE_FIRST_S: Final = 0.005
PAUSE_MOST_S: Final = 0.25


class Taken(Protocol):
    """A file lock that is held."""

    def release(self) -> None: ...


class Files(Protocol):
    """What this needs of the machine; `env.host_locks.HostLocks` is it."""

    def try_take(self, key: str, *, shared: bool) -> Taken | None: ...


class LocalLocks:
    """Implements `LockSpace` in one scope on one machine."""

    def __init__(self, env: Env, files: Files, *, backend: str, scope: str) -> None:
        self._env = env
        self._files = files
        self._backend = backend
        self._scope = scope
        self._lines = Lines(env.clock)

    @asynccontextmanager
    async def hold(
        self, names: Names, *, shared: bool, claim: Claim, check: Callable[[], None]
    ) -> AsyncIterator[Holds]:
        """See `LockSpace`."""
        keys = frozenset(key_of(self._scope, claim.target, name) for name in names)
        async with self._lines.stand(keys, shared=shared, check=check):
            taken: list[Taken] = []
            try:
                # One order in all processes: nobody waits for a file while it holds one that the other needs first.
                for key in sorted(keys):
                    await self._take(key, taken, shared=shared, check=check)
                yield always
            finally:
                await self._release(taken)

    async def sweep(self) -> None:
        """See `LockSpace`: the kernel does it."""

    def wake(self) -> None:
        """See `LockSpace`: nobody rings for a file."""

    async def _take(self, key: str, taken: list[Taken], *, shared: bool, check: Callable[[], None]) -> None:
        pause_s = PAUSE_FIRST_S
        while not await self._env.threads.run(functools.partial(self._try, key, taken, shared=shared)):
            await self._env.clock.sleep(self._env.random.uniform(pause_s / 2, pause_s))
            pause_s = min(pause_s * 2, PAUSE_MOST_S)
            check()

    def _try(self, key: str, taken: list[Taken], *, shared: bool) -> bool:
        """In a thread. What is taken is noted here, and not returned: a caller who is cancelled would not see it."""
        try:
            got = self._files.try_take(key, shared=shared)
        except OSError as error:
            raise BackendFailed(f"Backend {self._backend} cannot use its locks: {error.strerror}.") from error
        if got is not None:
            taken.append(got)
        return got is not None

    async def _release(self, taken: list[Taken]) -> None:
        def let_go() -> None:
            while taken:
                try:
                    taken.pop().release()
                except OSError as error:  # its file is closed, so it is free; only the file's name stays behind
                    log.warning("lock.file_left", backend=self._backend, reason=error.strerror)

        try:
            await self._env.threads.run(let_go)
        finally:
            let_go()  # when we are cancelled before a thread was free for it
