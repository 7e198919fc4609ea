"""Keys and passwords of stores: in files of their own, read each time they are needed, so that they can be changed."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from breezeblock.backup.contract import StoreRefused

__all__ = ["read_credentials"]


def read_credentials(
    path: Path, *, store: str, one_of: Sequence[Sequence[str]], may: Sequence[str] = ()
) -> Mapping[str, str]:
    """The texts in a TOML file that has all names of one of these groups, and perhaps others. Blocks.

    Raises StoreRefused with a sentence that has nothing of the file's content.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreRefused(f"The credentials_file of backup store {store} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        # Not even as a cause: it may quote what it did not understand.
        raise StoreRefused(f"The credentials_file of backup store {store} is not TOML.") from None
    known = {name for group in one_of for name in group} | set(may)
    if strange := sorted(set(found) - known):
        # A slip may be the secret itself.
        raise StoreRefused(
            f"The credentials_file of backup store {store} has {len(strange)} names that nobody knows; "
            f"expected some of {', '.join(sorted(known))}."
        )
    if any(not isinstance(value, str) or not value for value in found.values()):
        raise StoreRefused(f"The credentials_file of backup store {store} has a value that is no text, or empty.")
    if not any(set(group) <= set(found) for group in one_of):
        expected = ", or ".join(" and ".join(group) for group in one_of)
        raise StoreRefused(f"The credentials_file of backup store {store} is incomplete; expected {expected}.")
    return found
