"""What has broken services like this one, or this one, and is tried for ever: the files in `kept/`.

A piece of a request is a text whose characters are bytes, or such a text and how often it comes. What a fuzzer finds is added
there with a sentence that says why.
"""

import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["BODIES", "REQUESTS", "Kept"]

_FOLDER: Final = Path(__file__).with_name("kept")


class Kept(NamedTuple):
    """Bytes, why they are kept, and the sequences of statuses that are right answers to them."""

    content: bytes
    why: str
    statuses: tuple[tuple[int, ...], ...]


def _read(name: str) -> dict[str, Kept]:
    found = tomllib.loads((_FOLDER / name).read_text(encoding="utf-8"))
    return {key: _kept(one) for key, one in found.items()}


def _kept(one: dict[str, Any]) -> Kept:
    statuses = tuple(tuple(each) for each in one.get("statuses", [[400]]))
    return Kept(b"".join(_bytes(part) for part in one["send"]), one["why"], statuses)


def _bytes(part: Any) -> bytes:
    text, times = (part, 1) if isinstance(part, str) else part
    return str(text).encode("latin-1") * int(times)


REQUESTS: Final = _read("requests.toml")
BODIES: Final = _read("bodies.toml")
