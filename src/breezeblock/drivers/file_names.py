"""What the names in the folder of a file backend mean (`file.py`)."""

from typing import Final

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.ids import is_canonical_uuid

MARKER: Final = ".breezeblock-backend"
PART: Final = ".part"
UNMANAGED: Final = "unmanaged"
# What a freshly made filesystem may contain: it is still empty.
FRESH: Final = frozenset({"lost+found"})


def may_be_there(entry: str) -> bool:
    """What the top of a freshly made filesystem may contain, or one that nodes have just begun to mark: it is still empty."""
    return entry in FRESH or entry == UNMANAGED or is_marker_part(entry)


def is_marker_part(entry: str) -> bool:
    return entry.startswith(f"{MARKER}.") and entry.endswith(PART)


def is_fan_out(entry: str) -> bool:
    return len(entry) == 2 and all(letter in "0123456789abcdef" for letter in entry)


def name_of(entry: str, folder: str) -> ObjectName | None:
    """The object that a file belongs to, or None when it is none of ours."""
    text = entry.removesuffix(PART)
    try:
        name = ObjectName.parse(text)
    except ValueError:
        return None
    ours = is_canonical_uuid(name.resource_id) and name.resource_id.startswith(folder) and str(name) == text
    return name if ours and name.seq >= 0 and name.epoch >= 0 else None
