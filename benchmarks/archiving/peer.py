"""Cinder's chunked backup driver on a POSIX folder, without the services around it: one act, in a process of its own.

    CINDER_PYTHON peer.py zlib|zstd full|incremental|restore --folder FOLDER --image FILE

For an interpreter that has `cinder`; nothing of ours is imported. The driver reads and writes the file as Cinder's manager
has it do: in the same mode, by a native thread. In place of the database there is a file, and nobody hears notifications.
Prints what it took, without the start of the interpreter: the service is there already.
"""

# ruff: noqa: E402 - as in the service, the patch comes before anything else is imported

from cinder import monkey_patch

monkey_patch.patch()

import argparse
import contextlib
import json
import resource
import time
import types
import uuid
from pathlib import Path

from cinder import utils
from cinder.backup import chunkeddriver
from cinder.backup.drivers import posix
from oslo_config import cfg


class Backup:
    """As much of a backup's row as the driver asks for."""

    def __init__(self, fields):
        self.__dict__.update(fields)

    def __getitem__(self, name):
        return getattr(self, name)

    @contextlib.contextmanager
    def as_read_deleted(self):
        """Nobody deletes it."""
        yield

    def refresh(self):
        """What there is, is what the driver wrote."""

    def save(self):
        """Kept at the end."""


def fresh(parent_id, size_gib, status):
    """A new backup."""
    return Backup(
        {
            "id": str(uuid.uuid4()),
            "volume_id": "volume",
            "parent_id": parent_id,
            "container": None,
            "service_metadata": None,
            "size": size_gib,
            "status": status,
            "display_name": None,
            "display_description": None,
            "created_at": "2026-01-01",
            "object_count": 0,
        }
    )


def driver_for(folder, compression, rows, size_gib):
    """The driver, at its defaults but for where it stores and how it compresses."""
    conf = cfg.CONF
    conf([], project="cinder", default_config_files=[])
    conf.set_override(
        "connection", "sqlite://", group="database"
    )  # the driver's base class opens it, and asks it nothing
    conf.set_override("backup_posix_path", str(folder / "store"))
    conf.set_override("backup_compression_algorithm", compression)
    by_id = types.SimpleNamespace(get_by_id=lambda context, backup_id: Backup(rows[backup_id]))
    chunkeddriver.objects = types.SimpleNamespace(Backup=by_id)
    chunkeddriver.volume_utils = types.SimpleNamespace(
        notify_about_backup_usage=lambda *a, **k: None, is_all_zero=chunkeddriver.volume_utils.is_all_zero
    )
    driver = posix.PosixBackupDriver(None)
    driver.db = types.SimpleNamespace(volume_get=lambda context, volume_id: {"size": size_gib})
    return driver


def act(name, driver, rows, image, size_gib):
    """Back up or restore. A restore is one into a new volume, whose zeros need not be written."""
    last = list(rows)[-1] if rows else None
    if name == "restore":
        with image.open("r+b") as file:
            row = Backup({**rows[last], "status": "restoring"})
            driver.restore(row, "volume", utils.tpool_wrap(file), True)
        return
    made = fresh(last if name == "incremental" else None, size_gib, "creating")
    with image.open("rb") as file:
        driver.backup(made, utils.tpool_wrap(file), backup_metadata=False)
    rows[made.id] = {**vars(made), "status": "available"}


def cpu_s():
    """Of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("compression", choices=("zlib", "zstd"))
    parser.add_argument("act", choices=("full", "incremental", "restore"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    options = parser.parse_args()
    kept = options.folder / "rows.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    size_gib = max(1, -(-options.image.stat().st_size // 1024**3))
    driver = driver_for(options.folder, options.compression, rows, size_gib)
    began, before = time.monotonic(), cpu_s()
    act(options.act, driver, rows, options.image, size_gib)
    took = {"seconds": time.monotonic() - began, "cpu_s": cpu_s() - before}
    kept.write_text(json.dumps(rows))
    print(json.dumps(took))


if __name__ == "__main__":
    main()
