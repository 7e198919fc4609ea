"""Files that become volumes without a copy, and volumes that become files: the part of the file driver that does it.

    <path>/unmanaged/<name>     what may be adopted: put there by an operator, or released

Users name files in this folder and nowhere else. A name is one plain part of a path: it has no slash, begins with no dot, and
what it stands for is a file with this one name, no link. A crash leaves a file under the one name or under the other, since
adopting and releasing are a rename each, within the backend's filesystem; neither ever replaces a file.

What is released gets a name that nothing has had before (its resource's id is in it). So an adoption that arrives late, when
its operation has long been done by another node, finds nothing under its name. Where an adoption has failed, the file has its
old name back, and a late one may take it once more: the row keeps that name, and whoever deletes it gives the file back.
"""

import re
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from pathlib import PurePosixPath
from typing import Final

from breezeblock.drivers.contract import Manageable, ObjectName
from breezeblock.drivers.file_names import UNMANAGED
from breezeblock.env.contract import Files
from breezeblock.model.errors import BackendFailed
from breezeblock.model.ids import is_canonical_uuid

__all__ = ["LISTED_MOST", "Adopting", "is_plain_name"]

# What filesystems take as one name.
NAME_BYTES_MOST: Final = 255
# A listing is one row of the database, and read as a whole.
LISTED_MOST: Final = 5000
# What the service releases a snapshot as: of all other files it is not known that they are snapshots.
SNAPSHOT_PREFIX: Final = "snapshot-"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Adopting(ABC):
    """What `FileDriver` inherits. It has the attributes and methods that are declared here."""

    _files: Files
    _name: str
    _root: PurePosixPath

    @abstractmethod
    def _call(self, call: str) -> AbstractAsyncContextManager[None]: ...

    @abstractmethod
    def _whole(self, name: ObjectName) -> PurePosixPath: ...

    @abstractmethod
    async def _make_folder(self, resource_id: str) -> None: ...

    async def manageable(self) -> tuple[Manageable, ...]:
        """See the contract. All files of the folder; what cannot be adopted is among them, with the reason."""
        async with self._call("manageable"):
            folder = self._root / UNMANAGED
            try:
                entries = await self._files.list_folder(folder)
            except FileNotFoundError:
                return ()
            names = [entry for entry in entries if is_plain_name(entry)]
            if len(names) > LISTED_MOST:
                raise BackendFailed(
                    f"Folder {UNMANAGED} of backend {self._name} has {len(names)} files; at most {LISTED_MOST} can be "
                    "listed. They can still be managed by name."
                )
            found = [await self._described(folder / name) for name in names]
            return tuple(one for one in found if one is not None)

    async def _described(self, path: PurePosixPath) -> Manageable | None:
        try:
            size = await self._files.plain_size(path)
        except FileNotFoundError:
            return None  # it went since the folder was read
        is_snapshot = path.name.startswith(SNAPSHOT_PREFIX) and is_canonical_uuid(path.name[len(SNAPSHOT_PREFIX) :])
        if size is None:
            return Manageable(path.name, 0, is_snapshot, "it is a folder, a link, or a file with several names")
        return Manageable(path.name, size, is_snapshot, None if size else "it is empty")

    async def adopt(self, reference: str, name: ObjectName) -> int:
        """See the contract. What was taken is looked at again in our own folder, where nobody else can exchange it."""
        async with self._call("adopt"):
            whole = self._whole(name)
            if await self._length(whole) is None:
                source = self._unmanaged(reference)
                if not await self._length(source):
                    raise self._unfit(reference, "there is no such file, or it is empty")
                await self._make_folder(name.resource_id)
                try:
                    await self._files.move(source, whole)
                except FileNotFoundError as error:
                    raise self._unfit(reference, "somebody else took it") from error
            try:
                size = await self._files.plain_size(whole)
            except FileNotFoundError as error:
                raise self._unfit(reference, "somebody else took it") from error
            if not size:
                await self._files.move(whole, self._unmanaged(reference))
                raise self._unfit(reference, "it is empty, a link, or a file with several names")
            return size

    async def release(self, name: ObjectName, reference: str) -> None:
        """See the contract."""
        async with self._call("release"):
            target = self._unmanaged(reference)
            await self._files.make_folder(target.parent)
            try:
                await self._files.move(self._whole(name), target)
            except FileNotFoundError:
                return
            except FileExistsError as error:
                raise BackendFailed(
                    f"Backend {self._name} has another file {reference} in its folder {UNMANAGED} already; "
                    "it must be renamed before this name can be given to something else."
                ) from error

    async def _length(self, path: PurePosixPath) -> int | None:
        """The length of a plain file; None when there is none. Raises BackendFailed for what is something else."""
        try:
            size = await self._files.plain_size(path)
        except FileNotFoundError:
            return None
        if size is None:
            raise self._unfit(path.name, "it is a folder, a link, or a file with several names")
        return size

    def _unmanaged(self, reference: str) -> PurePosixPath:
        """The path of a name that a user wrote. Raises BackendFailed for what is no plain name."""
        if not is_plain_name(reference):
            raise self._unfit(reference, "expected the name of a file, without a slash, not beginning with a dot")
        return self._root / UNMANAGED / reference

    def _unfit(self, reference: str, why: str) -> BackendFailed:
        shown = _CONTROL.sub("?", reference[:NAME_BYTES_MOST]).encode(errors="replace").decode()
        return BackendFailed(f"'{shown}' in folder {UNMANAGED} of backend {self._name} cannot be managed: {why}.")


def is_plain_name(text: str) -> bool:
    """Whether a text is one part of a path, which can be nothing but a file's own name."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= NAME_BYTES_MOST and "/" not in text and not text.startswith(".") and not _CONTROL.search(text)
