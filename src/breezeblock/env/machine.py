"""Which machine this is, and since which boot."""

import re
from pathlib import Path
from typing import Final

__all__ = ["boot_id", "machine_id"]

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# Not /etc/machine-id: machines that were made from one image often share it.
PRODUCT_UUID: Final = Path("/sys/class/dmi/id/product_uuid")

# What firmware has there when its vendor never wrote one: many machines share each of them.
BOGUS: Final = frozenset(
    {
        "00020003-0004-0005-0006-000700080009",
        "01234567-89ab-cdef-0123-456789abcdef",
        "03000200-0400-0500-0006-000700080009",
        "03020100-0504-0706-0809-0a0b0c0d0e0f",
        "11111111-2222-3333-4444-555555555555",
        "12345678-1234-1234-1234-123456789012",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "12345678-9012-3456-7890-123456789012",
        "4c4c4544-0000-2010-8020-80c04f202020",
        "4c4c4544-0020-2010-8020-a0c04f202020",
    }
)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# A made-up one repeats a digit or two; a random one with so few different digits does not come up.
FEWEST_DIGITS: Final = 4


def boot_id() -> str:
    """The random id that the kernel drew when it started."""
    return BOOT_ID.read_text(encoding="ascii").strip()


def machine_id(configured: str, product_uuid: Path = PRODUCT_UUID) -> str:
    """What no other machine has: as configured, or by the firmware's word. Empty when that is not certain.

    The firmware's is readable for root only, so what is configured may have been copied from there.
    """
    if configured:
        is_doubtful = _UUID.fullmatch(configured.lower()) is not None and not _is_certain(configured.lower())
        return "" if is_doubtful else f"configured {configured}"
    try:
        said = product_uuid.read_text(encoding="ascii").strip().lower()
    except (OSError, UnicodeDecodeError):
        return ""
    return f"product {said}" if _is_certain(said) else ""


def _is_certain(uuid: str) -> bool:
    return _UUID.fullmatch(uuid) is not None and uuid not in BOGUS and len(set(uuid) - {"-"}) >= FEWEST_DIGITS
