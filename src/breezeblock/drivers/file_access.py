"""Who may reach which volume of a folder: a small file for each access that was given.

    <path>/attached/<ObjectName>       an access: which object, whose host, how; made as a whole, by way of a `.part`

A filesystem keeps nobody from a file, so this is a record and no fence: operators see who uses what, and it goes when the
host is disconnected. The host opens the object itself, which stays where it is while somebody has it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
import structlog

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file_names import PART, name_of
from breezeblock.env.contract import Files
from breezeblock.model.errors import BackendFailed
from breezeblock.model.ids import is_canonical_uuid

__all__ = ["ACCESSES", "FileAccess"]

ACCESSES: Final = "attached"
# Of what somebody else has put there.
MOST_LOGGED: Final = 5

log = structlog.get_logger(__name__)


class _Given(msgspec.Struct):
    """What of an access is read again."""

    object: str
    host: str | None = None


class FileAccess(ABC):
    """The part of the file driver that gives hosts access."""

    _files: Files
    _name: str
    _root: PurePosixPath

    @abstractmethod
    def _call(self, call: str) -> AbstractAsyncContextManager[None]: ...

    @abstractmethod
    def _whole(self, name: ObjectName) -> PurePosixPath: ...

    @abstractmethod
    async def _size(self, path: PurePosixPath) -> int | None: ...

    async def connect(
        self, name: ObjectName, access: ObjectName, *, connector: Mapping[str, Any], mode: str
    ) -> Mapping[str, Any]:
        """See the contract. os-brick calls this kind of connection `local`: the device is a path on the same machine."""
        async with self._call("connect"):
            if await self._size(self._whole(name)) is None:
                raise BackendFailed(f"The volume is not on backend {self._name}.")
            await self._files.make_folder(self._root / ACCESSES)
            whole = self._access(access)
            if await self._size(whole) is None:
                part = whole.with_name(whole.name + PART)
                text = msgspec.json.encode({"object": str(name), "host": connector.get("host"), "mode": mode})
                await self._files.remove(part)
                await self._files.create(part, size_bytes=len(text))
                await self._files.write_at(part, offset=0, data=text)
                await self._files.sync(part)
                await self._files.rename(part, whole)
            else:
                await self._files.sync(self._root / ACCESSES)  # it may have died between the rename and its sync
        return {"driver_volume_type": "local", "data": {"device_path": str(self._whole(name))}}

    async def disconnect(self, access: ObjectName) -> None:
        """See the contract."""
        async with self._call("disconnect"):
            whole = self._access(access)
            await self._files.remove(whole, whole.with_name(whole.name + PART))

    async def accesses(self, attachment_id: str | None = None) -> tuple[ObjectName, ...]:
        """See the contract."""
        async with self._call("accesses"):
            try:
                entries = await self._files.list_folder(self._root / ACCESSES)
            except FileNotFoundError:
                return ()  # nobody was ever given any
        names = {entry: name_of(entry, "") for entry in entries}
        if foreign := sorted(entry for entry, name in names.items() if name is None):
            log.warning("file.foreign_accesses", backend=self._name, entries=foreign[:MOST_LOGGED])
        ours = {name for name in names.values() if name is not None}
        return tuple(sorted(name for name in ours if attachment_id in (None, name.resource_id)))

    async def reached_by(self, access: ObjectName) -> tuple[ObjectName, str | None] | None:
        """See the contract."""
        async with self._call("reached_by"):
            whole = self._access(access)
            size = await self._size(whole)
            text = b"" if size is None else await self._files.read_at(whole, offset=0, length=size)
        try:
            said = msgspec.json.decode(text, type=_Given)
            return ObjectName.parse(said.object), said.host
        except (msgspec.DecodeError, ValueError):
            return None

    def _access(self, access: ObjectName) -> PurePosixPath:
        assert is_canonical_uuid(access.resource_id) and access.seq >= 0 and access.epoch >= 0, f"not a name: {access}"
        return self._root / ACCESSES / str(access)
