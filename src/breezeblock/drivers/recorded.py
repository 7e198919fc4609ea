"""A driver that writes down every call it is asked for: for the chaos harness, and for whoever tries a driver of their own.

One line of JSON before a call and one after it, appended by one write each to a file of this process, so that a killed
process leaves behind what it was doing: a call without a second line was under way. Nothing of this is loaded unless a
folder for the records is named (`wiring.RECORD_CALLS`).
"""

import errno
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from breezeblock.drivers.contract import (
    Capabilities,
    Context,
    Driver,
    Manageable,
    ObjectName,
    Pieces,
    PoolReport,
    Progress,
)
from breezeblock.env.contract import Clock

__all__ = ["Record", "RecordedDriver", "Recorder"]

# What changes storage. The rest only looks.
CHANGES: Final = frozenset(
    {"create", "copy", "keep", "fill", "extend", "delete", "failover", "connect", "disconnect", "adopt", "release"}
)


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. `end` is the number of the line's beginning; `boot_s` is CLOCK_BOOTTIME, `wall_us` the wall clock."""

    number: int
    boot_s: float
    wall_us: int
    call: str = ""
    object: str = ""
    source: str = ""
    tokens: dict[str, tuple[int, int]] = {}
    ended: bool = False
    error: str = ""
    errno: str = ""


class Recorder:
    """Numbers and writes the lines of one process. `append` must write all of one line at once."""

    def __init__(self, append: Callable[[bytes], object], clock: Clock, *, pause_s: float = 0.0) -> None:
        self._append = append
        self._clock = clock
        self._numbers: Iterator[int] = itertools.count()
        self._pause_s = pause_s

    @asynccontextmanager
    async def call(
        self, call: str, name: str, tokens: dict[str, tuple[int, int]], *, source: str = ""
    ) -> AsyncIterator[None]:
        """Around one call. A pause that was asked for stands between the first line and the call: slow storage."""
        number = next(self._numbers)
        self._write(
            Record(
                number=number, boot_s=self._clock.boottime(), wall_us=self._clock.now_us(), call=call, object=name,
                source=source, tokens=tokens,
            )
        )  # fmt: skip
        failed: BaseException | None = None
        try:
            if self._pause_s and call in CHANGES:
                await self._clock.sleep(self._pause_s)
            yield
        except BaseException as error:
            failed = error
            raise
        finally:
            self._write(
                Record(
                    number=number, boot_s=self._clock.boottime(), wall_us=self._clock.now_us(), ended=True,
                    error=type(failed).__name__ if failed is not None else "", errno=_errno(failed),
                )
            )  # fmt: skip

    def _write(self, record: Record) -> None:
        self._append(msgspec.json.encode(record) + b"\n")


class RecordedDriver:
    """Any driver, with each call of a bound one recorded. Unbound, it is the driver: nothing is changed without a guard."""

    def __init__(self, driver: Driver, recorder: Recorder, tokens: dict[str, tuple[int, int]] | None = None) -> None:
        self._driver = driver
        self._recorder = recorder
        self._tokens = tokens or {}

    @property
    def capabilities(self) -> Capabilities:
        return self._driver.capabilities

    def bind(self, ctx: Context) -> Driver:
        return RecordedDriver(self._driver.bind(ctx), self._recorder, ctx.tokens())

    def identity(self) -> Mapping[str, str]:
        return self._driver.identity()

    async def fence(self, identity: Mapping[str, str]) -> None:
        async with self._recorder.call("fence", repr(dict(identity)), self._tokens):
            await self._driver.fence(identity)

    def on(self, target: str) -> Driver:
        return RecordedDriver(self._driver.on(target), self._recorder, self._tokens)

    async def failover(self, target: str) -> None:
        async with self._recorder.call("failover", target, self._tokens):
            await self._driver.failover(target)

    async def check(self, *, known: bool) -> None:
        await self._driver.check(known=known)

    async def take_name(self, before: str) -> None:
        await self._driver.take_name(before)

    async def report(self) -> tuple[PoolReport, ...]:
        return await self._driver.report()

    async def create(self, name: ObjectName, *, size_bytes: int) -> None:
        async with self._recorder.call("create", str(name), self._tokens):
            await self._driver.create(name, size_bytes=size_bytes)

    async def copy(self, source: ObjectName, target: ObjectName, *, size_bytes: int, progress: Progress) -> None:
        async with self._recorder.call("copy", str(target), self._tokens, source=str(source)):
            await self._driver.copy(source, target, size_bytes=size_bytes, progress=progress)

    async def read(self, name: ObjectName, *, offset: int, length: int) -> bytes:
        """Not recorded, nor is `next_data`: a backup makes thousands of these calls, and they change nothing."""
        return await self._driver.read(name, offset=offset, length=length)

    async def next_data(self, name: ObjectName, offset: int) -> tuple[int, int] | None:
        return await self._driver.next_data(name, offset)

    async def keep(self, source: ObjectName, target: ObjectName) -> bool:
        async with self._recorder.call("keep", str(target), self._tokens, source=str(source)):
            return await self._driver.keep(source, target)

    async def changes(
        self, name: ObjectName, *, since: ObjectName, offset: int, length: int
    ) -> Sequence[tuple[int, int]] | None:
        """Not recorded, as reading is not."""
        return await self._driver.changes(name, since=since, offset=offset, length=length)

    async def fill(self, target: ObjectName, *, size_bytes: int, pieces: Pieces, progress: Progress) -> None:
        async with self._recorder.call("fill", str(target), self._tokens):
            await self._driver.fill(target, size_bytes=size_bytes, pieces=pieces, progress=progress)

    async def extend(self, name: ObjectName, *, size_bytes: int) -> None:
        async with self._recorder.call("extend", str(name), self._tokens):
            await self._driver.extend(name, size_bytes=size_bytes)

    async def connect(
        self, name: ObjectName, access: ObjectName, *, connector: Mapping[str, Any], mode: str
    ) -> Mapping[str, Any]:
        async with self._recorder.call("connect", str(access), self._tokens, source=str(name)):
            return await self._driver.connect(name, access, connector=connector, mode=mode)

    async def disconnect(self, access: ObjectName) -> None:
        async with self._recorder.call("disconnect", str(access), self._tokens):
            await self._driver.disconnect(access)

    async def accesses(self, attachment_id: str | None = None) -> tuple[ObjectName, ...]:
        return await self._driver.accesses(attachment_id)

    async def reached_by(self, access: ObjectName) -> tuple[ObjectName, str | None] | None:
        return await self._driver.reached_by(access)

    async def delete(self, name: ObjectName) -> None:
        async with self._recorder.call("delete", str(name), self._tokens):
            await self._driver.delete(name)

    async def exists(self, name: ObjectName) -> bool:
        async with self._recorder.call("exists", str(name), self._tokens):
            return await self._driver.exists(name)

    async def length_of(self, name: ObjectName) -> int | None:
        return await self._driver.length_of(name)

    async def names_of(self, resource_id: str) -> tuple[ObjectName, ...]:
        async with self._recorder.call("names_of", resource_id, self._tokens):
            return await self._driver.names_of(resource_id)

    async def every_name(self) -> tuple[ObjectName, ...]:
        return await self._driver.every_name()

    async def manageable(self) -> tuple[Manageable, ...]:
        return await self._driver.manageable()

    async def adopt(self, reference: str, name: ObjectName) -> int:
        async with self._recorder.call("adopt", str(name), self._tokens, source=reference):
            return await self._driver.adopt(reference, name)

    async def release(self, name: ObjectName, reference: str) -> None:
        async with self._recorder.call("release", str(name), self._tokens, source=reference):
            await self._driver.release(name, reference)


def _errno(failed: BaseException | None) -> str:
    """The name of the operating system's error that is behind one of ours."""
    for _ in range(8):  # longer than any chain of ours
        if failed is None or isinstance(failed, OSError):
            break
        failed = failed.__cause__
    return errno.errorcode.get(failed.errno or 0, "") if isinstance(failed, OSError) else ""
