"""A store of backups as one claim of an operation uses it: changed only for as long as the claim is not known to be over.

Storage refuses whoever was revoked (`node.gate`). A store knows nobody, and is the same one whatever the volume's storage has
become: an upload that a revoked task begins would land after the survivor has finished, and its backup perhaps been deleted.
What is on its way already lands all the same, as that of a lost node does.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from breezeblock.backup.contract import Buffer, ObjectStore, Stored

__all__ = ["Claimed"]


class Claimed:
    """Implements `ObjectStore`. `require_current` raises Fenced once the claim is over."""

    def __init__(self, store: ObjectStore, require_current: Callable[[], None]) -> None:
        self._store = store
        self._require_current = require_current

    @property
    def max_object_bytes(self) -> int:
        """See `ObjectStore`."""
        return self._store.max_object_bytes

    async def check(self, *, known: bool = False) -> None:
        """See `ObjectStore`. It may make what is missing."""
        self._require_current()
        await self._store.check(known=known)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """See `ObjectStore`."""
        self._require_current()
        await self._store.put(key, parts)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore`."""
        return await self._store.get(key, offset=offset, length=length)

    async def size(self, key: str) -> int:
        """See `ObjectStore`."""
        return await self._store.size(key)

    async def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        self._require_current()
        await self._store.delete(key)

    def list(self, prefix: str) -> AsyncIterator[Stored]:
        """See `ObjectStore`."""
        return self._store.list(prefix)

    async def close(self) -> None:
        """Nothing: the store is its node's."""
