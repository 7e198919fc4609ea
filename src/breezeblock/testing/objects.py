"""A store of backups in memory: it outlives everybody, is far away, and is not always there.

Unlike the storage of volumes nobody can be fenced from it. What was sent lands, also when its sender has given it up, was
killed, or counts as fenced by then: that is what names which are never given twice are for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, Final, NoReturn, Protocol

import structlog

from breezeblock.backup.contract import Buffer, ObjectMissing, Stored, StoreUnavailable
from breezeblock.backup.stores.keys import check_key
from breezeblock.testing.loop import Process
from breezeblock.testing.virtual import VirtualClock

__all__ = ["Far", "Shelf", "Weather"]

Change = Callable[[], Coroutine[Any, Any, None]]

# A client gives a call up that takes longer.
TIMEOUT_S: Final = 5.0
OBJECT_MOST: Final = 1 << 30


class Weather(Protocol):
    """What may go wrong on the way to the store and back."""

    def store_delay_s(self, process: Process, call: str, key: str) -> float:
        """How long the next way takes."""
        ...

    def store_refuses(self, process: Process, call: str, key: str) -> bool:
        """Whether this call comes to nothing, because the store is away."""
        ...

    def store_late_s(self, process: Process, call: str, key: str) -> float:
        """How much later than its call a change lands."""
        ...

    def store_loses_answer(self, process: Process, call: str, key: str) -> bool:
        """Whether a change was made and its answer is lost."""
        ...


class Shelf:
    """The objects themselves. Its own calls know no faults: they are for whoever looks in the end."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.landed_late: set[str] = set()
        """Keys under which something arrived whose sender had been told otherwise, or was not there any more."""
        self.refused: set[str] = set()
        """Operations that were told that the store does not answer."""
        self.on_delete: Callable[[str], None] = lambda key: None
        """Called before an object goes."""

    @property
    def max_object_bytes(self) -> int:
        return OBJECT_MOST

    async def check(self, *, known: bool = False) -> None:
        return None

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        self.objects[key] = b"".join(parts)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        data = self._object(key)
        return data[offset:] if length is None else data[offset : offset + length]

    async def size(self, key: str) -> int:
        return len(self._object(key))

    async def delete(self, key: str) -> None:
        if key in self.objects:
            self.on_delete(key)
            del self.objects[key]

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        for key in sorted(key for key in self.objects if key.startswith(prefix)):
            yield Stored(key, len(self.objects[key]))

    async def close(self) -> None:
        return None

    def _object(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(key) from None


class Far:
    """The shelf as one process reaches it. Implements `backup.contract.ObjectStore`."""

    def __init__(self, shelf: Shelf, process: Process, weather: Weather) -> None:
        self._shelf = shelf
        self._process = process
        self._weather = weather

    @property
    def max_object_bytes(self) -> int:
        return self._shelf.max_object_bytes

    async def check(self, *, known: bool = False) -> None:
        await self._go("check", "")

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        data = b"".join(parts)  # now: the caller's buffers are its own again when it gives up
        await self._change("put", key, lambda: self._shelf.put(key, [data]))

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        await self._go("get", key)
        return await self._shelf.get(key, offset=offset, length=length)

    async def size(self, key: str) -> int:
        await self._go("size", key)
        return await self._shelf.size(key)

    async def delete(self, key: str) -> None:
        await self._change("delete", key, lambda: self._shelf.delete(key))

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        await self._go("list", prefix)
        async for stored in self._shelf.list(prefix):
            yield stored

    async def close(self) -> None:
        return None

    async def _go(self, call: str, key: str) -> None:
        seconds = self._weather.store_delay_s(self._process, call, key)
        if seconds:
            await VirtualClock().sleep(min(seconds, TIMEOUT_S))
        if seconds > TIMEOUT_S or self._weather.store_refuses(self._process, call, key):
            self._refuse(f"The store does not answer to {call}.")

    async def _change(self, call: str, key: str, change: Change) -> None:
        await self._go(call, key)
        later_s = self._weather.store_late_s(self._process, call, key)
        if later_s:
            # In nobody's context: what is on its way lands, whatever becomes of its sender.
            way = asyncio.get_running_loop().create_task(self._arrive(key, change, later_s), context=Context())
            way.add_done_callback(lambda done: done.exception(), context=Context())
            await VirtualClock().sleep(min(later_s, TIMEOUT_S))
            if later_s > TIMEOUT_S:
                self._refuse(f"The store does not answer to {call}.")
            await way
        else:
            await change()
        if self._weather.store_loses_answer(self._process, call, key):
            self._refuse(f"The answer to {call} is lost.")

    def _refuse(self, why: str) -> NoReturn:
        self._shelf.refused.add(structlog.contextvars.get_contextvars().get("operation_id", ""))
        raise StoreUnavailable(why)

    async def _arrive(self, key: str, change: Change, later_s: float) -> None:
        await VirtualClock().sleep(later_s)
        if later_s > TIMEOUT_S or not self._process.alive:
            self._shelf.landed_late.add(key)
        await change()
