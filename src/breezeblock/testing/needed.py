"""*Data*: whatever a backup needs stays in the store for as long as its row names its manifest. Watched at each deletion."""

import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from breezeblock.backup.damage import Damaged
from breezeblock.backup.manifest import manifest_key
from breezeblock.backup.packs import pack_key
from breezeblock.model.errors import BackendFailed
from breezeblock.testing.safe import Safe
from breezeblock.testing.tidied import onlooker

__all__ = ["Needed", "at_once"]

T = TypeVar("T")

_PUBLISHED: Final = "SELECT id, archive_id, manifest FROM backups WHERE manifest IS NOT NULL ORDER BY id"


class Needed:
    """Knows what the manifests say that are in the store."""

    def __init__(self, raw: sqlite3.Connection, safe: Safe, violated: Callable[[str, str], None]) -> None:
        self._raw = raw
        self._safe = safe
        self._violated = violated
        self._packs: dict[str, frozenset[str]] = {}
        """By the name of the manifest, which is never given twice."""

    def on_delete(self, key: str) -> None:
        """An object is about to go, whoever has sent for that, and when."""
        for backup, archive, manifest in self._raw.execute(_PUBLISHED).fetchall():
            if key == manifest_key(archive, manifest):
                self._violated("Data", f"{key} is deleted, which is the manifest of backup {backup}")
            elif key in self._needs(archive, manifest):
                self._violated("Data", f"{key} is deleted, which backup {backup} needs")

    def _needs(self, archive: str, manifest: str) -> frozenset[str]:
        if manifest not in self._packs:
            try:
                read = at_once(self._safe.at_rest(archive, onlooker()).read_manifest(manifest))
            except (Damaged, BackendFailed):
                return frozenset()  # it has gone itself, which was told then
            self._packs[manifest] = frozenset(pack_key(archive, pack) for pack in read.packs)
        return self._packs[manifest]


def at_once(reading: Coroutine[Any, Any, T]) -> T:
    """What a coroutine that waits for nothing returns."""
    try:
        reading.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("what is in memory has no reason to wait")
