"""The file driver on storage that can refuse a node (`env/fence_list.py`), for chaos runs: not to keep volumes on.

It is the same driver; only its guards ask the storage after they have asked the lease. So a request that left while the
lease was good, and arrives when somebody else has taken the work over, is refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from breezeblock.drivers.contract import Driver, FenceScope
from breezeblock.drivers.file import FileDriver
from breezeblock.env.contract import Guard, Threads
from breezeblock.env.fence_list import FenceList
from breezeblock.model.errors import BackendFailed

__all__ = ["FencedFileDriver"]

CLIENT: Final = "client"


class FencedFileDriver(FileDriver):
    """`client` is what the storage knows this process by: its incarnation, or nothing where it only looks."""

    def __init__(self, *given: Any, fence_list: FenceList, client: str, threads: Threads, **named: Any) -> None:
        super().__init__(*given, **named)
        self._fence_list = fence_list
        self._client = client
        self._threads = threads
        self._capabilities = replace(self._capabilities, fence=FenceScope.STORAGE)

    def bind(self, guard: Guard) -> Driver:
        return super().bind(_Asking(guard, self._fence_list, self._client))

    def identity(self) -> Mapping[str, str]:
        return {CLIENT: self._client}

    async def fence(self, identity: Mapping[str, str]) -> None:
        client = identity.get(CLIENT)
        if not client:
            raise BackendFailed(f"Backend {self._name} cannot fence: it is not recorded what it knows the node by.")
        try:
            await self._threads.run(lambda: self._fence_list.refuse(client))
        except OSError as error:
            raise BackendFailed(f"Backend {self._name} cannot fence: {error.strerror}.") from error


class _Asking:
    """A guard that lets a call go when the lease holds and the storage takes it."""

    def __init__(self, guard: Guard, fence_list: FenceList, client: str) -> None:
        self._guard = guard
        self._fence_list = fence_list
        self._client = client

    async def wait_open(self) -> None:
        await self._guard.wait_open()

    @contextmanager
    def enter(self) -> Iterator[bool]:
        with self._guard.enter() as may:
            if not may:
                yield False
                return
            with self._fence_list.effect(self._client, self._guard.tokens()):
                yield True

    def tokens(self) -> dict[str, tuple[int, int]]:
        return self._guard.tokens()
