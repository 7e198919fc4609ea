"""What the volume held of which `made.tar.gz` has Cinder's backups, and the program that made them.

    python tests/backup/cinder/made.py      in an environment that has the package cinder: writes made.tar.gz anew

Cinder's own driver runs, with its database and its notifications left out; blocks and objects are small, so that there are
many. A full backup with zlib, and on it three incremental ones: with bz2, with zstd, and without compression.
"""

import io
import random
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

BLOCK: Final = 512
OBJECT: Final = 4096
VOLUME_ID: Final = "9a5bd3a5-6a8b-4b42-8dc1-5cb1d8e4a4b7"
# Id, compression.
BACKUPS: Final = (
    ("1b3c6d1a-0000-4000-8000-000000000001", "zlib"),
    ("2b3c6d1a-0000-4000-8000-000000000002", "bz2"),
    ("3b3c6d1a-0000-4000-8000-000000000003", "zstd"),
    ("4b3c6d1a-0000-4000-8000-000000000004", "none"),
)
_SIZE: Final = 30_001  # the last block is short
ARCHIVE: Final = Path(__file__).with_name("made.tar.gz")


def volume(version: int) -> bytes:
    """What it held when the backup of that number was made."""
    chance = random.Random(20_251_121)
    data = bytearray(chance.randbytes(_SIZE))
    data[5000:20000] = (b"compressible " * 1154)[:15000]
    for change in range(1, version + 1):
        for _ in range(4):
            at, length = chance.randrange(_SIZE), chance.choice((1, 300, 3000))
            fill = bytes(length) if change == 2 else chance.randbytes(length)
            data[at : at + length] = fill[: _SIZE - at]
        data[-1] = change  # in the short block
    assert len(data) == _SIZE
    return bytes(data)


class _Backup(SimpleNamespace):
    """As much of Cinder's object as its driver uses."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def save(self) -> None:
        """There is no database."""

    def refresh(self) -> None:
        """Nobody else changes it."""

    @contextmanager
    def as_read_deleted(self) -> Any:
        yield


def main() -> None:
    from cinder import context, objects  # type: ignore[import-not-found]
    from cinder.backup.drivers import posix  # type: ignore[import-not-found]
    from cinder.volume import volume_utils  # type: ignore[import-not-found]

    objects.register_all()
    volume_utils.notify_about_backup_usage = lambda *args, **kwargs: None
    made: dict[str, _Backup] = {}
    objects.Backup.get_by_id = lambda _context, backup_id: made[backup_id]
    posix.CONF([], project="cinder", default_config_files=[])
    posix.CONF.set_override("connection", "sqlite://", group="database")
    posix.CONF.set_override("backup_file_size", OBJECT)
    posix.CONF.set_override("backup_sha_block_size_bytes", BLOCK)
    with tempfile.TemporaryDirectory() as folder:
        parent = None
        for version, (backup_id, compression) in enumerate(BACKUPS):
            posix.CONF.set_override("backup_compression_algorithm", compression)
            driver = posix.PosixBackupDriver(context.get_admin_context(), backup_path=folder)
            driver.db = SimpleNamespace(volume_get=lambda _context, _id: {"size": 1})
            driver.get_metadata = lambda _id: '{"version": 2}'
            backup = made[backup_id] = _Backup(
                id=backup_id,
                volume_id=VOLUME_ID,
                parent_id=parent,
                container=None,
                service_metadata=None,
                size=1,
                status="creating",
                display_name=f"backup {version}",
                display_description=None,
                created_at="2025-11-21 12:00:00+00:00",
            )
            driver.backup(backup, io.BytesIO(volume(version)))
            print(backup.container, backup.service_metadata, backup.object_count)
            parent = backup_id
        with tarfile.open(ARCHIVE, "w:gz") as archive:
            for path in sorted(Path(folder).rglob("*")):
                archive.add(path, path.relative_to(folder).as_posix(), recursive=False)


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[func-returns-value]
