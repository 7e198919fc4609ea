"""What the volume held of which `made.tar.gz` has Cinder's backups, and the program that made them.

    python tests/backup/cinder/made.py                      writes made.tar.gz anew
    python tests/backup/cinder/made.py FOLDER IMAGE…        a chain of backups of these images of 1 GiB, at Cinder's defaults

Both in an environment that has the package cinder. Its own driver runs, without its database and its notifications. In the
first case blocks and objects are small, so that there are many: a full backup with zlib, and on it three incremental ones,
with bz2, with zstd, and without compression. Beside them is `records.json`, the record of each as Cinder exports it.
"""

import io
import json
import random
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Final
from uuid import uuid4

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
RECORDS: Final = "records.json"
SERVICE: Final = "cinder.backup.drivers.posix.PosixBackupDriver"
_CREATED: Final = datetime(2025, 11, 21, 12, tzinfo=UTC)


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


def _record(kind: Any, backup: _Backup, driver_info: Any) -> dict[str, str]:
    """As `cinder backup-export` has it, by Cinder's own object with what a row has besides."""
    known = {name: value for name, value in vars(backup).items() if name in kind.fields}
    row: dict[str, Any] = dict.fromkeys(kind.fields) | known | {
        "status": "available",
        "user_id": "of-cinder",
        "project_id": "of-cinder",
        "host": "old-node",
        "service": SERVICE,
        "availability_zone": "old-zone",
        "data_timestamp": _CREATED,
        "num_dependent_backups": 0,
        "metadata": {"kept": "yes"},
        "deleted": False,
    }  # fmt: skip
    del row["parent"]
    return {"backup_service": SERVICE, "backup_url": kind(**row).encode_record(driver_info=driver_info)}


def make(folder: Path, backups: Iterable[tuple[str, str, BinaryIO]], **options: int) -> None:
    """A chain of backups of one volume, each given with its id, compression and content, and their records."""
    from cinder import context, objects  # type: ignore[import-not-found]
    from cinder.backup.drivers import posix  # type: ignore[import-not-found]
    from cinder.volume import volume_utils  # type: ignore[import-not-found]

    objects.register_all()
    volume_utils.notify_about_backup_usage = lambda *args, **kwargs: None
    made: dict[str, _Backup] = {}
    objects.Backup.get_by_id = lambda _context, backup_id: made[backup_id]
    posix.CONF([], project="cinder", default_config_files=[])
    posix.CONF.set_override("connection", "sqlite://", group="database")
    for name, value in options.items():
        posix.CONF.set_override(name, value)
    parent = None
    records = []
    for version, (backup_id, compression, content) in enumerate(backups):
        posix.CONF.set_override("backup_compression_algorithm", compression)
        driver = posix.PosixBackupDriver(context.get_admin_context(), backup_path=str(folder))
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
            created_at=_CREATED,
        )
        driver.backup(backup, content)
        print(backup.container, backup.service_metadata, backup.object_count)
        records.append(_record(objects.Backup, backup, driver.export_record(backup)))
        parent = backup_id
    (folder / RECORDS).write_text(json.dumps(records, indent=1))


def main(folder: str | None = None, *images: str) -> None:
    if folder is not None:
        with ExitStack() as stack:
            files = [stack.enter_context(Path(image).open("rb")) for image in images]
            make(Path(folder), [(str(uuid4()), "zlib", file) for file in files])
        return
    with tempfile.TemporaryDirectory() as made:
        contents = [(id_, how, io.BytesIO(volume(version))) for version, (id_, how) in enumerate(BACKUPS)]
        make(Path(made), contents, backup_file_size=OBJECT, backup_sha_block_size_bytes=BLOCK)
        with tarfile.open(ARCHIVE, "w:gz") as archive:
            for path in sorted(Path(made).rglob("*")):
                archive.add(path, path.relative_to(made).as_posix(), recursive=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
