"""How much metadata one resource may have. A body is bounded, but pairs can be added by one body after the other."""

from collections.abc import Mapping
from typing import Final

import msgspec

from breezeblock.model.errors import BadRequest

__all__ = ["BYTES_MOST", "bounded_json"]

# As JSON. A body fits, with which one is created; and a page of a thousand such volumes is still read in one go.
BYTES_MOST: Final = 2**17


def bounded_json(metadata: Mapping[str, str], *, of: str, before: str) -> str:
    """The metadata as it is kept. Raises BadRequest for more than may be, unless it was even more before."""
    text = msgspec.json.encode(metadata)
    if len(text) > max(BYTES_MOST, len(before.encode())):
        raise BadRequest(
            f"The metadata of {of} would be {len(text)} bytes of JSON; expected at most {BYTES_MOST}. Delete some of it first."
        )
    return text.decode()
