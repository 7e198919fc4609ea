"""Bodies about the encryption of a volume type. Other keys than these are ignored, as clients are used to."""

import re
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

KEY_SIZE_MAX: Final = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,10}\Z")

Provider = Annotated[str, Meta(max_length=255)]
Cipher = Annotated[str, Meta(max_length=255)]
Location = Literal["front-end", "back-end"]


class KeySize(int):
    """A number of bits, as a number or as its digits."""

    @classmethod
    def read(cls, value: object) -> "KeySize":
        if isinstance(value, str) and _DIGITS.match(value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= KEY_SIZE_MAX:
            return cls(value)
        raise ValueError(f"expected a number of bits, 0 to {KEY_SIZE_MAX}")


class _Said(Struct, kw_only=True):
    def sent(self) -> dict[str, Any]:
        """What was sent, by name, as plain values."""
        found = {name: value for name, value in structs.asdict(self).items() if value is not UNSET}
        return {name: int(value) if isinstance(value, KeySize) else value for name, value in found.items()}


class CreateEncryption(_Said, kw_only=True):
    provider: Provider
    control_location: Location
    cipher: Cipher | UnsetType | None = UNSET
    key_size: KeySize | UnsetType | None = UNSET


class CreateEncryptionBody(Struct, kw_only=True, forbid_unknown_fields=True):
    encryption: CreateEncryption


class UpdateEncryption(_Said, kw_only=True):
    provider: Provider | UnsetType = UNSET
    control_location: Location | UnsetType = UNSET
    cipher: Cipher | UnsetType | None = UNSET
    key_size: KeySize | UnsetType | None = UNSET


class UpdateEncryptionBody(Struct, kw_only=True, forbid_unknown_fields=True):
    encryption: UpdateEncryption
