"""Secrets that are kept beside the settings: in files of their own, and in credentials of systemd.

One mechanism for all of them. An option whose value is a secret, or a URL with one in it, has a twin whose name ends in
`_file`: it names a file that holds the value (`[database] url_file`, `BREEZEBLOCK_DATABASE__URL_FILE`). And each file in
`$CREDENTIALS_DIRECTORY` that is called as an option is (`database.url`, `backup_stores.far.credentials_file`) is that option:
its content, or, where the option is a path, the file itself.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args, get_origin

from msgspec import Meta, Struct, structs

from breezeblock.options import NAMED, SECTIONS

__all__ = ["VARIABLE", "Credential", "credentials", "is_secret", "read_secret", "twin_of"]

VARIABLE: Final = "CREDENTIALS_DIRECTORY"
_TWIN: Final = "_file"
# No secret is longer, and a path that was mistaken for one may lead to anything.
SECRET_BYTES_MAX: Final = 65_536


class Credential(NamedTuple):
    """One file that systemd has put there, and the option that it is called as."""

    key: tuple[str, ...]
    path: Path


def is_secret(key: tuple[str, ...]) -> bool:
    """Whether the option's value is a secret, or may have one in it."""
    kind = _type(key)
    return kind is not None and any(
        isinstance(one, Meta) and bool((one.extra or {}).get("secret")) for one in _notes(kind)
    )


def is_path(key: tuple[str, ...]) -> bool:
    """Whether the option says where something is."""
    kind = _type(key)
    return kind is not None and Path in {kind, *_parts(kind)}


def twin_of(key: tuple[str, ...]) -> tuple[str, ...] | None:
    """The secret option that is in the file which this key names; None when it is no such key."""
    if not key[-1].endswith(_TWIN) or _type(key) is not None:
        return None
    option = (*key[:-1], key[-1].removesuffix(_TWIN))
    return option if is_secret(option) else None


def read_secret(path: Path) -> str:
    """What a file holds, without the line's end that editors add. Raises ValueError that says what was expected."""
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
        text = content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValueError(f"expected a readable file with the secret: {reason}") from error
    if not text or len(content) > SECRET_BYTES_MAX:
        raise ValueError(f"expected a file with the secret, 1 to {SECRET_BYTES_MAX} bytes")
    return text


def credentials(folder: str, refuse: Callable[[str, Path, str], None]) -> Iterator[Credential]:
    """Each credential that is called as an option. Others may be for others, but not one that begins as ours do."""
    try:
        found = sorted(Path(folder).iterdir())
    except OSError as error:
        refuse(VARIABLE, Path(folder), f"expected a folder that can be read: {error.strerror}")
        return
    for path in found:
        key = tuple(path.name.split("."))
        if key[0] not in SECTIONS and key[0] not in NAMED:
            continue
        if is_secret(key) or is_path(key):
            yield Credential(key, path)
        else:
            expected = "expected the name of an option that is a secret or a path, such as database.url or api.tls_key"
            refuse(path.name, path, expected)


def _type(key: tuple[str, ...]) -> Any:
    """The option's type with its notes; None when there is no such option."""
    kind: type[Struct] | None = None
    if key[0] in NAMED and len(key) == 3:
        kind = NAMED[key[0]]
    elif key[0] in SECTIONS and len(key) == 2:
        kind = SECTIONS[key[0]]
    if kind is None:
        return None
    return next((field.type for field in structs.fields(kind) if field.name == key[-1]), None)


def _notes(kind: Any) -> Iterator[Any]:
    """The notes on a type, and on what it is made of."""
    yield from getattr(kind, "__metadata__", ())
    for part in get_args(kind) if get_origin(kind) is not None else ():
        yield from _notes(part)


def _parts(kind: Any) -> Iterator[Any]:
    for part in get_args(kind):
        yield part
        yield from _parts(part)
