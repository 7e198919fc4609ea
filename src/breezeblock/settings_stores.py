"""Values of `[backup_stores.NAME]` that cannot be together; `settings_rules.py` has the others."""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import structs

from breezeblock.options import BackupStore, Settings

__all__ = ["contradictions_of_stores"]

Found = tuple[str, object, str]
"""Key, value, and what was expected instead."""

# Which types an option is for; what is not here is for all.
_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    "path": ("folder", "cinder-posix"),
    "path_style": ("s3",),
    "interface": ("swift",),
    **dict.fromkeys(
        ("encryption_key_file", "compression", "compression_level", "rate_limit", "slots"), ("folder", "s3", "swift")
    ),
    **dict.fromkeys(
        ("endpoint", "bucket", "prefix", "region", "ca_file", "credentials_file", "timeout_s"), ("s3", "swift")
    ),
}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "folder": ("path",),
    "s3": ("bucket",),
    "swift": ("endpoint", "bucket", "credentials_file"),
    "cinder-posix": ("path",),
}
# What must be installed, and with which extra.
_LIBRARY: Final = {"s3": ("boto3", "s3"), "swift": ("httpx", "swift")}
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_CONTAINER: Final = re.compile(r"[^/\x00-\x1f\x7f]{1,255}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def contradictions_of_stores(settings: Settings) -> Iterator[Found]:
    """Everything that is wrong with the stores of backups."""
    for name, store in settings.backup_stores.items():
        yield from _needless(f"backup_stores.{name}", store)
        yield from _needed(f"backup_stores.{name}", store)
        yield from _malformed(f"backup_stores.{name}", store)
        yield from _unkeyed(f"backup_stores.{name}", store)
    yield from _shared(settings)


def _needless(key: str, store: BackupStore) -> Iterator[Found]:
    """What would be ignored without a word."""
    defaults = {field.name: field.default for field in structs.fields(BackupStore)}
    for option, types in _FOR.items():
        value = getattr(store, option)
        if store.type not in types and value != defaults[option]:
            yield (
                f"{key}.{option}",
                value,
                f"only {' and '.join(types)} have this option; expected none with type = {store.type}",
            )


def _needed(key: str, store: BackupStore) -> Iterator[Found]:
    for option in _NEEDED[store.type]:
        if not getattr(store, option):
            yield f"{key}.{option}", "", f"a store of the type {store.type} needs it"
    library, extra = _LIBRARY.get(store.type, ("", ""))
    if library and find_spec(library) is None:
        yield (
            f"{key}.type",
            store.type,
            f"it needs a library that is not installed: pip install 'breezeblock[{extra}]'",
        )


def _unkeyed(key: str, store: BackupStore) -> Iterator[Found]:
    """A key is in a file, or in a key manager, and then it has an id there."""
    by_id = bool(store.encryption_key_id)
    if by_id and store.encryption_key_file is not None:
        yield f"{key}.encryption_key_id", store.encryption_key_id, "expected either this or encryption_key_file"
    if by_id and store.castellan_file is None:
        yield f"{key}.castellan_file", "", "encryption_key_id needs it"
    if not by_id and store.castellan_file is not None:
        yield f"{key}.encryption_key_id", "", "castellan_file needs it"
    if by_id and find_spec("castellan") is None:
        yield (
            f"{key}.encryption_key_id",
            store.encryption_key_id,
            "it needs a library that is not installed: pip install 'breezeblock[castellan]'",
        )


def _malformed(key: str, store: BackupStore) -> Iterator[Found]:
    if store.endpoint and (problem := _problem_of_url(store.endpoint)):
        yield f"{key}.endpoint", store.endpoint, problem
    form, expected = {
        "s3": (_BUCKET, "expected 3 to 63 letters, digits, dots and dashes"),
        "swift": (_CONTAINER, "expected a name without a slash"),
    }.get(store.type, (None, ""))
    if form is not None and store.bucket and not form.fullmatch(store.bucket):
        yield f"{key}.bucket", store.bucket, expected
    if store.prefix and not _PREFIX.fullmatch(store.prefix):
        yield (
            f"{key}.prefix",
            store.prefix,
            "expected letters, digits, -, _ and ., in parts with one slash between them",
        )


def _problem_of_url(url: str) -> str:
    expected = "expected a URL such as https://storage.example.org"
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return expected
    except ValueError:
        return expected
    if parts.username is not None:
        return "expected no user and password in it: they belong into the credentials_file"
    return expected if parts.query or parts.fragment or re.search(r"\s", url) else ""


def _shared(settings: Settings) -> Iterator[Found]:
    """Two that keep their objects in one place would each collect the other's as garbage, or list them as their own."""
    folders: dict[str, Path] = {f"backends.{name}": one.path for name, one in settings.backends.items()}
    buckets: dict[str, tuple[str, ...]] = {}
    for name, store in settings.backup_stores.items():
        key = f"backup_stores.{name}"
        if store.path is not None:
            for other, path in folders.items():
                if _overlap(store.path.parts, path.parts):
                    yield f"{key}.path", str(store.path), f"{other} has {path}; expected a folder of its own"
            folders[key] = store.path
        elif store.bucket:
            # A bucket's name is unique in all of S3's regions, a container's is not.
            region = store.region if store.type == "swift" else ""
            place = (store.type, store.endpoint.rstrip("/"), region, store.bucket, *_parts(store.prefix))
            for other, taken in buckets.items():
                if _overlap(place, taken):
                    yield (
                        f"{key}.prefix",
                        store.prefix,
                        f"{other} is in the same place; expected another bucket or prefix",
                    )
            buckets[key] = place


def _parts(prefix: str) -> list[str]:
    return prefix.split("/") if prefix else []


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether they are the same, or one is in the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
