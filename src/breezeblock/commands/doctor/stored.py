"""Folders: the data folder, those of backends and of backups, and files with secrets."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from breezeblock import wiring
from breezeblock.commands.doctor.finding import ERROR, NOTE, WARNING, Finding, Findings
from breezeblock.database_urls import sqlite_path
from breezeblock.drivers.file_names import MARKER, PART, may_be_there
from breezeblock.env.probes import Mount, mount_of, probe
from breezeblock.env.real import RealIds, real_env
from breezeblock.model.errors import BackendFailed
from breezeblock.options import Backend, BackupStore
from breezeblock.settings import Settings

__all__ = ["look"]

# What a log, the lock files and the next look need at least.
FREE_LEAST: Final = 256 * 1024**2
# Below this share of a backend's space its administrator wants to know.
FREE_SHARE: Final = 0.05


def look(settings: Settings) -> Findings:
    """See `examine`."""
    yield from _data(settings)
    if settings.nodes.count:
        devices: dict[int, str] = {}
        for name, backend in settings.backends.items():
            yield from _backend(settings, name, backend)
            yield from _shared_device(name, backend, devices)
        for name, store in settings.backup_stores.items():
            yield from _store(settings, name, store)
    for key, path, is_secret in _files(settings):
        yield from _file(key, path, is_secret=is_secret)


def _data(settings: Settings) -> Findings:
    path = settings.service.data_dir.absolute()
    yield from _usable("folders.data", "service.data_dir", path)
    if path.is_dir() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
        yield Finding(
            "folders.data",
            WARNING,
            f"Others may look into {path} (mode {mode:o}).",
            "The database and the volumes of all projects are in it.",
            f"chmod 700 {path}",
        )
    places = {"folders.data": path}
    if (database := sqlite_path(settings.database.url)) is not None:
        places["folders.database"] = Path(database).absolute().parent
        if places["folders.database"] != path:
            yield from _usable("folders.database", "database.url", places["folders.database"])
    for check, place in places.items():
        if (mount := mount_of(place)).is_network:
            yield Finding(
                check,
                ERROR,
                f"{place} is on {mount.kind} ({mount.device}).",
                "That a node is dead is proven by locks that this machine's kernel keeps; SQLite needs such locks as well.",
                "Put service.data_dir on a disk of this machine; only backends and backups may be on a network.",
            )


def _usable(check: str, key: str, path: Path) -> Findings:
    """Whether a folder is there, or can be made, and works."""
    if not path.exists():
        parent = next(one for one in path.parents if one.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            yield Finding(
                check,
                ERROR,
                f"{path} ({key}) does not exist, and this user may not make it in {parent}.",
                "The service makes its folders by itself, but only where it may.",
                f"install -d -m 700 -o USER {path}, as root, with the service's user.",
            )
        return
    probed = probe(path, name=f"{MARKER}.{RealIds().uuid()}{PART}")
    if probed.failed:
        yield Finding(
            check,
            ERROR,
            f"In {path} ({key}) this user {probed.failed}.",
            "The service does just that there.",
            f"Look at the owner and the mode of {path}, and at the options with which it is mounted: `findmnt -T {path}`.",
        )
        return
    space = os.statvfs(path)
    if space.f_bavail * space.f_frsize < FREE_LEAST:
        yield Finding(
            check,
            ERROR,
            f"{path} ({key}) has {space.f_bavail * space.f_frsize // 1024**2} MiB left.",
            "With a full disk nothing is accepted and nothing finished.",
            "Make room, or move it to a larger disk.",
        )


def _backend(settings: Settings, name: str, backend: Backend) -> Findings:
    path, key = backend.path.absolute(), f"backends.{name}.path"
    is_new = not path.exists() or all(may_be_there(entry) for entry in _entries(path))
    made_below = settings.service.data_dir.absolute()
    if not path.exists() and not path.parent.is_dir() and path.parent != made_below / "volumes":
        yield Finding(
            "backends.folder",
            ERROR,
            f"{path} ({key}) does not exist, nor does the folder that it would be in.",
            "The backend is taken for one whose filesystem is not mounted, and nothing is put on it.",
            f"Mount its filesystem, or make {path.parent}.",
        )
        return
    yield from _usable("backends.folder", key, path)
    mount = mount_of(path)
    if not settings.one_machine and not mount.is_network:
        yield Finding(
            "backends.local",
            WARNING,
            f"Backend {name} is on {mount.kind}, which is this machine's own, and nodes may be on several machines.",
            "All nodes with the same backend take each other's work: they must find the same files under the same path.",
            "Mount a filesystem that the machines share; or give this machine a backend that no other one has in its settings.",
        )
    if not is_new:
        yield from _used_backend(settings, name, path, mount)


def _used_backend(settings: Settings, name: str, path: Path, mount: Mount) -> Findings:
    space = os.statvfs(path)
    if space.f_bavail < FREE_SHARE * space.f_blocks:
        yield Finding(
            "backends.space",
            WARNING,
            f"Backend {name} has {100 * space.f_bavail // space.f_blocks} % of its space left.",
            "Volumes that were promised more than there is fail when they are written.",
            f"Enlarge {mount.point}, move volumes away, or set backends.{name}.reserved_percentage.",
        )
    try:
        asyncio.run(wiring.open_backends(settings, real_env())[f"{settings.service.cluster}@{name}"].driver.report())
    except BackendFailed as failed:
        yield Finding(
            "backends.marker",
            ERROR,
            failed.message,
            "Every call on this backend fails with that sentence.",
            f"Mount its filesystem on {path}; or choose an empty folder for a new backend.",
        )
        return
    if not probe(path, name=f"{MARKER}.{RealIds().uuid()}{PART}").reflink:
        yield Finding(
            "backends.reflink",
            NOTE,
            f"Backend {name} is on {mount.kind}, where files cannot share data.",
            "Snapshots and clones are copied, which takes time and space.",
            "XFS and btrfs can; a backend may be moved by moving its volumes (docs/howto/move-volumes.md).",
        )


def _entries(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except OSError:
        return []  # which `_usable` tells


def _shared_device(name: str, backend: Backend, devices: dict[int, str]) -> Findings:
    if not backend.path.exists():
        return
    other = devices.setdefault(backend.path.stat().st_dev, name)
    if other != name:
        yield Finding(
            "backends.device",
            WARNING,
            f"Backends {other} and {name} are on one filesystem.",
            "Each reports all of its space, so that twice as much is promised as there is.",
            "Give each a filesystem of its own, or set reserved_percentage on both.",
        )


def _store(settings: Settings, name: str, store: BackupStore) -> Findings:
    if store.type != "folder" or store.path is None:
        return
    yield from _usable("backups.folder", f"backup_stores.{name}.path", store.path.absolute())
    mount = mount_of(store.path.absolute())
    if not settings.one_machine and not mount.is_network:
        yield Finding(
            "backups.local",
            WARNING,
            f"The store {name} of backups is on {mount.kind}, this machine's own, and nodes may be on several machines.",
            "What one machine has backed up cannot be restored, verified or deleted by the others, and is lost with it.",
            f"Mount a folder that the machines share, and name it in backup_stores.{name}.path; or use S3 or Swift.",
        )
    if store.encryption_key_file is None:
        return
    try:
        wiring.open_key(name, store)()
    except BackendFailed as failed:
        yield Finding(
            "backups.key",
            ERROR,
            failed.message,
            "Backups fail, and what was sealed with the key cannot be restored.",
            f"Bring back backup_stores.{name}.encryption_key_file from where its copy is kept.",
        )


def _files(settings: Settings) -> Iterator[tuple[str, Path, bool]]:
    """Files that settings name: key, path, and whether others must not read it."""
    for name, agent in settings.fences.items():
        for option, path in agent.option_files.items():
            yield f"fences.{name}.option_files.{option}", path, True
    for name, store in settings.backup_stores.items():
        for option, is_secret in (("credentials_file", True), ("encryption_key_file", True), ("ca_file", False)):
            if (path := getattr(store, option)) is not None:
                yield f"backup_stores.{name}.{option}", path, is_secret
    for name, receiver in settings.events.items():
        for option, is_secret in (("credentials_file", True), ("secret_file", True), ("ca_file", False)):
            if (path := getattr(receiver, option)) is not None:
                yield f"events.{name}.{option}", path, is_secret


def _file(key: str, path: Path, *, is_secret: bool) -> Findings:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        yield Finding(
            "files.unreadable",
            ERROR,
            f"{path} ({key}) cannot be read: {error.strerror}.",
            "What it is for fails.",
            "Make it, readable for the service's user; or correct the path.",
        )
        return
    if is_secret and mode & stat.S_IROTH:
        yield Finding(
            "files.secret",
            ERROR,
            f"Every user of this machine can read {path} ({key}).",
            "It is there so that nobody else has what is in it.",
            f"chmod o-rwx {path}",
        )
